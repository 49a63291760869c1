package keys_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/spec"
)

// An issuer that a token named has no more fetches for tokens than a server: one in each Retry, the first included.
func TestFetchesOfLearnedIssuersAreBounded(t *testing.T) {
	spec.Rules(t, "KEY-6")
	const learned = "https://learned.example.com"
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Trusts: below(learned), Refresh: hardlyEver, Retry: retry}, always(oneKey))
		for range 100 {
			s.ask(learned)
			pass(time.Second)
		}
		all := s.of(learned)
		if len(all) != 4 {
			t.Errorf("got %d fetches in 100 s of new tokens, want 4", len(all))
		}
		for _, gap := range gaps(all) {
			if gap < retry {
				t.Errorf("got two fetches %v apart, want at least %v", gap, retry)
			}
		}
	})
}

// What a token named can be forgotten, with its keys, and a token brings it back; a server cannot.
func TestForget(t *testing.T) {
	spec.Rules(t, "KEY-5")
	const learned, other = "https://learned.example.com", "https://learned.other.example.com"
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{
			Servers: []string{issuer}, Trusts: below("https://learned"), Refresh: hardlyEver, Retry: retry,
		}, always(oneKey))
		s.ask(learned)
		s.ask(other)
		synctest.Wait()
		before := s.Set()
		for _, name := range []string{issuer, issuer + "/", "https://nobody.example.com", ""} {
			if s.Forget(name) || s.Set() != before {
				t.Errorf("%q: got forgotten, want no change", name)
			}
		}
		if !s.Forget(learned+"/") || s.holds(learned) || !s.holds(other) || !s.holds(issuer) {
			t.Errorf("got %v held, want all but %s", s.Set().Issuers(), learned)
		}
		if s.Forget(learned) {
			t.Error("forgotten twice: got true, want false")
		}
		if got := len(s.Status()); got != 2 {
			t.Errorf("got the status of %d issuers, want 2", got)
		}
		s.ask(learned)
		synctest.Wait()
		if !s.holds(learned) {
			t.Error("a token of it came: got no keys, want them fetched again")
		}
	})
}

// A server whose turn has not come can be asked now, once; nobody else is.
func TestAsk(t *testing.T) {
	spec.Rules(t, "KEY-2")
	const second = "https://second.example.com"
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer, second}, Refresh: hardlyEver, Retry: retry}, always(oneKey))
		if s.holds(second) {
			t.Fatal("got keys of the second server though the first answers, want none")
		}
		for range 2 {
			for _, name := range []string{second + "/", issuer, "https://nobody.example.com"} {
				s.Ask(name)
				synctest.Wait()
			}
		}
		if got := fmt.Sprint(len(s.of(issuer)), len(s.of(second)), len(s.of(""))); got != "1 1 2" {
			t.Errorf("got %s fetches of the first, the second, and in all; want 1 1 2", got)
		}
	})
}

// While servers are looked for, a token of whatever issuer is awaited, and no packet leaves for it.
func TestSeekWhilePending(t *testing.T) {
	spec.Rules(t, "KEY-5")
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Pending: true, Refresh: time.Hour, Retry: retry}, always(oneKey))
		if got, wait := s.ask(issuer); got != keys.Awaited || wait <= 0 || wait > 5*time.Second {
			t.Errorf("got prospect %v, wait %v; want it awaited, and soon", got, wait)
		}
		pass(time.Hour)
		if got := len(s.of("")); got != 0 {
			t.Errorf("got %d fetches, want none", got)
		}
		s.Configure(keys.Policy{Refresh: time.Hour, Retry: retry})
		if got, wait := s.ask(issuer); got != keys.Untrusted || wait != 0 {
			t.Errorf("once it is known: got prospect %v, wait %v; want it not trusted", got, wait)
		}
	})
}

// A token whose issuer may be what the metadata of a server says, which is not read yet, has that server asked and is
// awaited; one whose issuer is trusted already has its own keys fetched.
func TestSeekOfUnreadServer(t *testing.T) {
	spec.Rules(t, "KEY-8")
	const named, trusted = "https://auth.example.com/realms/a", "https://auth.example.com/realms/b"
	const first = "https://first.example.com"
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{
			Servers: []string{first, issuer}, Refresh: hardlyEver, Retry: retry,
			Trusts: func(iss string) bool { return iss == trusted },
			Unread: func(iss string) string {
				if iss == named || iss == trusted {
					return issuer
				}
				return ""
			},
		}, func(_ context.Context, name string, _ int) ([]byte, error) {
			time.Sleep(time.Second)
			return oneKey, nil
		})
		pass(time.Minute)
		for range 3 {
			if got, wait := s.ask(named + "/"); got != keys.Awaited || wait <= 0 || wait > retry+2*time.Second {
				t.Errorf("got prospect %v, wait %v; want it awaited", got, wait)
			}
		}
		if got, _ := s.ask("https://nobody.example.com"); got != keys.Untrusted {
			t.Errorf("an issuer that no server may name: got prospect %v, want it not trusted", got)
		}
		pass(10 * time.Second)
		if got := fmt.Sprint(len(s.of(issuer)), len(s.of("")), s.holds(named)); got != "1 2 false" {
			t.Errorf("got %s (fetches of the server, and in all, keys of what it may name), want 1 2 false", got)
		}
		s.ask(trusted)
		pass(10 * time.Second)
		if got := fmt.Sprint(len(s.of(issuer)), len(s.of(trusted)), s.holds(trusted)); got != "1 1 true" {
			t.Errorf("got %s (fetches of the server, and of the issuer that is trusted, held), want 1 1 true", got)
		}
	})
}

// A policy of no interval at all, the zero value, is none to fall over: what comes from a file is held until it is
// replaced.
func TestPolicyWithoutInterval(t *testing.T) {
	spec.Rules(t, "KEY-3")
	synctest.Test(t, func(t *testing.T) {
		s := &servers{answer: always(oneKey), under: map[string]int{}}
		s.Store = keys.NewStore(s.fetch, s.report)
		s.Configure(keys.Policy{Servers: []string{issuer}})
		s.Hold(kept(t).Issuers[0])
		go s.Run(t.Context())
		pass(time.Minute)
		if n := len(s.of(issuer)); n < 30 || n > 61 || !s.holds(issuer) {
			t.Errorf("got %d fetches in a minute, held %v; want one a second at most", n, s.holds(issuer))
		}
	})
}
