package main

import (
	"net/http"
	"time"

	"nmosauthd/agent/admin"
)

// administration returns the handler of the admin socket.
func (d *daemon) administration() http.Handler {
	return admin.Handler(admin.Functions{
		Inventory:      d.stock.document,
		PushInventory:  d.stock.push,
		Record:         d.audit.Find,
		Last:           d.audit.Last,
		Watch:          d.audit.Watch,
		Observed:       d.observed,
		ForgetServer:   d.forget,
		Keys:           d.heldKeys,
		Status:         d.statusJSON,
		Metrics:        d.metricsText,
		ForgetObserved: func() { d.observer.Reset(time.Now(), d.audit.Stats()) },
	})
}

// heldKeys is GET /keys.
func (d *daemon) heldKeys(issuer string) ([]byte, error) {
	held := d.store.Set().Issuer([]byte(issuer))
	if held == nil {
		return nil, nil
	}
	return held.JWKS()
}
