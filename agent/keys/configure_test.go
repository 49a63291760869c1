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

// A changed policy applies immediately: keys of issuers that it does not trust are gone, those of others stay.
func TestConfigure(t *testing.T) {
	spec.Rules(t, "KEY-5", "KEY-7")
	synctest.Test(t, func(t *testing.T) {
		const second, learned = "https://second.example.com", "https://learned.example.com"
		policy := keys.Policy{Servers: []string{issuer + "/", second}, Trusts: below(learned),
			Refresh: time.Hour, Retry: retry}
		s := serve(t, policy, always(oneKey))
		s.ask(learned)
		s.ask(second)
		synctest.Wait()
		if !s.holds(issuer) || !s.holds(second) || !s.holds(learned) {
			t.Fatal("not all are held")
		}
		before := s.Set()
		s.Configure(policy)
		synctest.Wait()
		if s.Set() != before || len(s.of("")) != 3 {
			t.Error("the same policy again changed something")
		}
		policy.Servers = []string{second}
		s.Configure(policy)
		if s.holds(issuer) || !s.holds(second) || !s.holds(learned) || s.Set().Generation == before.Generation {
			t.Errorf("held: %v", s.Set().Issuers())
		}
		if prospect, _ := s.ask(issuer); prospect != keys.Untrusted {
			t.Error("the dropped one is still trusted")
		}
		policy.Trusts = nil
		policy.Refresh = 10 * time.Second
		s.Configure(policy)
		if s.holds(learned) || !s.holds(second) {
			t.Errorf("held: %v", s.Set().Issuers())
		}
		n := len(s.of(second))
		pass(10 * time.Second)
		if len(s.of(second)) == n {
			t.Error("the shorter interval waits for the longer one to end")
		}
		s.Configure(keys.Policy{})
		if len(s.Set().Issuers()) != 0 {
			t.Errorf("held: %v", s.Set().Issuers())
		}
		n = len(s.of(""))
		pass(24 * time.Hour)
		if len(s.of("")) != n {
			t.Error("fetched from an issuer that is not trusted any more")
		}
		if before.Issuer([]byte(issuer)) == nil {
			t.Error("a set that somebody reads was changed")
		}
	})
}

// What comes in from a server that is not trusted any more is thrown away, even if it is trusted again by then.
func TestConfigureWhileFetching(t *testing.T) {
	spec.Rules(t, "KEY-5")
	synctest.Test(t, func(t *testing.T) {
		old, fresh := mint.JWKSOf(mint.FakeJWK("old", 2048)), mint.JWKSOf(mint.FakeJWK("fresh", 2048))
		policy := keys.Policy{Servers: []string{issuer}, Refresh: time.Hour, Retry: retry}
		s := serve(t, policy, func(_ context.Context, _ string, n int) ([]byte, error) {
			if n == 0 {
				time.Sleep(10 * time.Second)
				return old, nil
			}
			time.Sleep(20 * time.Second)
			return fresh, nil
		})
		pass(time.Second)
		s.Configure(keys.Policy{Refresh: time.Hour})
		pass(time.Second)
		s.Configure(policy)
		pass(9 * time.Second)
		if s.holds(issuer) {
			t.Error("keys are held that were fetched under another policy")
		}
		if _, wait := s.ask(issuer); wait <= 0 {
			t.Error("no wait though a fetch is under way")
		}
		pass(retry)
		i := s.Set().Issuer([]byte(issuer))
		if i == nil || i.Keys[0].KID != "fresh" || s.most > 2 || len(s.of(issuer)) != 2 {
			t.Errorf("held %+v after %d fetches, %d concurrently", i, len(s.of(issuer)), s.most)
		}
	})
}

// An event that may make failed fetches succeed makes every fetch due, whether keys are held or not; one under way is
// followed by another, and who says so all the time gains nothing.
func TestRenewNow(t *testing.T) {
	spec.Rules(t, "OPS-1")
	const failing, hangs = "https://failing.example.com", "https://hangs.example.com"
	const unused = "https://unused.example.com"
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{
			Servers: []string{failing, hangs, issuer, unused}, Refresh: time.Hour, Retry: retry,
		}, func(ctx context.Context, issuer string, _ int) ([]byte, error) {
			switch issuer {
			case failing:
				return nil, errDown
			case hangs:
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Second):
				}
				return nil, errDown
			}
			return oneKey, nil
		})
		pass(time.Minute)
		count := func() string {
			return fmt.Sprint(len(s.of(failing)), len(s.of(hangs)), len(s.of(issuer)), len(s.of(unused)))
		}
		before := []int{len(s.of(failing)), len(s.of(hangs)), len(s.of(issuer))}
		s.RenewNow()
		synctest.Wait()
		want := fmt.Sprint(before[0]+1, before[1]+1, before[2]+1, 0)
		if got := count(); got != want {
			t.Errorf("got %s fetches, want %s", got, want)
		}
		s.RenewNow() // while one is under way
		pass(500 * time.Millisecond)
		if got := count(); got != want {
			t.Errorf("a moment later: got %s fetches, want %s", got, want)
		}
		pass(10 * time.Second)
		want = fmt.Sprint(before[0]+2, before[1]+2, before[2]+2, 0)
		if got := count(); got != want {
			t.Errorf("said while one was under way: got %s fetches, want %s", got, want)
		}
		for range 100 {
			s.RenewNow()
			pass(100 * time.Millisecond)
		}
		if n := len(s.of(issuer)) - before[2] - 2; n < 1 || n > 3 {
			t.Errorf("said all the time: got %d fetches in 10 s, want 1 to 3", n)
		}
	})
}
