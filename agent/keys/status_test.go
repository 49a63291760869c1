package keys_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/spec"
)

// What people are told: which server is used, when its keys came and come again, and what went wrong, in the servers'
// order.
func TestStatus(t *testing.T) {
	spec.Rules(t, "KEY-2", "KEY-3")
	const first, second, learned = "https://first.example.com", "https://second.example.com",
		"https://learned.example.com"
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		s := serve(t, keys.Policy{
			Servers: []string{first + "/", second}, Refresh: time.Hour, Retry: retry,
			Trusts: func(iss string) bool { return iss == learned },
		}, func(_ context.Context, issuer string, _ int) ([]byte, error) {
			if issuer == first && down.Load() {
				return nil, errDown
			}
			return oneKey, nil
		})
		s.ask(learned)
		pass(time.Minute)
		began := time.Now().Add(-time.Minute)
		got := s.Status()
		if len(got) != 3 || got[0].Issuer != first || got[1].Issuer != second || got[2].Issuer != learned {
			t.Fatalf("got %+v", got)
		}
		one, two, three := got[0], got[1], got[2]
		if one.Used || !one.Server || len(one.KIDs) > 0 || !one.Fetched.IsZero() || !one.Failing ||
			!errors.Is(one.Err, errDown) || one.Failed.Before(began) || one.Next.IsZero() {
			t.Errorf("the first, which is down: %+v", one)
		}
		if !two.Used || !two.Server || !slices.Equal(two.KIDs, []string{"one"}) || two.Fetched.IsZero() ||
			two.Failing || two.Err != nil || two.Next.Before(time.Now()) || two.Next.After(time.Now().Add(time.Hour)) {
			t.Errorf("the second: %+v", two)
		}
		if three.Used || three.Server || len(three.KIDs) != 1 {
			t.Errorf("the one that a token named: %+v", three)
		}

		down.Store(false)
		pass(time.Hour)
		one, two = s.Status()[0], s.Status()[1]
		if !one.Used || one.Failing || !errors.Is(one.Err, errDown) || len(one.KIDs) != 1 || two.Used {
			t.Errorf("after the first came back: %+v, %+v", one, two)
		}
	})
}

// A server that is named twice, with a slash and without, is one server.
func TestStatusOfServerNamedTwice(t *testing.T) {
	spec.Rules(t, "CLM-1")
	const issuer = "https://auth.example.com"
	s := keys.NewStore(nil, nil)
	s.Configure(keys.Policy{Servers: []string{issuer, issuer + "/", issuer}, Refresh: time.Hour})
	if got := s.Status(); len(got) != 1 || got[0].Issuer != issuer {
		t.Errorf("got %+v", got)
	}
}
