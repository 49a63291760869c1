package authserver

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Kind is whose habits a server has: those in which real servers differ, as seen in Keycloak 26, oidc-provider 9,
// Hydra 2.3 and BBC's.
type Kind string

// The kinds.
const (
	Exemplary    Kind = "" // as RFC 7591, 7592, 6749 and IS-10 have it
	Keycloak     Kind = "keycloak"
	OIDCProvider Kind = "oidc-provider"
	Hydra        Kind = "hydra"
	BBC          Kind = "bbc" // client_secret_basic alone, and no RFC 7592
)

// RegisteredClient is a client that has registered itself.
type RegisteredClient struct {
	ID, Name, Scope, AuthMethod, Alg, JWKSURI string
	KeyIDs                                    []string // of inline keys
	Grants                                    []string // that it may use
	Redirects                                 []string // where people's browsers may be sent back to
	Disabled                                  bool
}

// client is one entry of the server's store.
type client struct {
	RegisteredClient
	secret      string
	secretUntil int64 // 0: always
	token       string
	jwks        *jose.JSONWebKeySet
	fetched     time.Time // when jwks came from JWKSURI
	given       bool      // by Options.Clients
	metadata    map[string]any
}

// clients is the server's store. Guarded by Server.mu.
type clients struct {
	all         map[string]*client
	jtis        map[string]bool
	violations  []string
	last        int
	registered  int
	revoked     []string
	secretUntil int64
	secrets     []string // that went to clients or came from them, each once

	forms   map[string]*form    // that wait for a person, by their number
	codes   map[string]*consent // those used are kept, so that a second use is noticed
	refresh map[string]*consent // those replaced are kept, too
}

// Registered returns the clients that are registered, by number of registration.
func (s *Server) Registered() []RegisteredClient {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []RegisteredClient
	for _, id := range slices.Sorted(maps.Keys(s.clients.all)) {
		all = append(all, s.clients.all[id].RegisteredClient)
	}
	return all
}

// Registrations is how many clients have been registered since the start, forgotten and deleted ones included.
func (s *Server) Registrations() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients.registered
}

// Revoked returns the tokens that were revoked.
func (s *Server) Revoked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.clients.revoked)
}

// Secrets returns every secret that has gone to a client or come from one: client secrets, registration tokens,
// assertions, access tokens and refresh tokens.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.clients.secrets)
}

// keepSecret adds to Secrets. The lock is held.
func (s *Server) keepSecret(secrets ...string) {
	for _, secret := range secrets {
		if secret != "" && !slices.Contains(s.clients.secrets, secret) && len(s.clients.secrets) < logLimit {
			s.clients.secrets = append(s.clients.secrets, secret)
		}
	}
}

// Violations returns what was wrong with the messages of clients so far, each in a sentence: rules that real servers
// need not enforce are among them.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.clients.violations)
}

// ForgetClients empties the store of registered clients, as a server does that lost its data base.
func (s *Server) ForgetClients() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients.all, s.clients.jtis = nil, nil
	s.clients.forms, s.clients.codes, s.clients.refresh = nil, nil, nil
}

// Disable has a client be refused, or accepted again.
func (s *Server) Disable(id string, disabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients.all[id]; c != nil {
		c.Disabled = disabled
	}
}

// GiveClient registers a client by hand, as an administrator does, with keys or with a secret.
func (s *Server) GiveClient(id, scope, secret string, jwks []byte) error {
	c := &client{secret: secret}
	c.ID, c.Scope, c.AuthMethod, c.Grants = id, scope, "client_secret_basic", []string{credentialsGrant}
	if jwks != nil {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(jwks, &set); err != nil {
			return fmt.Errorf("authserver: %w", err)
		}
		c.jwks, c.AuthMethod = &set, "private_key_jwt"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(c)
	return nil
}

// SecretsEnd has secrets that are given from now on end at that time (client_secret_expires_at); zero means never.
func (s *Server) SecretsEnd(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients.secretUntil = 0; !at.IsZero() {
		s.clients.secretUntil = at.Unix()
	}
}

// put stores a client. The lock is held.
func (s *Server) put(c *client) {
	if s.clients.all == nil {
		s.clients.all = map[string]*client{}
	}
	s.clients.all[c.ID] = c
}

// violated notes what is wrong with a request.
func (s *Server) violated(r *http.Request, format string, a ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(r, format, a...)
}

// note is violated with the lock held.
func (s *Server) note(r *http.Request, format string, a ...any) {
	if len(s.clients.violations) < logLimit {
		v := r.Method + " " + r.URL.Path + ": " + fmt.Sprintf(format, a...)
		s.clients.violations = append(s.clients.violations, v)
	}
}
