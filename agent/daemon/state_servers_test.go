package daemon

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent"
	"nmosauthd/agent/keys"
	"nmosauthd/platform"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// The servers that discovery found outlive a restart with where they were found; of a state that does not say so, and
// of one whose file is damaged, the issuers are known, and count as found by mDNS.
func TestServersAreKept(t *testing.T) {
	spec.Rules(t, "DIS-6", "KEY-3")
	const realm = "https://a.example.com/realms/nmos"
	disk := newFlash("/var/lib", stateDir)
	persistedOf := func() *persisted {
		return &persisted{dir: platform.StateDir{Path: stateDir, Disk: disk}, log: zap.NewNop()}
	}
	set, _, err := keys.Parse(mint.JWKS(mint.CachedKey("key-1", 2048)))
	if err != nil {
		t.Fatal(err)
	}
	store := keys.NewStore(nil, nil)
	store.Configure(keys.Policy{Servers: []string{realm}, Refresh: time.Hour})
	store.Hold(keys.Held{Name: realm, Keys: set})
	found := []agent.FoundServer{
		{URL: "https://a.example.com", Domain: "example.com", Issuer: realm, Missing: time.Hour},
		{URL: "https://b.example.com", Domain: "example.com"},
	}
	m := persistedOf()
	m.load()
	m.loadServers(nil)
	m.keepServers(found, store.Set())

	m = persistedOf()
	good := m.load()
	if got := m.loadServers(good.Servers); !slices.Equal(got, found) || len(good.Issuers) != 1 {
		t.Errorf("kept %+v with keys of %d issuers, want %+v and 1", got, len(good.Issuers), found)
	}
	want := []agent.FoundServer{{URL: realm, Issuer: realm}}
	for name, spoil := range map[string]func(){
		"damaged": func() { m.write(serversFile, []byte(strings.Repeat("x", 100))) },
		"kept by a release that kept the issuers alone": func() { m.dir.SetAside(serversFile) },
	} {
		m = persistedOf()
		m.load()
		spoil()
		m = persistedOf()
		if got := m.loadServers(m.load().Servers); !slices.Equal(got, want) || !got[0].ByMDNS() {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}
