package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/agent/inventory"
	"nmosauthd/tinytest/mint"
)

// deviceInventory is that of a device with a sender, a meter, a vendor's fader and a lamp that all may see.
const deviceInventory = `{
  "kinds": {"fader": {"read": "/faders/{name}", "write": "/faders/{name}/level"}},
  "resources": [
    {"kind": "sender", "name": "out-1", "id": "6f1e0000-0000-4000-8000-000000000031"},
    {"kind": "meter", "name": "in-1", "id": "6f1e0000-0000-4000-8000-000000000021"},
    {"kind": "meter", "name": 2, "id": "6f1e0000-0000-4000-8000-000000000022"},
    {"kind": "fader", "name": "Röhre 1"},
    {"kind": "lamp", "name": "on-air", "read": "/lamps/{name}", "write": "/lamps/{name}"},
    {"kind": "shutter", "name": "1", "write": "/shutters/1"}
  ]
}`

func (d *device) setInventory(tb testing.TB, document string) {
	tb.Helper()
	table, err := inventory.Parse([]byte(document))
	if err != nil {
		tb.Fatal(err)
	}
	d.SetInventory(table)
}

const namedID = "6f1e0000-0000-4000-8000-000000000031"

// manySenders is an inventory of as many resources as there can be: out-0 is what distinct tokens may not write, and
// the others may be read by them.
var manySenders = sync.OnceValue(func() string {
	var b strings.Builder
	for i := range inventory.MaxResources {
		if i == 2 { // known by an id and a role path, too
			fmt.Fprintf(&b, ",\n"+`{"kind": "sender", "name": "out-2", "id": "%s", "read": "%s", "control": "root.tx-2"}`, namedID, senders)
			continue
		}
		fmt.Fprintf(&b, ",\n"+`{"kind": "sender", "name": "out-%d", "read": "%s", "write": "%s/%d"}`, i, senders, senders, i)
	}
	return `{"resources": [` + b.String()[1:] + `]}`
})

const (
	meterPath  = "/x-nmos/events/v1.0/sources/6f1e0000-0000-4000-8000-000000000021/state"
	activePath = "/x-nmos/connection/v1.1/single/senders/6f1e0000-0000-4000-8000-000000000031/active"
	stagedPath = "/x-nmos/connection/v1.1/single/senders/6f1e0000-0000-4000-8000-000000000031/staged"
	faderPath  = "/faders/R%C3%B6hre%201"
)

// resourceRows are questions in the device's own terms. TOKEN may read all of connection, one meter and the faders, and
// write nothing; the configuration has the faders ruled by the API console, and the lamps public.
var resourceRows = []struct {
	name, lines, want, path string
}{
	{"PATH-5/sender-read", "kind=sender\nname=out-1\naccess=read\nauthorization=Bearer TOKEN\n", "allow 200 ok", activePath},
	{"PATH-5/sender-write", "kind=sender\nname=out-1\naccess=write\nauthorization=Bearer TOKEN\n", "deny 403 path-not-granted", stagedPath},
	{"PATH-5/meter", "kind=meter\nname=in-1\naccess=read\nauthorization=Bearer TOKEN\n", "allow 200 ok", meterPath},
	{"PATH-5/meter-not-granted", "kind=meter\nname=2\naccess=read\nauthorization=Bearer TOKEN\n", "deny 403 path-not-granted", strings.Replace(meterPath, "21/", "22/", 1)},
	{"PATH-11/meter-has-nothing-to-write", "kind=meter\nname=in-1\naccess=write\nauthorization=Bearer TOKEN\n", "deny 403 resource-unknown", ""},
	{"PATH-11/nothing-to-read", "kind=shutter\nname=1\naccess=read\nauthorization=Bearer TOKEN\n", "deny 403 resource-unknown", ""},
	{"PATH-11/closed-path", "kind=shutter\nname=1\naccess=write\nauthorization=Bearer TOKEN\n", "deny 403 path-closed", "/shutters/1"},
	{"PATH-11/vendor-claim", "kind=fader\nname=Röhre 1\naccess=read\nauthorization=Bearer TOKEN\n", "allow 200 ok", faderPath},
	{"PATH-11/vendor-claim-not-granted", "kind=fader\nname=Röhre 1\naccess=write\nauthorization=Bearer TOKEN\n", "deny 403 path-not-granted", faderPath + "/level"},
	{"PATH-11/vendor-no-token", "kind=fader\nname=Röhre 1\naccess=read\n", "deny 401 no-token", faderPath},
	{"PATH-11/public", "kind=lamp\nname=on-air\naccess=read\n", "allow 200 public", "/lamps/on-air"},
	{"PATH-11/unknown", "kind=meter\nname=in-9\naccess=read\nauthorization=Bearer TOKEN\n", "deny 403 resource-unknown", ""},
	{"PATH-11/unknown-kind", "kind=metre\nname=in-1\naccess=read\nauthorization=Bearer TOKEN\n", "deny 403 resource-unknown", ""},
	{"PATH-11/another-case", "kind=meter\nname=In-1\naccess=read\nauthorization=Bearer TOKEN\n", "deny 403 resource-unknown", ""},
	{"PATH-11/the-name-encoded", "kind=fader\nname=R%C3%B6hre%201\naccess=read\nauthorization=Bearer TOKEN\n", "deny 403 resource-unknown", ""},
	{"PATH-11/unknown-without-token", "kind=meter\nname=in-9\naccess=read\n", "deny 401 no-token", ""}, // nobody learns which there are
	{"ANS-1/no-token", "kind=meter\nname=in-1\naccess=read\n", "deny 401 no-token", meterPath},
	{"ANS-1/another-scheme", "kind=meter\nname=in-1\naccess=read\nauthorization=Basic eA==\n", "deny 401 no-token", meterPath},
	{"ANS-2/malformed", "kind=meter\nname=in-1\naccess=read\nauthorization=Bearer x\n", "deny 401 token-malformed", meterPath},
	{"ANS-4/empty-token", "kind=meter\nname=in-1\naccess=read\nauthorization=Bearer \n", "deny 400 token-empty", meterPath},
	{"ANS-4/two-tokens", "kind=meter\nname=in-1\naccess=read\nauthorization=Bearer TOKEN, Bearer TOKEN\n", "deny 400 two-tokens", meterPath},
	{"ANS-4/access", "kind=meter\nname=in-1\naccess=delete\nauthorization=Bearer TOKEN\n", "error 400 packet-value", ""},
	{"ANS-4/target", "kind=meter\nname=in-1\naccess=read\ntarget=/x-nmos\n", "error 400 packet-name", ""},
}

var resourceToken = mint.Options{Permissions: map[string]mint.Permission{
	"connection": {Read: []string{"*"}},
	"events":     {Read: []string{"sources/6f1e0000-0000-4000-8000-000000000021/*"}},
	"console":    {Read: []string{"*"}},
}}

func vendorPaths(c *config.Config) {
	c.Paths.Public = []string{"/lamps"}
	c.Paths.Claims = []string{"/faders=console"}
}

func TestResources(t *testing.T) {
	tok := mint.New(resourceToken)
	d := newDevice(t, vendorPaths, tok.Key.JWK())
	d.setInventory(t, deviceInventory)
	for _, row := range resourceRows {
		t.Run(row.name, func(t *testing.T) {
			got := d.ask(t, "resource 1\nid=7\n"+strings.ReplaceAll(row.lines, "TOKEN", tok.Sign()))
			if got.first+" "+got.reason() != row.want || got.lines["path"] != row.path || got.lines["id"] != "7" {
				t.Errorf("got %v, want %s for %q", got, row.want, row.path)
			}
			if who := got.lines["client-id"]; (who != "") != (strings.HasSuffix(row.want, " ok") || strings.HasPrefix(row.want, "deny 403")) {
				t.Errorf("the client is %q in %v", who, got)
			}
		})
	}
}

// The answer is that of decide for the path that the resource stands for, with every kind of token (PATH-5).
func TestResourceIsAnsweredLikeItsPath_PATH5(t *testing.T) {
	tok := mint.New(resourceToken)
	d := newDevice(t, vendorPaths, tok.Key.JWK())
	d.setInventory(t, deviceInventory)
	tokens := []string{"", "authorization=Bearer " + tok.Sign() + "\n", "authorization=Bearer " + forged(tok.Sign()) + "\n"}
	for _, o := range []mint.Options{permit, {Device: "other.example.org"}, {Permissions: map[string]mint.Permission{}}} {
		tokens = append(tokens, "authorization=Bearer "+mint.New(o).Sign()+"\n")
	}
	for _, c := range slices.Concat(mint.Faults, mint.Variants) {
		if c.Then != "" || c.Status == 503 { // the answer changes once keys have been fetched
			continue
		}
		if raw := c.Make(tok); !strings.ContainsAny(raw, "\n\x00") && len(raw) < 20<<10 {
			tokens = append(tokens, "authorization=Bearer "+raw+"\n")
		}
	}
	compared := 0
	for _, r := range []struct{ kind, name, access, method, path string }{
		{"sender", "out-1", "read", "GET", activePath}, {"sender", "out-1", "write", "PATCH", stagedPath}, {"meter", "in-1", "read", "GET", meterPath},
		{"fader", "Röhre 1", "read", "GET", faderPath}, {"fader", "Röhre 1", "write", "PUT", faderPath + "/level"},
		{"lamp", "on-air", "write", "POST", "/lamps/on-air"}, {"shutter", "1", "write", "DELETE", "/shutters/1"},
	} {
		for _, authorization := range tokens {
			own := string(d.NewSession().Packet(nil, []byte("resource 1\nid=1\nkind="+r.kind+"\nname="+r.name+"\naccess="+r.access+"\n"+authorization), 32<<10))
			path := string(d.NewSession().Packet(nil, []byte("decide 1\nid=1\nmethod="+r.method+"\ntarget="+r.path+"\n"+authorization), 32<<10))
			if own != path && !differInTime(t, own, path) {
				t.Errorf("%s %s %s is answered\n%s, its path\n%s", r.access, r.kind, r.name, own, path)
			}
			compared++
		}
	}
	if compared < 100 {
		t.Errorf("only %d questions compared", compared)
	}
}

// differInTime reports whether two replies differ in nothing but the seconds left, which go on.
func differInTime(tb testing.TB, a, b string) bool {
	x, y := parseAnswer(tb, []byte(a)), parseAnswer(tb, []byte(b))
	delete(x.lines, "expires-in")
	delete(y.lines, "expires-in")
	return x.String() == y.String()
}

// Before there is an inventory nothing is known about any resource, and all else is answered (ANS-5).
func TestInventoryPending_ANS5(t *testing.T) {
	tok := mint.New(resourceToken)
	d := newDevice(t, nil, tok.Key.JWK())
	const packet = "resource 1\nid=9\nkind=meter\nname=in-1\naccess=read\n"
	for _, authorization := range []string{"", "authorization=Bearer " + tok.Sign() + "\n"} {
		got := d.ask(t, packet+authorization)
		if got.first != "deny 503" || got.reason() != "inventory-pending" || got.lines["retry-after"] != "2" || got.lines["id"] != "9" {
			t.Errorf("got %v", got)
		}
	}
	if got := d.ask(t, get(senders, tok.Sign())); got.first != "allow 200" {
		t.Errorf("decide: %v", got)
	}
	for mode, want := range map[config.Mode]string{config.ModeObserve: "503 inventory-pending", config.ModeOff: ""} {
		c := *d.config
		c.Mode = mode
		d.Configure(&c, c.Device.Names)
		if got := d.ask(t, packet); got.first != "allow 200" || got.lines["would"] != want { // OPS-3
			t.Errorf("%s: %v", mode, got)
		}
	}
}

// Observe and off say the path too, if there is one (OPS-3).
func TestModesSayTheResourcesPath_OPS3(t *testing.T) {
	d := newDevice(t, func(c *config.Config) { c.Mode = config.ModeOff }, mint.CachedKey(mint.DefaultKID, 2048).JWK())
	d.setInventory(t, deviceInventory)
	const packet, unknown = "resource 1\nkind=meter\nname=in-1\naccess=read\n", "resource 1\nkind=meter\nname=in-9\naccess=read\n"
	if got := d.ask(t, packet); got.reason() != "off" || got.lines["path"] != meterPath {
		t.Errorf("off: %v", got)
	}
	if got := d.ask(t, unknown); got.reason() != "off" || got.lines["path"] != "" {
		t.Errorf("off, unknown: %v", got)
	}
	c := *d.config
	c.Mode = config.ModeObserve
	d.Configure(&c, c.Device.Names)
	if got := d.ask(t, packet); got.lines["would"] != "401 no-token" || got.lines["path"] != meterPath {
		t.Errorf("observe: %v", got)
	}
}

// A new inventory, and a new configuration of paths, are in force with the next question of a session that is open.
func TestInventoryChanges_PATH11(t *testing.T) {
	tok := mint.New(resourceToken)
	d := newDevice(t, nil, tok.Key.JWK())
	session := d.NewSession()
	ask := func(kind, name string) string {
		packet := "resource 1\nkind=" + kind + "\nname=" + name + "\naccess=read\nauthorization=Bearer " + tok.Sign() + "\n"
		return parseAnswer(t, session.Packet(nil, []byte(packet), 32<<10)).reason()
	}
	want := func(when, meter, fader string) {
		t.Helper()
		if got := ask("meter", "in-1") + " " + ask("fader", "Röhre 1"); got != meter+" "+fader {
			t.Errorf("%s: %s", when, got)
		}
	}
	want("before", "inventory-pending", "inventory-pending")
	d.setInventory(t, deviceInventory)
	want("with an inventory", "ok", "path-closed")
	mapped := *d.config
	vendorPaths(&mapped)
	d.Configure(&mapped, d.config.Device.Names)
	want("with claims for vendor paths", "ok", "ok")
	open := mapped
	open.Paths.Claims, open.Paths.Public = nil, []string{"/faders"}
	d.Configure(&open, d.config.Device.Names)
	want("with the prefix public", "ok", "public")
	d.setInventory(t, `{"resources": [{"kind": "meter", "name": "in-1", "read": "/x-nmos/events/v1.0/sources/other"}]}`)
	want("with another inventory", "path-not-granted", "resource-unknown")
	d.setInventory(t, `{"resources": []}`)
	want("with an empty inventory", "resource-unknown", "resource-unknown")
}
