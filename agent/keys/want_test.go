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

// hardlyEver is an interval so long that no fetch of the schedule, whose first place in it is random, comes into a
// test.
const hardlyEver = 100 * 365 * 24 * time.Hour

// below trusts every issuer whose URL starts so.
func below(prefix string) func(string) bool {
	return func(iss string) bool { return strings.HasPrefix(iss, prefix) }
}

// An issuer that is not trusted causes nothing at all; one that a pattern trusts is looked up immediately, in the
// background.
func TestTrust_KEY5(t *testing.T) {
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
				if prospect, wait := s.ask(fmt.Sprintf("https://host-%d-%d.example.com", i, n)); prospect != keys.Awaited || wait <= 0 {
					t.Fatalf("got prospect %v, wait %v", prospect, wait)
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
				if s.ask(name); s.holds(name) {
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
			s.ask(fmt.Sprintf("https://host-%d.example.com", n))
		}
		pass(10 * time.Hour)
		if n := len(s.of(issuer)); n < 10 {
			t.Errorf("the configured issuer was fetched %d times in 10 hours", n)
		}
	})
}

// However tokens pour in, none of them seen before, they cause at most one fetch in each Retry, whatever their kids,
// and callers are told to wait no longer than that. A server that fails is left alone until its back-off has passed
// (KEY-2).
func TestFetchesForTokensAreBounded_KEY6(t *testing.T) {
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
						t.Errorf("got waits of up to %v after failures; want them to grow to five minutes, half of that more or less", got)
					}
				}
			})
		})
	}
}

// A token whose kid is unknown is awaited until a fetch has succeeded that began after it was first seen; then it is
// refused.
func TestAwaitedUntilFetched_KEY6_ANS5(t *testing.T) {
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
func TestKeysThatCameMeanwhile_KEY6(t *testing.T) {
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
func TestKnownKidFetches_KEY6(t *testing.T) {
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
func TestPatience_KEY6(t *testing.T) {
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
func TestKeyPublishedInAFlood_KEY6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		published := time.Now().Add(300 * 24 * time.Hour)
		s := serve(t, keys.Policy{Servers: []string{issuer}, Trusts: below("https://"), Refresh: hardlyEver, Retry: retry},
			func(_ context.Context, name string, _ int) ([]byte, error) {
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
func TestSightsAreBounded_KEY6(t *testing.T) {
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

// Of issuers that are new to the device four are looked up in each interval, whatever names tokens bring, and sixteen
// are followed.
func TestLookUpsOfNewIssuers_KEY5_KEY6(t *testing.T) {
	for name, answer := range map[string]func(context.Context, string, int) ([]byte, error){
		"failing": func(context.Context, string, int) ([]byte, error) { return nil, errDown },
		"good":    always(oneKey),
		"hanging": func(ctx context.Context, _ string, _ int) ([]byte, error) { return hang(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, keys.Policy{Trusts: below("https://"), Refresh: hardlyEver, Retry: retry}, answer)
				for n := range 3600 {
					if prospect, wait := s.ask(fmt.Sprintf("https://host-%d.example.com", n)); prospect != keys.Awaited || wait <= 0 {
						t.Fatalf("got prospect %v, wait %v; want it awaited", prospect, wait)
					}
					pass(time.Second)
				}
				var all []*attempt
				for _, a := range s.of("") {
					if len(s.of(a.issuer)) == 1 || name != "good" { // what is learned is fetched again at its time
						all = append(all, a)
					}
				}
				for i := 4; i < len(all); i++ {
					if got := all[i].at.Sub(all[i-4].at); got < retry {
						t.Fatalf("got five look-ups within %v, want at least %v between the first and the last", got, retry)
					}
				}
				if got := len(s.Set().Issuers()); name == "good" && got != 16 {
					t.Errorf("got %d issuers learned, want 16", got)
				} else if name == "failing" && len(all) < 3600/30*4-8 {
					t.Errorf("got %d look-ups in an hour, want four in each interval", len(all))
				}
			})
		})
	}
}

// A fetch for a token comes between those of the schedule and does not move them: a token of a new key reaches all
// devices at the same time, and they must not come together every hour from then on.
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
			t.Errorf("the next fetch comes %v to %v later, %v in the middle: not spread over the hour", low, high, middle)
		}
	})
}

// Look-ups of new issuers are limited; the servers of the configuration and issuers with keys are not.
func TestLookUpsLimitNobodyElse_KEY2_KEY6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var servers []string
		for n := range 9 {
			servers = append(servers, fmt.Sprintf("https://server-%d.example.com", n))
		}
		s := serve(t, keys.Policy{Servers: servers, Trusts: below("https://learned"), Refresh: 10 * time.Minute, Retry: retry},
			func(_ context.Context, name string, n int) ([]byte, error) {
				if strings.HasPrefix(name, "https://learned") {
					return oneKey, nil
				}
				return nil, errDown
			})
		pass(time.Second)
		for _, name := range servers {
			if len(s.of(name)) == 0 {
				t.Errorf("%s was not tried within a second", name)
			}
		}
		for n := range 8 { // two intervals' worth
			s.ask(fmt.Sprintf("https://learned-%d.example.com", n))
		}
		pass(retry)
		if got := len(s.Set().Issuers()); got != 8 {
			t.Fatalf("got %d issuers learned after an interval, want 8", got)
		}
		for n := range 8 {
			before := len(s.of(fmt.Sprintf("https://learned-%d.example.com", n)))
			pass(retry)
			s.ask(fmt.Sprintf("https://learned-%d.example.com", n))
			synctest.Wait()
			if got := len(s.of(fmt.Sprintf("https://learned-%d.example.com", n))); got <= before {
				t.Error("an issuer whose keys are held was not asked for a new token")
			}
		}
	})
}

// Where sixteen names that tokens brought led nowhere, the seventeenth takes the place of one, and is looked up as it
// is.
func TestRoomForOneMore_KEY5_KEY6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const real = "https://real.example.com"
		s := serve(t, keys.Policy{Trusts: below("https://"), Refresh: time.Hour, Retry: retry},
			func(_ context.Context, name string, _ int) ([]byte, error) {
				if name == real {
					return oneKey, nil
				}
				return nil, errDown
			})
		for n := range 16 {
			s.ask(fmt.Sprintf("https://host-%d.example.com", n))
		}
		if _, wait := s.ask(real); wait != retry {
			t.Errorf("got a wait of %v while there is no room, want %v", wait, retry)
		}
		pass(10 * retry)
		s.ask(real)
		pass(4*retry + time.Second) // all of the fifteen others may have waited longer
		if !s.holds(real) {
			t.Error("asked for once when there was room, and not looked up")
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

// A changed policy applies immediately: keys of issuers that it does not trust are gone, those of others stay.
func TestConfigure_KEY5_KEY7(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const second, learned = "https://second.example.com", "https://learned.example.com"
		policy := keys.Policy{Servers: []string{issuer + "/", second}, Trusts: below(learned), Refresh: time.Hour, Retry: retry}
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
func TestRenewNow_OPS1(t *testing.T) {
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
