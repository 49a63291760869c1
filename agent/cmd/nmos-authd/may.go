package main

import (
	"errors"
	"os"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/status"
)

func runMay(args []string) error {
	set, socket := asking("may", "--token FILE")
	asJSON := set.Bool("json", false, "print JSON: a list of kind, name and access")
	tokenFile := set.String("token", "", "`file` with the access token, - for standard input")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	if *tokenFile == "" {
		return errors.New("may takes --token, a file with the token, - for standard input")
	}
	tok, err := readToken("token", *tokenFile)
	if err != nil {
		return err
	}
	client, err := socket.client()
	if err != nil {
		return err
	}
	list, err := client.May(tok)
	switch {
	case err != nil:
		return err
	case *asJSON:
		return json.NewEncoder(os.Stdout).Encode(list.Things)
	}
	return status.WritePermitted(stdout(), list.Client, list.Things)
}
