package agent_test

import (
	"encoding/json"
	"strings"
	"testing"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// One meter: an object of the device model, an IS-07 source, and a feed over UDP.
const namedInventory = `{"resources": [
  {"kind": "meter", "name": "in-1", "id": "6f1e0000-0000-4000-8000-000000000021", "control": "root.meters.in-1"},
  {"kind": "meter", "name": "in-2", "id": "6f1e0000-0000-4000-8000-000000000022"},
  {"kind": "meter", "name": "in-3", "control": "b:root.meters.in-3"},
  {"kind": "gain", "name": "1", "control": "root.tx-1.gain"},
  {"kind": "lamp", "name": "1", "control": "root.lamp", "read": "/lamps/1"},
  {"kind": "twin", "name": "of in-1", "id": "6f1e0000-0000-4000-8000-000000000021", "read": "/x"}
]}`

func named(c *config.Config) {
	c.Paths.Public = []string{"/lamps"}
	c.Control.Models = []string{"slot2B=b"}
	c.Control.Claims = []config.ControlClaim{config.ClaimControl}
}

// A resource with a role path needs what a command on that object needs, for reading and for writing, and nothing else
// opens it (CTL-86).
func TestResourceOfTheModel(t *testing.T) {
	spec.Rules(t, "CTL-86", "CTL-19")
	key := mint.CachedKey(mint.DefaultKID, 2048)
	d := newDevice(t, named, key.JWK())
	d.setInventory(t, namedInventory)
	for name, c := range map[string]struct {
		api         string
		read, write string
		lines       string
		want, path  string
	}{
		"meter": {"control", "root.meters.in-1", "", "kind=meter\nname=in-1\naccess=read\n",
			"allow 200 ok", ""},
		"meter, by block": {"control", "root.meters.*", "",
			"kind=meter\nname=in-1\naccess=read\n", "allow 200 ok", ""},
		"another meter": {"control", "root.meters.in-2", "", "kind=meter\nname=in-1\naccess=read\n",
			"deny 403 path-not-granted", ""},
		"meter, write": {"control", "*", "", "kind=meter\nname=in-1\naccess=write\n",
			"deny 403 path-not-granted", ""},
		"meter, not by IS-7": {"events", "*", "*", "kind=meter\nname=in-1\naccess=read\n",
			"deny 403 api-not-granted", ""},
		"another claim": {"ncp", "*", "*", "kind=meter\nname=in-1\naccess=read\n", "deny 403 api-not-granted", ""},
		"without role path": {"events", "*", "", "kind=meter\nname=in-2\naccess=read\n", "allow 200 ok",
			strings.Replace(meterPath, "21/", "22/", 1)},
		"gain": {"control", "", "root.tx-1.gain",
			"kind=gain\nname=1\naccess=write\n", "allow 200 ok", ""},
		"gain, read": {"control", "", "root.tx-1.gain", "kind=gain\nname=1\naccess=read\n",
			"deny 403 path-not-granted", ""},
		"of a model": {"control", "b:root.meters.*", "",
			"kind=meter\nname=in-3\naccess=read\n", "allow 200 ok", ""},
		"of any model": {"control", "root.meters.*", "",
			"kind=meter\nname=in-3\naccess=read\n", "allow 200 ok", ""},
		"of another model": {"control", "c:root.meters.*", "", "kind=meter\nname=in-3\naccess=read\n",
			"deny 403 path-not-granted", ""},
		"its own path":   {"control", "", "", "kind=lamp\nname=1\naccess=read\n", "allow 200 public", "/lamps/1"},
		"the rest of it": {"control", "", "root.lamp", "kind=lamp\nname=1\naccess=write\n", "allow 200 ok", ""},
	} {
		p := mint.Permission{}
		if c.read != "" {
			p.Read = []string{c.read}
		}
		if c.write != "" {
			p.Write = []string{c.write}
		}
		tok := mint.New(mint.Options{Permissions: map[string]mint.Permission{c.api: p}})
		got := d.ask(t, "resource 1\n"+c.lines+"authorization=Bearer "+tok.Sign()+"\n")
		if got.first+" "+got.reason() != c.want || got.lines["path"] != c.path {
			t.Errorf("%s: got %v, want %s, path %q", name, got, c.want, c.path)
		}
	}
	if got := d.ask(t, "resource 1\nkind=meter\nname=in-1\naccess=read\n"); got.reason() != "no-token" {
		t.Errorf("without a token: got %v, want no-token", got)
	}
	// No request gets there by its path.
	tok := mint.New(mint.Options{Permissions: map[string]mint.Permission{"control": mint.Everything}})
	for _, target := range []string{"root.meters.in-1", "/root.meters.in-1", "b:root.meters.in-3"} {
		if got := d.ask(t, get(target, tok.Sign())); got.first == "allow 200" {
			t.Errorf("GET %s: got %v, want it denied", target, got)
		}
	}
}

// Whichever way a resource is asked about, the audit calls it by the device's own name for it (CTL-86, OPS-2).
func TestNames(t *testing.T) {
	spec.Rules(t, "CTL-86", "OPS-2")
	tok := mint.New(mint.Options{Permissions: map[string]mint.Permission{"events": mint.Everything,
		"control": mint.Everything}})
	d := newDevice(t, named, tok.Key.JWK())
	d.setInventory(t, namedInventory)
	out := &ledger{}
	log := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 64 << 10})
	d.Audit(log)
	bearer := "authorization=Bearer " + tok.Sign() + "\n"
	type record struct{ Question, Resource, Kind, Name, Path string }
	var wants []record
	session := d.NewSessionOf(agent.Peer{})
	for _, c := range []struct {
		packet string
		want   record
	}{
		{"decide 1\nmethod=GET\ntarget=" + meterPath + "\n", record{"decide", "meter/in-1", "", "", meterPath}},
		{"decide 1\nmethod=PUT\ntarget=/x-nmos/node/v1.3/sources/6f1e0000-0000-4000-8000-000000000022\n",
			record{"decide", "meter/in-2", "", "", "/x-nmos/node/v1.3/sources/6f1e0000-0000-4000-8000-000000000022"}},
		{"decide 1\nmethod=PUT\ntarget=/x-nmos/node/v1.3/sources/6f1e0000-0000-4000-8000-000000000023\n",
			record{"decide", "", "", "", "/x-nmos/node/v1.3/sources/6f1e0000-0000-4000-8000-000000000023"}},
		{"decide-all 1\ntarget=" + meterPath + "\n", record{"decide-all", "meter/in-1", "", "", meterPath}},
		{"decide-all 1\ntarget=" + meterPath + "\ntarget=/\n", record{"decide-all", "", "", "", meterPath}},
		{"resource 1\nkind=meter\nname=in-1\naccess=write\n",
			record{"resource", "", "meter", "in-1", "root.meters.in-1"}},
		{"control 1\napi=control\ncommand=1 1.2.0.1 1m1 root.meters.in-1\n",
			record{"control", "meter/in-1", "control", "", "root.meters.in-1"}},
		{"control 1\napi=control\nmodel=slot2B\ncommand=1 1.2.0.1 1m1 root.meters.in-3\n",
			record{"control", "meter/in-3", "control", "slot2B", "root.meters.in-3"}},
		// no such model: nothing is known
		{"control 1\napi=control\nmodel=slot3\ncommand=1 1.2.0.1 1m1 root.meters.in-3\n",
			record{"control", "", "control", "slot3", "root.meters.in-3"}},
		{"control 1\napi=control\nmodel=slot3\ncommand=1 1.2.0.1 1m1 root.meters.in-1\n",
			record{"control", "", "control", "slot3", "root.meters.in-1"}},
		{"control 1\napi=control\ncommand=1 1.2.0.1 1m1 root.meters.in-3\n",
			record{"control", "", "control", "", "root.meters.in-3"}},
	} {
		session.Packet(nil, []byte(c.packet+bearer), 32<<10)
		wants = append(wants, c.want)
	}
	log.Close(t.Context())
	var gots []record
	for line := range strings.Lines(out.b.String()) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Question != "" {
			gots = append(gots, r)
		}
	}
	if len(gots) != len(wants) {
		t.Fatalf("got %d records, want %d: %s", len(gots), len(wants), out.b.String())
	}
	for i, want := range wants {
		if gots[i] != want {
			t.Errorf("record %d: got %+v, want %+v", i, gots[i], want)
		}
	}
}
