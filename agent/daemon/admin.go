package daemon

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/admin"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/wire"
)

// The daemon is what the admin socket shows and does (admin.Daemon). Of that the view socket has what shows, and what
// the configuration names.

// Inventory is GET /inventory, and PushInventory is PUT /inventory.
func (d *daemon) Inventory() []byte                   { return d.stock.document() }
func (d *daemon) PushInventory(document []byte) error { return d.stock.push(document) }

// Record is GET /records, or tells with Remembered which there are; Last is GET /records, and Watch is GET /watch.
func (d *daemon) Record(seq uint64) (line []byte, ok bool) { return d.audit.Find(seq) }
func (d *daemon) Remembered() (first, last uint64)         { return d.audit.Remembered() }
func (d *daemon) Last(last int, match func(*audit.Record) bool) []byte {
	return d.audit.Last(last, match)
}
func (d *daemon) Watch(last int, match func(*audit.Record) bool) *audit.Watcher {
	return d.audit.Watch(last, match)
}

// Explain is GET /explain of the view socket: the decision of a record's line, explained by the configuration in
// force.
func (d *daemon) Explain(line []byte) ([]byte, error) {
	c := d.inForce.Load()
	var text bytes.Buffer
	_, err := explain.Record(&text, line, c.Config, c.names)
	return text.Bytes(), err
}

// Acts is what GET /actions of the view socket says.
func (d *daemon) Acts() []string { return d.inForce.Load().Sockets.ViewActions }

// Login says who sends a request on the view socket, by the token that [sockets] view_claim asks for.
func (d *daemon) Login(r *http.Request) (who string, left time.Duration, refused *wire.Reply) {
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

// Keys is GET /keys.
func (d *daemon) Keys(issuer string) ([]byte, error) {
	held := d.store.Set().Issuer([]byte(issuer))
	if held == nil {
		return nil, nil
	}
	return held.JWKS()
}

// Observed is GET /observe.
func (d *daemon) Observed() ([]byte, error) {
	c := d.inForce.Load()
	rules := c.Rules()
	return json.Marshal(d.observer.Report(time.Now(), string(d.agent.Mode()), &rules, d.audit.Stats()))
}

// ForgetObserved is DELETE /observe.
func (d *daemon) ForgetObserved() { d.observer.Reset(time.Now(), d.audit.Stats()) }

// ForgetServer is DELETE /servers?issuer=…: an issuer that discovery found, or that a token brought, is dropped with
// its keys (DIS-6).
func (d *daemon) ForgetServer(issuer string) error {
	c := d.inForce.Load()
	for _, configured := range c.Authorization.Servers {
		if keys.TrimIssuer(configured) == keys.TrimIssuer(issuer) {
			return fmt.Errorf("[authorization] servers names it; take it out there and send SIGHUP: %w", admin.ErrFixed)
		}
	}
	if !d.finder.Forget(issuer) {
		return fmt.Errorf("\"nmos-authd status\" lists the issuers: %w", admin.ErrUnknown)
	}
	d.log.Warn("issuer forgotten, as asked on the admin socket", fields(nil, "issuer", issuer)...)
	d.persisted.keep(d.store.Set())
	d.own.lookNow()
	return nil
}
