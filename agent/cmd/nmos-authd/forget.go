package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"nmosauthd/agent/daemon"
)

func runForget(args []string) error {
	set, config := flags("forget", "ISSUER")
	if err := parse(set, args, 1, 1); err != nil {
		return err
	}
	_, err := askAdmin(*config, http.MethodDelete, "/servers?issuer="+url.QueryEscape(set.Arg(0)))
	var answer *daemon.AdminError
	switch {
	case errors.As(err, &answer) && (answer.Status == http.StatusNotFound || answer.Status == http.StatusConflict):
		return daemon.Denied{Err: errors.New(set.Arg(0) + ": " + answer.Text + ": " + answer.Debug)}
	case err != nil:
		return err
	}
	fmt.Printf("%s is forgotten, with its keys.\nIt comes back if it is still advertised, or if a token names it and "+
		"trusted_issuers fits:\n[discovery] hosts and mode say whom discovery may find.\n", set.Arg(0))
	return nil
}
