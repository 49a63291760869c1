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
	"nmosauthd/tinytest/spec"
)

const retry = 30 * time.Second

// hardlyEver is an interval so long that no fetch of the schedule, whose first place in it is random, comes into a
// test.
const hardlyEver = 100 * 365 * 24 * time.Hour

// below trusts every issuer whose URL starts so.
func below(prefix string) func(string) bool {
	return func(iss string) bool { return strings.HasPrefix(iss, prefix) }
}

// An issuer that is not trusted causes nothing at all; one that a pattern trusts is looked up immediately, in the
// background.
func TestTrust(t *testing.T) {
	spec.Rules(t, "KEY-5")
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Trusts: below("https://good."), Refresh: time.Hour, Retry: retry}, always(oneKey))
		for _, iss := range []string{"https://evil.example.com", "", "/", "x", "https://good", issuer} {
			if prospect, wait := s.ask(iss); prospect != keys.Untrusted || wait != 0 {
				t.Errorf("%q: got prospect %v, wait %v; want it not trusted", iss, prospect, wait)
			}
		}
		pass(24 * time.Hour)
		if n := len(s.of("")); n != 0 {
			t.Fatalf("%d fetches", n)
		}
		const good = "https://good.example.com"
		if prospect, wait := s.ask(good + "/"); prospect != keys.Awaited || wait <= 0 || wait > 5*time.Second {
			t.Errorf("got prospect %v, wait %v; want it awaited within 5 s", prospect, wait)
		}
		synctest.Wait()
		if all := s.of(""); len(all) != 1 || all[0].issuer != good || !s.holds(good) || !s.holds(good+"/") {
			t.Errorf("%d fetches, held: %v", len(all), s.holds(good))
		}
		if prospect, _ := s.ask(good + "//"); prospect != keys.Untrusted || s.holds(good+"//") {
			t.Error("two slashes are taken for one (CLM-1)")
		}
		pass(10 * time.Hour)
		if n := len(s.of(good)); n < 10 {
			t.Errorf("renewed %d times in 10 hours", n)
		}
	})
}

// However tokens pour in, none of them seen before, they cause at most one fetch in each Retry, whatever their kids,
// and callers are told to wait no longer than that. A server that fails is left alone until its back-off has passed
// (KEY-2).
func TestFetchesForTokensAreBounded(t *testing.T) {
	spec.Rules(t, "KEY-6")
	for name, answer := range map[string]func(context.Context, string, int) ([]byte, error){
		"good":    always(oneKey),
		"failing": func(context.Context, string, int) ([]byte, error) { return nil, errDown },
		"fails later": func(_ context.Context, _ string, n int) ([]byte, error) {
			if n == 0 {
				return oneKey, nil
			}
			return nil, errDown
		},
		"slow": func(context.Context, string, int) ([]byte, error) {
			time.Sleep(7 * time.Second)
			return oneKey, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: hardlyEver, Retry: retry}, answer)
				pass(time.Minute)
				began := time.Now()
				for n := range 20_000 {
					kid := []keys.KID{keys.KIDUnknown, keys.KIDHeld, keys.KIDRetired}[n%3]
					prospect, wait := s.Seek(s.Set(), []byte(issuer), fmt.Append(nil, n), kid)
					want := keys.Awaited
					if kid != keys.KIDUnknown && s.holds(issuer) {
						want = keys.Hopeless
					}
					if prospect != want {
						t.Fatalf("kid %v: got prospect %v, want %v", kid, prospect, want)
					}
					most := retry + 2*time.Second
					if strings.HasPrefix(name, "fail") {
						most = 7*time.Minute + 32*time.Second // half of five minutes more than five minutes
					}
					if prospect == keys.Awaited && (wait <= 0 || wait > most) {
						t.Fatalf("got a wait of %v, want up to %v", wait, most)
					}
					pass(50 * time.Millisecond)
				}
				all := s.of(issuer)
				all = all[slices.IndexFunc(all, func(a *attempt) bool { return !a.at.Before(began) }):]
				least, first := retry, 25
				switch name {
				case "failing": // for a minute already
					least, first = 16*time.Second, 3
				case "fails later": // 1, 2, 4 s later, or as long as Retry has it
					first = 6
				}
				if got := slices.Min(gaps(all)); got < least {
					t.Errorf("got two fetches %v apart, want at least %v", got, least)
				}
				if got := len(all); got < first || got > 1000/30+1 {
					t.Errorf("got %d fetches in 1,000 s, want %d to %d", got, first, 1000/30+1)
				}
				if strings.HasPrefix(name, "fail") {
					if got := slices.Max(gaps(all)); got < 2*time.Minute || got > 7*time.Minute+30*time.Second {
						t.Errorf("got waits of up to %v after failures; want them to grow to five minutes, half of "+
							"that more or less", got)
					}
				}
			})
		})
	}
}

// A token whose kid is unknown is awaited until a fetch has succeeded that began after it was first seen; then it is
// refused.
func TestAwaitedUntilFetched(t *testing.T) {
	spec.Rules(t, "KEY-6", "ANS-5")
	synctest.Test(t, func(t *testing.T) {
		const took = 5 * time.Second
		outcomes := map[int]error{2: errDown}
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: hardlyEver, Retry: retry},
			func(_ context.Context, _ string, n int) ([]byte, error) {
				time.Sleep(took)
				return oneKey, outcomes[n]
			})
		check := func(when, token string, want keys.Prospect) {
			t.Helper()
			if got, wait := s.askAgain(issuer, token); got != want || (got == keys.Awaited) != (wait > 0) {
				t.Errorf("%s: got %v, wait %v; want %v", when, got, wait, want)
			}
		}
		fetches := func(want int) {
			t.Helper()
			if got := len(s.of(issuer)); got != want {
				t.Fatalf("got %d fetches, want %d", got, want)
			}
		}
		check("no keys yet, and they are being fetched", "zero", keys.Awaited)
		pass(took)
		check("that fetch began before it was seen", "zero", keys.Awaited)
		synctest.Wait()
		fetches(2) // the first was not for a token
		check("seen while the second is under way", "one", keys.Awaited)
		pass(took)
		check("the second began after it was seen", "zero", keys.Hopeless)
		check("the second began before it was seen", "one", keys.Awaited)
		pass(retry - took - time.Second)
		fetches(2)
		pass(time.Second)
		fetches(3)
		pass(took)
		check("a fetch failed", "one", keys.Awaited)
		check("new, after a fetch failed", "two", keys.Awaited)
		pass(retry - took)
		fetches(4)
		check("while the next is under way", "one", keys.Awaited)
		pass(took)
		check("fetched at last", "one", keys.Hopeless)
		check("fetched at last", "two", keys.Hopeless)
		check("and again", "two", keys.Hopeless)
		check("new", "three", keys.Awaited)
	})
}

// The keys that decide are those that the token was checked by. If others have come since, it has to be checked
// again: by them it may be good.
func TestKeysThatCameMeanwhile(t *testing.T) {
	spec.Rules(t, "KEY-6")
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: hardlyEver, Retry: retry}, always(oneKey))
		pass(time.Minute)
		before := s.Set()
		s.askAgain(issuer, "token")
		synctest.Wait()
		if s.Set() == before {
			t.Fatal("nothing was fetched for the token")
		}
		fetches := len(s.of(issuer))
		for _, kid := range []keys.KID{keys.KIDUnknown, keys.KIDHeld, keys.KIDRetired} {
			got, wait := s.Seek(before, []byte(issuer), []byte("token"), kid)
			if got != keys.Stale || wait <= 0 || wait > 5*time.Second {
				t.Errorf("checked by the keys before, kid %v: got %v, wait %v; want stale, and soon", kid, got, wait)
			}
		}
		synctest.Wait()
		if got := len(s.of(issuer)) - fetches; got != 0 {
			t.Errorf("got %d fetches for a token that has to be checked again, want none", got)
		}
		if got, _ := s.Seek(s.Set(), []byte(issuer), []byte("token"), keys.KIDUnknown); got != keys.Hopeless {
			t.Errorf("checked by the new keys: got %v, want hopeless", got)
		}
	})
}

// A token whose kid is known, or retired, is refused immediately, and has the keys fetched all the same: a server
// that was rebuilt under the same kid is found before the next hour.
func TestKnownKidFetches(t *testing.T) {
	spec.Rules(t, "KEY-6")
	for _, kid := range []keys.KID{keys.KIDHeld, keys.KIDRetired} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: hardlyEver, Retry: retry}, always(oneKey))
			pass(time.Minute)
			before := len(s.of(issuer))
			for _, token := range []string{"one", "one", "two"} {
				if got, wait := s.Seek(s.Set(), []byte(issuer), []byte(token), kid); got != keys.Hopeless || wait != 0 {
					t.Errorf("kid %v, token %s: got %v, wait %v; want hopeless", kid, token, got, wait)
				}
				pass(time.Second)
			}
			if got := len(s.of(issuer)) - before; got != 1 {
				t.Errorf("kid %v: got %d fetches, want 1", kid, got)
			}
			pass(retry)
			if got := len(s.of(issuer)) - before; got != 2 {
				t.Errorf("kid %v: got %d fetches after the second token's turn, want 2", kid, got)
			}
		})
	}
}

// Whoever repeats a token that a fetch did not help gains a fetch in ten intervals. A new token has its own meanwhile.
func TestPatience(t *testing.T) {
	spec.Rules(t, "KEY-6")
	for _, kid := range []keys.KID{keys.KIDUnknown, keys.KIDHeld, keys.KIDRetired} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: hardlyEver, Retry: retry}, always(oneKey))
			pass(time.Minute)
			before := len(s.of(issuer))
			for range 3600 {
				s.Seek(s.Set(), []byte(issuer+"/"), []byte("forged"), kid)
				pass(time.Second)
			}
			all := s.of(issuer)[before:]
			if n := len(all); n < 12 || n > 13 {
				t.Errorf("kid %v: got %d fetches in an hour of one forged token, want 12 or 13", kid, n)
			}
			if got := slices.Min(gaps(all)); got < 10*retry {
				t.Errorf("kid %v: got two fetches %v apart, want at least %v", kid, got, 10*retry)
			}
			pass(retry)
			before = len(s.of(issuer))
			s.ask(issuer)
			synctest.Wait()
			if got := len(s.of(issuer)) - before; got != 1 {
				t.Errorf("kid %v: got %d fetches for a new token, want 1", kid, got)
			}
			if len(s.of("")) != len(s.of(issuer)) {
				t.Error("an issuer that is not followed was asked")
			}
		})
	}
}

// A key that is published while forged tokens pour in, of all kinds, is held within two intervals.
func TestKeyPublishedInAFlood(t *testing.T) {
	spec.Rules(t, "KEY-6")
	synctest.Test(t, func(t *testing.T) {
		published := time.Now().Add(300 * 24 * time.Hour)
		s := serve(t, keys.Policy{Servers: []string{issuer}, Trusts: below("https://"), Refresh: hardlyEver,
			Retry: retry}, func(_ context.Context, name string, _ int) ([]byte, error) {
			switch {
			case name != issuer:
				return nil, errDown
			case time.Now().Before(published):
				return oneKey, nil
			}
			return mint.JWKSOf(mint.FakeJWK("one", 2048), mint.FakeJWK("new", 2048)), nil
		})
		for n := range 5 * 3600 {
			s.Seek(s.Set(), []byte(issuer), fmt.Append(nil, n), keys.KIDHeld)
			s.Seek(s.Set(), []byte(issuer), fmt.Append(nil, n%1000, "repeated"), keys.KIDRetired)
			s.ask(issuer)
			s.ask(fmt.Sprintf("https://host-%d.example.com", n))
			pass(time.Second)
			if n == 3600+7 {
				published = time.Now()
			}
			if time.Since(published) >= 2*retry {
				if got := s.Set().Issuer([]byte(issuer)).KID([]byte("new")); got != keys.KIDHeld {
					t.Fatalf("two intervals after it was published the key is not held")
				}
				return
			}
		}
	})
}

// What is remembered of tokens is bounded: one that has made room for others counts as new.
func TestSightsAreBounded(t *testing.T) {
	spec.Rules(t, "KEY-6")
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: hardlyEver, Retry: retry}, always(oneKey))
		pass(time.Minute)
		s.askAgain(issuer, "early")
		pass(time.Second)
		for n := range 500 { // as many as fit beside it for sure, or nearly so
			s.askAgain(issuer, fmt.Sprint("few ", n%50))
		}
		if got, _ := s.askAgain(issuer, "early"); got != keys.Hopeless {
			t.Errorf("after fifty others: got %v, want hopeless: it is remembered", got)
		}
		for range 100_000 {
			s.ask(issuer)
		}
		if got, _ := s.askAgain(issuer, "early"); got != keys.Awaited {
			t.Errorf("after 100,000 others: got %v, want awaited: it is new", got)
		}
	})
}

// A fetch for a token comes between those of the schedule and does not move them: a token of a new key reaches all
// devices at the same time, and they must not come together every hour from then on.
func TestWantKeepsSchedule(t *testing.T) {
	spec.Rules(t, "KEY-1", "KEY-6")
	synctest.Test(t, func(t *testing.T) {
		var devices []*servers
		for range 100 {
			policy := keys.Policy{Servers: []string{issuer}, Refresh: time.Hour, Retry: retry}
			devices = append(devices, serve(t, policy, always(oneKey)))
		}
		pass(2 * time.Hour)
		now := time.Now()
		for _, s := range devices {
			s.ask(issuer)
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
			t.Errorf("the next fetch comes %v to %v later, %v in the middle: not spread over the hour",
				low, high, middle)
		}
	})
}

// Without tokens that ask for it nothing is fetched before its time.
func TestNoTokenNoFetch(t *testing.T) {
	spec.Rules(t, "KEY-6")
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: time.Hour, Retry: retry}, always(oneKey))
		pass(58 * time.Minute)
		if n := len(s.of("")); n > 2 { // the first interval is a part of the hour, and the next the hour
			t.Errorf("%d fetches", n)
		}
	})
}
