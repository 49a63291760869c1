package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// ledger is where a test's records end up.
type ledger struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *ledger) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// records are the members of the records, in their order.
func (l *ledger) records(t *testing.T) (all []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for lines := bufio.NewScanner(bytes.NewReader(l.b.Bytes())); lines.Scan(); {
		var members map[string]any
		if err := json.Unmarshal(lines.Bytes(), &members); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		if members["event"] == nil {
			all = append(all, members)
		}
	}
	return all
}

// Every answer has its record, and the record says what was asked, by whom, and what was answered and why.
func TestRecords(t *testing.T) {
	spec.Rules(t, "OPS-2")
	const client = "controller-1"
	d := newDevice(t, func(c *config.Config) { c.Paths.Public = []string{"/open"} }, mint.New(mint.Options{}).Key.JWK())
	table, err := inventory.Parse([]byte(`{"resources":[{"kind":"meter","name":"in-1","id":"f0a1b2c3-0000-4000-8000-000000000001"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	d.SetInventory(table)
	out := &ledger{}
	log := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 1 << 20, RingBytes: 4096})
	d.Audit(log)

	minted := mint.New(mint.Options{Client: client, Permissions: map[string]mint.Permission{
		"connection": {Read: []string{"single/senders"}}}})
	minted.Claims.Set("jti", "id-1")
	good := minted.Sign()
	minted.Claims.Delete("jti")
	nameless := minted.Sign()
	digest := func(tok string) string {
		sum := token.DigestOf([]byte(tok))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	encode := base64.RawURLEncoding.EncodeToString // JSON may begin with white space
	spaced := encode([]byte("\r\n { \"alg\":\"RS512\"}")) + "." + encode([]byte("\t{\"iss\":\"x\"}")) + ".c2ln"
	bearer := "authorization=Bearer "
	verified := map[string]any{"client": client, "issuer": mint.DefaultIssuer, "kid": mint.DefaultKID, "jti": "id-1"}
	type row struct {
		packet string
		want   map[string]any
		token  map[string]any
	}
	rows := []row{
		{"decide 1\nmethod=GET\ntarget=" + senders + "?a=b\n" + bearer + good + "\n",
			map[string]any{"question": "decide", "method": "GET", "path": senders, "decision": "allow", "status": 200.0,
				"reason": "ok", "rule": "PATH-5"}, verified},
		{"decide 1\nmethod=GET\ntarget=" + senders + "\n" + bearer + good + "\n",
			map[string]any{"reason": "ok", "cached": true}, verified},
		{"decide 1\nmethod=PATCH\ntarget=" + senders + "\n" + bearer + good + "\n",
			map[string]any{"method": "PATCH", "decision": "deny", "status": 403.0, "reason": "path-not-granted"},
			verified},
		{"decide 1\nmethod=GET\ntarget=" + senders + "\n" + bearer + nameless + "\n",
			map[string]any{"reason": "ok", "digest": digest(nameless), "client": client, "jti": nil}, nil},
		{"decide 1\nmethod=GET\ntarget=" + senders + "\n" + bearer + forged(good) + "\n",
			map[string]any{"decision": "deny", "status": 401.0, "reason": "signature", "digest": digest(forged(good)),
				"client": nil, "issuer": nil, "jti": nil, "kid": nil}, nil},
		{"decide 1\nmethod=GET\ntarget=" + senders + "\n",
			map[string]any{"status": 401.0, "reason": "no-token", "digest": nil}, nil},
		{"decide 1\nmethod=GET\ntarget=/open/a\n",
			map[string]any{"decision": "allow", "reason": "public", "path": "/open/a"}, nil},
		{"decide 1\nmethod=GET\ntarget=/a//b?access_token=" + good + "\n",
			map[string]any{"status": 400.0, "reason": "path-ambiguous", "path": "/a//b"}, nil},
		{"verify 1\n" + bearer + good + "\n",
			map[string]any{"question": "verify", "reason": "ok", "path": nil, "method": nil}, verified},
		{"decide-all 1\ntarget=" + senders + "\ntarget=" + senders + "/x?y\n" + bearer + good + "\n",
			map[string]any{"question": "decide-all", "path": senders, "targets": 2.0, "reason": "path-not-granted",
				"denied": "[" + senders + "/x]", "permitted": "[" + senders + "]"}, verified},
		{"decide-all 1\ntarget=/a\x01b\ntarget=" + senders + "\n" + bearer + good + "\n",
			map[string]any{"path": "/a\x01b", "reason": "path-ambiguous", "denied": `[/a\b]`,
				"permitted": "[" + senders + "]"}, verified},
		{"decide-all 1\ntarget=" + senders + "\ntarget=" + senders + "/?a\n" + bearer + good + "\n",
			map[string]any{"reason": "ok", "denied": nil, "permitted": "[" + senders + " " + senders + "/]"}, verified},
		{"resource 1\nkind=meter\nname=in-1\naccess=read\n" + bearer + good + "\n",
			map[string]any{"question": "resource", "kind": "meter", "name": "in-1", "access": "read",
				"reason": "path-not-granted",
				"path":   "/x-nmos/events/v1.0/sources/f0a1b2c3-0000-4000-8000-000000000001/state"}, verified},
		{"decide 1\nmethod=GET\ntarget=/x-nmos/connection/v1.1/" + good + "/" + nameless + "?x\n",
			map[string]any{"path": "/x-nmos/connection/v1.1/[token]/[token]", "reason": "no-token"}, nil},
		{"decide 1\nmethod=" + good + "\ntarget=/a//" + strings.ReplaceAll(good, ".", "%2E") + "\n",
			map[string]any{"method": "[token]", "path": "/a//[token]"}, nil},
		{"decide-all 1\ntarget=/" + good + "\ntarget=/" + nameless + "/a\n",
			map[string]any{"path": "/[token]", "denied": "[/[token] /[token]/a]", "reason": "no-token"}, nil},
		{"resource 1\nkind=" + good[:40] + "\nname=" + good[:200] + "\naccess=read\n",
			map[string]any{"kind": good[:40], "name": "[token]"}, nil},
		{"decide 1\nmethod=" + spaced + "\ntarget=/x-nmos/node/v1.3/" + strings.ReplaceAll(spaced, ".", "%2e") + "\n",
			map[string]any{"method": "[token]", "path": "/x-nmos/node/v1.3/[token]"}, nil},
		{"decide-all 1\ntarget=/a/" + spaced + "/b\ntarget=/" + spaced + "\n",
			map[string]any{"path": "/a/[token]/b", "denied": "[/a/[token]/b /[token]]"}, nil},
		{"resource 1\nkind=" + spaced + "\nname=x" + spaced + "\naccess=read\n",
			map[string]any{"kind": "[token]", "name": "x[token]"}, nil},
		{"decide 2\n", map[string]any{"decision": "error", "status": 400.0, "reason": "packet-verb"}, nil},
	}
	session := d.NewSessionOf(agent.Peer{UID: 1000, GID: 100, PID: 42})
	began := time.Now()
	for _, r := range rows {
		session.Packet(nil, []byte(r.packet), 32<<10)
	}
	session.Packet(nil, []byte("ping 1\n"), 32<<10)            // no decision
	d.NewSession().Packet(nil, []byte(rows[0].packet), 32<<10) // the daemon's own
	log.Close(context.Background())

	got := out.records(t)
	if len(got) != len(rows) {
		t.Fatalf("%d records of %d answers: %v", len(got), len(rows), got)
	}
	for i, r := range rows {
		for name, want := range r.token {
			r.want[name] = want
		}
		for name, want := range r.want {
			if fmt.Sprint(got[i][name]) != fmt.Sprint(want) {
				t.Errorf("%q: %s is %v, want %v", strings.SplitN(r.packet, "\nauth", 2)[0], name, got[i][name], want)
			}
		}
		if got[i]["seq"] != float64(i+1) || got[i]["uid"] != 1000.0 || got[i]["gid"] != 100.0 || got[i]["pid"] != 42.0 {
			t.Errorf("seq %v, uid %v, gid %v, pid %v", got[i]["seq"], got[i]["uid"], got[i]["gid"], got[i]["pid"])
		}
		at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got[i]["time"]))
		if err != nil || at.Before(began.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("time %v, %v", got[i]["time"], err)
		}
	}
	for _, part := range append(append(strings.Split(good, "."), strings.Split(nameless, ".")...),
		strings.Split(forged(good), ".")[2]) {
		if strings.Contains(out.b.String(), part) {
			t.Errorf("a part of a token is in the records")
		}
	}

	answered, would := d.Counts()
	want := map[wire.Reason]uint64{
		wire.OK: 5, wire.PathNotGranted: 3, wire.Signature: 1, wire.NoToken: 6, wire.Method: 2, wire.Public: 1,
		wire.AmbiguousPath: 2, wire.PacketVerb: 1,
	}
	for reason, n := range answered {
		if n != want[wire.Reason(reason)] || would[reason] != 0 {
			t.Errorf("%v: counted %d and %d, want %d and 0",
				wire.Reason(reason), n, would[reason], want[wire.Reason(reason)])
		}
	}
}

// In observe mode the record and the counts hold what enforce would have answered.
func TestRecordsOfObserve(t *testing.T) {
	spec.Rules(t, "OPS-3")
	d := newDevice(t, func(c *config.Config) { c.Mode = config.ModeObserve }, mint.New(mint.Options{}).Key.JWK())
	out := &ledger{}
	log := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 1 << 20, RingBytes: 4096})
	d.Audit(log)
	s := d.NewSessionOf(agent.Peer{UID: -1})
	s.Packet(nil, []byte("decide 1\nmethod=GET\ntarget="+senders+"\n"), 32<<10)
	s.Packet(nil, []byte("decide-all 1\ntarget="+senders+"\ntarget="+senders+"/x\n"), 32<<10)
	log.Close(context.Background())
	got := out.records(t)
	if len(got) != 2 {
		t.Fatalf("got %v", got)
	}
	for _, r := range got {
		if r["decision"] != "allow" || r["reason"] != "observe" || r["would"] != "no-token" ||
			r["would_status"] != 401.0 || r["uid"] != nil || r["gid"] != nil {
			t.Errorf("got %v", r)
		}
	}
	if denied := fmt.Sprint(got[1]["denied"]); !strings.Contains(denied, senders+"/x") {
		t.Errorf("denied: %v", denied)
	}
	answered, would := d.Counts()
	if answered[wire.Observed] != 2 || would[wire.NoToken] != 2 {
		t.Errorf("counted %d and %d", answered[wire.Observed], would[wire.NoToken])
	}
}

// What may change the device has a record of its own, however fast it comes; what is denied or read without end does
// not (OPS-2).
func TestChangesAreNeverJoined(t *testing.T) {
	spec.Rules(t, "OPS-2")
	for _, mode := range []config.Mode{config.ModeEnforce, config.ModeObserve} {
		d := newDevice(t, func(c *config.Config) { c.Mode, c.Paths.Control = mode, []string{"/slot/2"} },
			mint.New(mint.Options{}).Key.JWK())
		table, err := inventory.Parse(
			[]byte(`{"resources":[{"kind":"receiver","name":"in-1","id":"f0a1b2c3-0000-4000-8000-000000000001"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		d.SetInventory(table)
		out := &ledger{}
		log := audit.New(audit.Options{
			Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 1 << 20, RingBytes: 4096, Repeat: time.Hour,
			Rates: audit.Rates{Denials: 1, Allows: 1},
		})
		d.Audit(log)
		all := mint.Permission{Read: []string{"*"}, Write: []string{"*"}}
		bearer := "authorization=Bearer " + mint.New(mint.Options{
			Permissions: map[string]mint.Permission{"connection": all, "control": all},
		}).Sign() + "\n"
		alone := []string{ // each of which may change the device
			"decide 1\nmethod=PATCH\ntarget=" + senders + "\n" + bearer,
			"decide 1\nmethod=POST\ntarget=" + senders + "\n" + bearer,
			"decide 1\nmethod=PUT\ntarget=" + senders + "\n" + bearer,
			"decide 1\nmethod=DELETE\ntarget=" + senders + "\n" + bearer,
			"decide 1\nmethod=GET\ntarget=/x-nmos/ncp/v1.0\n" + bearer,
			"decide 1\nmethod=GET\ntarget=/slot/2\nupgrade=websocket\n" + bearer,
			"decide-all 1\nmethod=PATCH\ntarget=" + senders + "\ntarget=" + senders + "/x\n" + bearer,
			"decide-all 1\nmethod=GET\ntarget=/slot/2\ntarget=" + senders + "\n" + bearer,
			"resource 1\nkind=receiver\nname=in-1\naccess=write\n" + bearer,
			"verify 1\n" + bearer,
		}
		if mode == config.ModeObserve { // which lets through what enforce would not
			alone = append(alone, "decide 1\nmethod=PATCH\ntarget="+senders+"\n", "verify 1\n",
				"decide 1\nmethod=GET\ntarget=/x-nmos/ncp/v1.0\n")
		}
		joined := []string{
			"decide 1\nmethod=GET\ntarget=" + senders + "\n" + bearer,
			"decide-all 1\ntarget=" + senders + "\ntarget=" + senders + "/x\n" + bearer,
			"resource 1\nkind=receiver\nname=in-1\naccess=read\n" + bearer,
			"decide 1\nmethod=OPTIONS\ntarget=" + senders + "\n",
			"decide 1\nmethod=GET\ntarget=/x-nmos\n",
			"decide 1\nmethod=GET\ntarget=" + senders + "\n",
		}
		const each = 100
		session := d.NewSessionOf(agent.Peer{UID: 1000, GID: 100, PID: 42})
		for range each {
			for _, packet := range append(alone[:len(alone):len(alone)], joined...) {
				if reply := string(session.Packet(nil, []byte(packet), 32<<10)); !strings.HasPrefix(reply, "allow") &&
					strings.Contains(packet, bearer) {
					t.Fatalf("%s: %q answered %q", mode, packet, reply)
				}
			}
		}
		log.Close(context.Background())
		own, decisions := 0, 0.0
		for _, r := range out.records(t) {
			count, several := r["count"].(float64)
			if !several {
				count = 1
			}
			decisions += count
			if r["joined"] == nil && !several {
				own++
			}
			what := fmt.Sprint(r["method"], " ", r["path"], " ", r["access"])
			if r["decision"] == "allow" && several &&
				(strings.Contains(what, "PATCH") || strings.Contains(what, "write") || r["question"] == "verify") {
				t.Errorf("%s: a change was joined: %v", mode, r)
			}
		}
		if want := len(alone) * each; own < want || own > want+60 {
			t.Errorf("%s: %d records of one decision each, want those of %d changes and the budget", mode, own, want)
		}
		if want := float64((len(alone) + len(joined)) * each); decisions != want {
			t.Errorf("%s: %v decisions in all, want %v", mode, decisions, want)
		}
	}
}

// A token that was not verified is nobody's word: the record names its issuer as claimed, and nothing else that it says
// (OPS-2; issue 10, D.24).
func TestUnverifiedTokens(t *testing.T) {
	spec.Rules(t, "OPS-2")
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	out := &ledger{}
	log := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 1 << 20, RingBytes: 4096})
	d.Audit(log)
	minted := func(issuer string) string {
		return mint.New(mint.Options{Issuer: issuer, Client: "controller-of-nobody", Subject: "nobody"}).Sign()
	}
	const evil = "https://evil.example/realms/x"
	session := d.NewSessionOf(agent.Peer{UID: 1000, GID: 100, PID: 42})
	for range 2 {
		for _, packet := range []string{
			"decide 1\nmethod=GET\ntarget=" + senders + "\nauthorization=Bearer " + minted(evil) + "\n",
			"verify 1\nauthorization=Bearer " + minted(evil+"/"+minted(evil)) + "\n", // a token that claims a token
			"verify 1\nauthorization=Bearer x.y.z\n",
			"verify 1\nauthorization=Bearer " + forged(minted(mint.DefaultIssuer)) + "\n",
		} {
			session.Packet(nil, []byte(packet), 32<<10)
		}
	}
	log.Close(context.Background())
	got := out.records(t)
	if len(got) != 8 {
		t.Fatalf("%d records, want 8: %v", len(got), got)
	}
	for i, want := range []struct{ reason, claimed string }{
		{"issuer-untrusted", evil}, {"issuer-untrusted", evil + "/[token]"}, {"token-malformed", ""},
		{"signature", mint.DefaultIssuer},
	} {
		for _, r := range []map[string]any{got[i], got[i+4]} {
			claimed, _ := r["unverified_issuer"].(string)
			if r["reason"] != want.reason || claimed != want.claimed && want.reason != "signature" {
				t.Errorf("got %v with the claimed issuer %q, want %s with %q: %v",
					r["reason"], claimed, want.reason, want.claimed, r)
			}
			for _, member := range []string{"issuer", "subject", "client", "jti", "kid"} {
				if r[member] != nil {
					t.Errorf("%s: %s is %v, which nobody vouches for", want.reason, member, r[member])
				}
			}
			if text := fmt.Sprint(r); strings.Contains(text, "nobody") {
				t.Errorf("%s: the record holds what nobody vouches for: %s", want.reason, text)
			}
		}
	}
}
