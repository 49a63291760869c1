package clients_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/wire"
)

// Each question is one packet, in the words of the protocol, and the daemon's own parser reads from it what was meant.
func TestQuestions(t *testing.T) {
	d := startDaemon(t, socketPath(t), honest)
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	const target = "/x-nmos/connection/v1.1/single/receivers/7/staged?a=b=c"
	tests := []struct {
		name    string
		command []string
		packet  string
		want    wire.Request
	}{
		{"bare", []string{"decide", value("GET"), value("/")}, "decide 1\nid=1\nmethod=GET\ntarget=/\n",
			wire.Request{Verb: wire.Decide, Method: []byte("GET"), Targets: texts("/")}},
		{"full", []string{"decide", value("PATCH"), value(target), value("Bearer a.b=c"), value("websocket")},
			"decide 1\nid=2\nmethod=PATCH\ntarget=" + target + "\nauthorization=Bearer a.b=c\nupgrade=websocket\n",
			wire.Request{Verb: wire.Decide, Method: []byte("PATCH"), Targets: texts(target),
				Authorization: []byte("Bearer a.b=c"), Upgrade: []byte("websocket")}},
		{"empty header", []string{"decide", value("GET"), value(""), value("")},
			"decide 1\nid=3\nmethod=GET\ntarget=\nauthorization=\n",
			wire.Request{Verb: wire.Decide, Method: []byte("GET"), Targets: texts(""), Authorization: []byte{}}},
		{"verify", []string{"verify", value("Bearer é")}, "verify 1\nid=4\nauthorization=Bearer é\n",
			wire.Request{Verb: wire.Verify, Authorization: []byte("Bearer é")}},
		{"verify nothing", []string{"verify", "-"}, "verify 1\nid=5\n", wire.Request{Verb: wire.Verify}},
		{"decide-all", []string{"decide-all", value("GET"), "-", value("Bearer x"), "-", value("/a"), value("/b")},
			"decide-all 1\nid=6\nmethod=GET\nauthorization=Bearer x\ntarget=/a\ntarget=/b\n",
			wire.Request{Verb: wire.DecideAll, Method: []byte("GET"), Authorization: []byte("Bearer x"),
				Targets: texts("/a", "/b")}},
		{"ping", []string{"ping"}, "ping 1\nid=7\n", wire.Request{Verb: wire.Ping}},
	}
	for i, test := range tests {
		a := p.tell(test.command...)
		if a.err != answered || a.decision == "deny" {
			t.Errorf("%s: got %+v; want an answer", test.name, a)
		}
		questions, _ := d.asked()
		if got := questions[len(questions)-1]; got != test.packet {
			t.Errorf("%s: sent %q; want %q", test.name, got, test.packet)
		}
		var got wire.Request
		if reason := got.Parse([]byte(test.packet), wire.DefaultPacketLimit); reason != wire.Undecided {
			t.Errorf("%s: the daemon's parser says %s", test.name, reason)
		}
		if string(got.ID) != fmt.Sprint(i+1) || !sameRequest(&got, &test.want) {
			t.Errorf("%s: the daemon's parser reads %+v; want %+v", test.name, got, test.want)
		}
	}
	if _, accepted := d.asked(); accepted != 1 {
		t.Errorf("%d connections; want the questions to share one", accepted)
	}
	if w := p.tell("wiped"); w.text["wiped"] != "yes" {
		t.Error("the request buffer still holds a question")
	}
}

func texts(s ...string) [][]byte {
	var all [][]byte
	for _, t := range s {
		all = append(all, []byte(t))
	}
	return all
}

// sameRequest compares all but the id; absent and empty differ.
func sameRequest(a, b *wire.Request) bool {
	same := func(x, y []byte) bool { return bytes.Equal(x, y) && (x == nil) == (y == nil) }
	return a.Verb == b.Verb && same(a.Method, b.Method) && slices.EqualFunc(a.Targets, b.Targets, same) &&
		same(a.Authorization, b.Authorization) && same(a.Upgrade, b.Upgrade)
}

// A value with a control character never leaves the client, whichever value and whichever character.
func TestControlCharacters(t *testing.T) {
	d := startDaemon(t, socketPath(t), honest)
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	for c := range 256 {
		if c >= 0x20 && c != 0x7f {
			continue
		}
		for place := range 4 {
			values := []string{value("GET"), value("/"), value("Bearer x"), value("websocket")}
			values[place] = value("/a" + string(rune(c)) + "b")
			p.wantFailure(p.tell(append([]string{"decide"}, values...)...), badValue, 400)
		}
		p.wantFailure(p.tell("verify", value("Bearer x"+string(rune(c)))), badValue, 400)
		p.wantFailure(p.tell("decide-all", "-", "-", "-", "-", value("/a"), value(string(rune(c))+"/b")), badValue, 400)
	}
	if questions, accepted := d.asked(); len(questions) != 0 || accepted != 0 {
		t.Errorf("the daemon was asked %q over %d connections; want nothing", questions, accepted)
	}
	if w := p.tell("wiped"); w.text["wiped"] != "yes" {
		t.Error("the request buffer still holds a question")
	}
	p.wantAllowed(p.decide("GET", "/é\xff")) // what is not a control is for the daemon to judge
}

// A question fills a packet to the last byte, and one byte more is refused before it is sent.
func TestLongQuestions(t *testing.T) {
	d := startDaemon(t, socketPath(t), honest)
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	room := wire.DefaultPacketLimit - len("decide 1\nid=1\nmethod=GET\ntarget=\n")
	p.wantAllowed(p.decide("GET", strings.Repeat("a", room)))
	p.wantFailure(p.decide("GET", strings.Repeat("a", room+1)), tooLong, 400)
	p.wantFailure(p.decide("GET", "/", value(strings.Repeat("a", wire.DefaultPacketLimit))), tooLong, 400)
	targets := []string{"decide-all", "-", "-", "-", "-"}
	for range 1000 {
		targets = append(targets, value("/x-nmos/events/v1.0/sources/1"))
	}
	p.wantFailure(p.tell(targets...), tooLong, 400)
	questions, _ := d.asked()
	if len(questions) != 1 || len(questions[0]) != wire.DefaultPacketLimit {
		t.Errorf("%d questions went out; want one of %d bytes", len(questions), wire.DefaultPacketLimit)
	}
	if w := p.tell("wiped"); w.text["wiped"] != "yes" {
		t.Error("the request buffer still holds a question")
	}
}

// A packet larger than the kernel takes is too long as well, whatever the client was compiled for.
func TestLongerThanTheKernelTakes(t *testing.T) {
	d := startDaemon(t, socketPath(t), honest)
	large := compile(t, "largeprobe", join(sanitizers, []string{"-DNMOS_AUTHZ_PACKET_MAX=4194304", probeFile,
		clientDir + "/nmos_authz.c"})...)
	p := startProbe(t, large, d.ln.Addr().String(), plenty)
	p.wantAllowed(p.decide("GET", "/"))
	p.wantFailure(p.decide("GET", strings.Repeat("a", 4<<20-64)), tooLong, 400)
	p.wantAllowed(p.decide("GET", "/"))
}

// A resource is asked for in the device's own terms. Neither read nor write as the header's access is refused.
func TestResourceQuestions(t *testing.T) {
	d := startDaemon(t, socketPath(t), honest)
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	for i, test := range []struct {
		command []string
		rest    string
		reads   wire.Reason // what the daemon's parser says
	}{
		{[]string{"resource", "1", value("meter"), value("in-1"), value("Bearer x")},
			"kind=meter\nname=in-1\naccess=read\nauthorization=Bearer x\n", wire.Undecided},
		{[]string{"resource", "2", value("receiver"), value("7")},
			"kind=receiver\nname=7\naccess=write\n", wire.Undecided},
		{[]string{"resource", "1", value("meter"), value(""), value("")},
			"kind=meter\nname=\naccess=read\nauthorization=\n", wire.PacketValue},
	} {
		p.wantAllowed(p.tell(test.command...))
		questions, _ := d.asked()
		if want := fmt.Sprintf("resource 1\nid=%d\n%s", i+1, test.rest); questions[i] != want {
			t.Errorf("sent %q; want %q", questions[i], want)
		}
		var got wire.Request
		if reason := got.Parse([]byte(questions[i]), wire.DefaultPacketLimit); reason != test.reads {
			t.Errorf("%q: the daemon's parser says %s; want %s", questions[i], reason, test.reads)
		}
	}
	for _, access := range []string{"0", "3", "-1"} {
		p.wantFailure(p.tell("resource", access, value("meter"), value("in-1")), badCall, 500)
	}
	p.wantFailure(p.tell("resource", "1", "-", value("in-1")), badCall, 500)
	p.wantFailure(p.tell("resource", "1", value("meter"), "-"), badCall, 500)
	p.wantFailure(p.tell("resource", "1", value("meter\naccess=write"), value("in-1")), badValue, 400)
	p.wantFailure(p.tell("resource", "1", value("meter"), value("in\n1")), badValue, 400)
	p.wantFailure(p.tell("resource", "1", value("meter"), value("in-1"), value("Bearer x\n")), badValue, 400)
	if questions, _ := d.asked(); len(questions) != 3 {
		t.Errorf("the daemon was asked %q; want 3 questions", questions)
	}
	if w := p.tell("wiped"); w.text["wiped"] != "yes" {
		t.Error("the request buffer still holds a question")
	}
}

// A fault of the program denies with 500, without a word to the daemon.
func TestBadCalls(t *testing.T) {
	d := startDaemon(t, socketPath(t), honest)
	socket := d.ln.Addr().String()
	p := startProbe(t, probeProgram(t), socket, plenty)
	p.wantFailure(p.tell("decide", "-", value("/")), badCall, 500)
	p.wantFailure(p.tell("decide", value("GET"), "-"), badCall, 500)
	p.wantFailure(p.tell("decide-zero", value("GET"), value("/")), badCall, 500)
	p.wantFailure(p.tell("decide-all", "-", "-", "-", "-"), badCall, 500)
	p.wantFailure(p.tell("decide-all", "-", value("/unasked"), "-", "-", value("/a")), badCall, 500)
	p.wantFailure(p.tell("decide-all", "-", "-", "-", "-", value("/a"), "-"), badCall, 500)
	for _, ms := range []string{"0", "-1"} {
		p.tell("timeout", ms)
		p.wantFailure(p.decide("GET", "/"), badCall, 500)
	}

	small := compile(t, "smallprobe", join(sanitizers, []string{"-DNMOS_AUTHZ_PACKET_MAX=4096", probeFile,
		compile(t, "large.o", join(sanitizers, []string{"-c", clientDir + "/nmos_authz.c"})...)})...)
	for name, q := range map[string]*probe{
		"library of another packet size": startProbe(t, small, socket, time.Second),
		"empty path":                     startProbe(t, probeProgram(t), "", time.Second),
		"path too long":                  startProbe(t, probeProgram(t), strings.Repeat("p", 108), time.Second),
		"no timeout":                     startProbe(t, probeProgram(t), socket, 0),
	} {
		if q.init != badCall {
			t.Errorf("%s: init returned %d; want %d", name, q.init, badCall)
		}
		q.wantFailure(q.decide("GET", "/"), badCall, 500)
	}
	if longest := startProbe(t, probeProgram(t), strings.Repeat("p", 107), time.Second); longest.init != answered {
		t.Errorf("a path of 107 bytes: init returned %d", longest.init)
	}
	if questions, _ := d.asked(); len(questions) != 0 {
		t.Errorf("the daemon was asked %q; want nothing", questions)
	}
}
