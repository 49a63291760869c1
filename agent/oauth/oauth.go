// Package oauth is the device as an OAuth client: it registers at the Authorization Server (RFC 7591, 7592), proves who
// it is (RFC 7523 or a secret) and keeps tokens for the firmware by the client credentials grant (RFC 6749 §4.4).
//
// What the daemon hands in (Options): requests and metadata by agent/discovery, a Storage whose Save is durable when it
// returns and seals what it keeps (CLI-4), a clock that says whether it can be trusted (OPS-1), and where events go. It
// calls Configure with the issuer that discovery chose or the configuration names, runs Run, calls ClockChanged when
// the clock was set, publishes JWKS if the configuration names a jwks_uri, and lets only admitted callers get at Token.
// A factory reset is Configure(Config{}), then Forget for each issuer of Status.
//
// Nobody waits for the network: Token answers from memory, Run does the work, one request at a time. There is one
// registration per issuer (CLI-24), written before its first use (CLI-36) and never made a second time unless the
// server has lost it (CLI-44, CLI-57) or the operator forgets it. A crash between the server's answer and the write
// leaves one behind at the server, and so does an answer that is lost on the way: the protocol has no cure for either.
//
// No token, secret or key is in any error, event or status. What a server says is quoted, bounded, and left out if it
// repeats a secret.
package oauth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nmosauthd/agent/alarm"
	"nmosauthd/agent/discovery"
)

// Storage keeps the registrations, with secrets and private keys. Save has replaced what was kept, durably, when it
// returns nil, and must leave the one or the other after a power cut. Load returns nil if nothing was ever kept; an
// error stops all registration, since what cannot be read may well be one.
type Storage interface {
	Load() ([]byte, error)
	Save([]byte) error
}

// Options are what a Client works with. All are needed.
type Options struct {
	HTTP     func(issuer string) *http.Client // discovery.Client.HTTPClient; redirects are never followed
	Metadata func(ctx context.Context, issuer string) (discovery.Metadata, error)
	Storage  Storage
	Clock    func() (now time.Time, trusted bool) // OPS-1
	Report   func(Event)                          // called from Run, Forget and RotateKey; it must not call back
}

// Config says at which server the device is a client, and as what. The zero value disables the client.
type Config struct {
	Issuer       string    // of the Authorization Server; empty until one was found
	Name         string    // client_name, unique: maker, product, serial (CLI-31)
	SoftwareID   string    // CLI-37; not sent if empty
	Version      string    // software_version; not sent if empty
	Scopes       []string  // that may be asked for, such as "registration" and "events" (CLI-10)
	InitialToken string    // initial access token, if the server needs one (CLI-30)
	JWKSURI      string    // where the device publishes its keys; "" if it does not
	Keys         KeyMethod // how the server gets them
	AuthMethod   string    // PrivateKeyJWT or SecretBasic; "" to go by the server's metadata (CLI-23)
	Given        Given     // a client that the operator made by hand, in place of a registration
}

// Given is a client that was made by hand.
type Given struct {
	ID     string
	Secret string // "" if the client uses the device's keys, by JWKS
}

// KeyMethod says how the server gets the device's public keys.
type KeyMethod string

// The key methods.
const (
	KeysAuto   KeyMethod = ""
	KeysInline KeyMethod = "jwks"
	KeysByURI  KeyMethod = "jwks_uri"
)

// Authentication methods (RFC 8414 §2).
const (
	PrivateKeyJWT = "private_key_jwt"
	SecretBasic   = "client_secret_basic"
)

// Phase is where the registration stands.
type Phase int

// The phases.
const (
	NoServer     Phase = iota // no issuer is configured or found yet
	Starting                  // waits a random time, so that a fleet does not come all together
	Unreadable                // what is stored cannot be read, and must not be replaced
	Unregistered              // a registration is due, or failed and will be tried again
	Refused                   // the server refused to register the device: again in an hour
	Unsaved                   // registered, but not stored yet, so not used
	Registered                // a client is held, be it registered or given
)

func (p Phase) String() string {
	return [...]string{
		"no server", "starting", "unreadable", "unregistered", "refused", "unsaved", "registered",
	}[p]
}

// Kind is what an Event is about.
type Kind int

// The kinds of events.
const (
	EventRegistered Kind = iota + 1 // Text: as what, and what differs from what was asked
	EventUpdated                    // the registration was changed at the server
	EventGone                       // the server no longer knows the client
	EventForgotten
	EventToken   // a token came
	EventKeys    // Text: how the server gets the keys, and why; or a step of a rotation
	EventFailure // Err; what was held stays in use
)

// Event is something for the log.
type Event struct {
	Kind   Kind
	Issuer string
	Scope  string // of a token
	Text   string
	Err    error
	Again  time.Duration // EventFailure: when it is tried again; EventGone: when another is registered
}

const (
	requestTime  = 10 * time.Second // of one request at most
	metadataLife = 24 * time.Hour   // the metadata are read again after this, or after a failure
	metadataRest = 10 * time.Minute // but no sooner than this because of a failure
	refusedRest  = time.Hour        // CLI-35
	// of a registration whose answer did not come: each may leave a client at the server
	lostRest     = time.Minute
	goneAfter    = 24 * time.Hour   // CLI-57
	firstSpread  = 20 * time.Second // of the start, before it is known how long tokens live
	mostSpread   = 5 * time.Minute
	mostWait     = 570 * time.Second // in all, after the start, of a device whose registration is lost
	firstBackOff = time.Second
	mostBackOff  = 5 * time.Minute
	mostSets     = 8  // scope sets that are followed
	mostIssuers  = 16 // registrations that are kept
	soon         = 2 * time.Second
)

// Client is the device's side of OAuth. Its methods may be called from any number of goroutines.
type Client struct {
	o      Options
	work   alarm.Worker // whoever has its turn owns what follows that is not guarded otherwise
	jwks   atomic.Pointer[[]byte]
	loaded atomic.Bool // what is kept was read

	patience time.Duration // with one request; tests shorten it

	kept     *state // nil if not loaded
	dirty    bool   // what is kept could not be stored
	meta     discovery.Metadata
	metaAt   time.Time // zero if none
	next     time.Time // when the registration is worked on again
	tries    int       // failures in a row, of the registration
	doubtful bool      // the token endpoint may have moved
	doubted  time.Time // when that was so last
	refusals int       // of credentials, in a row
	refused  time.Time // when credentials were refused last, in a row; zero if they were not
	vain     int       // registrations in a row of which no token ever came
	upkeep   time.Time // when the registration is looked after again
	stepAt   time.Time // of a rotation's present step
	lastWhy  string    // why the keys go the way they go, as reported
	trusted  bool      // the clock, when the worker looked last

	mu      sync.Mutex // guards the rest, for moments only
	config  *Config    // not written to
	given   Given      // the last that was configured, which Forget may need
	changed bool       // since the worker looked
	place   time.Time  // before which nothing is sent
	placed  string     // the issuer that place is for
	phase   Phase
	status  Status
	grants  map[string]*grant
}

// New returns a Client that does nothing before Configure and Run.
func New(o Options) *Client {
	c := &Client{
		o: o, work: alarm.NewWorker(), patience: requestTime, config: &Config{}, grants: map[string]*grant{},
	}
	empty := []byte(`{"keys":[]}`)
	c.jwks.Store(&empty)
	return c
}

// Configure replaces the configuration. Tokens that are held stay in use until there are new ones, which are fetched
// now if another server or client gives them. A change has what was refused tried again.
func (c *Client) Configure(config Config) {
	config.Scopes = slices.Clone(config.Scopes)
	c.mu.Lock()
	defer c.mu.Unlock()
	if reflect.DeepEqual(c.config, &config) {
		return
	}
	another := config.Given.ID != c.config.Given.ID
	c.config, c.changed = &config, true
	if config.Given.ID != "" {
		c.given = config.Given
	}
	now := time.Now()
	for name, g := range c.grants {
		switch {
		case c.admit(name) != nil && g.left(now) <= 0: // a live one may have to be revoked
			delete(c.grants, name)
		case config.Issuer != "" && (g.err != nil || another || g.issuer != config.Issuer):
			g.next = now
		}
	}
	c.work.Ring()
}

// Retry has what waits tried now: a refused registration, a place in the start, a token that failed.
func (c *Client) Retry() {
	now := time.Now()
	c.mu.Lock()
	c.changed = true
	c.placed, c.place = c.config.Issuer, now
	for _, g := range c.grants {
		if g.err != nil {
			g.next = now
		}
	}
	c.mu.Unlock()
	c.work.Ring()
}

// Held returns the issuers at which a client is held, by what is stored. It waits for no request once that was read.
func (c *Client) Held(ctx context.Context) (issuers []string, err error) {
	if !c.loaded.Load() {
		if err := c.work.Take(ctx); err != nil {
			return nil, err
		}
		defer c.work.Done()
		if err := c.load(); err != nil {
			return nil, err
		}
	}
	for _, s := range c.Status().Clients {
		if s.ClientID != "" {
			issuers = append(issuers, s.Issuer)
		}
	}
	return issuers, nil
}

// ClockChanged says that the clock was set, or became trusted. What waits for that (CLI-53) is tried again, at a new
// place in time. A token that may have ended meanwhile, as after a suspension, which stops the time that tokens are
// timed by, is renewed soon, and is in use until then.
func (c *Client) ClockChanged() {
	wall, _ := c.o.Clock()
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.grants {
		at := now
		if !errors.Is(g.err, errClock) {
			if g.token == "" || wall.Round(0).Sub(g.wall.Round(0)) < now.Sub(g.got)+leastLeft {
				continue
			}
			at = now.Add(rand.N(startSpread(g.life))) // others had theirs set, too
		}
		if g.next.After(at) {
			g.next = at
		}
	}
	c.work.Ring()
}

// JWKS returns the device's public keys (CLI-65, CLI-67), for the jwks_uri and for operators.
func (c *Client) JWKS() []byte { return *c.jwks.Load() }

// Run does the work until ctx ends.
func (c *Client) Run(ctx context.Context) { c.work.Run(ctx, c.step) }

// step does what is due and returns how long to wait for what comes next.
func (c *Client) step(ctx context.Context) time.Duration {
	c.mu.Lock()
	config, changed := c.config, c.changed
	c.changed = false
	c.mu.Unlock()
	if config.Issuer == "" {
		c.enter(NoServer)
		return time.Hour
	}
	now := time.Now()
	if changed {
		c.next, c.upkeep, c.tries, c.metaAt = time.Time{}, time.Time{}, 0, time.Time{}
		c.doubtful, c.refusals = c.kept != nil, 0 // not at the start
		c.tryAgain(now)
	}
	if now.Before(c.next) {
		return c.next.Sub(now)
	}
	if err := c.load(); err != nil {
		return c.fail(config, Unreadable, err, mostBackOff)
	}
	e := c.kept.find(config)
	if left := c.start(config.Issuer, e, now); left > 0 {
		c.enter(Starting)
		return left
	}
	e, wait := c.ready(ctx, config)
	if wait > 0 || ctx.Err() != nil {
		return max(wait, firstBackOff)
	}
	wait = c.lookAfter(ctx, config, e)
	if e.ClientID == "" || c.dirty || ctx.Err() != nil {
		return firstBackOff
	}
	return min(wait, c.renewAll(ctx, config, e))
}

// tryAgain has what was refused tried now.
func (c *Client) tryAgain(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Err = nil
	if c.vain > 1 {
		c.place = now
	}
	c.vain = 0
}

// start returns how long this device has to wait until its place. Devices of a facility lose their power together: were
// each to come when it starts, all would come together (KEY-1's thought). They are spread over a sixteenth of a token's
// life, so the server meets eight times its steady rate, since tokens are renewed at half their life; and over five
// minutes at most, so that the last is served soon. Devices that wait for the time all get it at the same moment: they
// are given another place then, as are those whose server lost its clients (lostSpread). What that makes of a fleet is
// measured in tinytest/fleet.
func (c *Client) start(issuer string, e *entry, now time.Time) time.Duration {
	_, trusted := c.o.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	waited := false
	for _, g := range c.grants {
		waited = waited || trusted && !c.trusted && errors.Is(g.err, errClock)
	}
	c.trusted = trusted
	if c.placed != issuer || waited {
		c.placed, c.place = issuer, now.Add(rand.N(startSpread(e.life())))
		c.stepAt, c.refused = time.Time{}, time.Time{}
	}
	return c.place.Sub(now)
}

// startSpread is the time over which devices come that all may come at the same moment, by how long their tokens live.
func startSpread(life time.Duration) time.Duration {
	if life <= 0 {
		return firstSpread
	}
	return max(min(life/16, mostSpread), time.Second)
}

// lostSpread is that of each of the two steps by which devices find that the server lost its clients, and register
// again: with more requests a device. The last one is through with all three in mostWait.
func lostSpread(life time.Duration) time.Duration {
	start := startSpread(life)
	return min(4*start, (mostWait-start)/2)
}

// enter notes the phase.
func (c *Client) enter(p Phase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = p
}

// fail notes and reports what went wrong with the registration, and returns how long to wait.
func (c *Client) fail(config *Config, p Phase, err error, wait time.Duration) time.Duration {
	c.next = time.Now().Add(wait)
	c.enter(p)
	c.failed(config.Issuer, err, wait)
	return wait
}

// failed notes and reports what went wrong at an issuer.
func (c *Client) failed(issuer string, err error, wait time.Duration) {
	c.mu.Lock()
	c.status.Err, c.status.Failed = err, time.Now()
	c.mu.Unlock()
	c.o.Report(Event{Kind: EventFailure, Issuer: issuer, Err: err, Again: wait})
}

// setting returns the configuration.
func (c *Client) setting() *Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.config
}

// failure chooses the phase and the wait by the kind of error (CLI-35).
func (c *Client) failure(config *Config, err error) time.Duration {
	c.tries++
	switch {
	case errors.Is(err, errUnusable):
		return c.fail(config, Refused, err, refusedRest/2+alarm.BackOff(c.tries, refusedRest, longestLife))
	case final(err):
		return c.fail(config, Refused, err, refusedRest+rand.N(refusedRest/4))
	case errors.Is(err, errLost):
		return c.fail(config, Unregistered, err, max(alarm.BackOff(c.tries, lostRest, refusedRest), retryAfter(err)))
	}
	return c.fail(config, Unregistered, err, max(alarm.BackOff(c.tries, firstBackOff, mostBackOff), retryAfter(err)))
}

// well notes that the registration has no fault left.
func (c *Client) well() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Err = nil
}

// retryAfter returns how long the server wants to be left alone (CLI-57), moved at random so that those who were sent
// away together do not come back together.
func retryAfter(err error) time.Duration {
	var refusal *refusalError
	if !errors.As(err, &refusal) || refusal.retryAfter <= 0 {
		return 0
	}
	return refusal.retryAfter + rand.N(max(refusal.retryAfter/2, time.Second))
}

// metadata returns the server's, read at most once a day unless something failed.
func (c *Client) metadata(ctx context.Context, issuer string) (*discovery.Metadata, error) {
	if !c.metaAt.IsZero() && c.meta.Issuer == issuer && time.Since(c.metaAt) < metadataLife {
		return &c.meta, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	m, err := c.o.Metadata(ctx, issuer)
	if err != nil {
		return nil, err
	}
	if m.TokenEndpoint == "" {
		return nil, errors.New("the server's metadata name no token_endpoint") // CLI-20
	}
	m.Issuer = issuer
	c.meta, c.metaAt = m, time.Now()
	return &c.meta, nil
}

// oneLine joins what went wrong.
func oneLine(errs ...error) error {
	var all error
	for _, err := range errs {
		switch {
		case all == nil:
			all = err
		case err != nil:
			all = fmt.Errorf("%w; %w", all, err)
		}
	}
	return all
}

// wrap says what an error is about.
func wrap(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }
