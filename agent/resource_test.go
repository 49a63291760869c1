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
	"nmosauthd/tinytest/rows"
	"nmosauthd/tinytest/spec"
)

// What is asked here and through every client.
const (
	deviceInventory = rows.Inventory
	meterPath       = rows.MeterPath
	activePath      = rows.ActivePath
	stagedPath      = rows.StagedPath
	faderPath       = rows.FaderPath
)

var (
	resourceRows  = rows.Resources
	resourceToken = rows.ResourcesToken
)

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
		fmt.Fprintf(&b, ",\n"+`{"kind": "sender", "name": "out-%d", "read": "%s", "write": "%s/%d"}`,
			i, senders, senders, i)
	}
	return `{"resources": [` + b.String()[1:] + `]}`
})

func vendorPaths(c *config.Config) {
	c.Paths.Public = []string{"/lamps"}
	c.Paths.Claims = []string{"/faders=console"}
}

func TestResources(t *testing.T) {
	tok := mint.New(resourceToken)
	d := newDevice(t, vendorPaths, tok.Key.JWK())
	d.setInventory(t, deviceInventory)
	for _, row := range resourceRows {
		t.Run(row.Name, func(t *testing.T) {
			got := d.ask(t, "resource 1\nid=7\n"+strings.ReplaceAll(row.Lines, "TOKEN", tok.Sign()))
			if got.first+" "+got.reason() != row.Want || got.lines["path"] != row.Path || got.lines["id"] != "7" {
				t.Errorf("got %v, want %s for %q", got, row.Want, row.Path)
			}
			if who := got.lines["client-id"]; (who != "") != (strings.HasSuffix(row.Want, " ok") ||
				strings.HasPrefix(row.Want, "deny 403")) {
				t.Errorf("the client is %q in %v", who, got)
			}
		})
	}
}

// The answer is that of decide for the path that the resource stands for, with every kind of token (PATH-5).
func TestResourceIsAnsweredLikeItsPath(t *testing.T) {
	spec.Rules(t, "PATH-5")
	tok := mint.New(resourceToken)
	d := newDevice(t, vendorPaths, tok.Key.JWK())
	d.setInventory(t, deviceInventory)
	tokens := []string{"", "authorization=Bearer " + tok.Sign() + "\n",
		"authorization=Bearer " + forged(tok.Sign()) + "\n"}
	for _, o := range []mint.Options{permit, {Device: "other.example.org"},
		{Permissions: map[string]mint.Permission{}}} {
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
		{"sender", "out-1", "read", "GET", activePath}, {"sender", "out-1", "write", "PATCH", stagedPath},
		{"meter", "in-1", "read", "GET", meterPath},
		{"fader", "Röhre 1", "read", "GET", faderPath}, {"fader", "Röhre 1", "write", "PUT", faderPath + "/level"},
		{"lamp", "on-air", "write", "POST", "/lamps/on-air"}, {"shutter", "1", "write", "DELETE", "/shutters/1"},
	} {
		for _, authorization := range tokens {
			own := string(d.NewSession().Packet(nil, []byte("resource 1\nid=1\nkind="+r.kind+"\nname="+r.name+
				"\naccess="+r.access+"\n"+authorization), 32<<10))
			path := string(d.NewSession().Packet(nil,
				[]byte("decide 1\nid=1\nmethod="+r.method+"\ntarget="+r.path+"\n"+authorization), 32<<10))
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
func TestInventoryPending(t *testing.T) {
	spec.Rules(t, "ANS-5")
	tok := mint.New(resourceToken)
	d := newDevice(t, nil, tok.Key.JWK())
	const packet = "resource 1\nid=9\nkind=meter\nname=in-1\naccess=read\n"
	for _, authorization := range []string{"", "authorization=Bearer " + tok.Sign() + "\n"} {
		got := d.ask(t, packet+authorization)
		if got.first != "deny 503" || got.reason() != "inventory-pending" || got.lines["retry-after"] != "2" ||
			got.lines["id"] != "9" {
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
func TestModesSayTheResourcesPath(t *testing.T) {
	spec.Rules(t, "OPS-3")
	d := newDevice(t, func(c *config.Config) { c.Mode = config.ModeOff }, mint.CachedKey(mint.DefaultKID, 2048).JWK())
	d.setInventory(t, deviceInventory)
	const packet, unknown = "resource 1\nkind=meter\nname=in-1\naccess=read\n",
		"resource 1\nkind=meter\nname=in-9\naccess=read\n"
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
func TestInventoryChanges(t *testing.T) {
	spec.Rules(t, "PATH-11")
	tok := mint.New(resourceToken)
	d := newDevice(t, nil, tok.Key.JWK())
	session := d.NewSession()
	ask := func(kind, name string) string {
		packet := "resource 1\nkind=" + kind + "\nname=" + name +
			"\naccess=read\nauthorization=Bearer " + tok.Sign() + "\n"
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
