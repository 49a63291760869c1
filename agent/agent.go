package agent

import (
	"runtime"
	"sync/atomic"
	"time"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
)

// Clock returns the time.
type Clock func() Time

// Time is a time by the device's clock, and what that is worth.
type Time struct {
	Now     time.Time
	Trusted bool // whether it says which tokens have expired (OPS-1)
	State   audit.Clock
	Run     time.Duration // since some moment, whatever is done to the clock
}

// Agent decides. It is safe for concurrent use; each connection asks through a Session of its own.
type Agent struct {
	keys      *keys.Store
	clock     Clock
	bounds    token.Bounds
	state     atomic.Pointer[state]
	inventory atomic.Pointer[inventory.Table] // nil if none yet
	stocks    atomic.Uint64                   // how many inventories there have been
	audit     *audit.Log                      // nil disables recording
	counts    counts
	watches   watches
	observing atomic.Pointer[func() bool] // nil unless an administrator has begun to observe

	background func(func()) // verifies what is not remembered; nil disables it
}

// state is what follows from one configuration. It is replaced whole: tokens remembered under one are not believed
// under the next, since audience and leeway may differ.
type state struct {
	mode        config.Mode
	realm       string
	rules       decide.Rules
	verifier    *token.Verifier
	leeway      int64 // microseconds
	packetLimit int   // bytes
	listAllowed bool  // the audit names allowed commands, too (CTL-87)
}

// New returns an Agent that decides by the keys in store, for a device that aud may name by these names.
func New(c *config.Config, names []string, store *keys.Store, clock Clock) *Agent {
	a := &Agent{keys: store, clock: clock}
	store.OnChange(a.Rejudge)
	a.Configure(c, names)
	return a
}

// VerifyBy has tokens that are not remembered verified by a thread that gives way to those that answer: run has a
// function run by one, and need not wait for its end. It is called before a configuration is applied.
func (a *Agent) VerifyBy(run func(func())) { a.background = run }

// Configure applies a configuration. A question in progress is answered by the old or the new one.
func (a *Agent) Configure(c *config.Config, names []string) {
	leeway := c.Authorization.Leeway.Microseconds()
	a.state.Store(&state{
		mode:  c.Mode,
		realm: c.Device.RealmFor(names),
		rules: c.Rules(),
		verifier: token.NewVerifier(token.Options{
			Names:    names,
			MaxBytes: c.Limits.TokenBytes,
			Cached:   c.Limits.CachedTokens,
			// If there are several processors, one stays free of cold verifications, so that a flood of forged tokens
			// leaves room for those that are remembered.
			Parallel:   runtime.GOMAXPROCS(0) - 1,
			Leeway:     leeway,
			Bounds:     &a.bounds,
			Background: a.background,
		}),
		leeway:      leeway,
		packetLimit: c.Limits.PacketBytes,
		listAllowed: c.Control.Record == config.RecordAll,
	})
	a.Rejudge()
}

// Observe has everything observed, if the mode is enforce, for as long as until returns true: it is asked about each
// denial. nil ends it.
func (a *Agent) Observe(until func() bool) {
	if until == nil {
		a.observing.Store(nil)
	} else {
		a.observing.Store(&until)
	}
	a.Rejudge()
}

// Mode returns the mode by which questions are answered now.
func (a *Agent) Mode() config.Mode {
	mode := a.state.Load().mode
	if until := a.observing.Load(); mode == config.ModeEnforce && until != nil && (*until)() {
		return config.ModeObserve
	}
	return mode
}

// Dated takes the time that an issuer's server gave with its keys, just now. It bounds what that issuer's own tokens
// may say of the time, and is there to be shown; nothing else follows from it (OPS-1).
func (a *Agent) Dated(issuer string, date time.Time) {
	a.bounds.Dated(issuer, date.UnixMicro(), a.clock().Run.Microseconds(), a.keys.Set())
}

// ServerTime returns what time it is now by an issuer's server; false if it never gave one.
func (a *Agent) ServerTime(issuer string) (time.Time, bool) {
	us, ok := a.bounds.Date(issuer, a.clock().Run.Microseconds())
	return time.UnixMicro(us).UTC(), ok
}

// SetInventory applies an inventory. Before the first, questions about resources are answered with 503. A question in
// progress is answered by the old or the new one.
func (a *Agent) SetInventory(t *inventory.Table) {
	a.inventory.Store(t)
	a.stocks.Add(1) // after it: a list that was begun with t by the number before begins again (may)
	a.Rejudge()
}

// KeyPolicy returns what the configuration says about issuers.
func KeyPolicy(c *config.Config) keys.Policy {
	return keys.Policy{
		Servers: c.Authorization.Servers,
		Trusts:  c.Authorization.Trusts,
		Refresh: c.Authorization.Refresh,
		Retry:   c.Authorization.Retry,
	}
}
