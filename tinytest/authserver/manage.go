package authserver

import (
	"crypto/rand"
	"net/http"
	"strings"
)

// manage answers requests for a client's configuration (RFC 7592).
func (s *Server) manage(r *http.Request) answer {
	id := strings.TrimPrefix(r.URL.Path, PathClient)
	s.mu.Lock()
	c := s.clients.all[id]
	allowed := c != nil && c.token != "" && bearer(r) == c.token
	s.mu.Unlock()
	if !allowed {
		switch s.opt.Kind {
		case Hydra:
			a := jsonAnswer(encode(map[string]string{"error": "The request could not be authorized"}))
			a.status = 401
			return a
		case Keycloak:
			return failure(401, "invalid_token", "Failed decode token")
		}
		a := failure(401, "invalid_token", "token or client unknown")
		a.header["WWW-Authenticate"] = `Bearer error="invalid_token"`
		return a
	}
	switch r.Method {
	case http.MethodGet:
		s.mu.Lock()
		defer s.mu.Unlock()
		return jsonAnswer(encode(s.information(c)))
	case http.MethodDelete:
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.clients.all, id)
		s.withdraw(func(c *consent) bool { return c.client == id })
		return answer{status: http.StatusNoContent}
	case http.MethodPut:
		m, err := s.body(r)
		if err != nil {
			return failure(400, "invalid_client_metadata", err.Error())
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if m["client_id"] != id {
			s.note(r, "client_id %v, want %s (CLI-42)", m["client_id"], id)
			return failure(400, "invalid_client_metadata", "client_id")
		}
		for _, name := range []string{
			"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at",
		} {
			if _, ok := m[name]; ok {
				s.note(r, "%s in an update (CLI-42)", name)
				return failure(400, "invalid_request", name+" in an update")
			}
		}
		if secret, ok := m["client_secret"]; ok && secret != c.secret {
			s.note(r, "another client_secret (CLI-42)")
			return failure(400, "invalid_client_metadata", "client_secret")
		}
		delete(m, "client_secret")
		delete(m, "client_id")
		if a, ok := s.describe(r, c, m); !ok {
			return a
		}
		if s.opt.Kind != OIDCProvider {
			c.token = rand.Text() // the old one is no longer valid
		}
		if c.secret != "" {
			c.secretUntil = s.clients.secretUntil
		}
		return jsonAnswer(encode(s.information(c)))
	}
	return textAnswer(http.StatusMethodNotAllowed, "GET, PUT or DELETE")
}
