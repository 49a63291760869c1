package agent_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/decide"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/rows"
	"nmosauthd/tinytest/spec"
)

// monitorToken returns the token of a controller that may read all monitors and reset one of them.
func monitorToken() string {
	return tokenOf(map[string]claim{"control": {[]string{"root.receiver-monitors.*"},
		[]string{"root.receiver-monitors.mon-1"}, ""}}, "")
}

// controlRows are what is asked here and through every client.
var controlRows = rows.Control

// controlPacket completes the lines of a row to a packet.
func controlPacket(lines, tok string) string {
	return "control 1\n" + strings.ReplaceAll(lines, "TOKEN", "authorization=Bearer "+tok+"\n")
}

func TestControl(t *testing.T) {
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	for _, row := range controlRows {
		t.Run(row.Name, func(t *testing.T) {
			got := d.ask(t, controlPacket("id=31\n"+row.Lines, monitorToken()))
			if got.first != row.First || got.reason() != row.Reason || !slices.Equal(got.many, row.Denied) {
				t.Errorf("got %v, want %s %s %q", got, row.First, row.Reason, row.Denied)
			}
			if _, carried := got.lines["www-authenticate"]; carried != strings.HasPrefix(row.First, "deny") {
				t.Errorf("got %v; a denial, and nothing else, carries a challenge", got)
			}
			known := strings.Contains(row.Lines, "TOKEN") && !strings.HasPrefix(row.First, "error")
			if _, says := got.lines["expires-in"]; says != known || (got.lines["client-id"] != "") != known {
				t.Errorf("got %v; a good token has a client and an end", got)
			}
			if got.lines["id"] != "31" {
				t.Errorf("got id %q, want 31", got.lines["id"])
			}
		})
	}
}

// Keys that are awaited answer everything with 503, once (CTL-84).
func TestControlPending(t *testing.T) {
	spec.Rules(t, "CTL-84", "ANS-5")
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	got := d.ask(t, controlPacket("api=control\nsubscribe=root\nTOKEN", awaited()))
	if got.first != "deny 503" || got.reason() != "keys-pending" || !slices.Equal(got.many, []string{"*"}) ||
		got.lines["retry-after"] == "" {
		t.Errorf("got %v, want deny 503 keys-pending, all denied, and when to ask again", got)
	}
}

// However many commands a packet has, its token is verified once, and from then on remembered (CTL-83).
func TestControlVerifiesOnce(t *testing.T) {
	spec.Rules(t, "CTL-83")
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	s := d.NewSessionOf(agent.Peer{UID: 1000, PID: 42})
	packet := []byte(commands(250, 9, "some"))
	for i := range 3 {
		s.Packet(nil, packet, 32<<10)
		held, _, remembered, judged := d.Tokens()
		if held != 1 || judged != 1 || remembered != uint64(i) {
			t.Errorf("packet %d: got %d held, %d judged, %d remembered; want 1, 1, %d", i, held, judged, remembered, i)
		}
	}
}

// 250 commands fit beside the longest token, and each has its answer (CTL-85).
func TestControlMany(t *testing.T) {
	spec.Rules(t, "CTL-85")
	pad := 3000
	var tok string
	for len(tok) < 16<<10-200 || len(tok) > 16<<10 {
		tok = tokenOf(map[string]claim{"control": {[]string{"root.a*"}, []string{strings.Repeat("x", pad)}, ""}}, "")
		pad += (16<<10 - 100 - len(tok)) * 3 / 4
	}
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	packet := "control 1\napi=control\nauthorization=Bearer " + tok + "\n"
	want := map[string]bool{}
	for i := 1; i <= 250; i++ {
		role := "root.a.receiver-monitors.monitor-01"
		if i%2 == 0 {
			role = "root.b.receiver-monitors.monitor-01"
			want[fmt.Sprintf("command %d 403 path-not-granted", i)] = true
		}
		packet += fmt.Sprintf("command=%d 1.2.2.1 4m1 %s\n", i, role)
	}
	if len(packet) > 32<<10 {
		t.Fatalf("the packet has %d bytes", len(packet))
	}
	compareDenied(t, "250 commands", d.ask(t, packet), want)
}

// Observe mode allows everything and says line by line what enforce would have denied; mode off asks nothing.
func TestControlModes(t *testing.T) {
	spec.Rules(t, "CTL-88", "OPS-3")
	base := mint.New(mint.Options{})
	observe := newDevice(t, func(c *config.Config) { c.Mode = config.ModeObserve }, base.Key.JWK())
	off := newDevice(t, func(c *config.Config) { c.Mode = config.ModeOff }, base.Key.JWK())
	for _, row := range controlRows {
		packet := controlPacket(row.Lines, monitorToken())
		got := observe.ask(t, packet)
		switch {
		case strings.HasPrefix(row.First, "error"), row.First == "allow 200":
			if got.first != row.First || got.reason() != row.Reason || got.lines["would"] != "" {
				t.Errorf("%s: got %v, want %s %s", row.Name, got, row.First, row.Reason)
			}
		default:
			would := strings.TrimPrefix(row.First, "deny ") + " " + row.Reason
			if got.first != "allow 200" || got.reason() != "observe" || got.lines["would"] != would ||
				!slices.Equal(got.many, row.Denied) {
				t.Errorf("%s: got %v, want allow 200 observe and would=%s, %q", row.Name, got, would, row.Denied)
			}
		}
		if got := off.ask(t, packet); !strings.HasPrefix(row.First, "error") &&
			(got.first != "allow 200" || got.reason() != "off" || len(got.many) > 0) {
			t.Errorf("%s: got %v, want allow 200 off", row.Name, got)
		}
	}
}

// Of several models a specifier with a prefix holds for its own, one without for all (CTL-19).
func TestControlModels(t *testing.T) {
	spec.Rules(t, "CTL-19")
	d := newDevice(t, func(c *config.Config) { c.Control.Models = []string{"slot2B=b", "/slot/3/ncp=c"} },
		mint.New(mint.Options{}).Key.JWK())
	tok := tokenOf(map[string]claim{"control": {[]string{"b:root.*", "root.meters.*"}, []string{"c:root.gain"}, ""}},
		"")
	for _, c := range []struct {
		model, line, want string
	}{
		{"", "subscribe=root.x", "deny 403"}, {"slot2B", "subscribe=root.x", "allow 200"},
		{"/slot/3/ncp", "subscribe=root.x", "deny 403"},
		{"", "subscribe=root.meters.a", "allow 200"}, {"slot2B", "subscribe=root.meters.a", "allow 200"},
		{"/slot/3/ncp", "subscribe=root.meters.a", "allow 200"}, {"b", "subscribe=root.meters.a", "deny 403"},
		{"/slot/3/ncp", "command=1 1 1m2 root.gain", "allow 200"}, {"slot2B", "command=1 1 1m2 root.gain", "deny 403"},
		{"", "command=1 1 1m2 root.gain", "deny 403"},
	} {
		model := "model=" + c.model + "\n"
		if c.model == "" {
			model = ""
		}
		if got := d.ask(t, controlPacket("api=control\n"+model+c.line+"\nTOKEN", tok)); got.first != c.want {
			t.Errorf("%s of %q: got %v, want %s", c.line, c.model, got, c.want)
		}
	}
}

// The base path of IS-12's API is opened by the names that count, as claims or in scope, and by no other (CTL-15).
func TestControlBase(t *testing.T) {
	spec.Rules(t, "CTL-15", "CTL-16", "PATH-4")
	key := mint.New(mint.Options{}).Key.JWK()
	byDefault := newDevice(t, nil, key)
	draft := newDevice(t, func(c *config.Config) { c.Control.Claims = []config.ControlClaim{config.ClaimControl} }, key)
	for _, c := range []struct {
		claim, scope   string
		byDefault, one string
	}{
		{"control", "", "ok", "ok"}, {"", "control", "ok", "ok"}, {"ncp", "", "ok", "api-not-granted"},
		{"", "ncp", "ok", "api-not-granted"},
		{"nc", "", "api-not-granted", "api-not-granted"}, {"", "configuration", "api-not-granted", "api-not-granted"},
	} {
		claims := map[string]claim{}
		if c.claim != "" {
			claims[c.claim] = claim{}
		}
		tok := tokenOf(claims, c.scope)
		if got := byDefault.ask(t, get("/x-nmos/ncp/", tok)); got.reason() != c.byDefault {
			t.Errorf("claim %q, scope %q: got %v, want %s", c.claim, c.scope, got, c.byDefault)
		}
		if got := draft.ask(t, get("/x-nmos/ncp", tok)); got.reason() != c.one {
			t.Errorf("claim %q, scope %q, control alone: got %v, want %s", c.claim, c.scope, got, c.one)
		}
	}
}

// Who decides about commands decides what the handshake needs (CTL-22).
func TestControlHandshake(t *testing.T) {
	spec.Rules(t, "CTL-21", "CTL-22", "PATH-15")
	key := mint.New(mint.Options{}).Key.JWK()
	settings := func(commands config.Commands) func(*config.Config) {
		return func(c *config.Config) { c.Control.Commands, c.Control.Models = commands, []string{"/slot/3/ncp=c"} }
	}
	handshake, asked := newDevice(t, settings(config.CommandsHandshake), key),
		newDevice(t, settings(config.CommandsAsked), key)
	list := func(s ...string) []string { return s }
	for _, c := range []struct {
		name             string
		claims           map[string]claim
		scope            string
		first, asked     string
		model, modelAsks string // at the socket of a model
	}{
		{"the whole model", map[string]claim{"control": {list("root.*"), list("*"), ""}}, "", "ok", "ok", "ok", "ok"},
		{"read alone", map[string]claim{"control": {list("root.*"), nil, ""}}, "", "control-not-granted", "ok",
			"control-not-granted", "ok"},
		{"one object", map[string]claim{"ncp": {nil, list("root.a"), ""}}, "", "control-not-granted", "ok",
			"control-not-granted", "ok"},
		{"an empty specifier", map[string]claim{"ncp": {list(""), list(""), ""}}, "", "control-not-granted",
			"path-not-granted", "control-not-granted", "path-not-granted"},
		{"nothing", map[string]claim{"control": {}}, "control", "control-not-granted", "path-not-granted",
			"control-not-granted", "path-not-granted"},
		{"scope alone", nil, "control", "control-not-granted", "path-not-granted",
			"control-not-granted", "path-not-granted"},
		{"another claim", map[string]claim{"configuration": {list("*"), list("*"), ""}}, "", "api-not-granted",
			"api-not-granted", "api-not-granted", "api-not-granted"},
		{"one model", map[string]claim{"control": {list("c:root.*"), list("c:*"), ""}}, "",
			"control-not-granted", "ok", "ok", "ok"},
		{"another model", map[string]claim{"control": {list("d:root.*"), list("d:*"), ""}}, "", "control-not-granted",
			"ok", "control-not-granted", "ok"},
	} {
		tok := tokenOf(c.claims, c.scope)
		for path, want := range map[string][2]string{"/x-nmos/ncp/v1.0": {c.first, c.asked},
			"/slot/3/ncp": {c.model, c.modelAsks}} {
			for i, d := range []*device{handshake, asked} {
				if got := d.ask(t, get(path, tok)+"upgrade=websocket\n"); got.reason() != want[i] {
					t.Errorf("%s: %s: got %v, want %s", c.name, path, got, want[i])
				}
			}
		}
	}
}

// A question about commands is one record: those denied with role path, class, method and outcome, the others counted,
// or listed if that is configured. What was allowed to write is never joined with others.
func TestControlRecords(t *testing.T) {
	spec.Rules(t, "CTL-2", "CTL-87")
	const some = "api=control\ncommand=2 1.2.2.1 1m1 root.receiver-monitors.mon-1\n" +
		"command=3 1.2.2.1 4m3 root.receiver-monitors.mon-2\ncommand=4 1.2.2.1 4m3 root.receiver-monitors.mon-1\n" +
		"subscribe=root.tx 3.gain\nTOKEN"
	denied := []any{"write 4m3 1.2.2.1 root.receiver-monitors.mon-2 403 path-not-granted",
		"read subscribe root.tx 3.gain 403 path-not-granted"}
	for _, c := range []struct {
		name, lines string
		change      func(*config.Config)
		want        map[string]any
	}{
		{"some", some, nil, map[string]any{"question": "control", "kind": "control",
			"path": "root.receiver-monitors.mon-2", "method": "4m3", "access": "write", "targets": 4.0, "allowed": 2.0,
			"denied": denied, "permitted": nil, "decision": "deny", "status": 403.0, "reason": "path-not-granted"}},
		{"listed", some, func(c *config.Config) { c.Control.Record = config.RecordAll },
			map[string]any{"targets": 4.0, "allowed": 2.0, "denied": denied, "permitted": []any{
				"read 1m1 1.2.2.1 root.receiver-monitors.mon-1", "write 4m3 1.2.2.1 root.receiver-monitors.mon-1"}}},
		{"observed", some, func(c *config.Config) { c.Mode = config.ModeObserve },
			map[string]any{"targets": 4.0, "allowed": 2.0, "denied": denied,
				"decision": "allow", "reason": "observe", "would": "path-not-granted"}},
		{"some let pass", "api=control\nsubscribe=root.tx 3.gain\n" +
			"command=3 1.2.2.1 4m3 root.receiver-monitors.mon-2\nTOKEN", func(c *config.Config) {
			for api := range c.Enforce {
				if decide.API(api).String() == "control" {
					c.Enforce[api] = config.StageWrite
				}
			}
		},
			map[string]any{"path": "root.receiver-monitors.mon-2", "method": "4m3", "access": "write", "targets": 2.0,
				"allowed": 0.0, "denied": []any{"read subscribe root.tx 3.gain 403 path-not-granted observed",
					"write 4m3 1.2.2.1 root.receiver-monitors.mon-2 403 path-not-granted"},
				"decision": "deny", "status": 403.0, "reason": "path-not-granted"}},
		{"all allowed", "api=control\nsubscribe=root.receiver-monitors.mon-1\nTOKEN", nil,
			map[string]any{"path": "root.receiver-monitors.mon-1", "method": "subscribe", "access": "read",
				"targets": 1.0, "allowed": 1.0, "denied": nil, "permitted": nil, "decision": "allow"}},
		{"no token", "api=configuration\ncommand=1 - 1m1 root\n", nil,
			map[string]any{"kind": "configuration", "path": "root", "targets": 1.0, "allowed": 0.0,
				"denied": []any{"write 1m1 - root 401 no-token"}, "status": 401.0}},
		{"a model", "api=control\nmodel=slot2B\nsubscribe=root\nTOKEN",
			func(c *config.Config) { c.Control.Models = []string{"slot2B=b"} },
			map[string]any{"name": "slot2B", "denied": []any{"read subscribe root 403 path-not-granted"}}},
		{"off", some, func(c *config.Config) { c.Mode = config.ModeOff },
			map[string]any{"targets": 4.0, "allowed": 4.0, "denied": nil, "reason": "off"}},
	} {
		d := newDevice(t, c.change, mint.New(mint.Options{}).Key.JWK())
		out := &ledger{}
		log := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 1 << 20, RingBytes: 4096})
		d.Audit(log)
		s := d.NewSessionOf(agent.Peer{UID: 1000, PID: 42})
		s.Packet(nil, []byte(controlPacket(c.lines, monitorToken())), 32<<10)
		log.Close(t.Context())
		records := out.records(t)
		if len(records) != 1 {
			t.Fatalf("%s: got %d records, want 1", c.name, len(records))
		}
		for member, want := range c.want {
			if got := records[0][member]; !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s is %v, want %v", c.name, member, got, want)
			}
		}
	}
}

// However often: a packet in which a command may write has a record of its own, whatever else in it is denied; equal
// denials are counted together, whatever their handles.
func TestControlRecordsJoined(t *testing.T) {
	spec.Rules(t, "CTL-87", "OPS-2")
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	out := &ledger{}
	log := audit.New(audit.Options{
		Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 1 << 20, RingBytes: 4096, Repeat: time.Hour,
		Rates: audit.Rates{Denials: 1, Allows: 1},
	})
	d.Audit(log)
	s := d.NewSessionOf(agent.Peer{UID: 1000, PID: 42})
	tok := monitorToken()
	const n = 50
	for i := range n {
		s.Packet(nil, fmt.Appendf(nil, "control 1\napi=control\nauthorization=Bearer %s\n"+
			"command=%d 1 1m2 root.receiver-monitors.mon-1\nsubscribe=root\n", tok, i), 32<<10)
		s.Packet(nil, fmt.Appendf(nil,
			"control 1\napi=control\nauthorization=Bearer %s\ncommand=%d 1 1m2 root\n", tok, i), 32<<10)
	}
	log.Close(t.Context())
	own, counted := 0, 0.0
	for _, r := range out.records(t) {
		if r["allowed"] == 1.0 && r["count"] == nil {
			own++
		} else if count, is := r["count"].(float64); is {
			counted += count
		} else {
			counted++
		}
	}
	if own != n || counted != n {
		t.Errorf("got %d records of packets that write and %v denials counted, want %d and %d", own, counted, n, n)
	}
}

// No token reaches a record by way of a role path.
func TestControlRecordsHoldNoToken(t *testing.T) {
	spec.Rules(t, "OPS-2")
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	out := &ledger{}
	log := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 1 << 20, RingBytes: 4096})
	d.Audit(log)
	s := d.NewSessionOf(agent.Peer{UID: 1000, PID: 42})
	tok := monitorToken()
	s.Packet(nil, []byte("control 1\napi=control\nsubscribe="+tok+"\ncommand=1 1 1m1 x "+tok[:700]+"\n"), 32<<10)
	log.Close(t.Context())
	out.mu.Lock()
	defer out.mu.Unlock()
	if text := out.b.Bytes(); bytes.Contains(text, []byte(tok[:40])) || !bytes.Contains(text, []byte(audit.Cleaned)) {
		t.Errorf("the record holds a token: %s", text)
	}
}
