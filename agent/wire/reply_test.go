package wire_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// order is the order in which the lines of a reply come.
var order = []string{
	"id", "reason", "error", "would", "client-id", "subject", "issuer", "expires-in", "path", "denied",
	"www-authenticate", "retry-after", "scope", "token-id", "detail", "access-token",
}

// slowReply reads a reply into its first line and values, with an error for anything that the protocol does not have.
func slowReply(text string) (first string, lines map[string][]string, err error) {
	text, ended := strings.CutSuffix(text, "\n")
	if !ended {
		return "", nil, fmt.Errorf("%q is not ended", text)
	}
	all := strings.Split(text, "\n")
	lines = map[string][]string{}
	last := 0
	for _, line := range all[1:] {
		name, value, found := strings.Cut(line, "=")
		at := slices.Index(order, name)
		switch {
		case !found || at < 0:
			return "", nil, fmt.Errorf("%q is not a line of a reply", line)
		case at < last, at == last && lines[name] != nil && name != "denied" && name != "would":
			return "", nil, fmt.Errorf("%q is not where it belongs", line)
		}
		last = at
		lines[name] = append(lines[name], value)
	}
	return all[0], lines, nil
}

// compareReply appends a reply and reads it back: every field must be what it was, in a line of its own.
func compareReply(t *testing.T, r wire.Reply) {
	t.Helper()
	prefix := []byte("before")
	text := string(r.Append(prefix))[len("before"):]
	first, lines, err := slowReply(text)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	set := func(name, value string) {
		if value != "" {
			want[name] = []string{value}
		}
	}
	set("id", string(r.ID))
	info := r.Reason.Info()
	word := "deny"
	switch {
	case strings.HasPrefix(info.Code, "packet-"):
		word = "error"
	case info.Status == 200:
		word = "allow"
	}
	wantFirst := word + " " + strconv.Itoa(info.Status)
	if r.Verb == wire.Ping && r.Reason == wire.OK {
		wantFirst = "pong 1"
	} else {
		set("reason", info.Code)
		if info.Status != 200 {
			set("error", info.Text)
		}
		if r.Enforced != wire.Undecided {
			set("would", strconv.Itoa(r.Enforced.Info().Status)+" "+r.Enforced.String())
		}
		if r.Verb == wire.Control { // CTL-84; CTL-88
			name, all := "denied", r.Reason
			if r.Enforced != wire.Undecided {
				name, all = "would", r.Enforced
			}
			want[name] = append(want[name], slowDenied(&r, all)...)
			if len(want[name]) == 0 {
				delete(want, name)
			}
		}
		set("client-id", string(r.ClientID))
		set("subject", string(r.Subject))
		set("issuer", string(r.Issuer))
		if (info.Status == 200 || r.Verb == wire.Control) && r.ExpiresIn >= 0 {
			set("expires-in", strconv.FormatInt(r.ExpiresIn, 10))
		}
		set("path", string(r.Path))
		for _, a := range r.Answers {
			if !a.Allowed {
				want["denied"] = append(want["denied"], string(a.Target))
			}
		}
		if info.Status == 401 || info.Error != "" {
			challenge := `Bearer realm="` + r.Realm + `"`
			if info.Error != "" {
				challenge += `,error=` + info.Error + `,error_description="` + info.Text + `"`
			}
			set("www-authenticate", challenge)
		}
		if info.Status == 503 {
			set("retry-after", strconv.Itoa(max(r.RetryAfter, 1)))
		}
	}
	if wantFirst != "pong 1" {
		set("scope", string(r.Scope))
		set("token-id", string(r.TokenID))
		set("detail", string(r.Detail))
		if r.Reason == wire.OwnToken {
			set("access-token", r.AccessToken)
		}
	}
	if first != wantFirst || fmt.Sprint(lines) != fmt.Sprint(want) {
		t.Errorf("%+v became\n%swant %s %v", r, text, wantFirst, want)
	}
}

// slowDenied returns what a reply says of the commands that it denies.
func slowDenied(r *wire.Reply, all wire.Reason) (lines []string) {
	if all.Allowed() {
		return nil
	}
	if r.ForAll {
		return []string{"*"}
	}
	for i, v := range r.Verdicts {
		if c := &r.Commands[i]; !v.Reason.Allowed() {
			what := "command " + string(c.Handle())
			if c.Subscribes() {
				what = "subscribe " + string(c.RolePath())
			}
			lines = append(lines, fmt.Sprintf("%s %d %s", what, v.Reason.Info().Status, v.Reason))
		}
	}
	return lines
}

// Of a question about commands, those denied.
func TestReplyAboutCommands(t *testing.T) {
	spec.Rules(t, "CTL-84", "CTL-88")
	var r wire.Request
	if fault := r.Parse([]byte("control 1\napi=control\ncommand=2 1 1m1 root\nsubscribe=root.a b\n"+
		"command=7 - 4m3 root.c\n"), 4096); fault != wire.Undecided {
		t.Fatalf("got %v, want a good packet", fault)
	}
	for _, verdicts := range [][]wire.Verdict{
		{{Reason: wire.OK}, {Reason: wire.OK}, {Reason: wire.OK}},
		{{Reason: wire.OK}, {Reason: wire.PathNotGranted}, {Reason: wire.APINotGranted, Writes: true}},
		{{}, {}, {}},
	} {
		for i := range wire.Reasons {
			for _, token := range []bool{false, true} {
				reply := wire.Reply{Verb: wire.Control, Reason: wire.Reason(i), ExpiresIn: 7, Commands: r.Commands,
					Verdicts: verdicts, ForAll: token}
				compareReply(t, reply)
				reply.Reason, reply.Enforced = wire.Observed, wire.Reason(i)
				compareReply(t, reply)
			}
		}
	}
}

// Every reason, with every field set and with none.
func TestReply(t *testing.T) {
	spec.Rules(t, "ANS-8")
	for i := range wire.Reasons {
		reason := wire.Reason(i)
		for _, verb := range []wire.Verb{wire.NoVerb, wire.Decide, wire.Verify, wire.DecideAll, wire.Resource,
			wire.Token, wire.Control, wire.Ping} {
			compareReply(t, wire.Reply{Verb: verb, Reason: reason, ExpiresIn: -1})
			compareReply(t, wire.Reply{
				Verb: verb, Reason: reason, Enforced: wire.PathNotGranted, ID: []byte("7"), ClientID: []byte("client"),
				Subject: []byte("cn=operator, o=x"), Issuer: []byte("https://a"), ExpiresIn: 0, Path: []byte("/x-nmos"),
				RetryAfter: 3, Realm: "node 1",
				Scope: []byte("registration events"), TokenID: []byte("0f"), Detail: []byte("why = not"),
				AccessToken: "a.b.c", Answers: []wire.Answer{{Target: []byte("/a")},
					{Target: []byte("/c"), Allowed: true}, {Target: []byte("/b")}},
			})
		}
	}
}

// The zero value denies, and so does a reason outside the list.
func TestReplyFailsClosed(t *testing.T) {
	spec.Rules(t, "ANS-5")
	for _, r := range []wire.Reply{{}, {Reason: wire.Reason(wire.Reasons)}, {Reason: 255, Verb: wire.Ping}} {
		text := string(r.Append(nil))
		if !strings.HasPrefix(text, "deny 503\nreason=undecided\n") || !strings.HasSuffix(text, "\nretry-after=1\n") {
			t.Errorf("%+v became %q", r, text)
		}
	}
}

// The token is appended in one piece, into a buffer that then has room for it: no copy of it stays behind in a buffer
// that was outgrown, which the caller could not wipe.
func TestReplyLeavesNoCopyOfTheToken(t *testing.T) {
	spec.Rules(t, "CLI-69")
	r := wire.Reply{Verb: wire.Token, Reason: wire.OwnToken, ID: []byte("7"), AccessToken: strings.Repeat("t", 16<<10)}
	for room := range len(r.Append(nil)) {
		before := make([]byte, 0, room)
		r.Append(before)
		if bytes.Contains(before[:room], []byte("ttt")) {
			t.Fatalf("a buffer of %d bytes that was outgrown holds the token or a part of it", room)
		}
	}
}

// FuzzReply holds Reply to its word for values as its makers have them: no control characters, since a Token has none
// in its text, a request none in its id and a path none at all.
func FuzzReply(f *testing.F) {
	f.Add(uint8(wire.Decide), uint8(wire.OK), uint8(0), "7", "controller-1", "operator", "https://a",
		int64(284), "/x-nmos", 0, "/a")
	f.Add(uint8(wire.Ping), uint8(wire.OK), uint8(0), "reason=ok", "", "", "", int64(-1), "", 0, "")
	f.Add(uint8(wire.DecideAll), uint8(wire.PathNotGranted), uint8(0), "", "a=b", "=", "é", int64(-1), "", 0, "/b=c")
	f.Add(uint8(wire.WatchToken), uint8(wire.WatchLimit), uint8(0), "", "a=b", "=", "", int64(-1), "", 30, "/b=c")
	f.Add(uint8(wire.Control), uint8(wire.PathNotGranted), uint8(0), "31", "c", "s", "", int64(284), "", 0, "")
	f.Add(uint8(wire.Decide), uint8(wire.Observed), uint8(wire.Expired), "", "", "", "", int64(1)<<62, "/", 2, "")
	f.Add(uint8(wire.Decide), uint8(wire.KeysPending), uint8(255), "", "", "", "", int64(0), "/", -7, "")
	f.Add(uint8(wire.Token), uint8(wire.OwnToken), uint8(0), "7", "", "registration",
		"reason=ok", int64(284), "a.b.c", 0, "")
	f.Fuzz(func(t *testing.T, verb, reason, enforced uint8, id, client, subject, issuer string, expires int64,
		path string, retry int, denied string) {
		for _, v := range []string{id, client, subject, issuer, path, denied} {
			if !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return
			}
		}
		r := wire.Reply{
			Verb: wire.Verb(verb), Reason: wire.Reason(reason), Enforced: wire.Reason(enforced), ID: []byte(id),
			ClientID: []byte(client), Subject: []byte(subject), Issuer: []byte(issuer), ExpiresIn: expires,
			Path: []byte(path), RetryAfter: retry, Realm: "node-1.example.com",
		}
		if r.Verb == wire.Token {
			r.Scope, r.TokenID, r.Detail, r.AccessToken = r.Subject, r.ClientID, r.Issuer, path
			r.ClientID, r.Subject, r.Issuer, r.Path = nil, nil, nil, nil
		}
		if denied != "" {
			r.Answers = []wire.Answer{{Target: []byte("/permitted"), Allowed: true}, {Target: []byte(denied)}}
		}
		compareReply(t, r)
	})
}
