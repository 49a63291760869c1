package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"nmosauthd/agent/daemon"
)

func runForget(args []string) int {
	set, config := flags("forget", "ISSUER")
	if status, done := parse(set, args, 1, 1); done {
		return status
	}
	_, err := askAdmin(*config, http.MethodDelete, "/servers?issuer="+url.QueryEscape(set.Arg(0)))
	var answer *daemon.AdminError
	switch {
	case errors.As(err, &answer) && (answer.Status == http.StatusNotFound || answer.Status == http.StatusConflict):
		complain(fmt.Errorf("%s: %s: %s", set.Arg(0), answer.Text, answer.Debug))
		return exitDeny
	case err != nil:
		complain(err)
		return exitFail
	}
	fmt.Printf("%s is forgotten, with its keys.\nIt comes back if it is still advertised, or if a token names it and "+
		"trusted_issuers fits:\n[discovery] hosts and mode say whom discovery may find.\n", set.Arg(0))
	return exitOK
}
