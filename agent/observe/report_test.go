package observe_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/observe"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// Each kind of denial is told to the operator: by a claim, or by what else to do.
func TestReportTellsWhatNoClaimMends(t *testing.T) {
	r := newRig(t, observe.DefaultLimits, audit.Options{Repeat: time.Hour})
	ask := r.asker(33)
	good := r.token("c", nil)
	late := r.base.Clone()
	late.Claims.Set("client_id", "late")
	late.Claims.Set("exp", time.Now().Add(-time.Hour).Unix())
	other := r.base.Clone()
	other.Claims.Set("client_id", "elsewhere")
	other.Claims.Set("aud", []string{"other.example.net"})
	const a = "decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.3/a\n"
	for _, q := range [][2]string{
		{a, good}, {a, ""}, {a, "nonsense"}, {a, late.Sign()}, {a, other.Sign()}, {"verify 1\n", ""},
		{"verify 1\n", good}, {"decide 2\n", ""},
		{"decide 1\nmethod=GET\ntarget=/ui/x\n", ""}, {"decide 1\nmethod=GET\ntarget=/x-nmos\n", ""},
		{"decide 1\nmethod=GET\ntarget=/admin\n", good}, {"decide 1\nmethod=GET\ntarget=/admin\n", ""},
		{"decide 1\nmethod=POST\ntarget=/x-nmos/node/v1.3\n", good}, {"decide 1\nmethod=POST\ntarget=/x-nmos/\n", good},
		{"decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.3/a*\n", good}, {"decide 1\nmethod=BREW\ntarget=/\n", good},
		{"decide 1\nmethod=GET\ntarget=/x-nmos//x\n", good}, {"resource 1\nkind=fader\nname=f 2\naccess=read\n", good},
	} {
		ask(q[0], q[1])
	}
	report := r.report()
	for i := range report.Controllers {
		c := &report.Controllers[i]
		var got []string
		for _, m := range c.Mend {
			got = append(got, fmt.Sprintf("%s %d", m.Reason, m.Decisions))
			if m.Means == "" || m.Do == "" {
				t.Errorf("no advice: %+v", m)
			}
		}
		for _, a := range c.Accesses {
			got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s%s %s", a.Access, a.Path, a.Resource, a.Reason)))
		}
		name := string(c.Token) + " " + c.Client
		want := map[string]struct {
			claims, add string
			said        []string
		}{
			"verified c": {`{"x-nmos-node":{"read":["a"]}}`, `{"x-nmos-node":{"read":["a"]}}`, []string{
				"api-not-granted 1", "path-closed 1", "path-version 1", "resource-unknown 1",
				"read fader f 2 resource-unknown", "read /admin path-closed", "write /x-nmos/ path-version",
				"write /x-nmos/node/v1.3 api-not-granted", "read /x-nmos/node/v1.3/a api-not-granted",
				"read /x-nmos/node/v1.3/a* api-not-granted",
			}},
			"verified late": {`{"x-nmos-node":{"read":["a"]}}`, `{}`,
				[]string{"token-expired 1", "read /x-nmos/node/v1.3/a token-expired"}},
			"verified elsewhere": {`{"x-nmos-node":{"read":["a"]}}`, `{}`,
				[]string{"audience 1", "read /x-nmos/node/v1.3/a audience"}},
			"none ": {`{"x-nmos-node":{"read":["a"]}}`, `{"x-nmos-node":{"read":["a"]}}`, []string{
				"no-token 3", "path-closed 1", "verify  no-token", "read /admin no-token", "read " +
					"/x-nmos/node/v1.3/a no-token"}},
			"refused ": {`null`, `null`, []string{"method 1", "packet-verb 1", "path-ambiguous 1", "token-malformed 1",
				"packet-verb", "BREW / method", "read /x-nmos//x path-ambiguous", "read /x-nmos/node/v1.3/a " +
					"token-malformed"}},
		}[name]
		if !slices.Equal(got, want.said) {
			t.Errorf("%s:\n%q, want\n%q", name, got, want.said)
		}
		if c.Claims.String() != want.claims || c.Claims != nil && merged(c.Add) != want.add {
			t.Errorf("%s: claims %v, add %v", name, c.Claims, c.Add)
		}
		if wide := strings.Contains(strings.Join(c.Incomplete, ";"), "a claim with a *"); wide != (c.Client == "c") {
			t.Errorf("%s: incomplete %q", name, c.Incomplete)
		}
	}
	if len(report.Controllers) != 5 || report.Decisions != 18 || report.Would != 14 || report.Denied != 1 {
		t.Errorf("%d controllers, %+v", len(report.Controllers), report)
	}
}

func merged(c explain.Claims) string {
	if len(c) == 0 {
		return "{}"
	}
	return c.String()
}

// Of several targets in one question the record names as many as it has room for, so that the report says when it does
// not know all.
func TestSeveralTargets(t *testing.T) {
	spec.Rules(t, "PATH-12")
	for _, c := range []struct {
		targets, claims, add string
		incomplete           bool
	}{
		// one place twice
		{"target=/x-nmos/events/v1.0/a\ntarget=/x-nmos/events/v1.0/b%7A/\ntarget=/x-nmos/events/v1.0/%62z?q=1\n",
			`{"x-nmos-events":{"read":["a","bz"]}}`, `{"x-nmos-events":{"read":["a","bz"]}}`, false},
		{"target=/x-nmos/events/v1.0/in-1\n", `{"x-nmos-events":{"read":["in-1"]}}`, `{}`, false},
		{"target=/x-nmos/events/v1.0/in-1\ntarget=/x-nmos/events/v1.0/a\n",
			`{"x-nmos-events":{"read":["a","in-1"]}}`, `{"x-nmos-events":{"read":["a"]}}`, false},
		{"target=/x-nmos/events/v1.0/in-1\ntarget=/x-nmos/events/v1.0/in-2\n",
			`{"x-nmos-events":{"read":["in-1","in-2"]}}`, `{}`, false},
		{"target=/x-nmos/events/v1.0/a\ntarget=/x-nmos/events/v1.0/in-2\n", `{"x-nmos-events":{"read":["a","in-2"]}}`,
			`{"x-nmos-events":{"read":["a"]}}`, false},
		{"target=/ui/x\ntarget=/a//b\ntarget=/x-nmos/events/v1.0/in-2\n",
			`{"x-nmos-events":{"read":["in-2"]}}`, `{}`, false},
		{"target=/x-nmos/events/v1.0/in-1\ntarget=/x-nmos/events/v1.0/eyJhbGciOiJSUzUxMiJ9.eyJi.c\n",
			`{"x-nmos-events":{"read":["in-1"]}}`, `{}`, true},
		{"target=/x-nmos/events/v1.0/in-1\ntarget=/x-nmos/events/v1.0/a\x01b\n",
			`{"x-nmos-events":{"read":["in-1"]}}`, `{}`, false},
		{"target=/admin\ntarget=/x-nmos/node/v1.0/a\ntarget=/a//b\n", `{"x-nmos-node":{"read":["a"]}}`,
			`{"x-nmos-node":{"read":["a"]}}`, false},
		{strings.Repeat("target=/x-nmos/events/v1.0/"+strings.Repeat("x", 400)+"\n", 3), // longer than a record
			`{"x-nmos-events":{"read":["` + strings.Repeat("x", 400) + `"]}}`, `{"x-nmos-events":{"read":["` +
				strings.Repeat("x", 400) + `"]}}`, true},
		// likewise
		{"target=/x-nmos/events/v1.0/a\n" + strings.Repeat("target=/x-nmos/events/v1.0/in-"+strings.Repeat("x", 400)+
			"\n", 3), `{"x-nmos-events":{"read":["a","in-` + strings.Repeat("x", 400) + `"]}}`,
			`{"x-nmos-events":{"read":["a"]}}`, true},
	} {
		r := newRig(t, observe.DefaultLimits, audit.Options{})
		r.asker(33)("decide-all 1\n"+c.targets,
			r.token("c", map[string]map[string][]string{"x-nmos-events": {"read": {"in-*"}}}))
		report := r.report()
		if len(report.Controllers) != 1 {
			t.Fatalf("%s%+v", c.targets, report)
		}
		got := report.Controllers[0]
		if got.Claims.String() != c.claims || merged(got.Add) != c.add || (len(got.Incomplete) > 0) != c.incomplete {
			t.Errorf("%s\nclaims %v\nadd %v\nincomplete %q", c.targets, got.Claims, got.Add, got.Incomplete)
		}
	}
}

// Whatever is sent, an Observer holds no more than its limits, says what it leaves out, and one controller leaves room
// for others.
func TestLimits(t *testing.T) {
	limits := observe.Limits{Controllers: 3, Accesses: 40, Bytes: 4000}
	r := newRig(t, limits, audit.Options{})
	ask := r.asker(33)
	for i := range 100 {
		ask(fmt.Sprintf("decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.0/%d\n", i), "")
	}
	ask("decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.0/"+strings.Repeat("x", 2000)+"\n", "")
	for i := range 5 {
		ask("decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.0/a\n", r.token(fmt.Sprintf("client-%d", i), nil))
	}
	ask("decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.0/a\n", r.token(strings.Repeat("c", 300), nil))
	report := r.report()
	if len(report.Controllers) != 3 || report.Unlisted != 4 || report.Decisions != 107 || report.Would != 107 {
		t.Fatalf("got %+v", report)
	}
	listed := 0
	for _, c := range report.Controllers {
		listed += len(c.Accesses)
		switch {
		case c.Token == observe.None &&
			(len(c.Accesses) != limits.Accesses/4 || c.Decisions != 101 || len(c.Incomplete) == 0):
			t.Errorf("got %+v", c)
		case c.Token == observe.Verified && (len(c.Accesses) != 1 || len(c.Incomplete) > 0):
			t.Errorf("got %+v", c)
		}
	}
	if listed != 12 {
		t.Errorf("%d accesses", listed)
	}
	r.observer.Reset(time.Now(), r.log.Stats())
	if again := r.report(); again.Decisions+again.Unlisted+uint64(len(again.Controllers)) != 0 {
		t.Errorf("after a reset: %+v", again)
	}
}

// All who come without a verified token, whoever asks for them, leave half of the room to the controllers.
func TestLimitsOfStrangers(t *testing.T) {
	limits := observe.Limits{Controllers: 20, Accesses: 40, Bytes: 4000}
	for _, length := range []int{1, 50} { // of paths: accesses run out, or bytes
		r := newRig(t, limits, audit.Options{})
		path := func(i int) string {
			return fmt.Sprintf("decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.0/%d%s\n", i, strings.Repeat("x", length))
		}
		for uid := range int64(5) {
			ask := r.asker(uid)
			for i := range 30 {
				ask(path(i), "")
				ask(path(i), "nonsense")
			}
		}
		for i := range 10 {
			r.asker(0)(path(i), r.token("c", nil))
		}
		report := r.report()
		others := 0
		for _, c := range report.Controllers[1:] {
			others += len(c.Accesses)
		}
		if c := report.Controllers[0]; c.Client != "c" || len(c.Accesses) != 10 || len(c.Incomplete) > 0 {
			t.Errorf("got %+v", c)
		}
		if len(report.Controllers) != 11 || others == 0 || others > limits.Accesses/2 {
			t.Errorf("%d controllers, %d accesses of strangers", len(report.Controllers), others)
		}
	}
}

// record returns the record of a decision.
func record(seq uint64, d audit.Decision) *audit.Record {
	r := new(audit.Record)
	r.Set(seq, &d)
	return r
}

// What the audit dropped is said, and only since the observation began.
func TestUnseenDecisions(t *testing.T) {
	o := observe.New(observe.DefaultLimits)
	o.Reset(time.Now(), audit.Stats{Appended: 9, Lost: 5})
	o.Observe(record(9, audit.Decision{Reason: wire.Public})) // decided before, and sorted only now
	report := o.Report(time.Now(), "observe", &decide.Rules{}, audit.Stats{Lost: 12, Unseen: 3})
	if report.Unseen != 7 || report.Waiting != 3 || report.Decisions != 0 {
		t.Errorf("got %+v", report)
	}
	var b strings.Builder
	o.Observe(record(10, audit.Decision{Reason: wire.Public}))
	o.Observe(record(11, audit.Decision{
		Reason: wire.OK, Client: []byte("c"), Question: wire.Decide, Method: []byte("GET"),
		Path: []byte("/x-nmos/node"),
	}))
	for lost, incomplete := range map[uint64]bool{5: false, 6: true} {
		c := o.Report(time.Now(), "observe", &decide.Rules{}, audit.Stats{Lost: lost}).Controllers[0]
		if (len(c.Incomplete) > 0) != incomplete || c.Claims.String() != `{"x-nmos-node":{}}` {
			t.Errorf("%d lost: %+v", lost, c)
		}
	}
	o.Observe(record(12, audit.Decision{Reason: wire.ModeOff}))
	if c := o.Report(time.Now(), "observe", &decide.Rules{}, audit.Stats{}).Controllers[0]; len(c.Incomplete) != 1 {
		t.Errorf("the mode was off: %+v", c)
	}
	if report := o.Report(time.Now(), "observe", &decide.Rules{}, audit.Stats{}); report.Decisions != 3 ||
		report.Unseen != 0 {
		t.Errorf("got %+v", report)
	}
	report.Mode = "enforce"
	if err := report.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"the mode is enforce now", "7 more were not seen",
		"3 more the audit is still counting", "No controller did anything"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

// The text has the claims as JSON to paste, and nothing in it draws on a terminal.
func TestReportForPeople(t *testing.T) {
	r := newRig(t, observe.DefaultLimits, audit.Options{})
	ask := r.asker(33)
	evil := r.token("\u009b2Jclient\u202e", map[string]map[string][]string{"x-nmos-node": {"read": {"self"}}})
	ask("decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.3/self\n", evil)
	ask("decide 1\nmethod=PUT\ntarget=/x-nmos/node/v1.3/self\n", evil)
	ask("decide 1\nmethod=GET\ntarget=/x\x1b[2J\n", evil)
	ask("decide 1\nmethod=\x1b[2J\ntarget=/x\n", evil)
	ask("resource 1\nkind=\u009b\nname=x\naccess=read\n", evil)
	for i := range 500 {
		ask(fmt.Sprintf("decide 1\nmethod=GET\ntarget=/x-nmos/node/v1.0/%d%s\n", i, strings.Repeat("y", 20)), "")
	}
	var b strings.Builder
	if err := r.report().Write(&b); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	for _, c := range out {
		if c != '\n' && (c < ' ' || c > '~') {
			t.Fatalf("%q is printed in\n%q", c, out)
		}
	}
	for _, want := range []string{
		`Client "\u009b2Jclient\u202e" of "https://auth.example.com": 3 decisions, 2 denied or to be denied`,
		"Requests without a token, asked about by user 33: 500 decisions", "path-not-granted     write " +
			"/x-nmos/node/v1.3/self\n",
		"These claims are missing", "bytes long. This device reads 16384", "path-ambiguous: ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	_, add, _ := strings.Cut(out, "its tokens have:\n")
	var claims map[string]map[string][]string
	if err := json.NewDecoder(strings.NewReader(add)).Decode(&claims); err != nil ||
		!slices.Equal(claims["x-nmos-node"]["write"], []string{"self"}) {
		t.Errorf("%v: %v", err, claims)
	}
}

// An Observer that is as full as it gets takes about what DefaultLimits says.
func TestFullObserver(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	o := observe.New(observe.DefaultLimits)
	var seq uint64
	for client := range 2 * observe.DefaultLimits.Controllers {
		for path := range 2 * observe.DefaultLimits.Accesses / observe.DefaultLimits.Controllers {
			seq++
			o.Observe(record(seq, audit.Decision{
				Question: wire.Decide, Reason: wire.PathNotGranted, Method: []byte("GET"),
				Issuer: []byte("https://a.example"), Client: fmt.Appendf(nil, "client-%d", client),
				Path: fmt.Appendf(nil, "/x-nmos/node/v1.0/%d/%d/%s", client, path, strings.Repeat("x", 25)),
			}))
		}
	}
	took := heap() - before
	runtime.KeepAlive(o)
	t.Logf("%d bytes", took)
	if took > 2<<20 {
		t.Errorf("got %d bytes, want %d at most", took, 2<<20)
	}
}

// Whatever records hold, the report is there, its claims hold nothing that stands for more than was asked for, and its
// text draws on no terminal.
func FuzzObserver(f *testing.F) {
	f.Add(uint8(wire.Decide), uint8(wire.PathNotGranted), "GET", "/x-nmos/node/v1.3/a*b", "", "client", "", "")
	f.Add(uint8(wire.DecideAll), uint8(wire.NoToken), "", "/x-nmos/node/v1.3/a",
		"/x-nmos/node/v1.3/%2e\n/a//b\nx", "", "", "")
	f.Add(uint8(wire.Resource), uint8(wire.ResourceUnknown), "", "", "", "\x1b[2J", "meter\u202e", "\xff")
	f.Add(uint8(wire.NoVerb), uint8(wire.PacketForm), "", "", "", "", "", "")
	f.Add(uint8(wire.Token), uint8(wire.NoToken), "", "", "", "", "", "registration")
	f.Add(uint8(wire.May), uint8(wire.OK), "", "", "", "client", "", "")
	f.Add(uint8(wire.Observe), uint8(wire.OK), "start", "", "", "", "", "1h")
	f.Fuzz(func(t *testing.T, verb, reason uint8, method, path, denied, client, kind, name string) {
		o := observe.New(observe.DefaultLimits)
		for i, enforced := range []wire.Reason{wire.Undecided, wire.Reason(reason % uint8(wire.Reasons))} {
			r := audit.Decision{
				UID: -1, Question: wire.Verb(verb), Reason: wire.Reason(reason % uint8(wire.Reasons)),
				Enforced: enforced, Method: []byte(method), Path: []byte(path), Client: []byte(client),
				Issuer: []byte(client), Kind: []byte(kind), Name: []byte(name),
			}
			for target := range strings.SplitSeq(denied, "\n") {
				r.Answers = append(r.Answers, wire.Answer{Target: []byte(target), Allowed: len(target)%3 == 0})
			}
			if enforced != wire.Undecided {
				r.Reason = wire.Observed
			}
			o.Observe(record(uint64(i+1), r))
		}
		report := o.Report(time.Now(), "observe", &decide.Rules{}, audit.Stats{})
		want := uint64(2)
		if v := wire.Verb(verb); v == wire.Token || v >= wire.May { // about no controller's request
			want = 0
		}
		if report.Decisions != want {
			t.Errorf("got %d decisions in %+v, want %d", report.Decisions, report, want)
		}
		for _, c := range report.Controllers {
			for name, permissions := range c.Claims {
				for permission, specifiers := range permissions {
					for _, s := range specifiers {
						if strings.Contains(s, "*") || !strings.HasPrefix(name, "x-nmos-") ||
							permission != "read" && permission != "write" || s == "" {
							t.Errorf("%s %s %q", name, permission, s)
						}
					}
				}
			}
		}
		var b strings.Builder
		if err := report.Write(&b); err != nil {
			t.Fatal(err)
		}
		for _, c := range b.String() {
			if c != '\n' && (c < ' ' || c > '~') {
				t.Fatalf("%q is printed in\n%q", c, b.String())
			}
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	o := observe.New(observe.DefaultLimits)
	r := record(0, audit.Decision{
		Question: wire.Decide, Reason: wire.OK, Method: []byte("GET"), Issuer: []byte("https://a.example"),
		Client: []byte("client"), Path: []byte(
			"/x-nmos/connection/v1.1/single/senders/6f1e0000-0000-4000-8000-000000000031/active"),
	})
	b.ReportAllocs()
	for b.Loop() {
		r.Seq++
		o.Observe(r)
	}
}
