package daemon

import (
	"bytes"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"go.uber.org/zap"

	"nmosauthd/agent/admin"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/keys"
)

// functions are what the admin socket shows and does; of them the view socket has those that show.
func (d *daemon) functions() admin.Functions {
	return admin.Functions{
		Inventory:      d.stock.document,
		PushInventory:  d.stock.push,
		Record:         d.audit.Find,
		Remembered:     d.audit.Remembered,
		Last:           d.audit.Last,
		Watch:          d.audit.Watch,
		Observed:       d.observed,
		ForgetServer:   d.forget,
		RegisterClient: d.registerClient,
		ForgetClient:   d.forgetClient,
		RotateClient:   d.rotateClient,
		Keys:           d.heldKeys,
		Status:         d.statusJSON,
		Metrics:        d.metricsText,
		StartObserve:   d.startObserve,
		StopObserve:    d.stopObserve,
		Refresh:        d.refresh,
		ForgetObserved: func() { d.observer.Reset(time.Now(), d.audit.Stats()) },
	}
}

// explained is GET /explain of the view socket: the decision of a record's line, explained by the configuration in
// force.
func (d *daemon) explained(line []byte) ([]byte, error) {
	c := d.inForce.Load()
	var text bytes.Buffer
	_, err := explain.Record(&text, line, c.Config, c.names)
	return text.Bytes(), err
}

// heldKeys is GET /keys.
func (d *daemon) heldKeys(issuer string) ([]byte, error) {
	held := d.store.Set().Issuer([]byte(issuer))
	if held == nil {
		return nil, nil
	}
	return held.JWKS()
}

// observed is GET /observe.
func (d *daemon) observed() ([]byte, error) {
	c := d.inForce.Load()
	rules := c.Rules()
	return json.Marshal(d.observer.Report(time.Now(), string(d.agent.Mode()), &rules, d.audit.Stats()))
}

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
	d.persisted.keep(d.store.Set())
	d.own.lookNow()
	return nil
}
