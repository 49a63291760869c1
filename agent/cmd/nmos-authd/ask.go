package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"nmosauthd/agent/daemon"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
)

func runAsk(args []string) error {
	set, socket := asking("ask", "METHOD TARGET [TARGET ...]\n"+
		"       nmos-authd ask [flags] --resource KIND NAME read|write\n"+
		"       nmos-authd ask [flags] --verify")
	tokenFile := set.String("token", "",
		"`file` with the access token, - for standard input; without it, no token is sent")
	upgrade := set.String("upgrade", "", "value of the Upgrade header, such as websocket")
	verify := set.Bool("verify", false, "ask about the token alone (no METHOD and TARGET)")
	resource := set.Bool("resource", false,
		"ask about a resource of the device, by its own KIND and NAME, and read or write")
	timeout := set.Duration("timeout", 2*time.Second, "how long to wait for the reply")
	if err := parse(set, args, 0, 1000); err != nil {
		return err
	}
	verb := wire.Decide
	wrong := set.NArg() < 2
	switch {
	case *verify && *resource:
		wrong = true
	case *verify:
		verb, wrong = wire.Verify, set.NArg() > 0
	case *resource:
		verb, wrong = wire.Resource, set.NArg() != 3
	case set.NArg() > 2:
		verb = wire.DecideAll
	}
	if wrong {
		return errors.New("ask takes a METHOD and a TARGET; or --resource with a KIND, a NAME, and read or write; " +
			"or --verify alone")
	}
	q, err := question(verb, set.Args(), *tokenFile, *upgrade)
	if err != nil {
		return err
	}
	client, err := socket.client()
	if err != nil {
		return err
	}
	client.SetTimeout(*timeout)
	reply, err := client.Ask(q)
	if err != nil {
		return err
	}
	fmt.Printf("%s", reply)
	switch first, _, _ := bytes.Cut(reply, []byte(" ")); string(first) {
	case "allow":
		return nil
	case "deny":
		return exitDeny
	}
	return exitFail
}

// decisionSocket is where the daemon is asked for decisions.
type decisionSocket struct{ path, config *string }

// asking returns the flag set of a subcommand that asks there, with --socket.
func asking(name, args string) (*flag.FlagSet, decisionSocket) {
	set, config := flags(name, args)
	return set, decisionSocket{
		set.String("socket", "", "decision socket's `path`; by default that of the configuration"), config,
	}
}

func (s decisionSocket) client() (*daemon.AuthzClient, error) {
	return daemon.NewAuthzClient(*s.path, *s.config)
}

// question returns a question. The arguments are a method and targets, or the kind, name and access of a
// resource.
func question(verb wire.Verb, args []string, tokenFile, upgrade string) (*daemon.Question, error) {
	q := daemon.NewQuestion(verb)
	for i, arg := range args {
		name := "target"
		switch {
		case verb == wire.Resource:
			name = []string{"kind", "name", "access"}[i]
		case i == 0:
			name = "method"
		}
		q.Line(name, arg)
	}
	if upgrade != "" {
		q.Line("upgrade", upgrade)
	}
	if tokenFile != "" {
		tok, err := readToken("token", tokenFile)
		if err != nil {
			return nil, err
		}
		q.Line("authorization", "Bearer "+tok)
	}
	return q, nil
}

// readToken reads a token from the file of a flag, or standard input for "-": not from an argument, which other users
// could see. It removes white space around the token and a scheme before it.
func readToken(flag, file string) (string, error) {
	text, err := readInput(flag, file, 16*token.MaxBytes)
	if err != nil {
		return "", err
	}
	tok := strings.TrimSpace(strings.TrimPrefix(string(text), "\ufeff")) // an editor's mark
	if scheme, rest, found := strings.Cut(tok, " "); found && strings.EqualFold(scheme, "bearer") {
		tok = strings.TrimSpace(rest)
	}
	return tok, nil
}

// inputs are what the files of the flags contain.
var inputs = map[string]string{"token": "token", "refused": "token", "claims": "claims", "jwks": "key set"}

// readInput reads the file of a flag, or standard input for "-". It must not be empty or longer than most bytes. No
// error names the file: it may be the token itself, given by mistake.
func readInput(flag, file string, most int64) ([]byte, error) {
	name, f := "the file of --"+flag, os.Stdin
	if file == "-" {
		name = "standard input"
	} else {
		var err error
		if f, err = os.Open(file); err != nil {
			return nil, fmt.Errorf(`--%s takes a file, not the %s; "-" reads standard input: %w`, flag, inputs[flag],
				bare(err))
		}
		defer f.Close()
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, bare(err))
	case int64(len(text)) > most:
		return nil, errors.New(name + " is over " + strconv.FormatInt(most, 10) + " bytes")
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New(name + " is empty")
	}
	return text, nil
}

// bare removes the path from an error of the system.
func bare(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}
