package keys_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/spec"
)

// However often an administrator asks, and whatever the server does, it is fetched at most every five seconds; and the
// fetch that counts began after he asked (KEY-6).
func TestRefreshByHand(t *testing.T) {
	spec.Rules(t, "KEY-6")
	for name, fails := range map[string]bool{"answers": false, "fails": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, keys.Policy{Servers: []string{issuer}, Refresh: time.Hour, Retry: retry},
					func(ctx context.Context, _ string, _ int) ([]byte, error) {
						select {
						case <-ctx.Done():
						case <-time.After(300 * time.Millisecond):
						}
						if fails {
							return nil, errDown
						}
						return oneKey, nil
					})
				pass(10 * time.Minute)
				before := len(s.of(issuer))
				asked := time.Now()
				names, since := s.Refresh("")
				if !slices.Equal(names, []string{issuer}) {
					t.Fatalf("got %q, want the issuer", names)
				}
				if done, _ := s.Refreshed(issuer, since); done {
					t.Error("got done, before anything was fetched")
				}
				for range 600 {
					s.Refresh(issuer)
					pass(100 * time.Millisecond)
				}
				all := s.of(issuer)[before:]
				for i, gap := range gaps(all) {
					if gap < 5*time.Second {
						t.Errorf("fetch %d: got %v after the one before, want 5s at least", i+1, gap)
					}
				}
				if len(all) < 10 || all[0].at.Before(asked) || all[0].at.Sub(asked) > 5*time.Second {
					t.Errorf("got %d fetches in a minute, the first after %v; want one every 5s",
						len(all), all[0].at.Sub(asked))
				}
				if done, err := s.Refreshed(issuer, since); !done || (err != nil) != fails {
					t.Errorf("got %t, %v, want done, and an error: %t", done, err, fails)
				}
				if names, _ := s.Refresh("https://elsewhere.example.com"); len(names) > 0 {
					t.Errorf("another issuer: got %q, want none", names)
				}
			})
		})
	}
}

// A server whose turn has not come is asked only if it is named; an issuer that a token brought, only if its keys are
// held (KEY-2, KEY-6).
func TestRefreshWhom(t *testing.T) {
	spec.Rules(t, "KEY-2", "KEY-6")
	synctest.Test(t, func(t *testing.T) {
		const second, learned = "https://second.example.com", "https://learned.example.com"
		s := serve(t, keys.Policy{Servers: []string{issuer, second}, Refresh: time.Hour, Retry: retry,
			Trusts: below(learned)}, func(_ context.Context, name string, _ int) ([]byte, error) {
			if name == learned {
				return nil, errDown
			}
			return oneKey, nil
		})
		pass(time.Minute)
		s.ask(learned)
		pass(time.Minute)
		if names, _ := s.Refresh(""); !slices.Equal(names, []string{issuer}) {
			t.Errorf("got %q, want the server in use alone", names)
		}
		if names, _ := s.Refresh(learned); len(names) > 0 {
			t.Errorf("got %q, want no fetch for an issuer without keys", names)
		}
		names, since := s.Refresh(second + "/")
		pass(time.Minute)
		if done, err := s.Refreshed(second, since); !slices.Equal(names, []string{second}) || !done ||
			err != nil || !s.holds(second) {
			t.Errorf("got %q, %t, %v, want the second server's keys", names, done, err)
		}
	})
}
