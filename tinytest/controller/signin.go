package controller

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// token is what the controller holds for its person.
type token struct {
	access, refresh string
	scope           string
	half, ends      time.Time
}

// ErrSignedOut is why there is no token: nobody has signed in, or access was withdrawn.
var ErrSignedOut = errors.New("controller: nobody is signed in")

// SignIn has the controller's person sign in (RFC 6749 §4.1 with RFC 7636). It finds the server and registers first, if
// need be.
func (c *Controller) SignIn(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.register(ctx); err != nil {
		return err
	}
	state, verifier := rand.Text(), rand.Text()+rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"response_type": {"code"}, "client_id": {c.id}, "redirect_uri": {c.callback.url}, "scope": {c.opt.Scope},
		"state": {state}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {
			"S256"},
	}
	back := c.callback.expect()
	if err := c.browse(ctx, c.server.Authorization+"?"+query.Encode()); err != nil {
		return err
	}
	var values url.Values
	select {
	case values = <-back:
	case <-ctx.Done():
		return ctx.Err()
	}
	switch {
	case values.Get("state") != state: // RFC 6749 §10.12: somebody else's answer
		return errors.New("controller: the answer has another state than the request")
	case c.server.SaysIssuer && values.Get("iss") != c.server.Issuer: // RFC 9207 §2.4
		return errors.New("controller: the answer comes from another server")
	case values.Has("error"):
		return &RefusedError{"sign in at " + c.server.Issuer, http.StatusForbidden, values.Get("error")}
	case values.Get("code") == "":
		return errors.New("controller: the answer has no code")
	}
	return c.ask(ctx, url.Values{
		"grant_type": {"authorization_code"}, "code": {values.Get("code")}, "redirect_uri": {c.callback.url},
		"code_verifier": {verifier},
	})
}

// Token returns the controller's token, refreshed if half of its life is over; "" without an error if it is to send
// none.
func (c *Controller) Token(ctx context.Context) (string, error) {
	if c.opt.NoTokens {
		return "", nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.token.access == "" {
		return "", ErrSignedOut
	}
	if now.After(c.token.half) && c.token.refresh != "" {
		if err := c.renew(ctx); err != nil {
			c.logf("%v", err)
		}
	}
	return c.token.access, nil // an old one is for the device to refuse
}

// Scope is what the token is good for.
func (c *Controller) Scope() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token.scope
}

// Refresh gets another token now.
func (c *Controller) Refresh(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.renew(ctx)
}

// refresh gets another token than the one that was refused, unless another request has got it meanwhile.
func (c *Controller) refresh(ctx context.Context, refused string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token.access != refused {
		return nil
	}
	return c.renew(ctx)
}

// renew gets another token by the refresh token, which is good once. The lock is held.
func (c *Controller) renew(ctx context.Context) error {
	if c.token.refresh == "" {
		return ErrSignedOut
	}
	err := c.ask(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {c.token.refresh}})
	if _, why := Refused(err); why == "invalid_grant" || why == "invalid_client" {
		c.token.refresh = "" // access was withdrawn: asking again is useless
	}
	return err
}

// SignOut gives the token back (RFC 7009).
func (c *Controller) SignOut(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	refresh := c.token.refresh
	c.token = token{}
	if refresh == "" || c.server.Revocation == "" {
		return nil
	}
	_, err := c.post(ctx, c.server.Revocation, url.Values{"token": {refresh}, "token_type_hint": {"refresh_token"}})
	return err
}

// ask makes a token request. The lock is held.
func (c *Controller) ask(ctx context.Context, form url.Values) error {
	text, err := c.post(ctx, c.server.Token, form)
	if err != nil {
		return err
	}
	var a struct {
		Access  string  `json:"access_token"`
		Refresh string  `json:"refresh_token"`
		Type    string  `json:"token_type"`
		Expires float64 `json:"expires_in"`
		Scope   string  `json:"scope"`
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return fmt.Errorf("controller: the token's answer: %w", err)
	}
	if a.Access == "" || !strings.EqualFold(a.Type, "Bearer") || a.Expires < 1 {
		return fmt.Errorf("controller: the token's answer: token_type %q, expires_in %v", a.Type, a.Expires)
	}
	life, now := time.Duration(min(a.Expires, 1e6)*float64(time.Second)), time.Now()
	next := token{access: a.Access, refresh: a.Refresh, scope: a.Scope, half: now.Add(life / 2), ends: now.Add(life)}
	if next.scope == "" {
		next.scope = c.opt.Scope
	}
	if next.refresh == "" { // RFC 6749 §6: it need not be replaced
		next.refresh = c.token.refresh
	}
	c.token = next
	return nil
}

// post sends a form as the public client that the controller is.
func (c *Controller) post(ctx context.Context, to string, form url.Values) ([]byte, error) {
	form.Set("client_id", c.id)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err == nil && response.StatusCode != http.StatusOK {
		err = &RefusedError{form.Get("grant_type") + " at " + to, response.StatusCode, reason(text)}
	}
	return text, err
}
