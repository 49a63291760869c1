package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"nmosauthd/agent/wire"
)

// slowText is what a text reads as, by the words of AUDIT.md: bytes that are not UTF-8 are U+FFFD, one each.
func slowText(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		s.WriteRune(r)
		b = b[n:]
	}
	return s.String()
}

// escaped is how many characters a text takes in a line.
func escaped(s string) (n int) {
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			n += 2
		case r >= ' ' && r < 0x7f:
			n++
		case r > 0xffff:
			n += 12
		default:
			n += 6
		}
	}
	return n
}

// checkLine holds a line against the record that it was made of.
func checkLine(t *testing.T, line []byte, r *Decision) {
	t.Helper()
	if len(line) > maxLine {
		t.Errorf("a line of %d bytes", len(line))
	}
	for i, c := range line[:len(line)-1] {
		if c < ' ' || c > '~' {
			t.Fatalf("byte %d is %q in %q", i, c, line)
		}
	}
	if line[len(line)-1] != '\n' {
		t.Fatalf("%q has no end", line)
	}
	var m map[string]any
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.UseNumber()
	if err := d.Decode(&m); err != nil || d.More() {
		t.Fatalf("%v in %q", err, line)
	}
	wantCut := map[string]bool{}
	text := func(name string, b []byte) {
		want := slowText(b)
		got, given := m[name].(string)
		most := MaxText
		if name == "path" {
			most = MaxPath
		}
		switch {
		case len(b) == 0:
			if given {
				t.Errorf("%s is %q, of nothing", name, got)
			}
		case escaped(want) <= most && len(b) <= most:
			if got != want {
				t.Errorf("%s is %q, not %q", name, got, want)
			}
		default:
			wantCut[name] = true
			// What was cut begins as the whole; where the bytes of one character were cut apart, it ends with U+FFFD.
			if !given || !strings.HasPrefix(want, strings.TrimRight(got, "\ufffd")) ||
				got == "" || escaped(got) > most {
				t.Errorf("%s is %q, of %q", name, got, want)
			}
		}
	}
	for t, b := range map[Text][]byte{
		Method: r.Method, Path: r.Path, Kind: r.Kind, Name: r.Name, Access: r.Access, Issuer: r.Issuer,
		Subject: r.Subject, Client: r.Client, Claimed: r.Claimed, JTI: r.JTI, KeyID: r.KeyID,
	} {
		text(textNames[t], b)
	}
	gotCut := map[string]bool{}
	if list, ok := m["cut"].([]any); ok {
		for _, c := range list {
			gotCut[c.(string)] = true
		}
	}
	for name, allowed := range map[string]bool{"denied": false, "permitted": true} {
		delete(gotCut, name)
		lines := 0 // a line feed, which no session hands on, divides a target
		for _, a := range r.Answers {
			if a.Allowed == allowed {
				lines += 1 + bytes.Count(a.Target, []byte("\n"))
			}
		}
		if list, ok := m[name].([]any); ok != (lines > 0) || len(list) > lines {
			t.Errorf("%s is %v, of %d lines", name, list, lines)
		}
	}
	if !reflect.DeepEqual(gotCut, wantCut) {
		t.Errorf("cut is %v, not %v", gotCut, wantCut)
	}
	number := func(name string, want any, there bool) {
		if got, ok := m[name]; ok != there || there && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v, not %v (there: %v)", name, got, want, there)
		}
	}
	number("seq", uint64(1<<64-1), true)
	number("uid", r.UID, r.UID >= 0)
	number("gid", int64(r.GID), r.UID >= 0)
	number("pid", r.PID, r.PID > 0)
	number("reason", r.Reason.String(), true)
	number("status", r.Reason.Info().Status, true)
	number("decision", r.Reason.Decision(), true)
	number("would", r.Enforced.String(), r.Enforced != wire.Undecided)
	number("cached", true, r.Cached)
	number("digest", fmt.Sprintf("sha256:%x", r.Digest), len(r.JTI) == 0 && r.Digest != [16]byte{})
}

// Whatever a client sends, a record is one line of JSON, all of printable ASCII, from which the same texts are read
// again.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("GET"), []byte("/x-nmos/"), []byte("controller"), []byte("jti"), uint8(1), uint8(1), uint8(0),
		int64(1000), int32(1), int64(0))
	f.Add([]byte("\"}\n{\"audit\":1,"), []byte("/\r\n\x1b[2J\x00\x7f"), []byte("\u202eevil\u2028"),
		[]byte("\xff\xfe\xed\xa0\x80"), uint8(44), uint8(255), uint8(9), int64(-1), int32(-5), int64(1)<<62)
	f.Add([]byte("GET"), []byte(strings.Repeat("\u202e\n", 600)), []byte("c"), []byte("jti"), uint8(wire.DecideAll),
		uint8(3), uint8(0), int64(1), int32(1), int64(0))
	f.Add([]byte(strings.Repeat("\x00", 300)), []byte(strings.Repeat("é", 600)), []byte(strings.Repeat("😀", 100)),
		[]byte(strings.Repeat("a", 300)), uint8(2), uint8(3), uint8(3), int64(1)<<40, int32(1)<<30, int64(-1)<<62)
	f.Fuzz(func(t *testing.T, method, path, client, jti []byte, verb, reason, would uint8,
		uid int64, pid int32, at int64) {
		r := Decision{
			Time: at, Clock: Clock(verb), UID: uid, GID: uint32(pid), PID: pid, Question: wire.Verb(verb),
			Reason: wire.Reason(reason), Enforced: wire.Reason(would), Method: method, Path: path, Kind: client,
			Name: jti, Access: method, Issuer: jti, Subject: client, Client: client, JTI: jti, KeyID: path,
			Answers: []wire.Answer{{Target: path}, {Target: path, Allowed: true}}, Targets: len(path),
			Cached: len(jti) > 3, Digest: [16]byte{7},
		}
		if r.Question == wire.DecideAll { // a question is about targets or about a resource
			r.Kind, r.Name, r.Access = nil, nil, nil
		} else {
			r.Answers = nil
		}
		var back Record
		back.Set(1<<64-1, &r)
		if len(back.text) > maxTexts {
			t.Fatalf("%d bytes in memory, over %d", len(back.text), maxTexts)
		}
		back.Count, back.First = uint64(would)<<56, 1<<63
		body := appendRecord(nil, &back, MaxPath)
		line, c := chain{}.append(nil, body)
		checkLine(t, line, &r)
		if got, _, ok := parseChain(line); !ok || got != c {
			t.Errorf("%q is not read as the line that it is", line)
		}
		if strings.Contains(string(line), `"event":"`) || number(line, "seq") != back.Seq {
			t.Errorf("%q passes for another line", line)
		}
		// The short form for datagrams, with the longest head.
		s := NewSyslog(SyslogOptions{Network: "udp", Host: strings.Repeat("h", 300),
			App: strings.Repeat("a", 300), PID: 1 << 30})
		short := appendRecord(nil, &back, shortText)
		if len(short) > s.MaxLine() {
			t.Errorf("the short form has %d bytes, over %d", len(short), s.MaxLine())
		}
		line, _ = chain{line: 1<<64 - 2}.append(nil, short)
		if m := s.message(nil, line); len(m) > maxDatagram {
			t.Errorf("a datagram of %d bytes", len(m))
		} else if pri := priority(&back); !bytes.HasPrefix(m, pri) ||
			!bytes.Contains(m, []byte(" "+back.Reason.Decision()+" - {")) {
			t.Errorf("a message that does not begin with %s: %s", pri, m)
		}
		if got, want := decisionsOf(line), back.decisions(); got != want {
			t.Errorf("%+v is read as %+v from %s", want, got, line)
		}
	})
}

// priority is how a record's message begins: RFC 5424 §6.2.1, and no time where the clock is unset.
func priority(r *Record) []byte {
	severity := 6
	if d := r.Reason.Decision(); d == "error" || r.Reason.Info().Status == 503 {
		severity = 4
	} else if d == "deny" {
		severity = 5
	}
	at := "-"
	if r.Clock.String() != "unset" {
		at = field(appendTime(nil, "time", r.Time), "time")
	}
	return fmt.Appendf(nil, "<%d>1 %s ", 13*8+severity, at)
}

// The longest short form of all fits into a datagram, with the longest head.
func TestShortFormFits(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 2*MaxPath)
	s := NewSyslog(SyslogOptions{Network: "udp", Host: string(long), App: string(long), PID: 1 << 30})
	for reason := range wire.Reasons {
		for would := range wire.Reasons {
			r := Decision{
				Clock: ClockUnsynchronised, UID: 1<<32 - 1, GID: 1<<32 - 1, PID: 1<<31 - 1, Question: wire.DecideAll,
				Reason: wire.Reason(reason), Enforced: wire.Reason(would), Method: long, Path: long, Targets: 1<<31 - 1,
				Answers: []wire.Answer{{Target: long}, {Target: long, Allowed: true}},
				Kind:    long, Name: long, Access: long, Issuer: long, Subject: long, Client: long, JTI: long,
				KeyID: long, Cached: true, Claimed: long,
			}
			resource := r // a question is about targets or about a resource
			resource.Question, resource.Answers, resource.Targets = wire.Resource, nil, 0
			r.Kind, r.Name, r.Access = nil, nil, nil
			for _, r := range []*Decision{&r, &resource} {
				held := recorded(*r)
				held.Joined, held.Seq, held.Count, held.First = ByReason, 1<<64-1, 1<<64-1, 1<<64-2
				if n := len(appendRecord(nil, held, shortText)); n > s.MaxLine() {
					t.Fatalf("%d bytes, over %d: %v, %v, %v", n, s.MaxLine(), r.Question, r.Reason, r.Enforced)
				}
			}
		}
	}
}

// AUDIT.md describes every member of a line, and its example is one.
func TestAuditListsEveryField(t *testing.T) {
	text, err := os.ReadFile("AUDIT.md")
	if err != nil {
		t.Fatal(err)
	}
	full := Decision{
		Time: 1_800_000_000_000_001, Clock: ClockSynchronised, UID: 1000, GID: 100, PID: 7, Question: wire.DecideAll,
		Reason: wire.Observed, Enforced: wire.PathNotGranted,
		Method: []byte("GET"), Path: []byte("/a"), Targets: 2,
		Answers: []wire.Answer{{Target: []byte("/a")}, {Target: []byte("/b"), Allowed: true}},
		Kind:    []byte("meter"), Name: []byte("in-1"), Access: []byte("read"), Issuer: []byte("i"),
		Subject: []byte("s"), Client: []byte("c"), JTI: []byte("j"), KeyID: []byte(strings.Repeat("k", 300)),
		Cached: true, Claimed: []byte("u"),
	}
	held := recorded(full)
	held.Joined, held.Count, held.First = ByReason, 3, 4700
	line := string(appendRecord(nil, held, MaxPath))
	full.JTI, full.Digest = nil, [16]byte{1}
	line += string(appendRecord(nil, recorded(full), MaxPath))
	described := map[string]bool{}
	for row := range strings.Lines(string(text)) {
		if cell, _, found := strings.Cut(strings.TrimPrefix(row, "| "), " | "); found {
			for name := range strings.FieldsSeq(cell) {
				described[strings.Trim(name, "`")] = true
			}
		}
	}
	for _, body := range []string{line, string(chainPart), string(linePart),
		`,"event":,"run":,"version":,"previous":,"closed":,"torn":,"why":,"kept":,"last":`} {
		for name := range strings.SplitSeq(body, `,"`) {
			name, _, found := strings.Cut(name, `":`)
			if found && !strings.ContainsAny(name, `"{`) && !described[name] {
				t.Errorf("AUDIT.md does not describe %q", name)
			}
		}
	}
	examples := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimPrefix(line, "    ")
		if !strings.HasPrefix(line, string(lineStart)) {
			continue
		}
		examples++
		if !json.Valid([]byte(line)) {
			t.Errorf("an example is not JSON: %s", line)
		}
	}
	if examples == 0 {
		t.Error("AUDIT.md has no example")
	}
}

// The number of a line has one form.
func TestLineNumberHasOneForm(t *testing.T) {
	for number, good := range map[string]bool{"1": true, "18446744073709551615": true, "01": false, "0": false,
		"+1": false, "-1": false, "": false, " 1": false, "1.0": false, "1_0": false, "18446744073709551616": false} {
		line := string(lineStart) + `"x":1,"line":` + number + `,"chain":"` +
			strings.Repeat("0", 2*chainBytes) + "\"}\n"
		if c, _, ok := parseChain([]byte(line)); ok != good {
			t.Errorf("line %q: got %+v, %v, want one that is read: %v", number, c, ok, good)
		}
	}
}
