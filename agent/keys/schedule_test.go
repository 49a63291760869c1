package keys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

var errDown = errors.New("the server is down")

// The interval, less a random part of up to a minute; of a short interval half remains. The first time it is any part
// of it.
func TestRefresh(t *testing.T) {
	spec.Rules(t, "KEY-1")
	for _, c := range []struct{ refresh, least time.Duration }{
		{time.Hour, 59 * time.Minute}, {24 * time.Hour, 24*time.Hour - time.Minute},
		{5 * time.Second, 2500 * time.Millisecond},
		{90 * time.Second, 45 * time.Second},
	} {
		t.Run(c.refresh.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: c.refresh}, always(oneKey))
				pass(200 * c.refresh)
				all := gaps(s.of(issuer))
				if all[0] < time.Second || all[0] > c.refresh {
					t.Errorf("the first interval is %v", all[0])
				}
				all = all[1:]
				low, high := slices.Min(all), slices.Max(all)
				if len(all) < 198 || low < c.least || high > c.refresh {
					t.Errorf("%d fetches, %v to %v apart; want %v to %v", len(all), low, high, c.least, c.refresh)
				}
				if spread := c.refresh - c.least; low > c.least+spread/10 || high < c.refresh-spread/10 {
					t.Errorf("%v to %v apart does not use the range of %v to %v", low, high, c.least, c.refresh)
				}
				slices.Sort(all)
				if different := len(slices.Compact(all)); different < 188 {
					t.Errorf("only %d different intervals in 200: not random", different)
				}
			})
		})
	}
}

// Devices that start together must not come together.
func TestRefreshDiffersBetweenDevices(t *testing.T) {
	spec.Rules(t, "KEY-1")
	synctest.Test(t, func(t *testing.T) {
		var seconds []time.Time
		for range 20 {
			s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: time.Hour}, always(oneKey))
			t0 := time.Now()
			pass(time.Hour)
			seconds = append(seconds, time.Time{}.Add(s.of(issuer)[1].at.Sub(t0)))
		}
		slices.SortFunc(seconds, time.Time.Compare)
		if n := len(slices.CompactFunc(seconds, time.Time.Equal)); n < 19 {
			t.Errorf("20 devices came at %d different times", n)
		}
	})
}

// A shorter interval, which all devices may get at the same time, does not bring them together.
func TestShorterRefreshDiffersBetweenDevices(t *testing.T) {
	spec.Rules(t, "KEY-1")
	synctest.Test(t, func(t *testing.T) {
		policy := keys.Policy{Servers: []string{issuer}, Refresh: 24 * time.Hour, Retry: retry}
		var devices []*servers
		for range 40 {
			devices = append(devices, serve(t, policy, always(oneKey)))
		}
		pass(48 * time.Hour)
		now := time.Now()
		policy.Refresh = time.Hour
		for _, s := range devices {
			s.Configure(policy)
		}
		pass(time.Hour)
		var waits []time.Duration
		for _, s := range devices {
			all := s.of(issuer)
			next := slices.IndexFunc(all, func(a *attempt) bool { return a.at.After(now) })
			if next < 0 {
				t.Fatal("not fetched within the shorter interval")
			}
			waits = append(waits, all[next].at.Sub(now))
		}
		slices.Sort(waits)
		if low, middle, high := waits[0], waits[20], waits[39]; low > 15*time.Minute || high < 45*time.Minute ||
			middle < 10*time.Minute || middle > 50*time.Minute {
			t.Errorf("they come %v to %v later, %v in the middle: not spread over the hour", low, high, middle)
		}
	})
}

// Each failure doubles the wait, moved at random by a half; a success starts over, anywhere in the interval. Without
// keys it goes from a second to five minutes; with keys, which stay good, from a quarter of the interval to half of
// it.
func TestBackOff(t *testing.T) {
	spec.Rules(t, "KEY-2", "KEY-3")
	synctest.Test(t, func(t *testing.T) {
		const without, with = 15, 8 // failures in a row before keys are held, and after each success then
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: time.Hour},
			func(_ context.Context, _ string, n int) ([]byte, error) {
				if n >= without && (n-without)%(with+1) == 0 {
					return oneKey, nil
				}
				return nil, errDown
			})
		pass(48 * time.Hour)
		all := gaps(s.of(issuer))
		if len(all) < without+3*(with+1) {
			t.Fatalf("%d attempts only", len(all))
		}
		check := func(what string, gap, base time.Duration) {
			t.Helper()
			if gap < base/2 || gap > base*3/2 {
				t.Errorf("%v after %s; want a half to one and a half of %v", gap, what, base)
			}
		}
		for i, gap := range all[:without] {
			check(fmt.Sprint("failure ", i+1), gap, min(time.Second<<i, 5*time.Minute))
		}
		later := all[without:]
		for i, gap := range later {
			switch n := i % (with + 1); {
			case n > 0:
				check(fmt.Sprint("failure with keys ", n), gap, min(15*time.Minute<<(n-1), 30*time.Minute))
			case gap < time.Second || gap > time.Hour:
				t.Errorf("%v after a success", gap)
			}
		}
		if slices.Equal(later[1:with+1], later[with+2:2*(with+1)]) {
			t.Error("the same intervals both times: not random")
		}
	})
}

// The servers are tried in their order, the next immediately when one fails; while one answers, those behind it are
// left alone.
func TestServerOrder(t *testing.T) {
	spec.Rules(t, "KEY-1", "KEY-2")
	const first, second, third = "https://a.example.com", "https://b.example.com", "https://c.example.com"
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		down := map[string]bool{}
		fail := func(name string) {
			mu.Lock()
			defer mu.Unlock()
			down[name] = true
		}
		s := serve(t, keys.Policy{Servers: []string{first, second, third}, Refresh: time.Hour, Retry: retry},
			func(_ context.Context, name string, _ int) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				if down[name] {
					return nil, errDown
				}
				return oneKey, nil
			})
		pass(3 * time.Hour)
		if !s.holds(first) || len(s.of(first)) < 3 || len(s.of(second))+len(s.of(third)) != 0 {
			t.Errorf("the first answers, and there were %d, %d, %d fetches",
				len(s.of(first)), len(s.of(second)), len(s.of(third)))
		}
		fail(first)
		pass(time.Hour)
		if !s.holds(first) || !s.holds(second) || len(s.of(third)) != 0 {
			t.Error("the first fails, and the second was not asked, or the third was, or keys were lost")
		}
		failed := s.of(first)[len(s.of(first))-1].at
		for _, a := range s.of(first) {
			if a.event.Err != nil {
				failed = a.at
				break
			}
		}
		if at := s.of(second)[0].at; at != failed {
			t.Errorf("the second was asked %v after the first failed", at.Sub(failed))
		}
		fail(second)
		pass(2 * time.Hour)
		if !s.holds(third) {
			t.Error("the third is not asked though the others fail")
		}
		fail(third)
		before := s.Set()
		pass(48 * time.Hour)
		if s.Set() != before {
			t.Error("keys changed while no server answered")
		}
		mu.Lock()
		clear(down)
		mu.Unlock()
		at := time.Now()
		pass(time.Hour)
		if last := s.of(first); last[len(last)-1].event.Err != nil || time.Since(at) > time.Hour {
			t.Error("the first is well again, and was not asked within the hour")
		}
	})
}

// A server of which no keys are held is asked again without haste where those of another are: the device can decide.
func TestBackOffWithAnothersKeys(t *testing.T) {
	spec.Rules(t, "KEY-2")
	const dead = "https://dead.example.com"
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{dead, issuer}, Refresh: time.Hour},
			func(_ context.Context, name string, _ int) ([]byte, error) {
				if name == dead {
					return nil, errDown
				}
				return oneKey, nil
			})
		if !s.holds(issuer) {
			t.Fatal("the second was not asked immediately")
		}
		pass(24 * time.Hour)
		all := gaps(s.of(dead))
		// the first wait began before keys were held
		if least := slices.Min(all[1:]); len(all) < 24 || least < 7*time.Minute {
			t.Errorf("asked %d times in a day, %v apart at least", len(all), least)
		}
	})
}

// The back-off never makes it wait longer than it would if all were well, more or less.
func TestBackOffWithShortRefresh(t *testing.T) {
	spec.Rules(t, "KEY-2")
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: 5 * time.Second},
			func(context.Context, string, int) ([]byte, error) { return nil, errDown })
		pass(10 * time.Minute)
		if longest := slices.Max(gaps(s.of(issuer))); longest > 7500*time.Millisecond {
			t.Errorf("waited %v", longest)
		}
	})
}

// Whatever a server answers, the keys held before stay, and each attempt is reported.
func TestFailureKeepsKeys(t *testing.T) {
	spec.Rules(t, "KEY-3", "KEY-8")
	thousand := make([]mint.JWK, 1000)
	for i := range thousand {
		thousand[i] = mint.FakeJWK(fmt.Sprint(i), 2048)
	}
	bad := map[string][]byte{
		"nothing": nil, "HTML": []byte("<html>busy</html>"), "half": oneKey[:len(oneKey)/2], "no keys": mint.JWKSOf(),
		"1,000 keys": mint.JWKSOf(thousand...), "a small key": mint.JWKSOf(mint.FakeJWK("small", 1024)),
		"10 MB": append(slices.Clone(oneKey), make([]byte, 10<<20)...),
	}
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for name := range bad {
			names = append(names, name)
		}
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: time.Hour},
			func(_ context.Context, _ string, n int) ([]byte, error) {
				if n == 0 {
					return oneKey, nil
				}
				if n <= len(names) {
					return bad[names[n-1]], nil
				}
				return nil, errDown
			})
		before := s.Set()
		pass(30 * 24 * time.Hour)
		if s.Set() != before || !s.holds(issuer) {
			t.Error("the keys changed")
		}
		for i, a := range s.of(issuer)[1:] {
			name := "down"
			if i < len(names) {
				name = names[i]
			}
			if a.event == nil || a.event.Err == nil || a.event.Keys != 1 || a.event.Changed || a.event.Next <= 0 {
				t.Fatalf("%s: reported %+v", name, a.event)
			}
		}
	})
}

// A server that hangs is one that failed: the next has its turn, and issuers that tokens name are not held up.
func TestHangingServers(t *testing.T) {
	spec.Rules(t, "KEY-2")
	synctest.Test(t, func(t *testing.T) {
		hanging := []string{"https://a.example.com", "https://b.example.com", "https://c.example.com"}
		s := serve(t, keys.Policy{Servers: append(hanging, issuer), Trusts: below("https://learned"),
			Refresh: time.Hour}, func(ctx context.Context, name string, _ int) ([]byte, error) {
			if slices.Contains(hanging, name) {
				return hang(ctx)
			}
			return oneKey, nil
		})
		s.ask("https://learned.example.com")
		synctest.Wait()
		if !s.holds("https://learned.example.com") {
			t.Error("an issuer that a token names waits for a server that hangs")
		}
		pass(time.Minute)
		if !s.holds(issuer) {
			t.Error("the fourth server was not asked within a minute, though those before it hang")
		}
		pass(10 * time.Hour)
		if n := len(s.of(issuer)); n < 10 {
			t.Errorf("fetched %d times in 10 hours", n)
		}
		if s.most > 1 {
			t.Errorf("%d concurrent fetches from one issuer, want 1", s.most)
		}
	})
}

// Run returns when its context ends, with no fetch under way.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		store := keys.NewStore(func(ctx context.Context, _ string) ([]byte, error) { return hang(ctx) },
			func(e keys.Event) {
				t.Errorf("reported %+v though nobody waits for it", e)
			})
		store.Configure(keys.Policy{Servers: []string{issuer}, Refresh: time.Hour})
		ended := make(chan struct{})
		go func() { store.Run(ctx); close(ended) }()
		pass(10 * time.Second)
		cancel()
		<-ended
	})
}
