package daemon

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/oauth"
	"nmosauthd/agent/status"
	"nmosauthd/hal"
	"nmosauthd/platform"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/powercut"
	"nmosauthd/tinytest/spec"
)

// What the client keeps is sealed if the device has a key; and what cannot be read is an error that leaves it as it is,
// since the device must not register a second time for that (CLI-4, CLI-36).
func TestClientState(t *testing.T) {
	spec.Rules(t, "CLI-4")
	mine, other := sealer(t, "ab"), sealer(t, "cd")
	const secret = `{"version":1,"clients":[{"issuer":"https://a.example","client_secret":"clear-Zq81Lw5xTr90"}]}`
	for _, c := range []struct {
		name         string
		wrote, reads *hal.Sealer
		err          string
	}{
		{"sealed", mine, mine, ""},
		{"not sealed", nil, nil, ""},
		{"sealed by another device", other, mine, "sealed on another device"},
		{"written by anybody", nil, mine, "is not sealed"},
	} {
		dir := filepath.Join(t.TempDir(), "state")
		p := &persisted{dir: platform.StateDir{Path: dir}, seal: c.wrote, log: zap.NewNop()}
		if data, err := p.loadClient(); data != nil || err != nil {
			t.Errorf("%s: at first: %q, %v", c.name, data, err)
		}
		if err := p.keepClient([]byte(secret)); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, clientFile+"*"))
		if err != nil || len(files) != 2 {
			t.Fatalf("%s: got %v, %v, want two files", c.name, files, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil || bytes.Contains(text, []byte("clear-Zq81")) != (c.wrote == nil) {
				t.Errorf("%s: %v, kept %q", c.name, err, text)
			}
		}
		after := &persisted{dir: platform.StateDir{Path: dir}, seal: c.reads, log: zap.NewNop()}
		data, err := after.loadClient()
		if c.err == "" && (err != nil || string(data) != secret) ||
			c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: read %q, %v; want %q", c.name, data, err, c.err)
		}
		if err := p.keepClient([]byte(`{"version":1}`)); err != nil {
			t.Fatal(err)
		}
		for _, file := range files { // a key or a secret that was replaced is not left in the other slot
			if text, err := os.ReadFile(file); err != nil || bytes.Contains(text, []byte("clear-Zq81")) {
				t.Errorf("%s: %v, still kept %.120q", c.name, err, text)
			}
		}
		if again, _ := filepath.Glob(filepath.Join(dir, "*")); !slices.Equal(again, files) {
			t.Errorf("%s: the files were moved: %q", c.name, again)
		}
	}
}

// A folder that is missing, or a key that is, keeps the device from registering: what it is to hold may well be one.
func TestClientStateMissing(t *testing.T) {
	spec.Rules(t, "CLI-36")
	dir := filepath.Join(t.TempDir(), "not", "mounted")
	p := &persisted{dir: platform.StateDir{Path: dir}, log: zap.NewNop()}
	if data, err := p.loadClient(); data != nil || !errors.Is(err, platform.ErrNoDirectory) {
		t.Errorf("not mounted: %q, %v; want %v", data, err, platform.ErrNoDirectory)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if data, err := p.loadClient(); data != nil || err != nil {
		t.Errorf("mounted: %q, %v", data, err)
	}

	// What could not be written is written later, as other files of the state are.
	late := filepath.Join(t.TempDir(), "not", "mounted")
	p = &persisted{dir: platform.StateDir{Path: late}, log: zap.NewNop()}
	if err := p.keepClient([]byte("kept")); !errors.Is(err, platform.ErrNoDirectory) || p.trouble.Load() == nil {
		t.Errorf("not mounted: written %v, want %v", err, platform.ErrNoDirectory)
	}
	if err := os.MkdirAll(late, 0o700); err != nil {
		t.Fatal(err)
	}
	p.stop()
	if data, err := p.loadClient(); string(data) != "kept" || err != nil ||
		p.trouble.Load() != nil || p.own.data != nil {
		t.Errorf("mounted: %q, %v, trouble %v", data, err, p.trouble.Load())
	}

	none := &persisted{log: zap.NewNop()}
	if err := none.keepClient([]byte("{}")); !errors.Is(err, errNoState) {
		t.Errorf("no folder: %v, want %v", err, errNoState)
	}
	noKey := errors.New("the device's key: no TPM")
	none.trouble.Store(&noKey)
	if _, err := none.loadClient(); !errors.Is(err, noKey) {
		t.Errorf("no key: read %v, want %v", err, noKey)
	}
	if err := none.keepClient([]byte("{}")); !errors.Is(err, noKey) {
		t.Errorf("no key: written %v, want %v", err, noKey)
	}
}

// The name is unique, and fit to be shown (CLI-31).
func TestClientName(t *testing.T) {
	spec.Rules(t, "CLI-31")
	for _, c := range []struct {
		id    hal.Identity
		names []string
		want  string
	}{
		{hal.Identity{Maker: "Acme", Product: "AX-8", Serial: "SN0012"}, []string{"a.example"}, "Acme AX-8 SN0012"},
		{hal.Identity{Product: "AX-8", Serial: "SN0012"}, nil, "AX-8 SN0012"},
		{hal.Identity{Serial: "02:fc:00:00:00:01"}, nil, "NMOS device 02:fc:00:00:00:01"},
		{hal.Identity{Maker: "Acme", Product: "AX-8"}, []string{"a.example", "a"}, "Acme AX-8 a.example"},
		{hal.Identity{Maker: "Acme", Product: "AX-8"}, nil, ""}, // as every AX-8 is called
		{hal.Identity{Maker: "Ac\nme\x1b", Serial: "é"}, nil, "Ac?me? ?"},
		{hal.Identity{Maker: strings.Repeat("m", 200), Serial: "SN0012"}, nil, strings.Repeat("m", 113) + " SN0012"},
	} {
		if got := clientName(c.id, c.names); got != c.want {
			t.Errorf("%+v, %q: got %q, want %q", c.id, c.names, got, c.want)
		}
	}
}

// Where the device is a client: where the configuration says; else where it is one; else at the server whose keys are
// used (CLI-11, CLI-24). Never at one that only a token has named.
func TestChooseIssuer(t *testing.T) {
	spec.Rules(t, "CLI-24")
	const a, b, learned = "https://a.example", "https://b.example", "https://learned.example"
	for _, c := range []struct {
		name       string
		configured []string
		found      []string
		keys       []string // of these are held
		issuer     string
		before     string
		held       []string
		want       string
	}{
		{name: "nothing", want: ""},
		{name: "named", issuer: b + "/", configured: []string{a}, keys: []string{a}, held: []string{a}, want: b},
		{name: "configured, no keys yet", configured: []string{a + "/", b}, want: a},
		{name: "the first has no keys", configured: []string{a, b}, keys: []string{b}, want: b},
		{name: "registered at the other", configured: []string{a, b}, keys: []string{a}, held: []string{b}, want: b},
		{name: "registered at both, in use", configured: []string{a, b}, before: b, held: []string{a, b}, want: b},
		{name: "registered at both", configured: []string{a, b}, held: []string{b, a}, want: a},
		{name: "registered where it is no longer", configured: []string{a}, before: b, held: []string{b}, want: a},
		{name: "found", found: []string{a, b}, keys: []string{b}, want: b},
		{name: "found, no keys yet", found: []string{a, b}, want: a},
		{name: "found, registered", found: []string{a, b}, keys: []string{a, b}, held: []string{b}, want: b},
		{name: "a token named it", keys: []string{learned}, want: ""},
		{name: "a token named it, and it was registered once",
			keys: []string{learned}, held: []string{learned}, want: ""},
	} {
		cfg := config.Default()
		cfg.Authorization.Servers, cfg.Client.Issuer = c.configured, c.issuer
		cfg.Authorization.TrustedIssuers = []string{"https://learned.example"}
		d := &daemon{log: zap.NewNop()}
		d.store = keys.NewStore(func(context.Context, string) ([]byte, error) { return nil, errors.New("none") },
			func(keys.Event) {})
		d.finder = agent.NewServers(d.store, func([]agent.FoundServer) {}, func(agent.ServerEvent) {})
		d.finder.Configure(agent.KeyPolicy(cfg), nil, func(string, string) error { return nil })
		var found []agent.FoundServer
		for _, issuer := range c.found {
			found = append(found, agent.FoundServer{URL: issuer, Issuer: issuer, Domain: "example.com"})
		}
		d.finder.Remember(found)
		set, _, err := keys.Parse(mint.JWKS(mint.CachedKey("key-1", 2048)))
		if err != nil {
			t.Fatal(err)
		}
		for _, issuer := range c.keys {
			d.store.Hold(keys.Held{Name: issuer, Keys: set})
		}
		if got := d.chooseIssuer(cfg, c.before, c.held); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// What has been wrong for minutes is said, and nothing before (CLI-35): a server may be restarting.
func TestClientTrouble(t *testing.T) {
	spec.Rules(t, "CLI-35")
	now := time.Now()
	long, short := now.Add(-troubleAfter), now.Add(-troubleAfter+time.Second)
	down := errors.New("it is down")
	for _, c := range []struct {
		name  string
		v     status.Client
		token oauth.TokenStatus
		began time.Time
		since map[string]time.Time
		want  string
	}{
		{name: "off"},
		{name: "registered", v: status.Client{Enabled: true, Phase: "registered", Registered: true}, began: long},
		{name: "just begun", v: status.Client{Enabled: true, Phase: "refused"}, began: short},
		{name: "long begun", v: status.Client{Enabled: true, Phase: "refused"}, began: long,
			want: "the device is not registered"},
		{name: "no server yet", v: status.Client{Enabled: true, Phase: "no server"}},
		{name: "forgotten", v: status.Client{Enabled: true, Phase: "forgotten"}, began: long},
		{name: "secret", v: status.Client{Enabled: true, Phase: "broken", Error: "x"}, began: now,
			want: "the device is not a client: x"},
		{name: "no token", v: status.Client{Enabled: true, Registered: true}, token: oauth.TokenStatus{
			Scope: "events", Err: down},
			since: map[string]time.Time{"events": long}, want: "the device has no token for events"},
		{name: "no token, lately", v: status.Client{Enabled: true, Registered: true}, token: oauth.TokenStatus{
			Scope: "events", Err: down},
			since: map[string]time.Time{"events": short}},
		{name: "an old token", v: status.Client{Enabled: true, Registered: true},
			token: oauth.TokenStatus{Scope: "events", Err: down, Left: time.Second}, since: map[string]time.Time{
				"events": long}},
		{name: "another token", v: status.Client{Enabled: true, Registered: true}, token: oauth.TokenStatus{
			Scope: "events", Err: down},
			since: map[string]time.Time{"registration": long}},
	} {
		d := &daemon{own: &ownClient{failing: c.since}}
		own := &oauth.Status{}
		if c.token.Scope != "" {
			own.Tokens = []oauth.TokenStatus{c.token}
		}
		if got := d.clientTrouble(&c.v, own, c.began, now); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// Whenever the power fails while the client's state is written, what was kept before or what is written is found, and
// never damage, which would keep the device from registering; once it is written, that alone (CLI-36).
func TestClientStatePowerCut(t *testing.T) {
	spec.Rules(t, "CLI-36")
	seal, err := hal.NewSealer(bytes.Repeat([]byte("ab"), hal.KeySize/2))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*hal.Sealer{nil, seal} {
		disk := powercut.New("/var/lib", stateDir)
		p := &persisted{dir: platform.StateDir{Path: stateDir, Disk: disk}, seal: s, log: zap.NewNop()}
		found := func(disk *powercut.Disk) string {
			q := &persisted{dir: platform.StateDir{Path: stateDir, Disk: disk}, seal: s, log: zap.NewNop()}
			data, err := q.loadClient()
			if err != nil {
				return err.Error()
			}
			return string(data)
		}
		before, moments := "", 0
		for _, next := range []string{"attempted", "registered, with a secret", "x"} {
			if err := disk.Cut(func() error { return p.keepClient([]byte(next)) },
				func(moment string, disk *powercut.Disk) {
					moments++
					if got := found(disk); got != before && got != next {
						t.Errorf("%s: found %q, want %q or %q", moment, got, before, next)
					}
				}); err != nil {
				t.Fatal(err)
			}
			for disk := range disk.Found() {
				if got := found(disk); got != next {
					t.Errorf("once written: found %q, want %q", got, next)
				}
			}
			before = next
		}
		if moments < 100 {
			t.Errorf("only %d moments", moments)
		}
	}
}
