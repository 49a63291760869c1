package authserver

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"nmosauthd/tinytest/mint"
)

// bodyLimit is the most of a request's body that is read, in bytes.
const bodyLimit = 64 << 10

// token answers the client credentials grant (RFC 6749 §4.4). A client of Options.Clients gets whatever it asks for;
// one that was registered gets what it is registered for, and for no scope a token that is good for nothing, as real
// servers do.
func (s *Server) token(r *http.Request, fault Fault) answer {
	if r.Method != http.MethodPost {
		return textAnswer(http.StatusMethodNotAllowed, "POST only")
	}
	client, refused, ok := s.formClient(r)
	if !ok {
		return refused
	}
	if r.PostForm.Get("grant_type") != "client_credentials" {
		s.violated(r, "grant_type %q", r.PostForm.Get("grant_type"))
		return refusal(http.StatusBadRequest, "unsupported_grant_type")
	}
	scope := r.PostForm.Get("scope")
	if scope == "" {
		s.violated(r, "no scope (CLI-50)")
	}
	if client.given {
		scope = or(scope, mint.DefaultScope)
	}
	for _, name := range strings.Fields(scope) {
		if !client.given && !slices.Contains(strings.Fields(client.Scope), name) {
			return failure(http.StatusBadRequest, "invalid_scope", "Invalid scopes: "+scope)
		}
	}
	s.mu.Lock()
	life := s.opt.Life
	s.mu.Unlock()
	if life == 0 {
		life = mint.DefaultLife
	}
	o := mint.Options{Client: client.ID, Subject: client.ID, Scope: scope, Life: life}
	if scope == "" {
		o.Permissions = map[string]mint.Permission{}
	}
	t := s.Token(o)
	t.Claims.Set("scope", scope)
	t.Claims.Set("jti", rand.Text())
	audience := s.opt.Audience
	if audience == nil {
		audience = []string{"*"}
	}
	t.Claims.Set("aud", audience)
	kind := "Bearer"
	if s.opt.Kind == Hydra {
		kind = "bearer"
	}
	a := map[string]any{
		"access_token": t.Sign(), "token_type": kind, "expires_in": int64(life.Seconds()), "scope": scope,
	}
	if s.opt.Kind == Keycloak {
		a["refresh_expires_in"], a["not-before-policy"] = 0, 0
	}
	return s.grant(r, a, fault)
}

// SetLife changes how long tokens live that are given from now on.
func (s *Server) SetLife(life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opt.Life = life
}

// refusal is an error of RFC 6749 §5.2.
func refusal(status int, code string) answer {
	a := jsonAnswer(encode(map[string]string{"error": code}))
	a.status = status
	return a
}
