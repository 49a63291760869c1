package keys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
)

var errDown = errors.New("the server is down")

// The interval, less a random part of up to a minute; of a short interval half remains.
func TestRefresh_KEY1(t *testing.T) {
	for _, c := range []struct{ refresh, least time.Duration }{
		{time.Hour, 59 * time.Minute}, {24 * time.Hour, 24*time.Hour - time.Minute}, {5 * time.Second, 2500 * time.Millisecond},
		{90 * time.Second, 45 * time.Second},
	} {
		t.Run(c.refresh.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: c.refresh}, always(oneKey))
				pass(200 * c.refresh)
				all := gaps(s.of(issuer))
				low, high := slices.Min(all), slices.Max(all)
				if len(all) < 200 || low < c.least || high > c.refresh {
					t.Errorf("%d fetches, %v to %v apart; want %v to %v", len(all), low, high, c.least, c.refresh)
				}
				if spread := c.refresh - c.least; low > c.least+spread/10 || high < c.refresh-spread/10 {
					t.Errorf("%v to %v apart does not use the range of %v to %v", low, high, c.least, c.refresh)
				}
				slices.Sort(all)
				if different := len(slices.Compact(all)); different < 190 {
					t.Errorf("only %d different intervals in 200: not random", different)
				}
			})
		})
	}
}

// Devices that start together must not come together.
func TestRefreshDiffersBetweenDevices_KEY1(t *testing.T) {
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

// Each failure doubles the wait, from a second to five minutes, moved at random by a half; a success starts anew.
func TestBackOff_KEY2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const failures = 15
		s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: time.Hour},
			func(_ context.Context, _ string, n int) ([]byte, error) {
				if n%(failures+1) == failures {
					return oneKey, nil
				}
				return nil, errDown
			})
		pass(6 * time.Hour)
		all := gaps(s.of(issuer))
		if len(all) < 2*failures+2 {
			t.Fatalf("%d attempts only", len(all))
		}
		for i, gap := range all {
			n := i % (failures + 1)
			if n == failures {
				if gap < 59*time.Minute {
					t.Errorf("%v after a success", gap)
				}
				continue
			}
			base := min(time.Second<<n, 5*time.Minute)
			if gap < base/2 || gap > base*3/2 {
				t.Errorf("%v after failure %d; want a half to one and a half of %v", gap, n+1, base)
			}
		}
		if slices.Equal(all[:failures], all[failures+1:2*failures+1]) {
			t.Error("the same intervals both times: not random")
		}
	})
}

// The back-off never makes it wait longer than it would if all were well, more or less.
func TestBackOffWithShortRefresh_KEY2(t *testing.T) {
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
func TestFailureKeepsKeys_KEY3_KEY8(t *testing.T) {
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

// A server that hangs holds up nobody else.
func TestHangingServers_KEY2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging := []string{"https://a.example.com", "https://b.example.com", "https://c.example.com"}
		s := serve(t, keys.Policy{Servers: append(hanging, issuer, issuer+"/2"), Refresh: time.Hour},
			func(ctx context.Context, name string, _ int) ([]byte, error) {
				if slices.Contains(hanging, name) {
					return hang(ctx)
				}
				return oneKey, nil
			})
		if !s.holds(issuer) || !s.holds(issuer+"/2") {
			t.Error("the others are not there")
		}
		pass(10 * time.Hour)
		for _, name := range []string{issuer, issuer + "/2"} {
			if n := len(s.of(name)); n < 10 {
				t.Errorf("%s: fetched %d times in 10 hours", name, n)
			}
		}
		for _, name := range hanging {
			if n := len(s.of(name)); n != 1 {
				t.Errorf("%s: %d fetches under way", name, n)
			}
		}
	})
}

// Run returns when its context ends, with no fetch under way.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		store := keys.NewStore(func(ctx context.Context, _ string) ([]byte, error) { return hang(ctx) }, func(e keys.Event) {
			t.Errorf("reported %+v though nobody waits for it", e)
		})
		store.Configure(keys.Policy{Servers: []string{issuer}, Refresh: time.Hour})
		ended := make(chan struct{})
		go func() { store.Run(ctx); close(ended) }()
		pass(time.Minute)
		cancel()
		<-ended
	})
}
