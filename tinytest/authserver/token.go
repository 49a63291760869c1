package authserver

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"nmosauthd/tinytest/mint"
)

// bodyLimit is the most of a request's body that is read, in bytes.
const bodyLimit = 64 << 10

// TooManyRest is the Retry-After of the fault too-many, in seconds.
const TooManyRest = 120

// token answers a token request: client credentials (RFC 6749 §4.4), an authorization code (§4.1.3) or a refresh token
// (§6). A client of Options.Clients gets whatever it asks for; one that was registered gets what it is registered for,
// and for no scope a token that is good for nothing, as real servers do.
func (s *Server) token(r *http.Request, fault Fault) answer {
	if r.Method != http.MethodPost {
		return textAnswer(http.StatusMethodNotAllowed, "POST only")
	}
	client, refused, ok := s.formClient(r)
	if !ok {
		return refused
	}
	var scope, user, refresh string
	switch grant := r.PostForm.Get("grant_type"); {
	case !slices.Contains(allGrants, grant):
		s.violated(r, "grant_type %q", grant)
		return failure(http.StatusBadRequest, "unsupported_grant_type", "grant_type "+grant)
	case client.given && grant != credentialsGrant, !client.given && !slices.Contains(client.Grants, grant):
		s.violated(r, "grant_type %s, which the client is not registered for", grant)
		return failure(http.StatusBadRequest, "unauthorized_client", "the client is not registered for "+grant)
	case grant == credentialsGrant:
		scope, refused, ok = s.byCredentials(r, client)
	case grant == codeGrant:
		scope, user, refresh, refused, ok = s.byCode(r, client)
	default:
		scope, user, refresh, refused, ok = s.byRefresh(r, client)
	}
	if !ok {
		return refused
	}
	audience, ok := s.audience(r)
	if !ok {
		return failure(http.StatusBadRequest, "invalid_request", "Requested audience has not been whitelisted")
	}
	a, ok := s.issue(client, user, scope, audience)
	if !ok {
		return failure(http.StatusBadRequest, "invalid_scope", "nothing of it is permitted")
	}
	if refresh != "" {
		a["refresh_token"] = refresh
	}
	return s.spoilToken(r, a, fault)
}

// byCredentials returns the scope of a client that asks for itself.
func (s *Server) byCredentials(r *http.Request, client *client) (scope string, refused answer, ok bool) {
	scope = r.PostForm.Get("scope")
	if scope == "" {
		s.violated(r, "no scope (CLI-50)")
	}
	if client.given {
		return or(scope, mint.DefaultScope), answer{}, true
	}
	if !within(scope, client.Scope) {
		return "", failure(http.StatusBadRequest, "invalid_scope", "Invalid scopes: "+scope), false
	}
	return scope, answer{}, true
}

// within reports whether every name of a scope is in another one.
func within(scope, all string) bool {
	have := strings.Fields(all)
	return !slices.ContainsFunc(strings.Fields(scope), func(name string) bool { return !slices.Contains(have, name) })
}

// audience returns the aud of a token: what the options say. With Hydra a client must ask for each of it.
func (s *Server) audience(r *http.Request) (audience []string, ok bool) {
	audience = s.opt.Audience
	if audience == nil {
		audience = []string{"*"}
	}
	if s.opt.Kind != Hydra {
		return audience, true
	}
	asked := strings.Fields(r.PostForm.Get("audience"))
	return append([]string{}, asked...), within(strings.Join(asked, " "), strings.Join(audience, " "))
}

// issue makes an access token, and the answer that it comes in. It returns false if the policy permits nothing of the
// scope.
func (s *Server) issue(client *client, user, scope string, audience []string) (a map[string]any, ok bool) {
	s.mu.Lock()
	life := s.opt.Life
	s.mu.Unlock()
	if life == 0 {
		life = mint.DefaultLife
	}
	o := mint.Options{
		Client: client.ID, Subject: or(user, client.ID), Life: life, Permissions: map[string]mint.Permission{},
	}
	var granted []string
	for _, api := range strings.Fields(scope) {
		p, permitted := mint.Everything, true
		if s.opt.Policy != nil {
			p, permitted = s.opt.Policy(client.RegisteredClient, user, api)
		}
		if permitted {
			granted, o.Permissions[api] = append(granted, api), p
		}
	}
	if scope != "" && granted == nil {
		return nil, false
	}
	scope = strings.Join(granted, " ")
	t := s.Token(o)
	t.Claims.Set("scope", scope)
	t.Claims.Set("jti", rand.Text())
	t.Claims.Set("aud", audience)
	kind := "Bearer"
	if s.opt.Kind == Hydra {
		kind = "bearer"
	}
	a = map[string]any{
		"access_token": t.Sign(), "token_type": kind, "expires_in": int64(life.Seconds()), "scope": scope,
	}
	switch {
	case s.opt.Kind == Keycloak:
		a["refresh_expires_in"], a["not-before-policy"] = 0, 0
	case s.opt.Kind == OIDCProvider && scope == "":
		delete(a, "scope")
	}
	return a, true
}

// SetLife changes how long tokens live that are given from now on.
func (s *Server) SetLife(life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opt.Life = life
}

// revoke answers RFC 7009. An access token cannot be called back: it is noted, and good until it ends. oidc-provider
// says so.
func (s *Server) revoke(r *http.Request) answer {
	if r.Method != http.MethodPost {
		return textAnswer(http.StatusMethodNotAllowed, "POST only")
	}
	client, refused, ok := s.formClient(r)
	if !ok {
		return refused
	}
	token := r.PostForm.Get("token")
	if token == "" {
		s.violated(r, "no token")
		return failure(400, "invalid_request", "no token")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients.refresh[token]; c != nil {
		if c.client != client.ID { // RFC 7009 §2.1
			s.note(r, "the refresh token of another client")
			return failure(400, "invalid_grant", "the token was given to another client")
		}
		c.ended = true
	} else if s.opt.Kind == OIDCProvider { // RFC 7009 §2.2.1
		return failure(400, "unsupported_token_type",
			"Structured JWT Tokens cannot be revoked via the revocation_endpoint")
	}
	s.clients.revoked = append(s.clients.revoked, token)
	return answer{status: http.StatusOK}
}

// spoilToken answers a token request by the fault that is set.
func (s *Server) spoilToken(r *http.Request, a map[string]any, fault Fault) answer {
	switch fault {
	case TokenOtherScope:
		a["scope"] = "x-other"
	case TokenNoScope:
		delete(a, "scope")
	case TokenNoExpiry:
		delete(a, "expires_in")
	case TokenExpiryZero:
		a["expires_in"] = 0
	case TokenExpiryText:
		a["expires_in"] = fmt.Sprint(a["expires_in"])
	case TokenExpiryHuge:
		a["expires_in"] = int64(1e18)
	case TokenMAC:
		a["token_type"] = "mac"
	case TokenLowerCase:
		a["token_type"] = "bearer"
	case TokenOpaque:
		a["access_token"] = "opaque-" + rand.Text()
	case TokenRefresh:
		a["refresh_token"] = "refresh-" + rand.Text()
	case TokenMissing:
		delete(a, "access_token")
	case TokenControl:
		a["access_token"] = "a\r\nX-Injected: 1"
	case InvalidClient:
		return failure(401, "invalid_client", "Invalid client or Invalid client credentials")
	case InvalidGrant:
		return failure(400, "invalid_grant", "Token is not active")
	case InvalidScope:
		return failure(400, "invalid_scope", "Invalid scopes: "+r.PostForm.Get("scope"))
	case TooMany:
		t := failure(429, "too_many_requests", "slow down")
		t.header["Retry-After"] = strconv.Itoa(TooManyRest)
		return t
	case ErrorNotJSON:
		return textAnswer(http.StatusBadRequest, "bad request")
	case ErrorWithSecrets:
		return failure(400, "invalid_request", "not understood: "+r.PostForm.Encode()+" "+r.Header.Get("Authorization"))
	}
	s.mu.Lock()
	for _, name := range []string{"access_token", "refresh_token"} {
		secret, _ := a[name].(string)
		s.keepSecret(secret)
	}
	s.mu.Unlock()
	t := jsonAnswer(encode(a))
	t.header["Cache-Control"] = "no-store" // RFC 6749 §5.1
	return t
}
