package keys_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
)

const retry = 30 * time.Second

// below trusts every issuer whose URL starts so.
func below(prefix string) func(string) bool {
	return func(iss string) bool { return strings.HasPrefix(iss, prefix) }
}

// An issuer that is not trusted causes nothing at all; one that a pattern trusts is looked up at once, in the background.
func TestTrust_KEY5(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Trusts: below("https://good."), Refresh: time.Hour, Retry: retry}, always(oneKey))
		for _, iss := range []string{"https://evil.example.com", "", "/", "x", "https://good", issuer} {
			if trusted, wait := s.Want([]byte(iss)); trusted || wait != 0 {
				t.Errorf("%q is trusted, wait %v", iss, wait)
			}
		}
		pass(24 * time.Hour)
		if n := len(s.of("")); n != 0 {
			t.Fatalf("%d fetches", n)
		}
		const good = "https://good.example.com"
		if trusted, wait := s.Want([]byte(good + "/")); !trusted || wait <= 0 || wait > 5*time.Second {
			t.Errorf("trusted is %v, wait %v", trusted, wait)
		}
		synctest.Wait()
		if all := s.of(""); len(all) != 1 || all[0].issuer != good || !s.holds(good) || !s.holds(good+"/") {
			t.Errorf("%d fetches, held: %v", len(all), s.holds(good))
		}
		if trusted, _ := s.Want([]byte(good + "//")); trusted || s.holds(good+"//") {
			t.Error("two slashes are taken for one (CLM-1)")
		}
		pass(10 * time.Hour)
		if n := len(s.of(good)); n < 10 {
			t.Errorf("renewed %d times in 10 hours", n)
		}
	})
}

// However many names tokens bring, a bounded number is followed, and the configured ones are none the worse for it.
func TestLearnedIssuersAreBounded_KEY5(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer}, Trusts: below("https://"), Refresh: time.Hour, Retry: retry},
			func(_ context.Context, name string, _ int) ([]byte, error) {
				if name == issuer || strings.HasPrefix(name, "https://real-") {
					return oneKey, nil
				}
				return nil, errDown
			})
		const most = 16
		for i := range 3600 {
			for n := range 10 {
				if trusted, wait := s.Want(fmt.Appendf(nil, "https://host-%d-%d.example.com", i, n)); !trusted || wait <= 0 {
					t.Fatalf("trusted is %v, wait %v", trusted, wait)
				}
			}
			pass(time.Second)
		}
		if n := len(s.of("")); n > most*(3600/30+1)+10 {
			t.Errorf("%d fetches in an hour", n)
		}
		if n := len(s.of(issuer)); n < 1 || n > 3 || !s.holds(issuer) {
			t.Errorf("the configured issuer was fetched %d times", n)
		}
		// Names that turn out to be real find room among those that did not.
		for n := range 20 {
			name := fmt.Sprintf("https://real-%d.example.com", n)
			for range 600 { // as a controller asks again and again
				if s.Want([]byte(name)); s.holds(name) {
					break
				}
				pass(time.Second)
			}
		}
		held := 0
		for n := range 20 {
			if s.holds(fmt.Sprintf("https://real-%d.example.com", n)) {
				held++
			}
		}
		if held != most || len(s.Set().Issuers()) != most+1 {
			t.Errorf("%d of 20 are held, %d in all; want %d", held, len(s.Set().Issuers()), most)
		}
	})
}

// Servers that tokens name and that hang do not keep the configured one from being asked.
func TestLearnedIssuersThatHang_KEY5(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer}, Trusts: below("https://"), Refresh: time.Hour, Retry: retry},
			func(ctx context.Context, name string, _ int) ([]byte, error) {
				if name == issuer {
					return oneKey, nil
				}
				return hang(ctx)
			})
		for n := range 10 {
			s.Want(fmt.Appendf(nil, "https://host-%d.example.com", n))
		}
		pass(10 * time.Hour)
		if n := len(s.of(issuer)); n < 10 {
			t.Errorf("the configured issuer was fetched %d times in 10 hours", n)
		}
	})
}

// Tokens cause at most one fetch in each Retry, whatever arrives, and their callers are told to wait no longer than that.
func TestWantIsBounded_KEY6(t *testing.T) {
	for name, answer := range map[string]func(context.Context, string, int) ([]byte, error){
		"good":    always(oneKey),
		"failing": func(context.Context, string, int) ([]byte, error) { return nil, errDown },
		"slow": func(context.Context, string, int) ([]byte, error) {
			time.Sleep(7 * time.Second)
			return oneKey, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: 24 * time.Hour, Retry: retry}, answer)
				pass(12 * time.Hour)
				before := len(s.of(issuer))
				for range 20_000 {
					if trusted, wait := s.Want([]byte(issuer)); !trusted || wait <= 0 || wait > retry+2*time.Second {
						t.Fatalf("trusted is %v, wait %v", trusted, wait)
					}
					pass(50 * time.Millisecond)
				}
				all := s.of(issuer)[max(0, before-1):]
				if least := slices.Min(gaps(all)); least < retry {
					t.Errorf("two fetches %v apart", least)
				}
				if n := len(all); n < 25 || n > 1000/30+3 {
					t.Errorf("%d fetches in 1,000 s", n)
				}
			})
		})
	}
}

// A fetch for a token comes between those of the schedule and does not move them: a token of a new key reaches all devices at the
// same time, and they must not come together every hour from then on.
func TestWantKeepsSchedule_KEY1_KEY6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var devices []*servers
		for range 100 {
			policy := keys.Policy{Servers: []string{issuer}, Refresh: time.Hour, Retry: retry}
			devices = append(devices, serve(t, policy, always(oneKey)))
		}
		pass(2 * time.Hour)
		now := time.Now()
		for _, s := range devices {
			s.Want([]byte(issuer))
		}
		pass(time.Hour)
		var waits []time.Duration
		for _, s := range devices {
			all := s.of(issuer)
			token := slices.IndexFunc(all, func(a *attempt) bool { return !a.at.Before(now) })
			if token < 0 || token+1 == len(all) {
				t.Fatalf("%d fetches, and not two of them in the hour after a token", len(all))
			}
			waits = append(waits, all[token+1].at.Sub(all[token].at))
		}
		slices.Sort(waits)
		if low, middle, high := waits[0], waits[50], waits[99]; low > 10*time.Minute || high < 50*time.Minute ||
			middle < 15*time.Minute || middle > 45*time.Minute {
			t.Errorf("the next fetch comes %v to %v later, %v in the middle: not spread over the hour", low, high, middle)
		}
	})
}

// A key that was looked for and is not there is looked for again, but seldom: whoever repeats a forged token gains nothing.
func TestSuspect_KEY6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: 24 * time.Hour, Retry: retry}, always(oneKey))
		pass(time.Second)
		s.Suspect([]byte("https://unknown.example.com"))
		before := len(s.of(issuer))
		for range 3600 {
			s.Suspect([]byte(issuer + "/"))
			pass(time.Second)
		}
		if n := len(s.of(issuer)) - before; n < 10 || n > 13 {
			t.Errorf("%d fetches in an hour of forged tokens, with %v between those that a first one may cause", n, retry)
		}
		if len(s.of("")) != len(s.of(issuer)) {
			t.Error("an issuer that is not followed was asked")
		}
	})
}

// Without tokens that ask for it nothing is fetched before its time.
func TestNoTokenNoFetch_KEY6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: time.Hour, Retry: retry}, always(oneKey))
		pass(58 * time.Minute)
		if n := len(s.of("")); n > 2 { // the first interval is a part of the hour, and the next the hour
			t.Errorf("%d fetches", n)
		}
	})
}

// A changed policy is in force at once: keys of issuers that it does not trust are gone, those of others stay.
func TestConfigure_KEY5_KEY7(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const second, learned = "https://second.example.com", "https://learned.example.com"
		policy := keys.Policy{Servers: []string{issuer + "/", second}, Trusts: below(learned), Refresh: time.Hour, Retry: retry}
		s := serve(t, policy, always(oneKey))
		s.Want([]byte(learned))
		s.Want([]byte(second))
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
		if trusted, _ := s.Want([]byte(issuer)); trusted {
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
func TestConfigureWhileFetching_KEY5(t *testing.T) {
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
		if _, wait := s.Want([]byte(issuer)); wait <= 0 {
			t.Error("no wait though a fetch is under way")
		}
		pass(retry)
		i := s.Set().Issuer([]byte(issuer))
		if i == nil || i.Keys[0].KID != "fresh" || s.most > 2 || len(s.of(issuer)) != 2 {
			t.Errorf("held %+v after %d fetches, %d at once", i, len(s.of(issuer)), s.most)
		}
	})
}
