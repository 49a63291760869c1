package oauth_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/spec"
)

// A server may give a client that signs a secret as well (Hydra does), which ends. Nothing is sent with it, so its end
// says nothing about the client: one that is refused then, be it disabled or its keys not to be fetched, is held as any
// other is (CLI-44, CLI-57), and nothing is asked because of it (CLI-38).
func TestUnusedSecretEnds(t *testing.T) {
	spec.Rules(t, "CLI-38", "CLI-44", "CLI-57")
	for name, manage := range map[string]string{
		"CLI-44/manageable": `,"registration_access_token":"of-the-registration","registration_client_uri":"` + issuer + `/c"`,
		"CLI-57/not":        "",
	} {
		t.Run(name, func(t *testing.T) {
			refuse := false
			client := func() string {
				return fmt.Sprintf(`{"client_id":"c","token_endpoint_auth_method":"private_key_jwt",`+
					`"client_secret":"never-used-secret","client_secret_expires_at":%d%s}`,
					time.Now().Add(time.Hour).Unix(), manage)
			}
			p := begin(nil)
			p.answer = func(r *http.Request, body string) (int, http.Header, string) {
				switch {
				case r.URL.Path == "/register":
					return 201, nil, client()
				case r.URL.Path == "/c":
					return 200, nil, client()
				case refuse:
					return 401, nil, `{"error":"invalid_client"}`
				}
				return usual(r, body)
			}
			p.methods = []string{oauth.PrivateKeyJWT}
			p.again()
			step := func() {
				for range 3 {
					p.Token("registration")
					p.Here(issuer)
					p.Due()
					p.Step(t.Context())
				}
			}
			step()
			if s := p.Status(); len(s.Clients) != 1 || s.Clients[0].ClientID != "c" || !s.Clients[0].Expires.IsZero() {
				t.Fatalf("got %+v, want a client of which nothing ends", s.Clients)
			}
			if n := p.count("GET /c") + p.count("PUT /c"); n != 0 {
				t.Errorf("the registration was looked at %d times because of a secret that is not used", n)
			}
			p.ahead, refuse = 2*time.Hour, true
			step()
			if n, gone := p.count("POST /register"), p.count("DELETE"); n != 1 || gone != 0 {
				t.Errorf("refused after the end of a secret that is not used: %d registrations and %d removals, want "+
					"the one client held: %v", n, gone, p.seen)
			}
		})
	}
}

// A secret that has ended, at a server that says so by unauthorized_client, as Keycloak says of a wrong one: the client
// is registered again, if only once the server has refused it.
func TestEndedSecretRefused(t *testing.T) {
	spec.Rules(t, "CLI-38")
	registered, refuse := 0, false
	p := begin(nil)
	p.answer = func(r *http.Request, body string) (int, http.Header, string) {
		switch {
		case r.URL.Path == "/register":
			registered++
			return 201, nil, fmt.Sprintf(`{"client_id":"c%d","client_secret":"sesame","client_secret_expires_at":%d}`,
				registered, time.Now().Add(time.Hour).Unix())
		case refuse && registered < 2:
			return 401, nil, `{"error":"unauthorized_client","error_description":"Invalid client secret"}`
		}
		return usual(r, body)
	}
	step := func() {
		for range 4 {
			p.Token("registration")
			p.Here(issuer)
			p.Due()
			p.Step(t.Context())
		}
	}
	step()
	refuse = true
	if step(); registered != 1 {
		t.Errorf("refused before the end: %d registrations, want 1", registered)
	}
	p.ahead = 2 * time.Hour
	if step(); registered != 2 || p.Token("registration").Err != nil {
		t.Errorf("refused after the end: %d registrations, want 2; %v", registered, p.Token("registration").Err)
	}
}
