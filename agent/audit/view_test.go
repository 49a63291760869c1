package audit

import (
	"strings"
	"testing"
	"unicode/utf8"

	"nmosauthd/agent/wire"
)

// A row says who was answered what, in columns, and nothing in it does anything to a terminal.
func TestView(t *testing.T) {
	denied := deniedAt("/x-nmos/node/v1.3/self")
	denied.Clock, denied.Client = ClockUnsynchronised, nil
	would := allowed()
	would.Reason, would.Enforced = wire.Observed, wire.PathNotGranted
	several := recorded(would)
	several.Count, several.First = 57, 3
	resource := allowed()
	resource.Question, resource.Method, resource.Kind, resource.Name, resource.Access = wire.Resource, nil,
		[]byte("meter"), []byte("in-1"), []byte("read")
	all := deniedAt("/a")
	all.Question, all.Method, all.Targets = wire.DecideAll, nil, 3
	all.Answers = []wire.Answer{{Target: []byte("/a")}, {Target: []byte("/b")}}
	hostile := deniedAt("/a\x1b[2J\"\\\u202e\u0661")
	hostile.Client = []byte("a-client-with-a-name-that-is-long")
	joined := &Record{matter: matter{UID: 1000, Reason: wire.NoToken, Joined: ByReason}, Seq: 99,
		Time: denied.Time, Count: 57, First: 3}
	read := allowed()
	read.Path = nil
	client := recorded(read)
	client.Joined, client.Count, client.First = ByClient, 1234, 7
	untrusted := deniedAt("/a")
	untrusted.Reason, untrusted.Client, untrusted.Claimed = wire.IssuerUntrusted, nil,
		[]byte("https://evil.example/\x1b[2J")
	none := Decision{Question: wire.Decide, Reason: wire.PacketVerb, UID: -1}
	for _, c := range []struct {
		record *Record
		want   string
	}{
		{recorded(allowed()), "     0  08:00:00.000  allow 200 ok                  controller-1          GET     " +
			"/x-nmos/connection/v1.1/single/senders"},
		{recorded(denied),
			"     0  08:00:00.000? deny  403 path-not-granted                          GET     /x-nmos/node/v1.3/self"},
		{several, "     0  08:00:00.000  would 403 path-not-granted    controller-1          GET     " +
			"/x-nmos/connection/v1.1/single/senders ×57"},
		{recorded(resource),
			"     0  08:00:00.000  allow 200 ok                  controller-1          read    meter/in-1"},
		{recorded(all), "     0  08:00:00.000  deny  403 path-not-granted    controller-1          decide-all  /a " +
			"and 2 more, 2 denied"},
		{recorded(hostile), `     0  08:00:00.000  deny  403 path-not-granted    a-clie..that-is-long  GET     /a\x1b[2J\"\\\u202e\u0661`},
		{joined, "    99  08:00:00.000? deny  401 no-token                                  -       (requests of " +
			"whatever kind) ×57"},
		{client, "     0  08:00:00.000  allow 200 ok                  controller-1          " +
			"GET     (whatever path) ×1234"},
		{recorded(untrusted), "     0  08:00:00.000  deny  401 issuer-untrusted                          GET     /a" +
			`  (claims to be of issuer https://evil.example/\x1b[2J, unverified)`},
		{recorded(none), "     0  00:00:00.000? error 400 packet-verb                               decide  "},
	} {
		line := append(appendRecord(nil, c.record, MaxPath), "}\n"...)
		got, err := new(View).Append(nil, line)
		if err != nil || string(got) != c.want+"\n" {
			t.Errorf("%v\n%q, want\n%q", err, got, c.want)
		}
	}
	head, _, _ := strings.Cut(new(View).Head(), "path")
	if row, err := new(View).Append(nil, append(appendRecord(nil, recorded(denied), MaxPath), '}')); err != nil ||
		strings.Index(string(row), "/x-nmos") != len(head) {
		t.Errorf("the head stands elsewhere: %v\n%s%s", err, head, row)
	}
	if got, err := new(View).Append(nil, []byte(`{"audit":1,"event":"missed","count":57}`)); err != nil ||
		!strings.HasPrefix(string(got), "-- 57 decisions") {
		t.Errorf("got %q, %v, want -- 57 decisions…", got, err)
	}
	for _, line := range []string{"", "{}", "[]", `{"audit":2,"decision":"allow","time":"2027-01-15T08:00:00.000001Z"}`,
		`{"audit":1,"decision":"allow","time":"x"}`,
		`{"audit":1,"event":"open","time":"2027-01-15T08:00:00.000001Z"}`} {
		if got, err := new(View).Append(nil, []byte(line)); err == nil || len(got) > 0 {
			t.Errorf("%q is shown as %q", line, got)
		}
	}
}

// A row fits into the terminal, if that is not too narrow, whatever its colours. It is folded to two lines only if it
// must, and of a path that is too long the end stays, where the resources of an API differ.
func TestViewOnATerminal(t *testing.T) {
	const path = "/x-nmos/connection/v1.1/single/receivers/6f1e0000-0000-4000-8000-000000000041/staged"
	for reason := range wire.Reason(wire.Reasons) {
		for width := 1; width < 250; width++ {
			r := deniedAt(path)
			r.Reason = reason
			r.Client = []byte("a-client-with-a-name-that-is-long")
			if reason == wire.Observed {
				r.Enforced = wire.NoToken
			}
			if reason == wire.IssuerUntrusted {
				r.Client, r.Claimed = nil, []byte("https://"+strings.Repeat("long.", 40)+"example")
			}
			v, held := View{Width: width, Colour: true}, recorded(r)
			held.Seq, held.Count, held.First = 1234567, 57, 3
			text, err := v.Append(nil, append(appendRecord(nil, held, MaxPath), '}'))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(text), "\x1b[") != 2 || !strings.Contains(string(text), "\x1b[0m") {
				t.Fatalf("colours: %q", text)
			}
			rows := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
			rows[0] = strings.ReplaceAll(strings.ReplaceAll(rows[0], "\x1b[31m", ""), "\x1b[0m", "")
			rows[0] = strings.ReplaceAll(strings.ReplaceAll(rows[0], "\x1b[32m", ""), "\x1b[33m", "")
			most := 2
			if len(r.Claimed) > 0 {
				most = 3
			}
			if len(rows) > most || width >= 190 && most == 2 && len(rows) > 1 {
				t.Errorf("%d columns: %d lines, want at most %d\n%s", width, len(rows), most, text)
			}
			for _, row := range rows {
				if n := utf8.RuneCountInString(row); n > max(width, 76) {
					t.Errorf("%v: %d columns, want at most %d: %s", reason, n, width, row)
				}
			}
			if !strings.Contains(string(text), "staged ×57") || width >= 80 && !strings.Contains(string(text),
				"0000-4000-8000-000000000041/staged ×57") || width >= 110 && !strings.Contains(string(text), path) {
				t.Errorf("%d columns: the end of the path is missing\n%s", width, text)
			}
			for _, row := range strings.Split(v.Head(), "\n") {
				if len(row) > max(width, 58) {
					t.Errorf("the head has %d columns, want at most %d: %s", len(row), width, row)
				}
			}
		}
	}
}

func TestFilter(t *testing.T) {
	r := allowed()
	r.Kind, r.Name = []byte("sender"), []byte("out-1")
	would := r
	would.Reason, would.Enforced = wire.Observed, wire.NoToken
	for _, c := range []struct {
		filter            Filter
		served, wouldFail bool
	}{
		{Filter{}, true, true},
		{Filter{Denied: true}, false, true},
		{Filter{Client: "controller-1"}, true, true},
		{Filter{Client: "controller"}, false, false},
		{Filter{Client: "*-1", Path: "*"}, true, true},
		{Filter{Path: "*/senders"}, true, true},
		{Filter{Path: "sender/out-*"}, true, true},
		{Filter{Path: "out-1"}, false, false},
		{Filter{Path: "sender/out-1", Client: "x", Denied: true}, false, false},
	} {
		if got := c.filter.Match(recorded(r)); got != c.served {
			t.Errorf("%+v: got %v, want %v", c.filter, got, c.served)
		}
		if got := c.filter.Match(recorded(would)); got != c.wouldFail {
			t.Errorf("%+v: %v of what would be denied", c.filter, got)
		}
	}
}
