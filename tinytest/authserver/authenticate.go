package authserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// formClient reads a form and authenticates the client that sent it (RFC 6749 §2.3, RFC 7523 §2.2).
func (s *Server) formClient(r *http.Request) (c *client, refused answer, ok bool) {
	bad := func(status int, code, format string, a ...any) (*client, answer, bool) {
		s.violated(r, format, a...)
		return nil, failure(status, code, fmt.Sprintf(format, a...)), false
	}
	if why := readForm(r); why != "" {
		return bad(400, "invalid_request", "%s", why)
	}
	id, secret, basic := r.BasicAuth()
	assertion, posted := r.PostForm.Get("client_assertion"), r.PostForm.Has("client_secret")
	if basic && assertion != "" || basic && posted || posted && assertion != "" {
		return bad(400, "invalid_request", "two methods of authentication (CLI-54)")
	}
	if assertion != "" {
		return s.asserted(r, assertion)
	}
	if basic {
		var errs [2]error
		id, errs[0] = url.QueryUnescape(id)
		secret, errs[1] = url.QueryUnescape(secret)
		if errors.Join(errs[:]...) != nil {
			return bad(401, "invalid_client", "id or secret is not form-urlencoded (CLI-54)")
		}
	} else {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	if named := r.PostForm.Get("client_id"); basic && named != "" && named != id {
		return bad(401, "invalid_client", "client_id is another one (CLI-51)")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if want, given := s.opt.Clients[id]; given && want == secret {
		return &client{RegisteredClient: RegisteredClient{ID: id}, given: true}, answer{}, true
	}
	c = s.clients.all[id]
	switch {
	case c != nil && c.AuthMethod == "client_secret_basic" && c.secret != secret && s.opt.Kind == Keycloak:
		return nil, failure(401, "unauthorized_client", "Invalid client or Invalid client credentials"), false
	case c != nil && c.AuthMethod == "none" && !c.Disabled && !basic && !posted: // RFC 6749 §3.2.1: it names itself
	case c == nil || c.Disabled || c.AuthMethod != "client_secret_basic" || c.secret != secret || !basic,
		c.secretUntil != 0 && c.secretUntil <= time.Now().Unix():
		a := failure(401, "invalid_client", "client authentication failed")
		if s.opt.Kind != Keycloak {
			a.header["WWW-Authenticate"] = `Basic realm="authserver"`
		}
		return nil, a, false
	}
	return c, answer{}, true
}

// readForm reads a form of which every name is given once, or says what is wrong with it (RFC 6749 §3.2).
func readForm(r *http.Request) (why string) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil ||
		kind != "application/x-www-form-urlencoded" {
		return fmt.Sprintf("Content-Type %q (CLI-50)", r.Header.Get("Content-Type"))
	}
	if r.URL.RawQuery != "" {
		return "parameters in the URL (CLI-50)"
	}
	r.Body = http.MaxBytesReader(nil, r.Body, bodyLimit)
	if err := r.ParseForm(); err != nil {
		return "no form"
	}
	for name, values := range r.PostForm {
		if len(values) > 1 {
			return name + " is given twice"
		}
	}
	return ""
}

// asserted authenticates a client by its assertion (RFC 7523 §3).
func (s *Server) asserted(r *http.Request, assertion string) (c *client, refused answer, ok bool) {
	s.mu.Lock()
	s.keepSecret(assertion)
	s.mu.Unlock()
	status := http.StatusUnauthorized
	if s.opt.Kind == Keycloak {
		status = http.StatusBadRequest
	}
	refuse := func(description string) (*client, answer, bool) {
		return nil, failure(status, "invalid_client", description), false
	}
	bad := func(format string, a ...any) (*client, answer, bool) {
		s.violated(r, format, a...)
		return refuse(fmt.Sprintf(format, a...))
	}
	if r.PostForm.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return bad("client_assertion_type %q (CLI-51)", r.PostForm.Get("client_assertion_type"))
	}
	jws, err := jose.ParseSignedCompact(assertion, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return bad("the assertion: %v (CLI-52)", err)
	}
	head := jws.Signatures[0].Protected
	if head.KeyID == "" || head.ExtraHeaders["typ"] != "JWT" {
		return bad("kid %q, typ %v in the assertion (CLI-52)", head.KeyID, head.ExtraHeaders["typ"])
	}
	var claims struct {
		Iss, Sub, Jti string
		Aud           any
		Exp, Iat      int64
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims); err != nil {
		return bad("the assertion's claims: %v", err)
	}
	if named := r.PostForm.Get("client_id"); named != "" && named != claims.Sub {
		return bad("client_id and sub differ (CLI-51)")
	}
	if claims.Iss != claims.Sub || claims.Sub == "" {
		return bad("iss %q, sub %q (CLI-52)", claims.Iss, claims.Sub)
	}
	if claims.Aud != s.URL()+PathToken {
		return bad("aud %v, want %s (CLI-52)", claims.Aud, s.URL()+PathToken)
	}
	now := time.Now().Add(s.opt.Clock).Unix()
	switch {
	case claims.Exp <= now || claims.Iat > now+10:
		return bad("Token is not active: iat %d, exp %d, now %d (CLI-53)", claims.Iat, claims.Exp, now)
	case claims.Exp-claims.Iat > 60:
		s.violated(r, "an assertion lives %d s (CLI-53)", claims.Exp-claims.Iat)
	case claims.Iat == 0:
		s.violated(r, "no iat in the assertion (CLI-53)")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case claims.Jti == "":
		s.note(r, "no jti (CLI-52)")
		return refuse("no jti")
	case s.clients.jtis[claims.Jti]:
		s.note(r, "jti again (CLI-52)")
		if s.opt.Kind == Hydra {
			return nil, failure(400, "jti_known", "the jti was used before"), false
		}
		return refuse("Token reuse detected")
	}
	if s.clients.jtis == nil {
		s.clients.jtis = map[string]bool{}
	}
	s.clients.jtis[claims.Jti] = true
	if c = s.clients.all[claims.Sub]; c == nil || c.Disabled || c.AuthMethod != "private_key_jwt" {
		return refuse("client authentication failed")
	}
	if c.Alg != "" && c.Alg != head.Algorithm {
		s.note(r, "alg %s, registered %s", head.Algorithm, c.Alg)
		return refuse("alg mismatch")
	}
	if why := s.readKeys(c, head.KeyID); why != "" {
		return refuse(why)
	}
	for _, k := range c.jwks.Key(head.KeyID) {
		if _, err := jws.Verify(k); err == nil && k.Algorithm == head.Algorithm {
			return c, answer{}, true
		}
	}
	return refuse("Unable to load public key")
}

// keyRest is how long the server goes by a key set before it asks again, as Keycloak does.
const keyRest = 10 * time.Second

// readKeys sees to it that the client's keys are there, or says why not. The lock is held.
func (s *Server) readKeys(c *client, kid string) (why string) {
	if c.JWKSURI == "" {
		return ""
	}
	if c.jwks != nil && (len(c.jwks.Key(kid)) > 0 || time.Since(c.fetched) < keyRest) {
		return ""
	}
	if s.opt.FetchKeys == nil {
		if s.opt.Kind == Keycloak {
			return "Unexpected error when loading public keys: Connection refused"
		}
		return "client authentication failed"
	}
	document, err := s.opt.FetchKeys(c.JWKSURI)
	if err != nil {
		return "client authentication failed"
	}
	if c.jwks, why = publicKeys(document); why != "" {
		c.jwks = nil
		return why
	}
	c.fetched = time.Now()
	return ""
}
