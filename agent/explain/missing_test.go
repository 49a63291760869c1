package explain_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// missing returns the claims that an explanation says are missing.
func missing(t *testing.T, out string) map[string]json.RawMessage {
	t.Helper()
	_, text, found := strings.Cut(out, "\nMissing: ")
	if !found {
		return nil
	}
	text, _, _ = strings.Cut(text, "\n")
	claims := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(text), &claims); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return claims
}

const receiver = "/x-nmos/connection/v1.1/single/receivers/1"

// Claims typed by hand are judged as those of a token that a trusted server signed. What is missing, put in, permits
// it.
func TestClaimsTypedByHand(t *testing.T) {
	config := config.Default()
	config.Authorization.Servers = []string{"https://servers.example"}
	config.Paths.Claims = []string{"/meters=events"}
	for _, c := range []struct {
		claims, method, target string
		want                   wire.Reason
		says, missing          string
	}{
		{`{}`, "", "", wire.OK, "Left out, and taken as good: aud, client_id, exp, iss, sub.\n", ""},
		{`{}`, "", "", wire.OK, "Whether its claims permit a request was not asked", ""},
		{`{}`, "GET", receiver[1:], wire.AmbiguousPath, "PATH-9   NO  the target does not start with a slash", ""},
		{` {"azp":"c"}` + "\n", "", "", wire.OK, "taken as good: aud, exp, iss, sub.", ""},
		{`{}`, "", "", wire.OK, `iss is "https://servers.example"`, ""},
		{`{"iss":"https://else.example","sub":"s","aud":"*","exp":99999999999,"client_id":"c"}`, "", "", wire.OK,
			"KEY-5    ?   taken as an issuer that the device trusts\nTOK-6    ?   taken as signed by it", ""},
		{`{}`, "GET", receiver, wire.APINotGranted, "PATH-5   NO",
			`{"x-nmos-connection":{"read":["single/receivers/1"]}}`},
		{`{"x-nmos-connection":{"read":["*"]}}`, "PATCH", receiver + "/", wire.PathNotGranted, "says nothing",
			`{"x-nmos-connection":{"write":["single/receivers/1"]}}`},
		{`{"x-nmos-connection":{"read":["*"]}}`, "GET", receiver, wire.OK, "its claims permit this", ""},
		{`{"scope":"node"}`, "GET", "/x-nmos/query/v1.3", wire.APINotGranted, "Or the name query in scope.",
			`{"x-nmos-query":{}}`},
		{`{"scope":"query"}`, "POST", "/x-nmos/query/v1.3", wire.APINotGranted, "The base of an API can only be " +
			"read, and this request writes.\nFix the controller. No claim permits it.\n", ""},
		{`{}`, "GET", "/x-nmos/node/v1.3/a*b", wire.APINotGranted, "That is more than",
			`{"x-nmos-node":{"read":["a*b"]}}`},
		{`{}`, "GET", "/meters/in-1", wire.APINotGranted, "PATH-5   NO", `{"x-nmos-events":{"read":["in-1"]}}`},
		{`{}`, "GET", "/admin", wire.PathClosed, "name it in [paths]", ""},
		{`{"aud":["a.example.net"]}`, "GET", receiver, wire.Audience, "CLM-6    NO", `{"aud":["node-1.example.com"]}`},
		{`{"exp":1}`, "GET", receiver, wire.Expired, "CLM-7    NO", ""},
		{`{"iss":7}`, "GET", receiver, wire.IssuerMissing, "CLM-1    NO", ""},
		{`{"client_id":""}`, "GET", receiver, wire.ClientMissing, "CLM-9    NO", ""},
		{`{"azp":"a","client_id":"b"}`, "GET", receiver, wire.ClientConflict, "CLM-9    NO", ""},
		{`{"x-nmos-node":{"read":[],"read":["*"]}}`, "GET", receiver, wire.TokenJSON, "TOK-5    NO", ""},
		{`{"a":"` + strings.Repeat("x", 13000) + `"}`, "GET", receiver, wire.TokenTooLarge,
			"TOK-5    NO  as a token they are", ""},
	} {
		q := explain.Question{Config: config, Trust: true, Claims: []byte(c.claims), Method: c.method, Target: c.target}
		out, reason := run(t, q)
		says := c.says
		if says == "says nothing" {
			says = "reading and writing are permitted apart"
		}
		if reason != c.want || !strings.Contains(out, says) {
			t.Errorf("%s for %s %s: %v, want %v and %q:\n%s", c.claims, c.method, c.target, reason, c.want, says, out)
		}
		add := missing(t, out)
		if text, _ := json.Marshal(add); c.missing == "" && add != nil || c.missing != "" && string(text) != c.missing {
			t.Errorf("%s for %s %s: %s is missing, want %s", c.claims, c.method, c.target, text, c.missing)
			continue
		}
		if add == nil || reason == wire.Audience && c.method == "" {
			continue
		}
		sum := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(c.claims), &sum); err != nil {
			t.Fatal(err)
		}
		for name, value := range add {
			sum[name] = value
		}
		q.Claims, _ = json.Marshal(sum)
		if reason == wire.Audience {
			q.Method, q.Target = "", ""
		}
		if out, reason = run(t, q); reason != wire.OK {
			t.Errorf("with what was missing, %s: %v\n%s", q.Claims, reason, out)
		}
	}
	for _, bad := range []string{"", "null", "[]", `{"a":1,"a":2}`, `{"a":1}{}`, `{"a":1`, "x"} {
		err := errorOf(explain.Question{Config: config, Names: []string{"a"}, Claims: []byte(bad), Now: time.Now()})
		if err == nil || !strings.Contains(err.Error(), "the claims are not a plain JSON object") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func errorOf(q explain.Question) error {
	_, err := explain.Explain(new(bytes.Buffer), q)
	return err
}

// A line of the audit is explained by the reason that was given; what it says is missing, minted, permits what was
// denied.
func TestRecord(t *testing.T) {
	spec.Rules(t, "OPS-2")
	conf := config.Default()
	conf.Authorization.Servers = []string{mint.DefaultIssuer}
	names := []string{mint.DefaultDevice}
	base := mint.New(mint.Options{Scope: "connection", Permissions: map[string]mint.Permission{
		"connection": {Read: []string{"single/*"}}}})
	held, _, err := keys.Parse(mint.JWKSOf(base.Key.JWK()))
	if err != nil {
		t.Fatal(err)
	}
	table, err := inventory.Parse([]byte(`{"resources": [{"kind": "meter", "name": "in-1", "id": "6f1e0000-0000-4000-8000-000000000021"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []config.Mode{config.ModeEnforce, config.ModeObserve} {
		conf.Mode = mode
		store := keys.NewStore(nil, nil)
		store.Configure(agent.KeyPolicy(conf))
		store.Hold(keys.Held{Name: mint.DefaultIssuer, Keys: held})
		a := agent.New(conf, names, store, func() agent.Time {
			return agent.Time{Now: time.Now(), Trusted: true, State: audit.ClockSynchronised}
		})
		a.SetInventory(table)
		log := audit.New(audit.Options{QueueBytes: 1 << 20, RingBytes: 1 << 20})
		a.Audit(log)
		session := a.NewSessionOf(agent.Peer{UID: 33, PID: 7})
		ask := func(question string, tok *mint.Token) string {
			if tok != nil {
				question += "authorization=Bearer " + tok.Sign() + "\n"
			}
			return string(session.Packet(nil, []byte(question), 32<<10))
		}
		elsewhere := base.Clone()
		elsewhere.Claims.Set("aud", []string{"other.example.net"})
		type row struct {
			question string
			token    *mint.Token
			want     wire.Reason
			says     string
		}
		rows := []row{
			{"decide 1\nmethod=GET\ntarget=" + receiver + "\n", base, wire.OK,
				`client "controller-1", subject "operator@example.com"`},
			{"decide 1\nmethod=PATCH\ntarget=" + receiver + "?a=b\n", base, wire.PathNotGranted,
				"what else the token grants is not known"},
			{"decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.3/self\n", base, wire.APINotGranted,
				`method "GET", path "/x-nmos/node/v1.3/self"`},
			{"decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.3/self\n", nil, wire.NoToken,
				"asked by  user 33, process 7"},
			{"decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.3/self\n", elsewhere, wire.Audience, "for other devices"},
			{"decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.3/self\n",
				mint.New(mint.Options{Issuer: "https://evil.example/x"}), wire.IssuerUntrusted,
				`it claims to be of issuer "https://evil.example/x" (unverified: anybody can write that)`},
			{"decide 1\nmethod=POST\ntarget=/x-nmos/connection/v1.1\n", base, wire.APINotGranted,
				"No claim permits it.\nThe record holds"},
			{"decide 1\nmethod=GET\ntarget=/\u009b\n", base, wire.AmbiguousPath, `path "/\u009b"`},
			{"resource 1\nkind=meter\nname=in-1\naccess=read\n", base, wire.APINotGranted,
				`kind "meter", name "in-1", access "read"`},
			{"resource 1\nkind=meter\nname=in-2\naccess=read\n", base, wire.ResourceUnknown, "Compare the inventory"},
			{"decide-all 1\ntarget=/x-nmos/events/v1.0/sources/1\ntarget=/x-nmos/events/v1.0/sources/2/\ntarget=" +
				receiver + "\n", base, wire.APINotGranted, `denied "/x-nmos/events/v1.0/sources/2/"`},
			{"decide-all 1\ntarget=/admin\ntarget=/x-nmos/events/v1.0/sources/1\n", base, wire.PathClosed,
				`Missing: {"x-nmos-events":{"read":["sources/1"]}}` +
					"\nNo claim grants /admin: the configuration assigns none to that path.\n"},
			{"decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.3/" + strings.Repeat("x", 1100) + "\n", base,
				wire.APINotGranted, "so the claim cannot be told"},
			{"decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.3/eyJhbGciOiJSUzUxMiJ9.eyJi.c\n", base, wire.APINotGranted,
				"so the claim cannot be told"},
			{"verify 1\n", base, wire.OK, "Whether its claims permit a request was not asked"},
			{"hello\n", nil, wire.PacketVerb, "firmware"},
		}
		for _, row := range rows {
			ask(row.question, row.token)
		}
		log.Close(context.Background())
		for i, row := range rows {
			line, ok := log.Find(uint64(i + 1))
			if !ok {
				t.Fatalf("no record %d", i+1)
			}
			var b bytes.Buffer
			reason, err := explain.Record(&b, line, conf, names)
			out := b.String()
			observed := strings.Contains(out, "Observe mode let it pass")
			if err != nil || reason != row.want || !strings.Contains(out, row.says) ||
				observed != (mode == config.ModeObserve && !row.want.Allowed() && row.want != wire.PacketVerb) {
				t.Errorf("%s\n%v, %v, want %v and %q:\n%s", row.question, reason, err, row.want, row.says, out)
			}
			add := missing(t, out)
			if row.want == wire.PathClosed { // which claims alone do not fix
				continue
			}
			if want := (row.want == wire.PathNotGranted || row.want == wire.APINotGranted) &&
				!strings.Contains(row.says, "cannot be told") && !strings.Contains(row.says, "No claim") ||
				row.want == wire.Audience; want != (add != nil) {
				t.Errorf("%s\nmissing: %v\n%s", row.question, add, out)
			}
			if add == nil {
				continue
			}
			fixed := row.token.Clone()
			for name, value := range add {
				fixed.Claims.SetRaw(name, string(value))
			}
			enforce := *conf
			enforce.Mode = config.ModeEnforce
			a.Configure(&enforce, names)
			question := row.question
			if row.want == wire.Audience {
				question = "verify 1\n"
			}
			if strings.HasPrefix(question, "decide-all") { // it held what the third target needs
				fixed.Claims.SetRaw("x-nmos-connection", `{"read":["single/*"]}`)
			}
			if reply := ask(question, fixed); !strings.HasPrefix(reply, "allow 200\n") {
				t.Errorf("%s\nwith %s: %s", question, add, reply)
			}
		}
	}
}

func TestRecordOfAnotherForm(t *testing.T) {
	for _, line := range []string{
		"", "x", "[]", "{}", `{"audit":2,"seq":1,"reason":"ok"}`, `{"audit":1,"event":"open"}`,
		`{"audit":1,"seq":1,"reason":"of the future"}`,
		`{"audit":1,"seq":1,"reason":"observe","would":"of the future"}`, `{"audit":1,"seq":1,"reason":7}`,
	} {
		var b bytes.Buffer
		if reason, err := explain.Record(&b, []byte(line), config.Default(), nil); err == nil ||
			reason != wire.Undecided || b.Len() > 0 {
			t.Errorf("%s: %v, %v, %q", line, reason, err, b.String())
		}
	}
}

// Records that count equal decisions say so.
func TestRecordOfMany(t *testing.T) {
	const line = `{"audit":1,"seq":9,"time":"2027-01-15T08:00:00.000001Z","clock":"unset","question":"decide","method":"GET","path":"/x-nmos",` +
		`"decision":"deny","status":401,"reason":"no-token","rule":"ANS-1","count":7,"first":3,"since":"2027-01-15T07:59:59.000001Z"}`
	var b bytes.Buffer
	if _, err := explain.Record(&b, []byte(line), config.Default(), nil); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("and equal ones: 7, from 3 at %q on\n",
		"2027-01-15T07:59:59.000001Z"); !strings.Contains(b.String(), want) {
		t.Errorf("%q is missing in\n%s", want, b.String())
	}
}

// A record that stands for several decisions is explained by what they have in common.
func TestRecordOfSeveral(t *testing.T) {
	spec.Rules(t, "OPS-2")
	base := audit.Decision{
		Time: time.Now().UnixMicro(), UID: 33, GID: 3, PID: 7, Question: wire.Decide, Method: []byte("GET"),
		Reads: true, Path: []byte("/x-nmos/node/v1.3/self"),
	}
	for _, c := range []struct {
		name   string
		change func(r *audit.Decision, i int)
		want   wire.Reason
		says   []string
	}{
		{"denied", func(r *audit.Decision, i int) { r.Reason, r.Path = wire.NoToken, fmt.Append(nil, "/", i) },
			wire.NoToken, []string{"asked by  user 33\n", "question  unknown\n", "of its own: ",
				"nothing else is known of any of them", "deny 401 no-token"}},
		{"would be denied", func(r *audit.Decision, i int) {
			r.Reason, r.Enforced, r.Path = wire.Observed, wire.PathNotGranted, fmt.Append(nil, "/", i)
		}, wire.PathNotGranted, []string{"Observe mode let it pass", "so the claim cannot be told"}},
		{"read", func(r *audit.Decision, i int) { r.Reason, r.Client = wire.OK, []byte("c") }, wire.OK,
			[]string{`path "/x-nmos/node/v1.3/self"`, "they have client and request in common", `client "c"`}},
	} {
		log := audit.New(audit.Options{QueueBytes: 1 << 20, RingBytes: 1 << 20,
			Rates: audit.Rates{Denials: 1, Allows: 1}})
		for i := range 100 {
			r := base
			c.change(&r, i)
			log.Append(&r)
		}
		log.Close(context.Background())
		line, ok := log.Find(100)
		if !ok {
			t.Fatalf("%s: no record", c.name)
		}
		var b bytes.Buffer
		reason, err := explain.Record(&b, line, config.Default(), []string{mint.DefaultDevice})
		if err != nil || reason != c.want {
			t.Errorf("%s: got %v, %v, want %v", c.name, reason, err, c.want)
		}
		for _, want := range append(c.says, ": 90,") {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s: %q is missing in\n%s", c.name, want, b.String())
			}
		}
	}
}
