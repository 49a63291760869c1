package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"nmosauthd/agent/explain"
	"nmosauthd/agent/keys"
)

func runExplain(args []string) int {
	set, config := flags("explain", "[METHOD TARGET]")
	tokenFile := set.String("token", "-", "`file` with the access token, - for standard input, \"\" for none")
	jwks := set.String("jwks", "", "`file` with the key set of the token's issuer; none: the signature is not checked")
	device := set.String("device", "", "host `names` of the device, separated by commas; by default those of the configuration")
	at := set.String("at", "", "judge the token at this `time`, as 2006-01-02T15:04:05Z; by default now")
	if status, done := parse(set, args, 0, 2); done {
		return status
	}
	q := explain.Question{Method: set.Arg(0), Target: set.Arg(1), Now: time.Now()}
	if err := explainInputs(&q, *config, *tokenFile, *jwks, *device, *at); err != nil {
		complain(err)
		return exitFail
	}
	reason, err := explain.Explain(os.Stdout, q)
	switch {
	case err != nil:
		complain(err)
		return exitFail
	case reason.Allowed():
		return exitOK
	}
	return exitDeny
}

// explainInputs reads what is to be explained.
func explainInputs(q *explain.Question, config, tokenFile, jwks, device, at string) (err error) {
	if q.Method != "" && q.Target == "" {
		return errors.New("explain: a METHOD needs a TARGET")
	}
	d, err := detectDevice()
	if err != nil {
		return err
	}
	q.Config, q.Names, err = d.loadConfig(config)
	switch {
	case err == nil:
		q.Trust = true
	case errors.Is(err, fs.ErrNotExist) && config == defaultConfig:
		// Away from the device, tokens can be looked at all the same.
		fmt.Printf("There is no %s: defaults, and this machine's host names.\n\n", config)
		q.Config = d.defaults()
		if q.Names, err = d.names(); err != nil {
			return err
		}
	default:
		return err
	}
	if device != "" {
		q.Names = strings.Split(strings.ToLower(device), ",")
	}
	if at != "" {
		if q.Now, err = time.Parse(time.RFC3339, at); err != nil {
			return fmt.Errorf("--at: %w", err)
		}
	}
	if tokenFile != "" {
		tok, err := readToken(tokenFile)
		if err != nil {
			return err
		}
		q.Token = []byte(tok)
	}
	if jwks != "" {
		info, err := os.Stat(jwks)
		if err != nil {
			return err
		}
		if info.Size() > keys.MaxDocument {
			return fmt.Errorf("%s is over %d bytes", jwks, keys.MaxDocument)
		}
		if q.JWKS, err = os.ReadFile(jwks); err != nil {
			return err
		}
	}
	return nil
}
