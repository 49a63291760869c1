package agent_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/spec"
)

// The metadata at the root of a server names an issuer with a path: that one counts, and no other (INFO-002's
// Keycloak). Before it has been read nothing is refused for good.
func TestRootNamesIssuer(t *testing.T) {
	spec.Rules(t, "KEY-8")
	const realm = "https://a.example.com:443/realms/nmos"
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverA}, names: map[string]string{serverA: realm + "/"},
			dead: map[string]bool{serverA: true}}
		_, store, stop := n.boot(t, keys.Policy{}, nil, nil)
		pass(10 * time.Minute)
		wantTrust(t, "before its metadata is read", store, map[string]string{
			realm: "pending", serverA: "pending", serverA + "/realms/x": "pending", serverB: "refused",
			"http://a.example.com":       "refused",
			"https://a.example.com:8443": "refused", "https://a.example.com.evil.net": "refused",
			"https://x@a.example.com": "refused",
		})
		n.set(func() { n.dead = nil })
		pass(10 * time.Minute)
		wantTrust(t, "read", store, map[string]string{
			realm: "held", realm + "/": "held", serverA: "refused", serverA + "/realms/x": "refused",
			"https://a.example.com/realms/nmos": "refused", // written otherwise: tokens are compared as text
		})
		if told := n.told("server names its issuer"); len(told) != 1 || !strings.Contains(told[0], realm) {
			t.Errorf("told %q, want one line with %s", told, realm)
		}
		stop()

		// After a restart the one that was kept judges, while nobody answers; the others may have become the right one
		// meanwhile.
		n.set(func() { n.dead = map[string]bool{serverA: true}; n.silent = true })
		_, store, stop = n.boot(t, keys.Policy{}, n.last(), []string{realm})
		pass(time.Minute)
		wantTrust(t, "after a restart", store, map[string]string{realm: "held", serverA + "/realms/x": "pending",
			serverB: "refused"})
		n.set(func() { n.dead = nil })
		pass(time.Hour)
		wantTrust(t, "read since the restart", store, map[string]string{realm: "held", serverA +
			"/realms/x": "refused"})
		stop()
	})
}

// An issuer that the root names in place of the one before replaces it once its keys are fetched, and that is told.
func TestRootNamesAnotherIssuer(t *testing.T) {
	spec.Rules(t, "KEY-8")
	const first, second = serverA + "/realms/1", serverA + "/realms/2"
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverB, serverA}, names: map[string]string{serverA: first}}
		_, store, stop := n.boot(t, keys.Policy{}, nil, nil)
		defer stop()
		pass(time.Minute)
		trusts(store, first)
		pass(time.Minute)
		wantTrust(t, "at first", store, map[string]string{first: "held", second: "refused", serverB: "held"})
		n.set(func() { n.names[serverA] = second; n.deadIssuers = []string{second} })
		pass(61 * time.Minute)
		wantTrust(t, "named, and its keys cannot be had", store, map[string]string{first: "held", second: "pending",
			serverA + "/realms/3": "refused"})
		n.set(func() { n.deadIssuers = nil })
		pass(time.Hour)
		wantTrust(t, "its keys were fetched", store, map[string]string{first: "refused", second: "held"})
		for text, want := range map[string]int{"server names another issuer": 1, "issuer replaced": 1} {
			if told := n.told(text); len(told) != want {
				t.Errorf("told %q, want %d lines of %q", told, want, text)
			}
		}
		if i := slices.IndexFunc(n.last(), func(f agent.FoundServer) bool { return f.Issuer == second }); i < 0 {
			t.Errorf("kept: %+v, want %s", n.last(), second)
		}
	})
}

// A server that names another issuer each time it is asked is asked no more often for that, and nothing grows.
func TestRootNamesIssuersWithoutEnd(t *testing.T) {
	spec.Rules(t, "KEY-8")
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverA}, endless: true}
		servers, store, stop := n.boot(t, keys.Policy{}, nil, nil)
		defer stop()
		pass(time.Hour)
		if _, fetched, _ := n.seen(); fetched < 12 || fetched > 200 {
			t.Errorf("%d fetches in an hour, want 12 to 200", fetched)
		}
		if f := servers.Found().Servers; len(f) != 1 || len(f[0].Issuers) != 1 || len(store.Status()) != 1 {
			t.Errorf("found %+v, followed %d", f, len(store.Status()))
		}
	})
}

// A server that is dropped while its metadata is being read names nobody.
func TestNamedByNobody(t *testing.T) {
	spec.Rules(t, "KEY-8")
	synctest.Test(t, func(t *testing.T) {
		n := &network{listed: []string{serverA}}
		servers, store, stop := n.boot(t, keys.Policy{}, nil, nil)
		defer stop()
		pass(time.Minute)
		for _, x := range [][2]string{{serverB, serverB}, {serverA, serverB}, {serverA, "http://a.example.com"},
			{serverA, serverA + "/?x"}} {
			if err := servers.Named(x[0], x[1], x[1]); err == nil {
				t.Errorf("%s names %s: got no error", x[0], x[1])
			}
		}
		wantTrust(t, "after that", store, map[string]string{serverA: "held", serverB: "refused"})
	})
}
