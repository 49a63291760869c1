package agent_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/spec"
)

// meets returns what a token of this issuer meets: keys are held, they may come, or it is refused.
func meets(store *keys.Store, issuer string) string {
	switch {
	case store.Set().Issuer([]byte(issuer)) != nil:
		return "held"
	case trusts(store, issuer):
		return "pending"
	}
	return "refused"
}

func wantTrust(t *testing.T, when string, store *keys.Store, want map[string]string) {
	t.Helper()
	for issuer, w := range want {
		if got := meets(store, issuer); got != w {
			t.Errorf("%s: %s is %s, want %s", when, issuer, got, w)
		}
	}
}

// Who is no longer advertised is forgotten after 24 hours of running time in which its domain answered: restarts and
// time that the device was switched off do not begin them again or add to them.
func TestMissingIsCounted(t *testing.T) {
	spec.Rules(t, "DIS-6")
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverA, serverB}}
		_, store, stop := n.boot(t, keys.Policy{}, nil, nil)
		trusts(store, serverB)
		pass(time.Minute)
		n.list(serverB)
		held := []string{serverA, serverB}
		for run := range 3 { // 3 × 7 h, and a year in between
			pass(7 * time.Hour)
			if got := meets(store, serverA); got != "held" {
				t.Fatalf("run %d: %s is %s, want held", run, serverA, got)
			}
			stop()
			time.Sleep(365 * 24 * time.Hour)
			_, store, stop = n.boot(t, keys.Policy{}, n.last(), held)
		}
		i := slices.IndexFunc(n.last(), func(f agent.FoundServer) bool { return f.URL == serverA })
		if i < 0 || n.last()[i].Missing < 20*time.Hour || n.last()[i].Missing > 21*time.Hour {
			t.Fatalf("kept at the orderly stop: %+v, want 20 to 21 h of %s", n.last(), serverA)
		}
		n.set(func() { n.silent = true })
		pass(24 * time.Hour)
		wantTrust(t, "after a day without answers", store, map[string]string{serverA: "held"})
		n.set(func() { n.silent = false })
		pass(4 * time.Hour)
		wantTrust(t, "after 24 hours with answers", store, map[string]string{serverA: "refused", serverB: "held"})
		if told := n.told("server forgotten"); len(told) != 1 {
			t.Errorf("told %q, want one line", told)
		}
		stop()
	})
}

// A device that is cut off from power, not stopped, keeps its count all the same: after ten minutes, then hourly, and
// no more often.
func TestMissingIsKept(t *testing.T) {
	spec.Rules(t, "DIS-6")
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverB}}
		kept := []agent.FoundServer{{URL: serverA, Domain: domain, Issuer: serverA}, {URL: serverB, Domain: domain,
			Issuer: serverB}}
		_, _, stop := n.boot(t, keys.Policy{}, kept, []string{serverA, serverB})
		defer stop()
		pass(9 * time.Minute)
		if _, _, writes := n.seen(); writes != 0 {
			t.Errorf("%d writes in 9 minutes, want 0", writes)
		}
		pass(2 * time.Minute)
		if _, _, writes := n.seen(); writes != 1 || n.last()[1].Missing <= 0 {
			t.Errorf("%d writes in 11 minutes, want 1: %+v", writes, n.last())
		}
		pass(10 * time.Hour)
		if _, _, writes := n.seen(); writes < 10 || writes > 11 {
			t.Errorf("%d writes in 10 hours, want 11", writes)
		}
	})
}

// The last issuer whose keys are held is never forgotten, however long it is not advertised (KEY-3): not if nobody else
// is, and not if whoever is advertised in its place does not answer.
func TestLastIssuerIsNotForgotten(t *testing.T) {
	spec.Rules(t, "DIS-6", "KEY-3")
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverA}, dead: map[string]bool{serverB: true}}
		_, store, stop := n.boot(t, keys.Policy{}, nil, nil)
		defer stop()
		pass(time.Minute)
		n.list()
		pass(72 * time.Hour)
		wantTrust(t, "nobody is advertised", store, map[string]string{serverA: "held"})
		n.list(serverB)
		pass(72 * time.Hour)
		wantTrust(t, "a dead one is advertised", store, map[string]string{serverA: "held", serverB: "pending"})
		n.set(func() { n.dead = nil })
		pass(2 * time.Hour)
		wantTrust(t, "it is well", store, map[string]string{serverA: "refused", serverB: "held"})
	})
}

// mDNS is asked only if unicast DNS-SD never gave an issuer that is still held, or not for 24 hours; what it finds is
// dropped once unicast has given a server whose keys were fetched, and not before.
func TestMDNSGivesWay(t *testing.T) {
	spec.Rules(t, "DIS-2")
	synctest.Test(t, func(t *testing.T) {
		const rogue = "https://rogue.local"
		n := &network{listed: []string{serverA}, byMDNS: []string{rogue}}
		_, store, stop := n.boot(t, keys.Policy{}, nil, nil)
		defer stop()
		pass(time.Minute)
		n.list()
		pass(23 * time.Hour)
		wantTrust(t, "unicast finds none for 23 hours", store, map[string]string{serverA: "held", rogue: "refused"})
		pass(2 * time.Hour)
		wantTrust(t, "for 25 hours", store, map[string]string{rogue: "held"})

		n.set(func() { n.dead = map[string]bool{serverB: true} })
		n.list(serverB)
		pass(2 * time.Hour)
		wantTrust(t, "unicast finds one that does not answer", store, map[string]string{rogue: "held",
			serverB: "pending"})
		n.set(func() { n.dead = nil })
		pass(time.Hour)
		wantTrust(t, "its keys were fetched", store, map[string]string{rogue: "refused", serverB: "held"})
	})
}

// What a release kept that did not keep where it was found counts as found by mDNS.
func TestKeptWithoutDomain(t *testing.T) {
	spec.Rules(t, "DIS-6")
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverB}}
		_, store, stop := n.boot(t, keys.Policy{}, []agent.FoundServer{{URL: serverA, Issuer: serverA}},
			[]string{serverA})
		defer stop()
		pass(time.Minute)
		wantTrust(t, "unicast finds another", store, map[string]string{serverA: "refused", serverB: "held"})
	})
}

// Found earlier is no reason to be trusted under a configuration that would not find it: neither KEY-3 nor the 24 hours
// protect it.
func TestConfigurationDoesNotAdmit(t *testing.T) {
	spec.Rules(t, "DIS-6")
	c := func(mode config.DiscoveryMode, change func(*config.Config)) *config.Config {
		c := config.Default()
		c.Discovery.Mode = mode
		if change != nil {
			change(c)
		}
		return c
	}
	hosts := func(hosts ...string) func(*config.Config) {
		return func(c *config.Config) { c.Discovery.Hosts = hosts }
	}
	byHand := func(c *config.Config) { c.Authorization.Servers = []string{byHand} }
	unicast := agent.FoundServer{URL: "https://auth.example.com:8443/realms/a", Domain: "example.com", Issuer: "x"}
	mdns := agent.FoundServer{URL: "https://auth.local", Domain: config.DomainMDNS}
	unknown := agent.FoundServer{URL: "https://auth.example.com"}
	for _, x := range []struct {
		name                   string
		config                 *config.Config
		unicast, mdns, unknown bool
	}{
		{"the default", config.Default(), true, true, true},
		{"auto beside servers", c(config.DiscoveryAuto, byHand), false, false, false},
		{"both", c(config.DiscoveryBoth, nil), true, true, true},
		{"both beside servers", c(config.DiscoveryBoth, byHand), true, false, false},
		{"unicast", c(config.DiscoveryUnicast, nil), true, false, false},
		{"mdns", c(config.DiscoveryMDNS, nil), false, true, true},
		{"mdns beside servers", c(config.DiscoveryMDNS, byHand), false, false, false},
		{"off", c(config.DiscoveryOff, nil), false, false, false},
		{"hosts", c(config.DiscoveryBoth, hosts("auth.example.com")), true, false, true},
		{"hosts, a pattern", c(config.DiscoveryBoth, hosts("*.example.com", "x.org")), true, false, true},
		{"hosts, part of a label", c(config.DiscoveryBoth, hosts("au*.local")), false, true, false},
		{"hosts, others", c(config.DiscoveryBoth, hosts("example.com", "*.auth.example.com",
			"auth.example.com.evil.net")), false, false, false},
		{"domains", c(config.DiscoveryBoth,
			func(c *config.Config) { c.Discovery.Domains = []string{"other.example.com"} }), false, true, true},
	} {
		for _, s := range []struct {
			server agent.FoundServer
			want   bool
		}{{unicast, x.unicast}, {mdns, x.mdns}, {unknown, x.unknown}} {
			if err := x.config.Admits(s.server.URL, s.server.Domain); (err == nil) != s.want {
				t.Errorf("%s: %+v: got %v, want admitted %v", x.name, s.server, err, s.want)
			}
		}
	}
	if config.Default().Admits("http://auth.example.com", "example.com") == nil {
		t.Error("an http server is admitted without allow_http")
	}

	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverA}}
		servers, store, stop := n.boot(t, keys.Policy{}, nil, nil)
		defer stop()
		pass(time.Minute)
		only := c(config.DiscoveryBoth, hosts("b.example.com"))
		servers.Configure(keys.Policy{Refresh: time.Hour, Retry: 30 * time.Second}, func(context.Context,
			string) (agent.Look, error) {
			return agent.Look{}, errors.New("no name server answers")
		}, only.Admits)
		if len(store.Set().Issuers()) != 0 || len(servers.Found().Servers) != 0 {
			t.Errorf("still held: %v, found: %+v", held(store), servers.Found())
		}
		if kept := n.last(); len(kept) != 0 {
			t.Errorf("still kept: %+v", kept)
		}
		// Nor is it taken up at a start.
		servers.Remember([]agent.FoundServer{{URL: serverA, Domain: domain, Issuer: serverA}, {URL: serverB,
			Domain: domain, Issuer: serverB}})
		pass(time.Second) // its keys come when they come
		wantTrust(t, "at a start", store, map[string]string{serverA: "refused", serverB: "held"})
	})
}

// Forgotten by hand, with its keys, by either of its names; what nobody knows is not.
func TestForget(t *testing.T) {
	spec.Rules(t, "DIS-6")
	const realm = serverA + "/realms/nmos"
	for _, name := range []string{serverA, realm, realm + "/"} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{listed: []string{serverA}, names: map[string]string{serverA: realm}}
			policy := keys.Policy{Servers: []string{byHand}, Trusts: func(iss string) bool { return iss == serverB }}
			servers, store, stop := n.boot(t, policy, nil, nil)
			defer stop()
			trusts(store, serverB)
			pass(time.Minute)
			trusts(store, serverA)
			pass(time.Minute)
			wantTrust(t, "before", store, map[string]string{realm: "held", serverB: "held", byHand: "held"})
			n.set(func() { n.silent = true })
			for issuer, want := range map[string]bool{name: true, serverB: true, byHand: false,
				"https://x.example.com": false, "": false} {
				if got := servers.Forget(issuer); got != want {
					t.Errorf("forget %q: got %v, want %v", issuer, got, want)
				}
			}
			if got := held(store); !slices.Equal(got, []string{byHand}) {
				t.Errorf("held: %q, want %s alone", got, byHand)
			}
			if len(n.last()) != 0 {
				t.Errorf("kept: %+v, want none", n.last())
			}
			wantTrust(t, "after", store, map[string]string{realm: "refused", serverA: "refused"})
		})
	}
}

// Whoever has a certificate and advertises others without end takes no memory without end, and does not crowd out who
// was there before.
func TestMissingIsBounded(t *testing.T) {
	spec.Rules(t, "DIS-6")
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverA}}
		servers, store, stop := n.boot(t, keys.Policy{}, nil, nil)
		defer stop()
		pass(time.Minute)
		for i := range 100 {
			url := fmt.Sprintf("https://evil-%d.example.com", i)
			n.list(url)
			pass(12 * time.Minute)
			trusts(store, url)
			pass(time.Second)
		}
		if got := len(servers.Found().Servers); got > 9 {
			t.Errorf("%d are kept, want at most 9", got)
		}
		wantTrust(t, "after a hundred others", store, map[string]string{serverA: "held"})
	})
}

// What is kept is read back; what is damaged, of another format or cannot be a server is not used.
func TestFoundState(t *testing.T) {
	spec.Rules(t, "DIS-6")
	found := []agent.FoundServer{
		{URL: "https://a.example.com", Domain: "example.com", Issuer: "https://a.example.com:443/realms/x",
			Missing: 3 * time.Hour},
		{URL: "https://b.local:8443/x", Domain: config.DomainMDNS},
		{URL: "https://c.example.com"},
	}
	data, err := agent.EncodeFound(found)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := agent.DecodeFound(data); err != nil || !slices.Equal(got, found) {
		t.Errorf("got %+v, %v, want %+v", got, err, found)
	}
	for at := range data {
		damaged := slices.Clone(data)
		damaged[at] ^= 1
		if _, err := agent.DecodeFound(damaged); err == nil {
			t.Errorf("byte %d is another, and nobody notices", at)
		}
	}
	for line, want := range map[string]string{
		`{"format":2,"servers":[]}`:                 "format 2",
		`{"format":1,"servers":[{"url":"nobody"}]}`: "cannot be a server",
		`[]`: "not JSON in the form expected",
	} {
		if _, err := agent.DecodeFound(keys.WithChecksum([]byte(line))); err == nil || !strings.Contains(err.Error(),
			want) {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
	// An issuer that this server may not name is not believed, nor a count below or above all.
	line := `{"format":1,"servers":[{"url":"https://a.example.com","issuer":"https://b.example.com","missing_seconds":-5},` +
		`{"url":"https://c.example.com","missing_seconds":9223372036854775807}]}`
	got, err := agent.DecodeFound(keys.WithChecksum([]byte(line)))
	if err != nil || len(got) != 2 || got[0].Issuer != "" || got[0].Missing != 0 || got[1].Missing != 24*time.Hour {
		t.Errorf("got %+v, %v", got, err)
	}
	var all []agent.FoundServer
	for i := range 128 {
		url := fmt.Sprintf("https://a.example.com/%d/", i)
		url += strings.Repeat("x", 2048-len(url))
		all = append(all, agent.FoundServer{URL: url, Domain: strings.Repeat("d", 255), Issuer: url})
	}
	if data, err := agent.EncodeFound(all); err != nil || len(data) > agent.MaxFoundState {
		t.Errorf("the longest list: %v, %d bytes; %d are read back", err, len(data), agent.MaxFoundState)
	}
}

// Whatever the network does in whatever order, these hold: the keys of the last issuer are not lost unless the
// configuration drops it, nobody by mDNS is trusted beside a server of unicast whose keys are held and who is listed,
// and the list is bounded.
func TestServersAtRandom(t *testing.T) {
	spec.Rules(t, "DIS-2", "DIS-6", "KEY-3")
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				some := func(domain string) (urls []string) {
					for i := range 4 {
						if random.IntN(3) == 0 {
							urls = append(urls, fmt.Sprintf("https://%d.%s", i, domain))
						}
					}
					return urls
				}
				n := &network{listed: []string{serverA}, dead: map[string]bool{}, names: map[string]string{}}
				servers, store, stop := n.boot(t, keys.Policy{}, nil, nil)
				pass(time.Minute)
				for step := range 150 {
					n.set(func() {
						n.silent = random.IntN(4) == 0
						n.listed, n.byMDNS = some("u.example.com"), some("local")
						if random.IntN(3) > 0 {
							n.listed = nil
						}
						for _, url := range append(n.listed, n.byMDNS...) {
							n.dead[url] = random.IntN(3) == 0
							n.names[url] = []string{"", url, url + "/realms/a", url + "/realms/b"}[random.IntN(4)]
						}
					})
					for _, f := range servers.Found().Servers {
						trusts(store, f.Issuers[len(f.Issuers)-1])
					}
					before := held(store)
					pass(time.Duration(random.IntN(600)) * time.Minute)
					if random.IntN(10) == 0 {
						stop()
						servers, store, stop = n.boot(t, keys.Policy{}, n.last(), held(store))
					}
					after, found := held(store), servers.Found().Servers
					if len(before) > 0 && len(after) == 0 {
						t.Fatalf("step %d: held %q, and now nothing", step, before)
					}
					unicast, mdns := false, false
					for _, f := range found {
						keyed := slices.ContainsFunc(f.Issuers, func(i string) bool {
							return slices.Contains(after,
								i)
						})
						unicast = unicast || f.Advertised && !f.ByMDNS() && keyed
						mdns = mdns || f.ByMDNS()
					}
					if unicast && mdns {
						t.Errorf("step %d: by mDNS beside one of unicast: %+v", step, found)
					}
					if len(found) > 13 {
						t.Errorf("step %d: %d are found", step, len(found))
					}
				}
				stop()
			})
		})
	}
}
