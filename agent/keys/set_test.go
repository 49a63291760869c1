package keys_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

func TestTrimIssuer(t *testing.T) {
	spec.Rules(t, "CLM-1")
	for in, want := range map[string]string{
		"": "", "/": "", "//": "/", "https://a": "https://a", "https://a/": "https://a", "https://a//": "https://a/",
		"https://a/b/": "https://a/b",
	} {
		if got := keys.TrimIssuer(in); got != want {
			t.Errorf("%q became %q", in, got)
		}
		if got := string(keys.TrimIssuer([]byte(in))); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}

// Kids that left the set are remembered, a bounded number, until they come back; the same key by another kid stays.
func TestRetiredKeys(t *testing.T) {
	spec.Rules(t, "KEY-7")
	synctest.Test(t, func(t *testing.T) {
		stable := mint.FakeJWK("stable", 2048)
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: time.Hour},
			func(_ context.Context, _ string, n int) ([]byte, error) {
				stable.KeyID = fmt.Sprint("stable-", n)
				if n == 30 {
					return mint.JWKSOf(stable, mint.FakeJWK("turn-29", 2048)), nil // it comes back, as another key
				}
				return mint.JWKSOf(stable, mint.FakeJWK(fmt.Sprint("turn-", n), 2048)), nil
			})
		first := s.Set().Issuer([]byte(issuer))
		thumbprint := first.Keys[0].Thumbprint
		if first.KID([]byte("turn-0")) != keys.KIDHeld {
			t.Errorf("at first: %+v", first)
		}
		for len(s.of(issuer)) < 31 {
			pass(time.Minute)
		}
		now := s.Set().Issuer([]byte(issuer))
		if now.Keys[0].KID == first.Keys[0].KID || !now.Holds(&thumbprint) || now.Holds(&first.Keys[1].Thumbprint) {
			t.Errorf("held: %+v", now.Keys)
		}
		if now.KID([]byte("turn-0")) != keys.KIDUnknown {
			t.Error("a kid of long ago is still remembered: not bounded")
		}
		for kid, want := range map[string]keys.KID{
			"": keys.KIDUnknown, "never-seen": keys.KIDUnknown, "turn-29": keys.KIDHeld, "stable-30": keys.KIDHeld,
			"turn-28": keys.KIDRetired, "stable-28": keys.KIDRetired,
		} {
			if got := now.KID([]byte(kid)); got != want {
				t.Errorf("kid %q: got %v, want %v", kid, got, want)
			}
		}
		if first.KID([]byte("turn-0")) != keys.KIDHeld || len(first.Keys) != 2 {
			t.Error("a set that somebody reads was changed")
		}
	})
}

// A kid is held if any issuer's key has it.
func TestHoldsKID(t *testing.T) {
	spec.Rules(t, "ANS-5")
	synctest.Test(t, func(t *testing.T) {
		const second = "https://second.example.com"
		s := serve(t, keys.Policy{Servers: []string{issuer, second}, Refresh: time.Hour},
			func(_ context.Context, name string, _ int) ([]byte, error) {
				if name == second {
					return mint.JWKSOf(mint.FakeJWK("three", 2048)), nil
				}
				return mint.JWKSOf(mint.FakeJWK("one", 2048), mint.FakeJWK("two", 2048)), nil
			})
		s.Ask(second)
		synctest.Wait()
		for kid, want := range map[string]bool{"one": true, "two": true, "three": true, "four": false, "": false} {
			if got := s.Set().HoldsKID([]byte(kid)); got != want {
				t.Errorf("kid %q: got %v, want %v", kid, got, want)
			}
		}
	})
}

// Issuers come sorted by name, whatever order they came in.
func TestIssuersAreSorted(t *testing.T) {
	spec.Rules(t, "KEY-3")
	one, _, err := keys.Parse(oneKey)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"https://c", "https://a", "https://e", "https://b", "https://d"}
	s := keys.NewStore(nil, nil)
	s.Configure(keys.Policy{Servers: names, Refresh: time.Hour})
	for _, name := range names {
		s.Hold(keys.Held{Name: name, Keys: one})
	}
	got := ""
	for _, i := range s.Set().Issuers() {
		got += i.Name[len("https://"):]
	}
	if got != "abcde" {
		t.Errorf("got issuers %s, want abcde", got)
	}
}

// A kid may be one character; no kid is none that is held, even if a key has none.
func TestShortestKID(t *testing.T) {
	spec.Rules(t, "KEY-6")
	all, _, err := keys.Parse(mint.JWKSOf(mint.FakeJWK("a", 2048), mint.FakeJWK("", 2048)))
	if err != nil {
		t.Fatal(err)
	}
	i := keys.Issuer{Keys: all}
	for kid, want := range map[string]keys.KID{"a": keys.KIDHeld, "b": keys.KIDUnknown, "": keys.KIDUnknown} {
		if got := i.KID([]byte(kid)); got != want {
			t.Errorf("kid %q: got %v, want %v", kid, got, want)
		}
	}
}
