package oauth_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/spec"
)

// Whatever comes in place of a registration is said in one line, and none is made twice because of it.
func TestRegistrationFaults(t *testing.T) {
	spec.Rules(t, "CLI-35")
	for _, f := range slices.Concat(authserver.Faults, authserver.ClientFaults) {
		if f.Scope != authserver.AnyPath && f.Scope != authserver.RegisterPath || f.Fault == authserver.RegisterNoKeys {
			continue
		}
		t.Run("CLI-35/"+string(f.Fault), func(t *testing.T) {
			r := newRig(t, authserver.Options{Drip: time.Hour, Kind: authserver.BBC}) // no key has to be made
			switch f.Fault {
			case authserver.Hang, authserver.Drip:
				r.SetPatience(300 * time.Millisecond)
			}
			r.server.Misbehave(authserver.PathRegister, f.Fault)
			r.Token("registration")
			wait := r.Step(t.Context())
			s := r.Status()
			if s.Err == nil || strings.Contains(s.Err.Error(), "\n") || s.Clients[0].ClientID != "" {
				t.Fatalf("got %v, %+v, want an error in one line and no client", s.Err, s.Clients)
			}
			r.silent("the error", s.Err.Error()+r.said())
			if made := r.server.Registrations(); made > 0 && wait < time.Hour {
				switch f.Fault { // of which nothing came back
				case authserver.RegisterLost, authserver.Reset, authserver.Hang, authserver.Drip:
				default:
					if !strings.HasPrefix(string(f.Fault), "redirect") && f.Fault != authserver.HTML &&
						f.Fault != authserver.NotFound && f.Fault != authserver.ServerError &&
						f.Fault != authserver.Unavailable {
						t.Errorf("the server made %d clients, and is asked again in %v: %v", made, wait, s.Err)
					}
				}
			}
			if a := r.Token("registration"); a.Err == nil || a.Retry <= 0 {
				t.Errorf("got %v, want a reason and a wait", a)
			}
			r.server.Behave()
			r.SetPatience(time.Minute)
			r.must("registration")
		})
	}
}

// Errors name the server's own setting.
func TestServersOwnWords(t *testing.T) {
	spec.Rules(t, "CLI-35")
	for _, c := range []struct {
		fault authserver.Fault
		want  string
	}{
		{authserver.HostNotTrusted, `"Trusted Hosts"`},
		{authserver.MaxClients, `"Max Clients Limit"`},
		{authserver.ScopesNotAllowed, `"Allowed Client Scopes"`},
	} {
		r := newRig(t, authserver.Options{Kind: authserver.Keycloak})
		r.server.Misbehave(authserver.PathRegister, c.fault)
		wait := r.Step(t.Context())
		s := r.Status()
		if s.Phase != oauth.Refused || s.Err == nil ||
			!strings.Contains(s.Err.Error(), "Keycloak: client registration policy "+c.want) {
			t.Errorf("%s: got %v, %v, want the policy %s", c.fault, s.Phase, s.Err, c.want)
		}
		if wait < time.Hour {
			t.Errorf("%s: asked again in %v, want an hour or more", c.fault, wait)
		}
		r.Configure(r.config) // the same again
		if r.Step(t.Context()); r.server.Requests(authserver.PathRegister) != 1 {
			t.Errorf("%s: %d requests without a change, want 1", c.fault, r.server.Requests(authserver.PathRegister))
		}
	}
}

func TestInitialToken(t *testing.T) {
	spec.Rules(t, "CLI-30")
	for _, kind := range []authserver.Kind{authserver.Exemplary, authserver.Keycloak} {
		r := newRig(t, authserver.Options{Kind: kind, InitialToken: "initial-access-token-1"})
		r.config.InitialToken = "another-token-entirely"
		r.configure()
		r.Step(t.Context())
		if s := r.Status(); s.Phase != oauth.Refused || strings.Contains(s.Err.Error(), r.config.InitialToken) {
			t.Errorf("with a wrong token: %v, %v", s.Phase, s.Err)
		}
		r.config.InitialToken = "initial-access-token-1"
		r.configure() // a change, so it is tried again
		r.must("registration")
		r.registrations(1)
		if text := r.said(); strings.Contains(text, "initial-access-token") || strings.Contains(text, "another-token") {
			t.Errorf("an initial access token was reported: %s", text)
		}
	}
}

// A server that lost its clients shows it by refusing both the credentials and the registration token.
func TestServerLostItsStore(t *testing.T) {
	spec.Rules(t, "CLI-44")
	for _, kind := range kinds[:4] {
		r := newRig(t, authserver.Options{Kind: kind})
		old := r.must("registration").Token
		r.server.ForgetClients()
		for range 2 { // assertions
			if r.work(); r.Token("registration").Token != old {
				t.Errorf("%s: the old token was lost", kind)
			}
		}
		if wait := r.Step(t.Context()); wait <= 0 || r.server.Registrations() != 1 {
			t.Errorf("%s: registered again after %v, want a place in time: others may have been lost, too", kind, wait)
		}
		r.work()
		if got := r.Status().Clients[0].ClientID; got != "client-0002" {
			t.Errorf("%s: client %q, want one newly registered", kind, got)
		}
		if a := r.Token("registration"); a.Err != nil {
			t.Errorf("%s: the old token was lost: %v", kind, a.Err)
		}
		r.work()
		if a := r.must("registration"); a.Token == old {
			t.Errorf("%s: still the old token", kind)
		}
		r.registrations(2)
	}
}

// Refused credentials alone are no reason to register: the client may be disabled (CLI-44), or the server offers no
// look at the registration (CLI-57).
func TestRefusedCredentialsAlone(t *testing.T) {
	spec.Rules(t, "CLI-44", "CLI-57")
	for _, kind := range kinds {
		r := newRig(t, authserver.Options{Kind: kind})
		r.must("registration")
		id := r.server.Registered()[0].ID
		r.server.Disable(id, true)
		for range 5 {
			r.work()
		}
		if s := r.Status().Tokens[0]; s.Err == nil || s.Left == 0 {
			t.Errorf("%s: %+v, want an error and the old token", kind, s)
		}
		r.server.Misbehave(authserver.PathClient, authserver.ServerError)
		r.work()
		r.server.Behave()
		r.server.Disable(id, false)
		r.work()
		if s := r.Status().Tokens[0]; s.Err != nil {
			t.Errorf("%s: %v", kind, s.Err)
		}
		// A proxy that refuses everything says nothing about the client.
		r.server.Misbehave(authserver.PathToken, authserver.Unauthorized)
		r.server.Misbehave(authserver.PathClient, authserver.Unauthorized)
		for range 3 {
			r.work()
		}
		if s := r.Status().Tokens[0]; s.Err == nil || s.Left == 0 {
			t.Errorf("%s: %+v, want an error and the old token", kind, s)
		}
		r.server.Behave()
		r.work()
		r.registrations(1)
	}
}

func TestGivenClient(t *testing.T) {
	spec.Rules(t, "CLI-1", "CLI-23")
	r := newRig(t, authserver.Options{})
	r.config.Given = oauth.Given{ID: "by hand", Secret: "s:cret+ %"}
	if err := r.server.GiveClient("by hand", "registration events", "s:cret+ %", nil); err != nil {
		t.Fatal(err)
	}
	r.configure()
	r.must("registration")
	if strings.Contains(string(r.flash.data), "s:cret") {
		t.Error("the configured secret was stored a second time")
	}
	// With the device's key: it is there for the operator before the server knows it.
	r.config.Given = oauth.Given{ID: "by key"}
	r.configure()
	r.work()
	if err := r.server.GiveClient("by key", "registration", "", r.JWKS()); err != nil {
		t.Fatal(err)
	}
	r.work()
	if s := r.Status(); s.Tokens[0].Err != nil || s.Clients[0].Method != oauth.PrivateKeyJWT {
		t.Errorf("by key: %+v", s)
	}
	key := string(r.JWKS())
	r.restart()
	r.must("registration")
	if string(r.JWKS()) != key {
		t.Error("the key was lost")
	}
	r.registrations(0)
	r.strict()
}

// Settings that change are sent as a whole; the registration token that comes replaces the old one.
func TestUpdate(t *testing.T) {
	spec.Rules(t, "CLI-40", "CLI-42")
	for _, kind := range kinds {
		r := newRig(t, authserver.Options{Kind: kind})
		r.must("registration")
		for _, name := range []string{"Acme AX-8 renamed", "Acme AX-8 again"} {
			r.config.Name = name
			r.configure()
			r.work()
			want := name
			if kind == authserver.BBC { // no RFC 7592: what is registered stays
				want = "Acme AX-8 SN0012"
			}
			if got := r.server.Registered()[0].Name; got != want {
				t.Errorf("%s: name %q, want %q; %v", kind, got, want, r.Status().Err)
			}
		}
		r.registrations(1)
		r.strict()
	}
}

func TestSecretEnds(t *testing.T) {
	spec.Rules(t, "CLI-38")
	r := newRig(t, authserver.Options{})
	r.config.AuthMethod = oauth.SecretBasic
	r.configure()
	r.server.SecretsEnd(time.Now().Add(30 * time.Minute))
	r.must("registration")
	r.server.SecretsEnd(time.Now().Add(30 * 24 * time.Hour))
	r.work()
	if left := time.Until(r.Status().Clients[0].Expires); left < 24*time.Hour {
		t.Errorf("the secret ends in %v: it was not renewed; %v", left, r.Status().Err)
	}
	r.registrations(1)
	r.strict()
}

func TestForget(t *testing.T) {
	spec.Rules(t, "CLI-43", "CLI-59")
	for _, kind := range kinds {
		r := newRig(t, authserver.Options{Kind: kind})
		token := r.must("registration").Token
		issuer := r.config.Issuer
		r.config = oauth.Config{}
		r.Configure(r.config)
		err := r.Forget(t.Context(), issuer)
		if stays := kind == authserver.BBC; (err != nil) != stays {
			t.Errorf("%s: %v", kind, err)
		}
		want := []string{token}
		if kind == authserver.OIDCProvider { // it revokes no JWT, which does not count as a failure
			want = nil
		}
		if got := r.server.Revoked(); !slices.Equal(got, want) {
			t.Errorf("%s: got %d tokens revoked, want %d", kind, len(got), len(want))
		}
		if n := len(r.server.Registered()); n != map[bool]int{true: 1}[kind == authserver.BBC] {
			t.Errorf("%s: %d clients stay", kind, n)
		}
		if len(r.Status().Clients) != 0 || strings.Contains(string(r.flash.data), "pkcs8") ||
			strings.Contains(string(r.JWKS()), "kid") {
			t.Errorf("%s: something is left on the device", kind)
		}
		if err := r.Forget(t.Context(), issuer); err == nil {
			t.Errorf("%s: forgotten twice", kind)
		}
		r.strict()
	}
}

// oidc-provider registers nobody without an initial access token, and says so in its own words.
func TestInitialTokenMissing(t *testing.T) {
	spec.Rules(t, "CLI-30")
	r := newRig(t, authserver.Options{Kind: authserver.OIDCProvider, InitialToken: "initial-access-token-1"})
	r.Step(t.Context())
	const want = "without an initial access token; configure one"
	if s := r.Status(); s.Phase != oauth.Refused || !strings.Contains(s.Err.Error(), want) {
		t.Errorf("got %v, %v, want refused, %s", s.Phase, s.Err, want)
	}
}
