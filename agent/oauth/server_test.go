package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/authserver"
)

var kinds = []authserver.Kind{
	authserver.Exemplary, authserver.Keycloak, authserver.OIDCProvider, authserver.Hydra, authserver.BBC,
}

// A device registers once, whatever server it is, and has its tokens over restarts.
func TestEveryServer_CLI1_CLI2_CLI3(t *testing.T) {
	for _, kind := range kinds {
		t.Run("CLI-30,CLI-31,CLI-32,CLI-34,CLI-36,CLI-50,CLI-51,CLI-52,CLI-54,CLI-55/"+string(kind),
			func(t *testing.T) {
				r := newRig(t, authserver.Options{Kind: kind})
				if a := r.Token("registration"); a.Err == nil || a.Retry <= 0 {
					t.Errorf("before the first step: got %v, retry %v, want a reason and a wait", a.Err, a.Retry)
				}
				one := r.must("registration")
				two := r.must("events")
				if one.Token == two.Token || one.Scope != "registration" || one.Left <= 0 {
					t.Errorf("got %v and %v, want a token for each scope", one, two)
				}
				c := r.server.Registered()[0]
				method := oauth.PrivateKeyJWT
				if kind == authserver.BBC {
					method = oauth.SecretBasic
				}
				if c.Name != r.config.Name || c.Scope != "events registration" || c.AuthMethod != method {
					t.Errorf("registered %+v", c)
				}
				r.restart()
				r.must("registration")
				r.restart()
				r.must("registration events")
				r.registrations(1)
				r.strict()
				s := r.Status()
				if s.Phase != oauth.Registered || len(s.Clients) != 1 || s.Clients[0].ClientID != c.ID ||
					s.Clients[0].Since.IsZero() ||
					s.Clients[0].Manageable != (kind != authserver.BBC) || len(s.Tokens) != 1 {
					t.Errorf("status %+v", s)
				}
				r.silent("what is reported", r.said()+fmt.Sprintf("%+v %v", s, r.Token("events registration")))
			})
	}
}

// Whatever comes in place of a token leaves the old one in use, and says why in one line.
func TestTokenFaults_CLI55_CLI57(t *testing.T) {
	r := newRig(t, authserver.Options{Drip: time.Hour})
	before := r.must("registration").Token
	for _, f := range slices.Concat(authserver.Faults, authserver.ClientFaults) {
		switch f.Scope {
		case authserver.MetadataPath, authserver.KeysPath, authserver.RegisterPath, authserver.AuthorizePath:
			continue
		}
		t.Run("CLI-55/"+string(f.Fault), func(t *testing.T) {
			switch f.Fault {
			case authserver.Hang, authserver.HangConnect, authserver.Drip:
				r.SetPatience(300 * time.Millisecond)
				defer r.SetPatience(time.Minute)
			}
			r.said()
			r.server.Misbehave(authserver.PathToken, f.Fault)
			defer r.server.Behave()
			r.work()
			a, status := r.Token("registration"), r.Status().Tokens[0]
			text := r.said() + fmt.Sprint(status.Err)
			r.silent("the error", text)
			if f.Good {
				if a.Token == before || a.Err != nil || status.Err != nil {
					t.Errorf("got %v, %v, want a new token", a, status.Err)
				}
				before = a.Token
				return
			}
			switch f.Fault {
			case authserver.BodyHuge, authserver.BodyEndless:
				if !strings.Contains(text, "over 64 KiB") {
					t.Errorf("got %s, want a word about the size", text)
				}
			}
			if a.Token != before || status.Err == nil {
				t.Fatalf("got %v, error %v, want the old token and an error", a, status.Err)
			}
			if msg := status.Err.Error(); strings.Contains(msg, "\n") || len(msg) > 600 {
				t.Errorf("want one line, got %q", msg)
			}
			if status.Next < 400*time.Millisecond {
				t.Errorf("asked again in %v", status.Next)
			}
		})
	}
	if a := r.must("registration"); a.Token != before {
		t.Errorf("the old token was lost")
	}
	r.work()
	if a := r.Token("registration"); a.Token == before || r.Status().Tokens[0].Err != nil {
		t.Errorf("after the faults: got %v, %v, want a new token", a, r.Status().Tokens[0].Err)
	}
	for _, q := range r.server.Log() {
		if q.Path == authserver.PathToken && q.Method != "POST" || strings.HasPrefix(q.Path, authserver.PathElsewhere) {
			t.Errorf("a redirect was followed: %s %s", q.Method, q.Path)
		}
	}
	r.registrations(1)
	r.strict()
}

// Credentials that are refused once are tried again, with a new assertion, before anything else is done.
func TestAnotherAssertion_CLI52_CLI57(t *testing.T) {
	r := newRig(t, authserver.Options{})
	before := r.must("registration").Token
	r.server.MisbehaveTimes(authserver.PathToken, authserver.InvalidClient, 1)
	r.work()
	if a := r.Token("registration"); a.Token != before || r.server.Requests(authserver.PathClient+"client-0001") != 0 {
		t.Errorf("after one refusal: got %v, want the old token, and no look at the registration", a)
	}
	r.work()
	if a := r.Token("registration"); a.Token == before || r.Status().Tokens[0].Err != nil {
		t.Errorf("got %v, %v, want a new token", a, r.Status().Tokens[0].Err)
	}
	r.strict()
}

// Whatever comes in place of a registration is said in one line, and none is made twice because of it.
func TestRegistrationFaults_CLI35(t *testing.T) {
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
func TestServersOwnWords_CLI35(t *testing.T) {
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

func TestInitialToken_CLI30(t *testing.T) {
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
func TestServerLostItsStore_CLI44(t *testing.T) {
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
func TestRefusedCredentialsAlone_CLI44_CLI57(t *testing.T) {
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

// Keys change without a gap, inline and by jwks_uri, and the old ones go.
func TestRotation_CLI68(t *testing.T) {
	for _, byURI := range []bool{false, true} {
		t.Run(fmt.Sprintf("CLI-33,CLI-65,CLI-67,CLI-68/jwks_uri=%v", byURI), func(t *testing.T) {
			o := authserver.Options{Kind: authserver.Keycloak}
			if byURI {
				o.FetchKeys = func(string) ([]byte, error) { return nil, nil } // newRig leads it to the device
			}
			r := newRig(t, o)
			if byURI {
				r.config.JWKSURI = "https://device.example.com/jwks"
				r.configure()
			}
			r.must("registration")
			first := r.Status().Clients[0].KeyIDs
			disk := errors.New("disk full")
			r.flash.fails = disk
			if err := r.RotateKey(t.Context()); !errors.Is(err, disk) || r.Status().Clients[0].Rotation != "" {
				t.Errorf("a full disk: got error %v, status %+v; want %v and no replacement", err,
					r.Status().Clients[0], disk)
			}
			r.flash.fails = nil
			r.work()
			if got := r.Status().Clients[0]; got.Rotation != "" || len(got.KeyIDs) != 1 || got.KeyIDs[0] != first[0] {
				t.Errorf("after a full disk: got %+v, want the key %s", got, first[0])
			}
			if err := r.RotateKey(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := r.RotateKey(t.Context()); !errors.Is(err, oauth.ErrSameKey) {
				t.Errorf("a second rotation: got %v, want %v", err, oauth.ErrSameKey)
			}
			r.work()
			keys := r.Status().Clients[0].KeyIDs
			if len(keys) != 2 || keys[0] != first[0] || strings.Count(string(r.JWKS()), `"kid"`) != 2 {
				t.Fatalf("got keys %v, want %v and a new one", keys, first)
			}
			if !byURI && len(r.server.Registered()[0].KeyIDs) != 2 {
				t.Errorf("the server has %v", r.server.Registered()[0].KeyIDs)
			}
			r.Settle(oauth.KeySettled)
			r.work()
			// A server that goes by its old copy of the jwks_uri refuses the new key: the old one is used meanwhile.
			got := r.Status()
			if got.Tokens[0].Err != nil {
				t.Fatalf("there was a gap: %v", got.Tokens[0].Err)
			}
			if byURI {
				if got.Clients[0].KeyIDs[0] != first[0] {
					t.Error("the new key signs, and the server cannot have it")
				}
				return // ten seconds of real time are too long for a test
			}
			if got.Clients[0].KeyIDs[0] == first[0] {
				t.Fatalf("the old key still signs: %+v", got.Clients[0])
			}
			if left := time.Until(got.Clients[0].OldKeyEnds); left < oauth.KeyRetired/2 || left > oauth.KeyRetired {
				t.Errorf("the old key goes in %v, want %v", left, oauth.KeyRetired)
			}
			r.restart()
			r.work()
			if s := r.Status().Clients[0]; s.Rotation != "retire" || time.Until(s.OldKeyEnds) < oauth.KeyRetired/2 {
				t.Errorf("after a restart: got %+v, want the step retire for another %v", s, oauth.KeyRetired)
			}
			r.Settle(oauth.KeyRetired)
			r.work()
			if got = r.Status(); len(got.Clients[0].KeyIDs) != 1 || got.Clients[0].Rotation != "" ||
				got.Clients[0].KeyIDs[0] != keys[1] {
				t.Errorf("after an hour: %+v, want %s alone", got.Clients[0], keys[1])
			}
			if n := len(r.server.Registered()[0].KeyIDs); n != 1 {
				t.Errorf("the server has %d keys, want 1", n)
			}
			r.work()
			r.must("registration")
			r.restart()
			r.must("registration")
			r.registrations(1)
			r.strict()
		})
	}
}

// Where the server cannot fetch keys, they are sent to it (CLI-33), at the registration or later.
func TestUnreachableKeys_CLI33(t *testing.T) {
	for _, kind := range []authserver.Kind{authserver.Keycloak, authserver.OIDCProvider} {
		r := newRig(t, authserver.Options{Kind: kind})
		r.config.JWKSURI = "https://10.0.0.7/jwks"
		r.configure()
		r.must("registration")
		if c := r.server.Registered()[0]; c.JWKSURI != "" || len(c.KeyIDs) != 1 {
			t.Errorf("%s: registered %+v, want inline keys", kind, c)
		}
		if text := r.said(); !strings.Contains(text, "since it refuses those at the jwks_uri") {
			t.Errorf("%s: no reason in %s", kind, text)
		}
		r.registrations(1)
		r.strict()
	}
	r := newRig(t, authserver.Options{})
	r.config.JWKSURI = "https://10.0.0.7/jwks"
	r.configure()
	r.server.Misbehave(authserver.PathRegister, authserver.RegisterNoKeys)
	r.must("registration")
	if c := r.server.Registered()[0]; c.JWKSURI != "" {
		t.Errorf("registered %+v, want inline keys", c)
	}
	r = newRig(t, authserver.Options{})
	r.config.JWKSURI, r.config.Keys = "https://10.0.0.7/jwks", oauth.KeysByURI // the operator's word counts
	r.configure()
	if a := r.token("registration"); a.Err == nil || r.server.Registered()[0].JWKSURI == "" {
		t.Errorf("got %v, %+v, want an error and the jwks_uri", a, r.server.Registered())
	}
}

// No assertion is made by a clock that may be wrong.
func TestUntrustedClock_CLI53_OPS1(t *testing.T) {
	r := newRig(t, authserver.Options{})
	r.trusted = false
	a := r.token("registration")
	if !errors.Is(a.Err, oauth.ErrClock) || r.server.Requests(authserver.PathToken) != 0 {
		t.Errorf("got %v after %d requests, want %v after none", a.Err, r.server.Requests(authserver.PathToken),
			oauth.ErrClock)
	}
	r.mu.Lock()
	r.trusted = true
	r.mu.Unlock()
	r.ClockChanged()
	if r.Step(t.Context()); r.Status().Phase != oauth.Starting {
		t.Errorf("with a clock: %v, want another place in time, since others have the time now, too", r.Status().Phase)
	}
	r.Here(r.config.Issuer)
	r.Step(t.Context())
	if a := r.Token("registration"); a.Err != nil {
		t.Errorf("with a clock: %v", a.Err)
	}
	r.ahead = -100 * time.Second
	r.work()
	if err := r.Status().Tokens[0].Err; err == nil || !strings.Contains(err.Error(), "its clock is 1m") {
		t.Errorf("with a clock that is behind: %v, want a word about it", err)
	}
	r.registrations(1)
	// A secret needs no clock.
	r = newRig(t, authserver.Options{Kind: authserver.BBC})
	r.trusted = false
	r.must("registration")
}

func TestGivenClient_CLI1_CLI23(t *testing.T) {
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
func TestUpdate_CLI40_CLI42(t *testing.T) {
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

func TestSecretEnds_CLI38(t *testing.T) {
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

func TestForget_CLI43_CLI59(t *testing.T) {
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
		if kind == authserver.OIDCProvider { // it revokes no JWT, which is no failure
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
func TestInitialTokenMissing_CLI30(t *testing.T) {
	r := newRig(t, authserver.Options{Kind: authserver.OIDCProvider, InitialToken: "initial-access-token-1"})
	r.Step(t.Context())
	const want = "without an initial access token; configure one"
	if s := r.Status(); s.Phase != oauth.Refused || !strings.Contains(s.Err.Error(), want) {
		t.Errorf("got %v, %v, want refused, %s", s.Phase, s.Err, want)
	}
}

// What is stored and cannot be read may be a registration: no other is made.
func TestStorageThatFails_CLI36(t *testing.T) {
	r := newRig(t, authserver.Options{})
	r.must("registration")
	kept := r.flash.data
	for name, damage := range map[string]func(){
		"unreadable": func() { r.flash.fails = errors.New("input/output error") },
		"cut off":    func() { r.flash.data = kept[:len(kept)/2] },
		"empty":      func() { r.flash.data = []byte{} },
		"other":      func() { r.flash.data = []byte(`{"version":99}`) },
	} {
		damage()
		r.restart()
		if a := r.token("registration"); a.Err == nil || r.Status().Phase != oauth.Unreadable {
			t.Errorf("%s: got %v, %v, want no token", name, a, r.Status().Phase)
		}
		r.silent(name, fmt.Sprint(r.Status().Err))
		r.flash.data, r.flash.fails = kept, nil
	}
	r.registrations(1)
	r.restart()
	r.must("registration")

	// What cannot be stored is not used, and not registered a second time.
	r = newRig(t, authserver.Options{Kind: authserver.BBC})
	r.flash.fails = errors.New("no space left on device")
	r.Client.Step(t.Context())
	r.registrations(0)
	r.flash.fails = nil
	r.flash.cut, r.flash.failed = 2, func() {} // between the answer and the write
	r.work()
	if a := r.token("registration"); a.Err == nil || r.server.Requests(authserver.PathToken) != 0 {
		t.Errorf("got %v after %d requests, want the registration unused", a, r.server.Requests(authserver.PathToken))
	}
	r.flash.cut = 0
	r.must("registration")
	r.registrations(1)
}

// The power fails at each write, before it or after it: at most one registration is left behind, only by a cut between
// the server's answer and the write, and no key is lost.
func TestPowerCut_CLI36(t *testing.T) {
	for _, kind := range []authserver.Kind{authserver.Keycloak, authserver.BBC} {
		for cut := 1; ; cut++ {
			done := false
			for _, after := range []bool{false, true} {
				name := fmt.Sprintf("CLI-36/%s-%d-%v", kind, cut, after)
				t.Run(name, func(t *testing.T) {
					r := newRig(t, authserver.Options{Kind: kind, Algs: []string{"ES256"}})
					ctx, off := context.WithCancel(t.Context())
					defer off()
					unwritten := false
					r.flash.cut, r.flash.after = cut, after
					r.flash.failed = func() {
						unwritten = r.server.Registrations() == 1 && !strings.Contains(string(r.flash.data),
							`"client_id"`)
						r.mu.Lock()
						r.off = true
						r.mu.Unlock()
						off()
					}
					life(ctx, r)
					done = r.flash.saves < cut
					r.flash.cut = 0
					r.restart()
					life(t.Context(), r)
					r.must("registration")
					want := 1
					if unwritten {
						want = 2
					}
					r.registrations(want)
					if n := len(r.server.Registered()); n != want {
						t.Errorf("%d clients at the server, want %d", n, want)
					}
					r.strict()
				})
			}
			if done {
				if want := map[authserver.Kind]int{authserver.Keycloak: 6, authserver.BBC: 3}[kind]; cut <= want {
					t.Errorf("%s: only %d writes", kind, cut-1)
				}
				break
			}
		}
	}
}

// life is all that makes a device write: registration, tokens, settings and keys that change.
func life(ctx context.Context, r *rig) {
	step := func() {
		r.Due()
		r.Step(ctx)
	}
	r.Token("registration")
	step()
	r.config.Name = "Acme AX-8 renamed"
	r.configure()
	step()
	if r.RotateKey(ctx) == nil {
		step()
		r.Settle(oauth.KeySettled)
		step()
		r.Settle(oauth.KeyRetired)
		step()
	}
}
