package oauth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"nmosauthd/agent/alarm"
)

// manage sends a request for the client's own registration (RFC 7592) and stores what comes, first of all a new
// registration token, which replaces the old one (CLI-41).
func (c *Client) manage(ctx context.Context, config *Config, e *entry, method string, body *clientMetadata) error {
	r := request{
		what: "registration", method: method, url: e.Manage, authorization: "Bearer " + e.Token,
		secrets: []string{e.Token, e.Secret},
	}
	switch method {
	case http.MethodPut:
		r.what, r.json = "update of the registration", body
	case http.MethodDelete:
		r.what = "removal of the registration"
	}
	a, err := c.send(ctx, e.Issuer, &r, http.StatusNoContent)
	if err != nil || method == http.MethodDelete {
		return err
	}
	var info information
	if err := parseObject(a.body, &info); err != nil {
		return wrap(r.what+": the answer", err)
	}
	asked := e.describe(config)
	if body != nil {
		asked = body
	}
	if info.ClientID != "" && info.ClientID != e.ClientID {
		return errors.New(r.what + ": the answer is about another client")
	}
	e.renew(&info) // whatever else is wrong: the old ones may no longer be valid
	differs, wrong := e.adopt(&info, asked)
	if body != nil && wrong == nil {
		e.Asked = body.digest()
	}
	if err := c.store(); err != nil {
		return err
	}
	if wrong != nil {
		return wrap(r.what+": the answer", wrong)
	}
	if body != nil {
		c.o.Report(Event{Kind: EventUpdated, Issuer: e.Issuer, Text: registeredText(e, differs)})
	}
	return nil
}

// update sends the whole metadata: what is left out may be deleted (CLI-42).
func (c *Client) update(ctx context.Context, config *Config, e *entry) error {
	body := e.describe(config)
	body.ClientID = e.ClientID
	return c.manage(ctx, config, e, http.MethodPut, body)
}

const (
	// keySettled is when a server has read a new key: Keycloak asks no sooner than ten seconds after the last time.
	keySettled = 15 * time.Second
	keyRetired = time.Hour
	upkeepRest = time.Hour // between two looks at a registration of which nothing is due
)

// lookAfter keeps a registration up to date: new settings, secrets that end, keys that rotate. It returns when there is
// something to do again.
func (c *Client) lookAfter(ctx context.Context, config *Config, e *entry) time.Duration {
	now := time.Now()
	if left := c.upkeep.Sub(now); left > 0 {
		return left
	}
	wait, err := c.tend(ctx, config, e)
	switch {
	case ctx.Err() != nil:
		return firstBackOff
	case err == nil:
		c.well()
	default:
		wait = max(alarm.Spread(10*time.Minute), retryAfter(err))
		if final(err) || errors.Is(err, errForget) { // CLI-35; by CLI-44 a 401 does not justify a new registration
			wait = refusedRest + rand.N(refusedRest/4)
		}
		c.failed(e.Issuer, err, wait)
	}
	c.upkeep = time.Now().Add(wait)
	return wait
}

func (c *Client) tend(ctx context.Context, config *Config, e *entry) (time.Duration, error) {
	if e.Given {
		return upkeepRest, c.rotate(ctx, config, e)
	}
	wait := upkeepRest
	if clock, trusted := c.o.Clock(); e.secretEnds() != 0 && trusted && e.manageable() &&
		time.Unix(e.Expires, 0).Sub(clock) <= upkeepRest+upkeepRest/2 { // CLI-38
		before := e.Expires
		err := c.manage(ctx, config, e, http.MethodGet, nil)
		if err == nil && e.Expires == before {
			err = c.update(ctx, config, e)
		}
		if err != nil {
			return 0, err
		}
		wait = 10 * time.Minute
	}
	if e.Rotation != steady {
		if err := c.rotate(ctx, config, e); err != nil {
			return 0, err
		}
		return min(wait, keySettled), nil
	}
	if want := config.AuthMethod; want != "" && want != e.Method {
		return wait, fmt.Errorf("the client is registered with %s, and %s is configured: %w", e.Method, want, errForget)
	}
	if !e.manageable() {
		if _, missing := compare(joinScopes(config.Scopes), e.Scope); missing != "" {
			return wait, fmt.Errorf("the client is registered without scope %s, and the server offers no updates "+
				"(RFC 7592): %w", missing, errForget)
		}
		return wait, nil
	}
	switch {
	case e.Method != PrivateKeyJWT:
	case config.Keys == KeysByURI && config.JWKSURI == "":
		return wait, errNoURI
	case config.Keys == KeysInline, config.JWKSURI == "":
		e.Inline = true
	case config.Keys == KeysByURI:
		e.Inline = false
	}
	if e.describe(config).digest() != e.Asked {
		return wait, c.update(ctx, config, e)
	}
	return wait, nil
}

// errForget ends what only the operator can fix.
var errForget = errors.New("forget it to have it registered again")

// gone drops a registration that the server has lost; Run registers the device again, with the same key.
func (c *Client) gone(e *entry, why string) error {
	e.ClientID, e.Secret, e.Manage, e.Token, e.Expires, e.Refused = "", "", "", "", 0, 0
	if len(e.Keys) > 1 {
		e.Keys, e.Rotation = e.Keys[:1], steady
	}
	if err := c.store(); err != nil {
		return err
	}
	wait := rand.N(lostSpread(e.life())) // others may have been lost, too
	if c.vain > 1 {                      // each leaves a client at the server
		wait = alarm.BackOff(c.vain-1, refusedRest, longestLife)
	}
	c.mu.Lock()
	c.place = time.Now().Add(wait)
	c.mu.Unlock()
	c.o.Report(Event{Kind: EventGone, Issuer: e.Issuer, Text: "the client is gone: " + why, Again: wait})
	c.work.Ring()
	return nil
}

// Why a key is not replaced.
var (
	ErrNoClient = errors.New("no client is held")
	ErrSameKey  = errors.New("the key stays")
)

// same is why the key stays.
func same(why string) error { return fmt.Errorf("%w: %s", ErrSameKey, why) }

// RotateKey begins to replace the key of the configured issuer (CLI-68): both are published, the new one signs when the
// server may have read it, and the old one goes an hour later. After an error the key is as it was; ErrNoClient or
// ErrSameKey is wrapped if that is for a reason which lasts.
func (c *Client) RotateKey(ctx context.Context) error {
	if err := c.work.Take(ctx); err != nil {
		return err
	}
	defer c.work.Done()
	config := c.setting()
	if err := c.load(); err != nil {
		return err
	}
	e := c.kept.find(config)
	switch {
	case e == nil || e.ClientID == "":
		return ErrNoClient
	case e.Method != PrivateKeyJWT:
		return same("there is none, since the server knows the client by a secret (" + e.Method + ")")
	case e.Rotation != steady:
		return same("another replacement is under way, and ends when the old key goes")
	case e.Inline && !e.Given && !e.manageable():
		return same("the server has it as jwks and offers no updates (RFC 7592); publish the keys at a jwks_uri, or " +
			"forget the registration")
	}
	k, err := makeKey(e.Keys[0].Alg)
	if err != nil {
		return err
	}
	before := e.Keys
	e.Keys, e.Rotation = []*deviceKey{before[0], k}, publish
	defer c.work.Ring() // what could not be stored is stored again
	if err := c.store(); err != nil {
		e.Keys, e.Rotation = before, steady
		return err
	}
	c.upkeep, c.stepAt = time.Time{}, time.Time{}
	c.o.Report(Event{Kind: EventKeys, Issuer: e.Issuer, Text: "a new key is made, to replace " + before[0].kid})
	return nil
}

// rotate takes a rotation one step on. After a restart a step's time begins again, which only makes it longer.
func (c *Client) rotate(ctx context.Context, config *Config, e *entry) error {
	if c.stepAt.IsZero() {
		c.stepAt = time.Now()
		c.publish() // when the old key goes
	}
	update := func() error {
		if e.Inline && e.manageable() {
			return c.update(ctx, config, e)
		}
		return nil
	}
	switch e.Rotation {
	case publish:
		if err := update(); err != nil {
			return err
		}
		return c.turnTo(e, settle, "the new key is published beside the old one")
	case retire:
		if time.Since(c.stepAt) < keyRetired {
			return nil
		}
		old := e.Keys
		e.Keys, e.Rotation = old[:1], steady
		if err := update(); err != nil {
			e.Keys, e.Rotation = old, retire
			return err
		}
		return c.turnTo(e, steady, "the old key is withdrawn")
	}
	return nil
}

// turnTo stores the next step of a rotation.
func (c *Client) turnTo(e *entry, r rotation, text string) error {
	e.Rotation, c.stepAt = r, time.Now()
	if err := c.store(); err != nil {
		return err
	}
	c.o.Report(Event{Kind: EventKeys, Issuer: e.Issuer, Text: text})
	return nil
}

// Forget ends the client at an issuer: its tokens are revoked and its registration is removed if the server offers
// that (CLI-43, CLI-59), each tried once; then it is dropped, with its key. The error says what may have stayed behind.
// If the issuer is still configured, Run registers the device again.
func (c *Client) Forget(ctx context.Context, issuer string) error {
	if err := c.work.Take(ctx); err != nil {
		return err
	}
	defer c.work.Done()
	config := c.setting()
	if err := c.load(); err != nil {
		c.kept = &state{Version: stateVersion} // what cannot be read is given up: that is asked for
		return oneLine(err, c.store())
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	var left []error
	found := false
	for _, e := range slices.Clone(c.kept.Entries) {
		if e.Issuer != issuer {
			continue
		}
		found = true
		left = append(left, c.revokeAll(ctx, config, e))
		if e.manageable() && !e.Given && e.ClientID != "" {
			left = append(left, c.manage(ctx, config, e, http.MethodDelete, nil))
		} else if e.ClientID != "" && !e.Given {
			left = append(left, fmt.Errorf("client %s stays at the server, which offers no removal (RFC 7592)",
				shownText(e.ClientID, nil)))
		}
		c.kept.remove(e)
	}
	if !found {
		return errors.New("no client is held for this issuer")
	}
	c.mu.Lock()
	for _, g := range c.grants {
		if g.issuer == issuer {
			g.drop()
		}
	}
	c.mu.Unlock()
	c.next, c.upkeep, c.stepAt = time.Time{}, time.Time{}, time.Time{}
	err := c.store()
	c.o.Report(Event{Kind: EventForgotten, Issuer: issuer, Err: oneLine(left...)})
	c.work.Ring()
	return oneLine(append(left, err)...)
}

// revokeAll revokes the tokens that an entry got, if the server offers that (CLI-59).
func (c *Client) revokeAll(ctx context.Context, config *Config, e *entry) error {
	var tokens []string
	c.mu.Lock()
	for _, g := range c.grants {
		if g.issuer == e.Issuer && g.left(time.Now()) > 0 {
			tokens = append(tokens, g.token)
		}
	}
	c.mu.Unlock()
	if len(tokens) == 0 || e.ClientID == "" {
		return nil
	}
	m, err := c.metadata(ctx, e.Issuer)
	if err != nil {
		return fmt.Errorf("%d tokens are not revoked: %w", len(tokens), err)
	}
	if m.RevocationEndpoint == "" {
		return nil
	}
	var failed []error
	for _, token := range tokens {
		r := request{
			what: "revocation", method: http.MethodPost, url: m.RevocationEndpoint,
			form: url.Values{"token": {token}, "token_type_hint": {"access_token"}},
		}
		if err := c.authenticate(config, m.TokenEndpoint, e, e.signer(), &r); err != nil {
			return fmt.Errorf("%d tokens are not revoked: %w", len(tokens), err)
		}
		r.secrets = append(r.secrets, token)
		_, err := c.send(ctx, e.Issuer, &r, http.StatusOK)
		var refusal *refusalError
		if errors.As(err, &refusal) && refusal.code == "unsupported_token_type" { // RFC 7009 §2.2.1: it revokes no JWT
			break
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return oneLine(failed...)
}
