package agent_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/rows"
)

// FuzzSession puts packets of any kind to a session. The reply must be one of the protocol, with nothing in it that is
// a line of its own only because the packet said so; the same question has the same answer; and nothing is allowed by a
// token unless the packet holds one. No record of it holds a token, wherever the packet does.
func FuzzSession(f *testing.F) {
	tok := mint.New(permit)
	d := newDevice(f, publicMeters, tok.Key.JWK())
	d.setInventory(f, deviceInventory)
	now := time.Now()
	d.clock.Store(&now)
	const placeholder = "TOKEN" // the fuzzer cannot sign
	good := tok.Sign()
	for _, row := range answerRows {
		f.Add(rows.Answer(row.Lines, placeholder))
	}
	for _, row := range sourceRows {
		f.Add("decide-all 1\nid=1\n" + row.lines)
		f.Add("watch-token 1\nid=1\n" + row.lines)
	}
	for _, row := range pathRows {
		f.Add("decide 1\nmethod=" + row.Method + "\ntarget=" + row.Target +
			"\nauthorization=Bearer " + placeholder + "\n")
	}
	f.Add("verify 1\nauthorization=Bearer TOKEN\nid=reason=ok\n")
	f.Add("decide-all 1\ntarget=/a\rreason=ok\ntarget=/\u0085\u2028denied=\n")
	f.Add("decide-all 1\ntarget=reason=ok?\ntarget=allow 200\n")
	for _, row := range resourceRows {
		f.Add("resource 1\nid=1\n" + strings.ReplaceAll(row.Lines, "TOKEN", placeholder))
	}
	for _, where := range []string{"method=TOKEN\ntarget=/a", "method=GET\ntarget=/a/TOKEN/b",
		"method=GET\ntarget=/a//TOKEN", "method=GET\ntarget=/a/%3TOKEN", "method=GET\ntarget=/a/%4TOKEN",
		"method=GET\ntarget=%2FxTOKEN!x"} {
		f.Add("decide 1\n" + where + "\n")
		f.Add("decide-all 1\nid=TOKEN\ntarget=/\n" + where[strings.Index(where, "target"):] + "?TOKEN\n")
	}
	f.Add("resource 1\nkind=meter\nname=in-TOKEN\naccess=TOKEN\n")
	f.Add("token 1\nscope=registration\nid=7\n")
	f.Add("token 1\nresource=https://registry.example.com/TOKEN\nscope=TOKEN\n")
	f.Add("token 1\nscope=events\nrefused=0123456789abcdef0123456789abcdef\n")
	for _, row := range controlRows {
		f.Add("control 1\nid=1\n" + strings.ReplaceAll(row.Lines, "TOKEN", "authorization=Bearer TOKEN\n"))
	}
	f.Add("control 1\napi=control\nsubscribe=TOKEN\ncommand=1 1 1m1 TOKEN 403 x\n")
	f.Add("ping 1\nid=\n")
	const own = "own.secret.token"
	given := &purse{tokens: map[string]oauth.Token{
		"registration": {Token: own, Scope: "registration", Left: time.Minute}}}
	session := d.NewSession()
	names := strings.Fields("error detail scope token-id id reason client-id subject issuer expires-in path " +
		"www-authenticate retry-after")
	firsts := []string{"allow 200", "deny 400", "deny 401", "deny 403", "deny 405", "deny 503", "error 400", "pong 1"}
	f.Fuzz(func(t *testing.T, packet string) {
		packet = strings.ReplaceAll(packet, placeholder, good)
		reply := string(session.Packet(nil, []byte(packet), 32<<10))
		got := parseAnswer(t, []byte(reply))
		if !slices.Contains(firsts, got.first) {
			t.Errorf("%q: %q", packet, got.first)
		}
		denied := strings.Count(packet, "\ntarget=")
		many := strings.HasPrefix(packet, "decide-all 1\n") || strings.HasPrefix(packet, "watch-token 1\n")
		if strings.HasPrefix(packet, "control 1\n") {
			denied, many = strings.Count(packet, "\ncommand=")+strings.Count(packet, "\nsubscribe="), true
		}
		if len(got.many) > denied || len(got.many) > 0 && !many {
			t.Errorf("%q: denied %q", packet, got.many)
		}
		for name := range got.lines {
			if !slices.Contains(names, name) {
				t.Errorf("%q: %s=%s", packet, name, got.lines[name])
			}
		}
		if id := got.lines["id"]; id != "" && !strings.Contains(packet, "\nid="+id+"\n") {
			t.Errorf("%q: the id %q", packet, id)
		}
		signature := good[len(good)-10:]
		if got.reason() == "ok" && !strings.Contains(packet, signature) && !strings.Contains(packet, "%") {
			t.Errorf("%q: %v", packet, got)
		}
		elsewhere := strings.NewReplacer("\nauthorization=Bearer "+good, "", "?access_token="+good, "").Replace(packet)
		if strings.Contains(reply, good) && !strings.Contains(elsewhere, good) {
			t.Errorf("%q: the token comes back: %q", packet, reply)
		}
		if strings.Contains(reply, own) && !strings.Contains(packet, own) {
			t.Errorf("%q: a caller who is not known has the device's own token: %q", packet, reply)
		}
		out := &ledger{}
		log := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewWriter(out)}, QueueBytes: 64 << 10})
		d.Audit(log)
		s := d.NewSessionOf(agent.Peer{})
		s.HandOut(given)
		if got := string(s.Packet(nil, []byte(packet), 32<<10)); strings.Contains(got, own) &&
			!strings.Contains(packet, own) && !strings.HasPrefix(packet, "token 1\n") {
			t.Errorf("%q: the device's own token comes with %q", packet, got)
		}
		log.Close(t.Context())
		records := out.b.String()
		if strings.Contains(records, own) && !strings.Contains(packet, own) {
			t.Errorf("%q: the device's own token is recorded: %s", packet, records)
		}
		elsewhere = strings.ReplaceAll(packet, good, "")
		for _, part := range strings.Split(good, ".") {
			if strings.Contains(records, part) && !strings.Contains(elsewhere, part) {
				t.Errorf("%q: recorded as %s", packet, records)
			}
		}
		if strings.Count(records, `"question":`) > 1 ||
			!strings.HasPrefix(packet, "ping") && !strings.Contains(records, `"seq":1,`) {
			t.Errorf("%q: recorded as %s", packet, records)
		}
		if again := string(d.NewSession().Packet(nil, []byte(packet), 32<<10)); again != reply {
			t.Errorf("%q: %q, and by another session %q", packet, reply, again)
		}
	})
}
