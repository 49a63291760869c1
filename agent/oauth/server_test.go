package oauth_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/spec"
)

var kinds = []authserver.Kind{
	authserver.Exemplary, authserver.Keycloak, authserver.OIDCProvider, authserver.Hydra, authserver.BBC,
}

// A device registers once, whatever server it is, and has its tokens over restarts.
func TestEveryServer(t *testing.T) {
	spec.Rules(t, "CLI-1", "CLI-2", "CLI-3")
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
func TestTokenFaults(t *testing.T) {
	spec.Rules(t, "CLI-55", "CLI-57")
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
func TestAnotherAssertion(t *testing.T) {
	spec.Rules(t, "CLI-52", "CLI-57")
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

// No assertion is made by a clock that may be wrong.
func TestUntrustedClock(t *testing.T) {
	spec.Rules(t, "CLI-53", "OPS-1")
	r := newRig(t, authserver.Options{})
	r.trusted = false
	a := r.token("registration")
	if !errors.Is(a.Err, oauth.ErrClock) || r.server.Requests(authserver.PathToken) != 0 {
		t.Errorf("got %v after %d requests, want %v after none",
			a.Err, r.server.Requests(authserver.PathToken), oauth.ErrClock)
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
