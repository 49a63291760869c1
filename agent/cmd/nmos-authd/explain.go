package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"nmosauthd/agent/config"
	"nmosauthd/agent/daemon"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/status"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/platform"
)

func runExplain(args []string) error {
	set, config := flags("explain", "[METHOD TARGET]\n"+
		"       nmos-authd explain [flags] --command CLASS METHOD ROLE-PATH\n"+
		"       nmos-authd explain [flags] --resource KIND NAME read|write")
	tokenFile := set.String("token", "-", "`file` with the access token, - for standard input, \"\" for none")
	jwks := set.String("jwks", "",
		"`file` with the key set of the token's issuer; by default the running daemon's, if it answers")
	device := set.String("device", "",
		"host `names` of the device, separated by commas; by default the configured ones")
	claims := set.String(
		"claims",
		"",
		"`file` with claims as JSON, - for standard input, in place of a token: judged as if a trusted server had "+
			"signed them",
	)
	seq := set.Uint64("seq", 0,
		"explain the decision of this `number` in the audit, as the running daemon remembers it; takes no METHOD and "+
			"TARGET")
	upgrade := set.String("upgrade", "", "value of the Upgrade header, such as websocket")
	command := set.Bool("command", false,
		"explain a command on an object of the device model: 1.2.2.1 4m3 root.receiver-monitors.monitor-01")
	model := set.String("model", "",
		"with --command, the `name` of the device model if there are several: a name of [control] models, such as "+
			"slot2B")
	resource := set.Bool("resource", false,
		"explain a question about a resource of the device, by its own KIND and NAME, and read or write")
	at := set.String("at", "", "judge the token at this `time`, as 2006-01-02T15:04:05Z; by default now")
	if err := parse(set, args, 0, 3); err != nil {
		return err
	}
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	wrong := ""
	switch {
	case given["seq"] && (set.NArg() > 0 || len(given) > 2 || len(given) == 2 && !given["config"]):
		wrong = "--seq takes no METHOD and TARGET, and no other flag than --config"
	case given["claims"] && (given["token"] || given["jwks"]):
		wrong = "--claims replaces a token, so --token and --jwks cannot be used with it"
	case *command && *resource:
		wrong = "--command and --resource cannot be used together"
	case *command && set.NArg() != 3:
		wrong = "--command takes a CLASS, or -, a METHOD such as 4m3, and a ROLE-PATH"
	case given["model"] && !*command:
		wrong = "--model is of a --command"
	case *resource && (set.NArg() != 3 || set.Arg(2) != "read" && set.Arg(2) != "write"):
		wrong = "--resource takes a KIND, a NAME, and read or write"
	case (*command || *resource) && *upgrade != "":
		wrong = "--upgrade is of a request, a METHOD and a TARGET"
	case !*command && !*resource && set.NArg() > 2:
		wrong = "too few or too many arguments" // it is not repeated: it may be the token
	}
	if wrong != "" {
		return errors.New("explain: " + wrong)
	}
	var answer explain.Answer
	var err error
	if given["seq"] {
		answer.Reason, err = explainDecision(*config, *seq)
	} else {
		if given["claims"] {
			*tokenFile = ""
		}
		q := explain.Question{Now: time.Now(), Upgrade: *upgrade}
		switch {
		case *command:
			q.Command, q.Model = set.Args(), *model
		case *resource:
			q.Resource = set.Args()
		default:
			q.Method, q.Target = set.Arg(0), set.Arg(1)
		}
		if err = explainInputs(&q, *config, *tokenFile, *jwks, *device, *at); err == nil && given["claims"] {
			q.Claims, err = readInput("claims", *claims, 4*token.MaxBytes)
		}
		if err == nil {
			answer, err = explain.Explain(stdout(), q)
		}
	}
	switch {
	case err != nil:
		return err
	case answer.Reason.Allowed() && answer.Unchecked:
		return exitUnchecked
	case answer.Reason.Allowed():
		return nil
	}
	return exitDeny
}

// explainDecision explains a decision that the running daemon made.
func explainDecision(file string, seq uint64) (wire.Reason, error) {
	c, names, err := daemon.LoadConfig(file)
	if err != nil {
		return wire.Undecided, err
	}
	line, err := askAdmin(file, http.MethodGet, fmt.Sprintf("/records?seq=%d", seq))
	if status := (*daemon.AdminError)(nil); errors.As(err, &status) && status.Status == http.StatusNotFound {
		err = fmt.Errorf("decision %d: %s ([audit] ring_bytes = %d)", seq, status.Text, c.Audit.RingBytes)
	}
	if err != nil {
		return wire.Undecided, err
	}
	return explain.Record(stdout(), line, c, names)
}

// askDaemon fills in what only the running daemon knows: the issuers that discovery has found, the keys that it holds,
// and, if now is set, whether it trusts the clock.
func askDaemon(q *explain.Question, file string, now bool) {
	s, _, err := askStatus(file)
	if err != nil {
		q.Unfound = q.Config.Discovers() != config.DiscoveryOff
		return
	}
	for _, server := range s.Servers {
		if server.Origin == status.Discovered {
			q.Found = append(q.Found, server.Issuer)
		}
	}
	if now && !s.Clock.Trusted {
		q.Clock = s.Clock.State + ", " + s.Clock.Why
	}
	q.Unsynchronised = now && s.Clock.State == platform.ClockUnsynchronised.String()
	if document, err := askAdmin(file, http.MethodGet, "/inventory"); err == nil {
		q.Inventory, _ = inventory.Parse(document) // which it has parsed before
	}
	q.Held = func(issuer string) []byte {
		set, _ := askAdmin(file, http.MethodGet, "/keys?issuer="+url.QueryEscape(issuer)) // an error counts as no keys
		return set
	}
}

// explainInputs reads what is to be explained.
func explainInputs(q *explain.Question, file, tokenFile, jwks, device, at string) (err error) {
	if q.Method != "" && q.Target == "" {
		return errors.New("explain: a METHOD needs a TARGET")
	}
	d, err := daemon.DetectDevice()
	if err != nil {
		return err
	}
	q.Config, q.Names, err = d.LoadConfig(file)
	switch {
	case err == nil:
		q.Trust = true
		askDaemon(q, file, at == "")
		if in := q.Config.Inventory.File; q.Inventory == nil && in != "" {
			if q.Inventory, _, _, err = daemon.ReadInventory(in); err != nil && q.Resource != nil {
				return err
			}
		}
	case errors.Is(err, fs.ErrNotExist) && file == defaultConfig:
		// Tokens can also be explained on a machine other than the device.
		fmt.Printf("%s does not exist:\nusing defaults and this machine's host names.\n\n", file)
		q.Config = d.Defaults()
		if q.Names, err = d.Names(); err != nil {
			return err
		}
	default:
		return err
	}
	if device != "" {
		q.Names = strings.FieldsFunc(strings.ToLower(device), func(r rune) bool { return r == ',' || r == ' ' })
	}
	if at != "" {
		if q.Now, err = time.Parse(time.RFC3339, at); err != nil {
			return fmt.Errorf("--at: %q is not a time such as 2027-01-15T08:00:00Z", at)
		}
	}
	if tokenFile != "" {
		tok, err := readToken("token", tokenFile)
		if err != nil {
			return err
		}
		q.Token = []byte(tok)
	}
	if jwks != "" {
		if q.JWKS, err = readInput("jwks", jwks, keys.MaxDocument); err != nil {
			return err
		}
	}
	return nil
}
