package daemon

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"go.uber.org/zap"

	"nmosauthd/agent/admin"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/wire"
)

// functions are what the admin socket shows and does; of them the view socket has those that show, and those that the
// configuration names.
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
		Certificates:   d.changeCerts,
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

// viewing is what the view socket has beyond that.
func (d *daemon) viewing() admin.Viewing {
	return admin.Viewing{
		Explain: d.explained,
		Acts:    func() []string { return d.inForce.Load().Sockets.ViewActions },
		Login:   d.login,
	}
}

// login says who sends a request on the view socket, by the token that [sockets] view_claim asks for.
func (d *daemon) login(r *http.Request) (who string, left time.Duration, refused *wire.Reply) {
	api, asked := strings.CutPrefix(d.inForce.Load().Sockets.ViewClaim, "x-nmos-")
	if !asked {
		return "", 0, nil
	}
	access := decide.Read
	if r.Method == http.MethodPost {
		access = decide.Write
	}
	// Two headers are two tokens, as on the HTTP socket.
	authorization := strings.Join(r.Header["Authorization"], ",")
	reply, left := d.agent.NewSessionOf(askedBy(r.Context())).Login(api, strings.TrimPrefix(r.URL.Path, "/"),
		authorization, access)
	if !reply.Reason.Allowed() {
		return "", 0, reply
	}
	return fmt.Sprintf("client %+.64q", reply.ClientID), left, nil
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
