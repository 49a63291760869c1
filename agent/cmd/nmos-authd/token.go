package main

import (
	"errors"
	"fmt"
	"time"

	"nmosauthd/platform"
)

// runToken prints one of the device's own tokens and nothing else (CLI-69).
func runToken(args []string) error {
	set, socket := asking("token", "--scope SCOPE")
	scope := set.String("scope", "", "`scope` of the token: registration, events")
	refusedFile := set.String("refused", "",
		"`file` with a token that a server refused with 401, - for standard input: asks for another")
	wait := set.Duration("wait", 10*time.Second, "how long to wait for a token that is being fetched")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	platform.Harden() // as far as the kernel does it: the token must not reach a core file
	if *scope == "" {
		return errors.New("token takes --scope, such as --scope registration")
	}
	refused, err := "", error(nil)
	if *refusedFile != "" {
		if refused, err = readToken("refused", *refusedFile); err != nil {
			return err
		}
	}
	client, err := socket.client()
	if err != nil {
		return err
	}
	tok, err := client.Token(*scope, refused, *wait)
	if err == nil {
		_, err = fmt.Println(tok)
	}
	return err
}
