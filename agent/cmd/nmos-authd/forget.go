package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"go.uber.org/zap"

	"nmosauthd/agent/admin"
	"nmosauthd/agent/keys"
)

// forget is DELETE /servers?issuer=…: an issuer that discovery found, or that a token brought, is dropped with its keys
// (DIS-6).
func (d *daemon) forget(issuer string) error {
	c := d.inForce.Load()
	for _, configured := range c.Authorization.Servers {
		if keys.TrimIssuer(configured) == keys.TrimIssuer(issuer) {
			return fmt.Errorf("[authorization] servers names it; take it out there and send SIGHUP: %w", admin.ErrFixed)
		}
	}
	if !d.finder.Forget(issuer) {
		return fmt.Errorf("\"nmos-authd status\" lists the issuers: %w", admin.ErrUnknown)
	}
	d.log.Warn("issuer forgotten, as asked on the admin socket", zap.String("issuer", issuer))
	d.memory.keep(d.store.Set())
	return nil
}

func runForget(args []string) int {
	set, config := flags("forget", "ISSUER")
	if status, done := parse(set, args, 1, 1); done {
		return status
	}
	client, err := adminOf(*config)
	if err == nil {
		err = client.send(http.MethodDelete, "/servers?issuer="+url.QueryEscape(set.Arg(0)))
	}
	var answer *errStatus
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
