package oauth_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/spec"
)

// Keys change without a gap, inline and by jwks_uri, and the old ones go.
func TestRotation(t *testing.T) {
	spec.Rules(t, "CLI-68")
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
				t.Errorf("a full disk: got error %v, status %+v; want %v and no replacement",
					err, r.Status().Clients[0], disk)
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
func TestUnreachableKeys(t *testing.T) {
	spec.Rules(t, "CLI-33")
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

// An update never takes the keys away, and a registration is never made without.
func TestNoKeysURI(t *testing.T) {
	spec.Rules(t, "CLI-33", "CLI-42")
	r := newRig(t, authserver.Options{FetchKeys: func(string) ([]byte, error) { return nil, nil }})
	r.config.JWKSURI = "https://device.example.com/jwks"
	r.configure()
	r.must("registration")
	r.config.JWKSURI = ""
	r.configure()
	r.work()
	if c := r.server.Registered()[0]; c.JWKSURI != "" || len(c.KeyIDs) != 1 {
		t.Errorf("after jwks_uri was taken out of the configuration: %+v, %v; want the keys inline", c, r.Status().Err)
	}
	r.work()
	r.must("registration")
	r.registrations(1)
	r.strict()
	r = newRig(t, authserver.Options{})
	r.config.Keys = oauth.KeysByURI
	r.configure()
	if a := r.token("registration"); a.Err == nil || !strings.Contains(a.Err.Error(), "jwks_uri") {
		t.Errorf("without a jwks_uri that is demanded: got %v, want an error that says so", a)
	}
	r.registrations(0)
	r.strict()
}

// A proxy's 401 says nothing about the keys.
func TestProxyDoesNotMoveTheKeys(t *testing.T) {
	spec.Rules(t, "CLI-33", "CLI-57")
	r := newRig(t, authserver.Options{FetchKeys: func(string) ([]byte, error) { return nil, nil }})
	r.config.JWKSURI = "https://device.example.com/jwks"
	r.configure()
	r.must("registration")
	r.server.Misbehave(authserver.PathToken, authserver.Unauthorized)
	r.work()
	if c := r.server.Registered()[0]; c.JWKSURI == "" {
		t.Errorf("the keys were moved because of a proxy: %+v", c)
	}
}
