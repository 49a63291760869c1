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
	"nmosauthd/tinytest/mint"
)

// monitorToken returns the token of a controller that may read all monitors and reset one of them.
func monitorToken() string {
	return tokenOf(map[string]claim{"control": {[]string{"root.receiver-monitors.*"}, []string{"root.receiver-monitors.mon-1"}, ""}}, "")
}

// controlRows are questions about commands and what the reply says, TOKEN standing for the monitor's token.
var controlRows = []struct {
	name, lines string
	first       string
	reason      string
	denied      []string
}{
	{"CTL-80/a command", "api=control\ncommand=2 1.2.2.1 1m1 root.receiver-monitors.mon-1\nTOKEN", "allow 200", "ok", nil},
	{"CTL-80/a subscription", "TOKENsubscribe=root.receiver-monitors.mon-2\napi=control\n", "allow 200", "ok", nil},
	{"CTL-80/IS-14", "api=configuration\nsubscribe=root.receiver-monitors.mon-1\nTOKEN", "deny 403", "api-not-granted",
		[]string{"subscribe root.receiver-monitors.mon-1 403 api-not-granted"}},
	{"CTL-80/no api", "subscribe=root\nTOKEN", "error 400", "packet-missing", nil},
	{"CTL-80/another api", "api=events\nsubscribe=root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-80/nothing asked", "api=control\nTOKEN", "error 400", "packet-missing", nil},
	{"CTL-80/api twice", "api=control\napi=control\nsubscribe=root\n", "error 400", "packet-twice", nil},
	{"CTL-80/another question's name", "api=control\nsubscribe=root\ntarget=/\n", "error 400", "packet-name", nil},
	{"CTL-80/an unknown model", "api=control\nmodel=b\nsubscribe=root.receiver-monitors.mon-1\nTOKEN", "deny 403", "path-closed",
		[]string{"subscribe root.receiver-monitors.mon-1 403 path-closed"}},
	{"CTL-80/an empty model", "api=control\nmodel=\nsubscribe=root\nTOKEN", "error 400", "packet-value", nil},

	{"CTL-81/spaces in a role", "api=control\ncommand=1 1 1m1 root.receiver-monitors.mon 1 b\nTOKEN", "allow 200", "ok", nil},
	{"CTL-81/the class not known", "api=control\ncommand=1 - 1m1 root.receiver-monitors.mon-2\nTOKEN", "deny 403", "path-not-granted",
		[]string{"command 1 403 path-not-granted"}},
	{"CTL-81/no role path", "api=control\ncommand=1 1 1m1\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/an empty role path", "api=control\ncommand=1 1 1m1 \nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/no class", "api=control\ncommand=1 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/two spaces", "api=control\ncommand=1  1 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a handle of letters", "api=control\ncommand=x 1 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a long handle", "api=control\ncommand=12345678901 1 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/no handle", "api=control\ncommand= 1 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/empty", "api=control\ncommand=\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a class with an empty part", "api=control\ncommand=1 1..2 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a class with a leading zero", "api=control\ncommand=1 1.02 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a class with minus zero", "api=control\ncommand=1 1.-0 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a class with a plus", "api=control\ncommand=1 1.+2 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a long class", "api=control\ncommand=1 1" + strings.Repeat(".1", 64) + " 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a property", "api=control\ncommand=1 1 1p1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a method of level 0", "api=control\ncommand=1 1 0m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a method with a leading zero", "api=control\ncommand=1 1 1m01 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a method over its range", "api=control\ncommand=1 1 1m65537 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a method and more", "api=control\ncommand=1 1 1m1x root\nTOKEN", "error 400", "packet-value", nil},

	{"CTL-82/one handle, several objects", "api=control\ncommand=7 1.3.3 3m3 root.receiver-monitors.mon-1\n" +
		"command=7 1.3.3 3m3 root.receiver-monitors.mon-2\nTOKEN", "deny 403", "path-not-granted", []string{"command 7 403 path-not-granted"}},

	{"CTL-84/some", "api=control\ncommand=2 1.2.2.1 1m1 root.receiver-monitors.mon-1\ncommand=3 1.2.2.1 4m3 root.receiver-monitors.mon-2\n" +
		"command=4 1.1 2m1 root\nsubscribe=root.receiver-monitors.mon-1\nsubscribe=root.tx 3.gain\nTOKEN", "deny 403", "path-not-granted",
		[]string{"command 3 403 path-not-granted", "command 4 403 path-not-granted", "subscribe root.tx 3.gain 403 path-not-granted"}},
	{"CTL-84/no token", "api=control\ncommand=2 1 1m1 root\nsubscribe=root\n", "deny 401", "no-token", []string{"*"}},
	{"CTL-84/a bad token", "api=control\nsubscribe=root\nauthorization=Bearer x\n", "deny 401", "token-malformed", []string{"*"}},
	{"CTL-84/two tokens", "api=control\nsubscribe=root\nauthorization=Bearer x, Bearer y\n", "deny 400", "two-tokens", []string{"*"}},

	{"CTL-85/a long role path", "api=control\nsubscribe=" + strings.Repeat("r", 1025) + "\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-85/of a command", "api=control\ncommand=1 1 1m1 " + strings.Repeat("r", 1025) + "\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-85/as long as may be", "api=control\nsubscribe=root.receiver-monitors." + strings.Repeat("r", 1001) + "\nTOKEN", "allow 200", "ok", nil},
	{"CTL-85/a control character", "api=control\nsubscribe=root.a\x1bb\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-85/as many as may be", "api=control\n" + strings.Repeat("subscribe=a\n", 1024) + "TOKEN", "deny 403", "path-not-granted",
		slices.Repeat([]string{"subscribe a 403 path-not-granted"}, 1024)},
	{"CTL-85/too many", "api=control\n" + strings.Repeat("subscribe=a\n", 1025) + "TOKEN", "error 400", "packet-too-long", nil},
}

// controlPacket completes the lines of a row to a packet.
func controlPacket(lines, tok string) string {
	return "control 1\n" + strings.ReplaceAll(lines, "TOKEN", "authorization=Bearer "+tok+"\n")
}

func TestControl(t *testing.T) {
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	for _, row := range controlRows {
		t.Run(row.name, func(t *testing.T) {
			got := d.ask(t, controlPacket("id=31\n"+row.lines, monitorToken()))
			if got.first != row.first || got.reason() != row.reason || !slices.Equal(got.many, row.denied) {
				t.Errorf("got %v, want %s %s %q", got, row.first, row.reason, row.denied)
			}
			if _, carried := got.lines["www-authenticate"]; carried != strings.HasPrefix(row.first, "deny") {
				t.Errorf("got %v; a denial, and nothing else, carries a challenge", got)
			}
			known := strings.Contains(row.lines, "TOKEN") && !strings.HasPrefix(row.first, "error")
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
func TestControlPending_CTL84_ANS5(t *testing.T) {
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	got := d.ask(t, controlPacket("api=control\nsubscribe=root\nTOKEN", awaited()))
	if got.first != "deny 503" || got.reason() != "keys-pending" || !slices.Equal(got.many, []string{"*"}) || got.lines["retry-after"] == "" {
		t.Errorf("got %v, want deny 503 keys-pending, all denied, and when to ask again", got)
	}
}

// 250 commands fit beside the longest token, and each has its answer (CTL-85).
func TestControlMany_CTL85(t *testing.T) {
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
func TestControlModes_CTL88_OPS3(t *testing.T) {
	base := mint.New(mint.Options{})
	observe := newDevice(t, func(c *config.Config) { c.Mode = config.ModeObserve }, base.Key.JWK())
	off := newDevice(t, func(c *config.Config) { c.Mode = config.ModeOff }, base.Key.JWK())
	for _, row := range controlRows {
		packet := controlPacket(row.lines, monitorToken())
		got := observe.ask(t, packet)
		switch {
		case strings.HasPrefix(row.first, "error"), row.first == "allow 200":
			if got.first != row.first || got.reason() != row.reason || got.lines["would"] != "" {
				t.Errorf("%s: got %v, want %s %s", row.name, got, row.first, row.reason)
			}
		default:
			would := strings.TrimPrefix(row.first, "deny ") + " " + row.reason
			if got.first != "allow 200" || got.reason() != "observe" || got.lines["would"] != would || !slices.Equal(got.many, row.denied) {
				t.Errorf("%s: got %v, want allow 200 observe and would=%s, %q", row.name, got, would, row.denied)
			}
		}
		if got := off.ask(t, packet); !strings.HasPrefix(row.first, "error") && (got.first != "allow 200" || got.reason() != "off" || len(got.many) > 0) {
			t.Errorf("%s: got %v, want allow 200 off", row.name, got)
		}
	}
}

// Of several models a specifier with a prefix holds for its own, one without for all (CTL-19).
func TestControlModels_CTL19(t *testing.T) {
	d := newDevice(t, func(c *config.Config) { c.Control.Models = []string{"slot2B=b", "/slot/3/ncp=c"} }, mint.New(mint.Options{}).Key.JWK())
	tok := tokenOf(map[string]claim{"control": {[]string{"b:root.*", "root.meters.*"}, []string{"c:root.gain"}, ""}}, "")
	for _, c := range []struct {
		model, line, want string
	}{
		{"", "subscribe=root.x", "deny 403"}, {"slot2B", "subscribe=root.x", "allow 200"}, {"/slot/3/ncp", "subscribe=root.x", "deny 403"},
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

// Who decides about commands decides what the handshake needs (CTL-22).
func TestControlHandshake_CTL21_CTL22_PATH15(t *testing.T) {
	key := mint.New(mint.Options{}).Key.JWK()
	settings := func(commands config.Commands) func(*config.Config) {
		return func(c *config.Config) { c.Control.Commands, c.Control.Models = commands, []string{"/slot/3/ncp=c"} }
	}
	handshake, asked := newDevice(t, settings(config.CommandsHandshake), key), newDevice(t, settings(config.CommandsAsked), key)
	list := func(s ...string) []string { return s }
	for _, c := range []struct {
		name             string
		claims           map[string]claim
		scope            string
		first, asked     string
		model, modelAsks string // at the socket of a model
	}{
		{"the whole model", map[string]claim{"control": {list("root.*"), list("*"), ""}}, "", "ok", "ok", "ok", "ok"},
		{"read alone", map[string]claim{"control": {list("root.*"), nil, ""}}, "", "control-not-granted", "ok", "control-not-granted", "ok"},
		{"one object", map[string]claim{"ncp": {nil, list("root.a"), ""}}, "", "control-not-granted", "ok", "control-not-granted", "ok"},
		{"an empty specifier", map[string]claim{"ncp": {list(""), list(""), ""}}, "", "control-not-granted", "path-not-granted", "control-not-granted", "path-not-granted"},
		{"nothing", map[string]claim{"control": {}}, "control", "control-not-granted", "path-not-granted", "control-not-granted", "path-not-granted"},
		{"scope alone", nil, "control", "control-not-granted", "path-not-granted", "control-not-granted", "path-not-granted"},
		{"another claim", map[string]claim{"configuration": {list("*"), list("*"), ""}}, "", "api-not-granted", "api-not-granted", "api-not-granted", "api-not-granted"},
		{"one model", map[string]claim{"control": {list("c:root.*"), list("c:*"), ""}}, "", "control-not-granted", "ok", "ok", "ok"},
		{"another model", map[string]claim{"control": {list("d:root.*"), list("d:*"), ""}}, "", "control-not-granted", "ok", "control-not-granted", "ok"},
	} {
		tok := tokenOf(c.claims, c.scope)
		for path, want := range map[string][2]string{"/x-nmos/ncp/v1.0": {c.first, c.asked}, "/slot/3/ncp": {c.model, c.modelAsks}} {
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
func TestControlRecords_CTL2_CTL87(t *testing.T) {
	const some = "api=control\ncommand=2 1.2.2.1 1m1 root.receiver-monitors.mon-1\ncommand=3 1.2.2.1 4m3 root.receiver-monitors.mon-2\n" +
		"command=4 1.2.2.1 4m3 root.receiver-monitors.mon-1\nsubscribe=root.tx 3.gain\nTOKEN"
	denied := []any{"write 4m3 1.2.2.1 root.receiver-monitors.mon-2 403 path-not-granted", "read subscribe root.tx 3.gain 403 path-not-granted"}
	for _, c := range []struct {
		name, lines string
		change      func(*config.Config)
		want        map[string]any
	}{
		{"some", some, nil, map[string]any{"question": "control", "kind": "control", "path": "root.receiver-monitors.mon-2", "method": "4m3", "access": "write",
			"targets": 4.0, "allowed": 2.0, "denied": denied, "permitted": nil, "decision": "deny", "status": 403.0, "reason": "path-not-granted"}},
		{"listed", some, func(c *config.Config) { c.Control.Record = config.RecordAll }, map[string]any{"targets": 4.0, "allowed": 2.0, "denied": denied,
			"permitted": []any{"read 1m1 1.2.2.1 root.receiver-monitors.mon-1", "write 4m3 1.2.2.1 root.receiver-monitors.mon-1"}}},
		{"observed", some, func(c *config.Config) { c.Mode = config.ModeObserve }, map[string]any{"targets": 4.0, "allowed": 2.0, "denied": denied,
			"decision": "allow", "reason": "observe", "would": "path-not-granted"}},
		{"all allowed", "api=control\nsubscribe=root.receiver-monitors.mon-1\nTOKEN", nil, map[string]any{"path": "root.receiver-monitors.mon-1",
			"method": "subscribe", "access": "read", "targets": 1.0, "allowed": 1.0, "denied": nil, "permitted": nil, "decision": "allow"}},
		{"no token", "api=configuration\ncommand=1 - 1m1 root\n", nil, map[string]any{"kind": "configuration", "path": "root", "targets": 1.0, "allowed": 0.0,
			"denied": []any{"write 1m1 - root 401 no-token"}, "status": 401.0}},
		{"a model", "api=control\nmodel=slot2B\nsubscribe=root\nTOKEN", func(c *config.Config) { c.Control.Models = []string{"slot2B=b"} },
			map[string]any{"name": "slot2B", "denied": []any{"read subscribe root 403 path-not-granted"}}},
		{"off", some, func(c *config.Config) { c.Mode = config.ModeOff }, map[string]any{"targets": 4.0, "allowed": 4.0, "denied": nil, "reason": "off"}},
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
func TestControlRecordsJoined_CTL87_OPS2(t *testing.T) {
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	out := &ledger{}
	log := audit.New(audit.Options{
		Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 1 << 20, RingBytes: 4096, Repeat: time.Hour, Rates: audit.Rates{Denials: 1, Allows: 1},
	})
	d.Audit(log)
	s := d.NewSessionOf(agent.Peer{UID: 1000, PID: 42})
	tok := monitorToken()
	const n = 50
	for i := range n {
		s.Packet(nil, fmt.Appendf(nil, "control 1\napi=control\nauthorization=Bearer %s\ncommand=%d 1 1m2 root.receiver-monitors.mon-1\nsubscribe=root\n", tok, i), 32<<10)
		s.Packet(nil, fmt.Appendf(nil, "control 1\napi=control\nauthorization=Bearer %s\ncommand=%d 1 1m2 root\n", tok, i), 32<<10)
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
func TestControlRecordsHoldNoToken_OPS2(t *testing.T) {
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
