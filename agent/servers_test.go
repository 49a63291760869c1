package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// network is discovery and all authorization servers of a test in virtual time.
type network struct {
	mu      sync.Mutex
	listed  []string          // by unicast DNS-SD
	byMDNS  []string          // where it is asked
	silent  bool              // nobody answers any question
	dead    map[string]bool   // servers that do not answer
	names   map[string]string // by URL, the issuer that the metadata of a server names; else its URL
	endless bool              // it names another one each time

	deadIssuers []string // whose keys cannot be had
	finds       []time.Time
	fetched     []string
	changes     [][]agent.FoundServer
	events      []string
}

// fetch is the daemon's: a server that was found is asked by its URL, and names its issuer.
func (n *network) fetch(servers *agent.Servers, issuer string) ([]byte, error) {
	n.mu.Lock()
	n.fetched = append(n.fetched, issuer)
	at, found := servers.Server(issuer)
	dead, named, keyless := n.dead[at], n.names[at], slices.Contains(n.deadIssuers, issuer)
	if n.endless {
		named = fmt.Sprintf("%s/realms/%d", at, len(n.fetched))
	}
	n.mu.Unlock()
	if dead {
		return nil, errors.New("connection refused")
	}
	if found {
		if named == "" {
			named = at
		}
		if err := servers.Named(at, issuer, named); err != nil {
			return nil, err
		}
	}
	if keyless {
		return nil, errors.New("HTTP 500 Internal Server Error")
	}
	return oneKey, nil
}

var oneKey = mint.JWKSOf(mint.FakeJWK("one", 2048))

// told returns the events that hold this text.
func (n *network) told(text string) (all []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.events {
		if strings.Contains(e, text) {
			all = append(all, e)
		}
	}
	return all
}

// last returns what was kept last.
func (n *network) last() []agent.FoundServer {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.changes) == 0 {
		return nil
	}
	return n.changes[len(n.changes)-1]
}

func admitAll(server, domain string) error { return nil }

func (n *network) find(_ context.Context, noMDNS string) (agent.Look, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.finds = append(n.finds, time.Now())
	look := agent.Look{Again: 10 * time.Minute}
	if n.silent {
		return look, errors.New("no name server answers")
	}
	look.Answered = []string{domain}
	add := func(in string, urls []string) {
		for _, url := range urls {
			look.Servers = append(look.Servers, agent.FoundServer{URL: url, Domain: in})
		}
	}
	add(domain, n.listed)
	if len(n.listed) == 0 && noMDNS == "" && len(n.byMDNS) > 0 {
		add(config.DomainMDNS, n.byMDNS)
		look.Answered = append(look.Answered, config.DomainMDNS)
	}
	return look, nil
}

// domain is where unicast DNS-SD finds servers.
const domain = "example.com"

func (n *network) list(urls ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listed = urls
}

// set changes something of the network.
func (n *network) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// seen returns how often was looked, fetched and told of a change.
func (n *network) seen() (looks, fetched, changes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.finds), len(n.fetched), len(n.changes)
}

// start runs a store and discovery for this policy.
func (n *network) start(t *testing.T, policy keys.Policy) (*agent.Servers, *keys.Store) {
	servers, store, _ := n.boot(t, policy, nil, nil)
	return servers, store
}

// boot starts a device that kept these servers and the keys of their issuers; stop ends it in order.
func (n *network) boot(t *testing.T, policy keys.Policy, kept []agent.FoundServer, held []string) (_ *agent.Servers,
	_ *keys.Store, stop func()) {
	var servers *agent.Servers
	store := keys.NewStore(func(_ context.Context, issuer string) ([]byte, error) { return n.fetch(servers, issuer) },
		func(e keys.Event) {
			if e.Err == nil {
				servers.Fetched(e.Issuer)
			}
		})
	servers = agent.NewServers(store, func(found []agent.FoundServer) {
		n.set(func() {
			n.changes = append(n.changes,
				found)
		})
	},
		func(e agent.ServerEvent) { n.set(func() { n.events = append(n.events, fmt.Sprintf("%+v", e)) }) })
	policy.Refresh, policy.Retry = time.Hour, 30*time.Second
	servers.Configure(policy, n.find, admitAll)
	servers.Remember(kept)
	for _, issuer := range held {
		set, _, err := keys.Parse(oneKey)
		if err != nil {
			t.Fatal(err)
		}
		store.Hold(keys.Held{Name: issuer, Keys: set})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { store.Run(ctx) })
	running.Go(func() { servers.Run(ctx) })
	synctest.Wait()
	return servers, store, func() {
		cancel()
		running.Wait()
	}
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

// A device that comes up before its network looks again and again, not in step with others, and finds its server when
// it is there.
func TestFoundServersAreUsed(t *testing.T) {
	spec.Rules(t, "DIS-6")
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
		if changes > 4 { // found; its keys fetched; the order at random
			t.Errorf("kept %d times, want at most 4", changes)
		}
	})
}

// The configured servers come first, and another order among those found is not a change worth a write to flash.
func TestConfiguredServersFirst(t *testing.T) {
	spec.Rules(t, "DIS-6")
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
			t.Errorf("kept %d times, want 1", changes)
		}
	})
}

// A server that is no longer advertised keeps its place for a day: what is held is not lost by one incomplete answer
// (KEY-3).
func TestServerNoLongerAdvertised(t *testing.T) {
	spec.Rules(t, "KEY-3", "DIS-6")
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverA}}
		_, store := n.start(t, keys.Policy{})
		pass(time.Minute)
		n.list(serverB)
		pass(23 * time.Hour)
		if got := held(store); !slices.Contains(got, serverA) {
			t.Errorf("held after 23 h: %q", got)
		}
		n.set(func() { n.silent = true })
		pass(48 * time.Hour)
		if got := held(store); !slices.Contains(got, serverA) {
			t.Errorf("held after two days without any answer: %q", got)
		}
		n.set(func() { n.silent = false })
		pass(2 * time.Hour)
		if got := held(store); slices.Contains(got, serverA) || !slices.Contains(got, serverB) {
			t.Errorf("held: %q", got)
		}
	})
}

// What was remembered is trusted before the network is there; where discovery is switched off nothing found is.
func TestRememberedServers(t *testing.T) {
	spec.Rules(t, "KEY-3")
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		servers, store := n.start(t, keys.Policy{})
		servers.Remember([]agent.FoundServer{{URL: serverA, Domain: domain}})
		if !trusts(store, serverA) {
			t.Error("not trusted")
		}
		servers.Configure(keys.Policy{Refresh: time.Hour}, nil,
			func(string, string) error { return errors.New("discovery is off") })
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

// Whoever advertises other servers at each look takes no more memory than those of one look (KEY-3 is about keys that
// are held).
func TestAdvertisedWithoutEnd(t *testing.T) {
	spec.Rules(t, "DIS-6")
	synctest.Test(t, func(t *testing.T) {
		store := keys.NewStore(func(context.Context, string) ([]byte, error) {
			return nil,
				errors.New("no such server")
		}, func(keys.Event) {})
		kept := 0
		servers := agent.NewServers(store, func([]agent.FoundServer) { kept++ }, func(agent.ServerEvent) {})
		looks := 0
		servers.Configure(keys.Policy{Refresh: time.Hour, Retry: 30 * time.Second}, func(context.Context,
			string) (agent.Look, error) {
			looks++
			return agent.Look{Servers: []agent.FoundServer{
				{URL: fmt.Sprintf("https://a%d.example.com", looks), Domain: domain},
				{URL: fmt.Sprintf("https://b%d.example.com", looks), Domain: domain},
			}, Again: time.Second}, nil
		}, admitAll)
		go store.Run(t.Context())
		go servers.Run(t.Context())
		pass(time.Hour)
		if kept > 3 {
			t.Errorf("written to flash %d times in an hour, want at most 3", kept)
		}
		if n := len(servers.Found().Servers); looks < 100 || n != 2 {
			t.Errorf("%d are found after %d looks", n, looks)
		}
		if n := len(store.Status()); n != 2 {
			t.Errorf("%d are followed", n)
		}
	})
}

// Whoever knows that something has changed has the servers looked for immediately (OPS-1).
func TestLookNow(t *testing.T) {
	spec.Rules(t, "OPS-1", "DIS-6")
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverA}}
		servers, _ := n.start(t, keys.Policy{})
		before, _, _ := n.seen()
		servers.LookNow()
		synctest.Wait()
		if after, _, _ := n.seen(); after != before+1 {
			t.Errorf("got %d looks, want %d", after, before+1)
		}
	})
}
