package oauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"nmosauthd/agent/alarm"
	"nmosauthd/agent/token"
)

const (
	longestLife = 24 * time.Hour // of a token; a longer one counts as this
	unusedLives = 2              // lifetimes without a request after which a token is not renewed
	clockRest   = 10 * time.Second
	leastLeft   = time.Second // a token with less is not handed out
)

// grant is the token of one scope set. Guarded by Client.mu.
type grant struct {
	scope    string // names in order, as asked for
	token    string // "" if none
	issuer   string // that gave it
	granted  string // scope of it
	got      time.Time
	wall     time.Time // the device's clock then
	life     time.Duration
	ends     time.Time
	next     time.Time // when the next is fetched
	asked    time.Time // when the firmware asked last, or was told to ask again
	reported int       // tokens that a resource server refused, in a row
	byReport bool      // that is why the next is fetched
	failures int       // in a row
	err      error     // of the last failure; nil after a success
	failed   time.Time
	flying   bool
}

// drop forgets the token.
func (g *grant) drop() { g.token, g.ends, g.next = "", time.Time{}, time.Time{} }

// left returns how long the token is still good.
func (g *grant) left(now time.Time) time.Duration {
	if g.token == "" {
		return 0
	}
	return g.ends.Sub(now)
}

// unused reports whether nobody needs the token any more.
func (g *grant) unused(now time.Time) bool {
	return now.Sub(g.asked) > max(unusedLives*g.life, time.Minute)
}

// Token is an answer: a token, or why there is none.
type Token struct {
	Token string
	Scope string        // that it is good for; it may be less than was asked for (CLI-56)
	Left  time.Duration // until it ends
	Err   error         // why there is none
	Retry time.Duration // when to ask again, if there is none
	Next  time.Duration // if there is one, when to ask for another in its place
}

// String keeps the token out of logs.
func (t Token) String() string {
	return fmt.Sprintf("Token(scope %q, %v left, %v)", t.Scope, t.Left, t.Err)
}

// Token returns the token for a scope, one or more configured names separated by spaces. It does not wait: without a
// token, one is fetched, and the answer says when to ask again.
func (c *Client) Token(scope string) Token {
	name := joinScopes(strings.Fields(scope))
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.grants, func(_ string, g *grant) bool {
		return g.scope != name && len(c.grants) >= mostSets && !g.flying && g.unused(now) && g.left(now) <= 0
	})
	if why := c.admit(name); why != nil {
		return Token{Err: why, Retry: time.Hour}
	}
	g := c.grants[name]
	if g == nil {
		g = &grant{scope: name}
		c.grants[name] = g
	}
	idle := now.Sub(g.asked) > unusedLives*g.life
	g.asked = now
	left := g.left(now)
	if idle || left < leastLeft {
		c.work.Ring()
	}
	if left >= leastLeft {
		return Token{Token: g.token, Scope: g.granted, Left: left, Next: max(g.next.Sub(now), 0) + soon}
	}
	t := Token{Retry: soon}
	switch {
	case c.config.Issuer == "":
		t.Err, t.Retry = errors.New("no authorization server is known yet"), 5*time.Second
	case c.phase != Registered && c.phase != Starting && c.status.Err != nil:
		t.Err, t.Retry = c.status.Err, max(c.place.Sub(now), 10*time.Second)
	case g.err != nil:
		t.Err, t.Retry = g.err, max(g.next.Sub(now), c.place.Sub(now), 0)+soon
	default:
		t.Err = errors.New("the token is being fetched")
		t.Retry = max(c.place.Sub(now), 0) + soon
	}
	g.asked = now.Add(t.Retry) // until then who asks has no reason to ask again
	return t
}

// ErrScope is wrapped by the Err of a Token whose scope is not configured: asking again is useless until it is.
var ErrScope = errors.New("not configured for this device")

// admit returns why tokens of a scope set cannot be had. The caller holds mu.
func (c *Client) admit(name string) error {
	if name == "" {
		return errors.New("a token needs a scope") // CLI-50
	}
	for _, s := range strings.Fields(name) {
		if !slices.Contains(c.config.Scopes, s) {
			return fmt.Errorf("scope %s is %w", shownText(s, nil), ErrScope) // CLI-10
		}
	}
	if c.grants[name] == nil && len(c.grants) >= mostSets {
		return fmt.Errorf("tokens of %d sets of scopes are in use already", mostSets)
	}
	return nil
}

// ReportRefused says that a resource server refused a token with 401 (CLI-14): another is fetched, the first time
// immediately, then with a back-off, since a new token may not help. Until it is there the old one is still handed out:
// another resource server may well take it. It reports whether that was the token in use.
func (c *Client) ReportRefused(token string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.grants {
		if token == "" || g.token != token {
			continue
		}
		now := time.Now()
		at := now
		if g.reported > 0 {
			at = g.got.Add(alarm.BackOff(g.reported+4, firstBackOff, mostBackOff)) // 16 s and more
		}
		if at.Before(now) {
			at = now
		}
		// Not twice for one token, and if another is being tried for, at the server's pace.
		if g.err == nil && !g.byReport && g.next.After(at) {
			g.next = at
			g.reported++
			g.byReport = true
		}
		c.work.Ring()
		return true
	}
	return false
}

// renewAll fetches the tokens that are due, and returns how long to wait for the next.
func (c *Client) renewAll(ctx context.Context, config *Config, e *entry) time.Duration {
	// Else it is gone, must not be used yet, or is not the one to use any more.
	for e.ClientID != "" && !c.dirty && ctx.Err() == nil && !c.reconfigured() {
		g, left := c.due()
		if g == nil {
			return left
		}
		c.renew(ctx, config, e, g)
	}
	return firstBackOff
}

// reconfigured reports whether there is a configuration that the worker does not know yet.
func (c *Client) reconfigured() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// due returns the grant that has been due longest, or how long to wait for one.
func (c *Client) due() (first *grant, wait time.Duration) {
	now := time.Now()
	wait = time.Hour
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.grants {
		if g.unused(now) || c.admit(g.scope) != nil {
			continue // nobody needs it, or may have it
		}
		if left := g.next.Sub(now); left > 0 {
			wait = min(wait, left)
		} else if first == nil || g.next.Before(first.next) {
			first = g
		}
	}
	return first, wait
}

// renew fetches a token. What is wrong leaves the old one in use (CLI-58).
func (c *Client) renew(ctx context.Context, config *Config, e *entry, g *grant) {
	c.mu.Lock()
	sent := time.Now()
	scope, old := g.scope, g.left(sent) > 0
	g.flying = true
	c.mu.Unlock()
	t, err := c.fetch(ctx, config, e, scope)

	now := time.Now()
	wall, _ := c.o.Clock()
	c.mu.Lock()
	g.flying = false
	if err != nil {
		if ctx.Err() == nil {
			g.failures++
			g.err, g.failed = err, now
		}
		g.next = now.Add(max(g.rest(now), retryAfter(err)))
		if credentials(err) && !old && e.Life > 0 { // the server may have lost all its clients, not this one alone
			g.next = now.Add(max(rand.N(lostSpread(e.life())), retryAfter(err)))
		}
		waits := errors.Is(err, errClock)
		if waits {
			g.next = now.Add(clockRest)
		}
		again, first := g.next.Sub(now), g.failures == 1
		c.mu.Unlock()
		if ctx.Err() == nil && (first || !waits) {
			c.o.Report(Event{Kind: EventFailure, Issuer: config.Issuer, Scope: scope, Err: err, Again: again})
		}
		return
	}
	if !g.byReport {
		g.reported = 0
	}
	g.byReport = false
	g.token, g.issuer, g.granted = t.Token, config.Issuer, t.Scope
	g.got, g.wall, g.life, g.ends = now, wall, t.Left, sent.Add(t.Left)
	g.failures, g.err = 0, nil
	g.next = now.Add(renewal(t.Left, old))
	again := g.next.Sub(now)
	c.mu.Unlock()
	text := fmt.Sprintf("good for %v", t.Left)
	if _, missing := compare(scope, t.Scope); missing != "" { // CLI-56
		text += fmt.Sprintf(", without %s, which the server does not grant this client", missing)
	}
	c.o.Report(Event{Kind: EventToken, Issuer: config.Issuer, Scope: scope, Text: text, Again: again})
}

// renewal is when a token is renewed: at half of its life (CLI-58), which is at least 15 s before the end of any that
// lives for 30 s, less a random part as that of KEY-1. The first one of a start is renewed anywhere in the first half,
// so that devices which started together do not come together from then on.
func renewal(life time.Duration, renewed bool) time.Duration {
	half := life / 2
	if !renewed {
		return half/8 + rand.N(half-half/8)
	}
	return half - rand.N(min(time.Minute, half/2)+1)
}

// rest is how long to wait after a failure: by the usual back-off without a token, by a quarter of what is left with
// one, so that those who lost their server together do not hurry. The caller holds mu.
func (g *grant) rest(now time.Time) time.Duration {
	wait := alarm.BackOff(g.failures, firstBackOff, mostBackOff)
	if left := g.left(now); left > 0 {
		wait = max(wait, alarm.Spread(min(left/4, mostBackOff)))
		if latest := left - 5*time.Second; wait > latest && latest > firstBackOff {
			wait = latest
		}
	}
	return max(wait, firstBackOff/2)
}

// errClock is why no assertion is made (CLI-53).
var errClock = errors.New("the device's clock is not trusted yet, so it cannot prove to the server who it is")

// fetch gets a token. If the server refuses the client's credentials another assertion is tried the next time, and what
// else may help after that (CLI-57).
func (c *Client) fetch(ctx context.Context, config *Config, e *entry, scope string) (Token, error) {
	at, err := c.tokenEndpoint(ctx, e)
	if err != nil {
		return Token{}, err
	}
	if e.Rotation == settle && time.Since(c.stepAt) >= keySettled {
		// The new key; if the server has not got it yet, the old one is still good (CLI-68).
		t, err := c.ask(ctx, config, at, e, e.Keys[1], scope)
		if err == nil {
			e.Keys[0], e.Keys[1] = e.Keys[1], e.Keys[0]
			c.upkeep = time.Time{}
			err = c.turnTo(e, retire, "the new key signs")
			return c.settled(e, t, err)
		}
		if !credentials(err) {
			return Token{}, err
		}
	}
	t, err := c.ask(ctx, config, at, e, e.signer(), scope)
	if credentials(err) {
		if c.refusals++; c.refusals == 1 {
			return Token{}, err
		}
		if refusedClient(err) && c.byOtherKeys(ctx, config, e) {
			t, err = c.ask(ctx, config, at, e, e.signer(), scope)
		}
	}
	switch {
	case err == nil:
		return c.settled(e, t, nil)
	case credentials(err):
		return Token{}, c.judge(ctx, config, e, err)
	}
	c.doubtEndpoint(err)
	return Token{}, err
}

// signer is the key that signs, nil if a secret takes its place.
func (e *entry) signer() *deviceKey {
	if e.Method != PrivateKeyJWT {
		return nil
	}
	return e.Keys[0]
}

// tokenEndpoint returns where tokens are (CLI-20), by the metadata as they were when the device was on last, or as they
// are if that is in doubt: were each device of a fleet to read them when its power returns, the server would have twice
// the work.
func (c *Client) tokenEndpoint(ctx context.Context, e *entry) (string, error) {
	if e.TokenEndpoint != "" && !c.doubtful {
		return e.TokenEndpoint, nil
	}
	c.doubtful, c.doubted = false, time.Now()
	m, err := c.metadata(ctx, e.Issuer)
	if err != nil {
		return "", err
	}
	if m.TokenEndpoint == e.TokenEndpoint {
		return m.TokenEndpoint, nil
	}
	e.TokenEndpoint = m.TokenEndpoint
	if err := c.save(); err != nil {
		c.o.Report(Event{Kind: EventFailure, Issuer: e.Issuer, Err: err}) // it is read again after the next start
	}
	return m.TokenEndpoint, nil
}

// doubtEndpoint has the metadata read before the next try: the endpoint may have moved.
func (c *Client) doubtEndpoint(err error) {
	var refusal *refusalError
	if errors.As(err, &refusal) && refusal.code != "" || time.Since(c.doubted) < metadataRest {
		return // an answer of the right endpoint, or it was read a while ago
	}
	c.doubtful, c.metaAt = true, time.Time{}
}

// settled stores what a success changes.
func (c *Client) settled(e *entry, t Token, err error) (Token, error) {
	c.refused, c.refusals, c.vain = time.Time{}, 0, 0
	life := int64(t.Left / time.Second)
	if e.Refused != 0 || e.Life == 0 || life > 2*e.Life || 2*life < e.Life {
		e.Refused, e.Life = 0, life
		err = oneLine(err, c.save())
	}
	if err != nil {
		c.o.Report(Event{Kind: EventFailure, Issuer: e.Issuer, Err: err}) // the token is good all the same
	}
	return t, nil
}

// byOtherKeys has the server take the keys as jwks if it may have failed to fetch them, and reports whether it did.
func (c *Client) byOtherKeys(ctx context.Context, config *Config, e *entry) bool {
	if e.Method != PrivateKeyJWT || e.Inline || e.Given || config.Keys != KeysAuto || !e.manageable() {
		return false
	}
	e.Inline = true
	if err := c.update(ctx, config, e); err != nil {
		e.Inline = c.dirty
		return false
	}
	c.reportKeys(e.Issuer, "keys are sent to the server as jwks, since it refuses those at the jwks_uri")
	return true
}

// judge decides whether a client whose credentials are refused is gone: if its registration is refused, too (CLI-44),
// or after a day of it (CLI-57). A bad assertion and a lost client look alike.
func (c *Client) judge(ctx context.Context, config *Config, e *entry, why error) error {
	var r *refusalError
	wrongSecret := errors.As(why, &r) && r.code == "unauthorized_client" && c.ended(e) // Keycloak says so of a secret
	if e.Given || !refusedClient(why) && !wrongSecret {
		return why
	}
	if e.manageable() {
		err := c.manage(ctx, config, e, http.MethodGet, nil)
		switch {
		case status(err) == http.StatusUnauthorized:
			return oneLine(why, c.gone(e, "the server refuses its credentials and its registration token"))
		case err == nil && c.ended(e): // and neither this look nor an update before brought another
			err = c.manage(ctx, config, e, http.MethodDelete, nil)
			return oneLine(why, err, c.gone(e, "the secret has ended, and the server does not renew it"))
		case err == nil:
			return fmt.Errorf("%w; the server still has this client: it may be disabled, or have another key", why)
		}
	} else if c.ended(e) {
		return oneLine(why, c.gone(e, "the secret has ended, and the server offers no updates"))
	}
	now := time.Now()
	if !c.refused.IsZero() {
		const most = 15 * time.Minute // what lies between may have been something else
		before := e.Refused
		e.Refused += int64(min(now.Sub(c.refused), most) / time.Second)
		if e.Refused >= int64(goneAfter/time.Second) {
			return oneLine(why, c.gone(e, "the server has refused its credentials for a day"))
		}
		if e.Refused/3600 != before/3600 {
			why = oneLine(why, c.save())
		}
	}
	c.refused = now
	return why
}

// ask makes one token request (RFC 6749 §4.4.2).
func (c *Client) ask(
	ctx context.Context, config *Config, at string, e *entry, key *deviceKey, scope string,
) (Token, error) {
	r := request{
		what: "token request", method: http.MethodPost, url: at,
		form: url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}, // CLI-50: scope always
	}
	if err := c.authenticate(config, at, e, key, &r); err != nil {
		return Token{}, err
	}
	a, err := c.send(ctx, config.Issuer, &r, http.StatusOK)
	if err != nil {
		return Token{}, err
	}
	t, err := parseToken(a.body, scope)
	if err != nil {
		return t, wrap("token request at "+config.Issuer+": the answer", err)
	}
	return t, nil
}

// parseToken reads a token answer (CLI-55). A refresh token is not read.
func parseToken(body []byte, asked string) (Token, error) {
	var m struct {
		Token   string   `json:"access_token"`
		Type    string   `json:"token_type"`
		Expires *float64 `json:"expires_in"`
		Scope   *string  `json:"scope"`
	}
	if err := parseObject(body, &m); err != nil {
		return Token{}, err
	}
	var bad error
	switch {
	case m.Token == "":
		bad = errors.New("no access_token")
	case len(m.Token) > token.MaxBytes: // no server takes a longer one
		bad = fmt.Errorf("the access_token has %d bytes, over %d", len(m.Token), token.MaxBytes)
	case !visible(m.Token) || strings.Contains(m.Token, " "):
		bad = errors.New("the access_token holds characters that cannot be sent")
	case !strings.EqualFold(m.Type, "Bearer"): // CLI-3
		bad = errors.New("token_type " + shownText(cmp.Or(m.Type, "(none)"), []string{m.Token}) + ", want Bearer")
	case m.Expires == nil:
		bad = errors.New("no expires_in")
	case *m.Expires < 1:
		bad = fmt.Errorf("expires_in %v, want 1 or more", *m.Expires)
	}
	if bad != nil {
		return Token{}, bad
	}
	t := Token{Token: m.Token, Scope: asked, Left: longestLife}
	if *m.Expires < longestLife.Seconds() {
		t.Left = time.Duration(*m.Expires) * time.Second
	}
	if m.Scope != nil {
		if t.Scope, _ = compare(asked, *m.Scope); t.Scope == "" {
			got := shownText(*m.Scope, []string{m.Token})
			return Token{}, fmt.Errorf("a token for scope %q, asked was %q", got, asked)
		}
	}
	return t, nil
}
