package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
)

// network is discovery and all authorization servers of a test in virtual time.
type network struct {
	mu      sync.Mutex
	listed  []string
	finds   []time.Time
	fetched []string
	changes [][]string
}

func (n *network) find(context.Context) ([]string, time.Duration, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.finds = append(n.finds, time.Now())
	if n.listed == nil {
		return nil, 0, errors.New("nothing is advertised")
	}
	return slices.Clone(n.listed), 10 * time.Minute, nil
}

func (n *network) list(issuers ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listed = issuers
}

// seen returns how often was looked, fetched and told of a change.
func (n *network) seen() (looks, fetched, changes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.finds), len(n.fetched), len(n.changes)
}

// start runs a store and discovery for this policy.
func (n *network) start(t *testing.T, policy keys.Policy) (*agent.Servers, *keys.Store) {
	document := mint.JWKSOf(mint.FakeJWK("one", 2048))
	store := keys.NewStore(func(_ context.Context, issuer string) ([]byte, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.fetched = append(n.fetched, issuer)
		return document, nil
	}, func(keys.Event) {})
	servers := agent.NewServers(store, func(found []string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.changes = append(n.changes, found)
	})
	policy.Refresh, policy.Retry = time.Hour, 30*time.Second
	servers.Configure(policy, n.find)
	go store.Run(t.Context())
	go servers.Run(t.Context())
	synctest.Wait()
	return servers, store
}

func held(store *keys.Store) (names []string) {
	for _, i := range store.Set().Issuers() {
		names = append(names, i.Name)
	}
	return names
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

const (
	serverA = "https://a.example.com"
	serverB = "https://b.example.com"
	byHand  = "https://hand.example.com"
)

// trusts reports whether a token of the issuer, whose key is not held, is one whose key may come.
func trusts(store *keys.Store, issuer string) bool {
	prospect, _ := store.Seek(store.Set(), []byte(issuer), []byte("token of "+issuer), keys.KIDUnknown)
	return prospect != keys.Untrusted
}

// A device that comes up before its network looks again and again, not in step with others, and finds its server when it is there.
func TestFoundServersAreUsed_DIS6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		_, store := n.start(t, keys.Policy{})
		if !trusts(store, serverA) {
			t.Error("refused for good before it is known who is trusted")
		}
		pass(time.Hour)
		if looks, fetched, _ := n.seen(); looks < 30 || looks > 150 || fetched != 0 {
			t.Errorf("looked %d times in an hour, fetched %d times", looks, fetched)
		}
		n.list(serverA, serverB)
		pass(2 * time.Minute)
		if got := held(store); !slices.Equal(got, []string{serverA}) {
			t.Errorf("held: %q", got)
		}
		if !trusts(store, serverB) {
			t.Error("the second server that discovery found is not trusted (KEY-5)")
		}
		if trusts(store, "https://other.example.com") {
			t.Error("an issuer is trusted that discovery did not find (KEY-5)")
		}
		before, _, _ := n.seen()
		pass(time.Hour)
		looks, _, changes := n.seen()
		if again := looks - before; again < 4 || again > 6 {
			t.Errorf("looked again %d times in an hour; the records are good for 10 minutes", again)
		}
		if changes != 1 {
			t.Errorf("told of %d changes", changes)
		}
	})
}

// The configured servers come first, and another order among those found is no change worth a write to flash.
func TestConfiguredServersFirst_DIS6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverA, serverB}}
		_, store := n.start(t, keys.Policy{Servers: []string{byHand}})
		pass(time.Minute)
		if got := held(store); !slices.Equal(got, []string{byHand}) {
			t.Errorf("held: %q", got)
		}
		n.list(serverB, serverA)
		pass(time.Hour)
		if _, _, changes := n.seen(); changes != 1 {
			t.Errorf("told of %d changes", changes)
		}
	})
}

// A server that is no longer advertised keeps its place for a day: what is held is not lost by one incomplete answer (KEY-3).
func TestServerNoLongerAdvertised_KEY3_DIS6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverA}}
		_, store := n.start(t, keys.Policy{})
		pass(time.Minute)
		n.list(serverB)
		pass(23 * time.Hour)
		if got := held(store); !slices.Contains(got, serverA) {
			t.Errorf("held after 23 h: %q", got)
		}
		n.list()
		pass(48 * time.Hour)
		if got := held(store); !slices.Contains(got, serverA) {
			t.Errorf("held after two days without any answer: %q", got)
		}
		n.list(serverB)
		pass(2 * time.Hour)
		if got := held(store); slices.Contains(got, serverA) || !slices.Contains(got, serverB) {
			t.Errorf("held: %q", got)
		}
	})
}

// What was remembered is trusted before the network is there; where discovery is switched off nothing found is.
func TestRememberedServers_KEY3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		servers, store := n.start(t, keys.Policy{})
		servers.Remember([]string{serverA})
		if !trusts(store, serverA) {
			t.Error("not trusted")
		}
		servers.Configure(keys.Policy{Refresh: time.Hour}, nil)
		before, _, _ := n.seen()
		pass(time.Hour)
		if trusts(store, serverA) || len(held(store)) != 0 {
			t.Error("still trusted with discovery off")
		}
		if looks, _, _ := n.seen(); looks != before {
			t.Error("looked for servers with discovery off")
		}
	})
}

// Whoever advertises other servers at each look takes no more memory than those of one look (KEY-3 is about keys that are held).
func TestAdvertisedWithoutEnd_DIS6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keys.NewStore(func(context.Context, string) ([]byte, error) { return nil, errors.New("no such server") }, func(keys.Event) {})
		servers := agent.NewServers(store, func([]string) {})
		looks := 0
		servers.Configure(keys.Policy{Refresh: time.Hour, Retry: 30 * time.Second}, func(context.Context) ([]string, time.Duration, error) {
			looks++
			return []string{fmt.Sprintf("https://a%d.example.com", looks), fmt.Sprintf("https://b%d.example.com", looks)}, time.Second, nil
		})
		go store.Run(t.Context())
		go servers.Run(t.Context())
		pass(time.Hour)
		if n := len(servers.Found().Issuers); looks < 100 || n != 2 {
			t.Errorf("%d are found after %d looks", n, looks)
		}
		if n := len(store.Status()); n != 2 {
			t.Errorf("%d are followed", n)
		}
	})
}
