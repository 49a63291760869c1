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
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
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
func TestRecords_OPS2(t *testing.T) {
	const client = "controller-1"
	d := newDevice(t, func(c *agent.Config) { c.Paths.Public = []string{"/open"} }, mint.New(mint.Options{}).Key.JWK())
	table, err := inventory.Parse([]byte(`{"resources":[{"kind":"meter","name":"in-1","id":"f0a1b2c3-0000-4000-8000-000000000001"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	d.SetInventory(table)
	out := &ledger{}
	log := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 1 << 20, RingBytes: 4096})
	d.Audit(log)

	minted := mint.New(mint.Options{Client: client, Permissions: map[string]mint.Permission{"connection": {Read: []string{"single/senders"}}}})
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
			map[string]any{"question": "decide", "method": "GET", "path": senders, "decision": "allow", "status": 200.0, "reason": "ok", "rule": "PATH-5"}, verified},
		{"decide 1\nmethod=GET\ntarget=" + senders + "\n" + bearer + good + "\n", map[string]any{"reason": "ok", "cached": true}, verified},
		{"decide 1\nmethod=PATCH\ntarget=" + senders + "\n" + bearer + good + "\n",
			map[string]any{"method": "PATCH", "decision": "deny", "status": 403.0, "reason": "path-not-granted"}, verified},
		{"decide 1\nmethod=GET\ntarget=" + senders + "\n" + bearer + nameless + "\n",
			map[string]any{"reason": "ok", "digest": digest(nameless), "client": client, "jti": nil}, nil},
		{"decide 1\nmethod=GET\ntarget=" + senders + "\n" + bearer + forged(good) + "\n",
			map[string]any{"decision": "deny", "status": 401.0, "reason": "signature", "digest": digest(forged(good)), "client": nil, "issuer": nil, "jti": nil, "kid": nil}, nil},
		{"decide 1\nmethod=GET\ntarget=" + senders + "\n", map[string]any{"status": 401.0, "reason": "no-token", "digest": nil}, nil},
		{"decide 1\nmethod=GET\ntarget=/open/a\n", map[string]any{"decision": "allow", "reason": "public", "path": "/open/a"}, nil},
		{"decide 1\nmethod=GET\ntarget=/a//b?access_token=" + good + "\n", map[string]any{"status": 400.0, "reason": "path-ambiguous", "path": "/a//b"}, nil},
		{"verify 1\n" + bearer + good + "\n", map[string]any{"question": "verify", "reason": "ok", "path": nil, "method": nil}, verified},
		{"decide-all 1\ntarget=" + senders + "\ntarget=" + senders + "/x?y\n" + bearer + good + "\n",
			map[string]any{"question": "decide-all", "path": senders, "targets": 2.0, "reason": "path-not-granted",
				"denied": "[" + senders + "/x]", "permitted": "[" + senders + "]"}, verified},
		{"decide-all 1\ntarget=/a\x01b\ntarget=" + senders + "\n" + bearer + good + "\n",
			map[string]any{"path": "/a\x01b", "reason": "path-ambiguous", "denied": `[/a\b]`, "permitted": "[" + senders + "]"}, verified},
		{"decide-all 1\ntarget=" + senders + "\ntarget=" + senders + "/?a\n" + bearer + good + "\n",
			map[string]any{"reason": "ok", "denied": nil, "permitted": "[" + senders + " " + senders + "/]"}, verified},
		{"resource 1\nkind=meter\nname=in-1\naccess=read\n" + bearer + good + "\n",
			map[string]any{"question": "resource", "kind": "meter", "name": "in-1", "access": "read", "reason": "path-not-granted",
				"path": "/x-nmos/events/v1.0/sources/f0a1b2c3-0000-4000-8000-000000000001/state"}, verified},
		{"decide 1\nmethod=GET\ntarget=/x-nmos/connection/v1.1/" + good + "/" + nameless + "?x\n", map[string]any{"path": "/x-nmos/connection/v1.1/[token]/[token]", "reason": "no-token"}, nil},
		{"decide 1\nmethod=" + good + "\ntarget=/a//" + strings.ReplaceAll(good, ".", "%2E") + "\n", map[string]any{"method": "[token]", "path": "/a//[token]"}, nil},
		{"decide-all 1\ntarget=/" + good + "\ntarget=/" + nameless + "/a\n", map[string]any{"path": "/[token]", "denied": "[/[token] /[token]/a]", "reason": "no-token"}, nil},
		{"resource 1\nkind=" + good[:40] + "\nname=" + good[:200] + "\naccess=read\n", map[string]any{"kind": good[:40], "name": "[token]"}, nil},
		{"decide 1\nmethod=" + spaced + "\ntarget=/x-nmos/node/v1.3/" + strings.ReplaceAll(spaced, ".", "%2e") + "\n",
			map[string]any{"method": "[token]", "path": "/x-nmos/node/v1.3/[token]"}, nil},
		{"decide-all 1\ntarget=/a/" + spaced + "/b\ntarget=/" + spaced + "\n", map[string]any{"path": "/a/[token]/b", "denied": "[/a/[token]/b /[token]]"}, nil},
		{"resource 1\nkind=" + spaced + "\nname=x" + spaced + "\naccess=read\n", map[string]any{"kind": "[token]", "name": "x[token]"}, nil},
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
	for _, part := range append(append(strings.Split(good, "."), strings.Split(nameless, ".")...), strings.Split(forged(good), ".")[2]) {
		if strings.Contains(out.b.String(), part) {
			t.Errorf("a part of a token is in the records")
		}
	}

	answered, would := d.Counts()
	want := map[wire.Reason]uint64{
		wire.OK: 5, wire.PathNotGranted: 3, wire.Signature: 1, wire.NoToken: 4, wire.Method: 1, wire.Public: 1, wire.AmbiguousPath: 2,
		wire.PacketVerb: 1,
	}
	for reason, n := range answered {
		if n != want[wire.Reason(reason)] || would[reason] != 0 {
			t.Errorf("%v: counted %d and %d, want %d and 0", wire.Reason(reason), n, would[reason], want[wire.Reason(reason)])
		}
	}
}

// In observe mode the record and the counts hold what enforce would have answered.
func TestRecordsOfObserve_OPS3(t *testing.T) {
	d := newDevice(t, func(c *agent.Config) { c.Mode = agent.ModeObserve }, mint.New(mint.Options{}).Key.JWK())
	out := &ledger{}
	log := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 1 << 20, RingBytes: 4096})
	d.Audit(log)
	s := d.NewSessionOf(agent.Peer{UID: -1})
	s.Packet(nil, []byte("decide 1\nmethod=GET\ntarget="+senders+"\n"), 32<<10)
	s.Packet(nil, []byte("decide-all 1\ntarget="+senders+"\ntarget="+senders+"/x\n"), 32<<10)
	log.Close(context.Background())
	got := out.records(t)
	if len(got) != 2 {
		t.Fatalf("%v", got)
	}
	for _, r := range got {
		if r["decision"] != "allow" || r["reason"] != "observe" || r["would"] != "no-token" || r["would_status"] != 401.0 || r["uid"] != nil || r["gid"] != nil {
			t.Errorf("%v", r)
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
