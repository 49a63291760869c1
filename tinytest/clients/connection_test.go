package clients_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/spec"
)

// patience is how long a handle waits that is to time out, plenty one that is to be answered, and slack what a loaded
// machine may add to either: whoever waits on forever exceeds it.
const (
	patience = 150 * time.Millisecond
	plenty   = time.Minute
	slack    = time.Minute
)

// wantTimeout checks that a waited as long as it should, and no longer.
func (p *probe) wantTimeout(a answer) {
	p.t.Helper()
	p.wantFailure(a, timedOut, 503)
	if a.took < patience || a.took > patience+slack {
		p.t.Errorf("took %v; want %v", a.took, patience)
	}
}

func TestUnreachable(t *testing.T) {
	dir := filepath.Dir(socketPath(t))
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stream, err := net.Listen("unix", filepath.Join(dir, "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for path, want := range map[string]syscall.Errno{
		filepath.Join(dir, "nothing"): syscall.ENOENT,
		plain:                         syscall.ECONNREFUSED,
		stream.Addr().String():        syscall.EPROTOTYPE,
	} {
		p := startProbe(t, probeProgram(t), path, plenty)
		a := p.decide("GET", "/")
		p.wantFailure(a, unreachable, 503)
		if a.text["system-error"] != fmt.Sprint(int(want)) {
			t.Errorf("%s: errno %s; want %d", path, a.text["system-error"], want)
		}
		if a.took > slack {
			t.Errorf("%s: took %v, though there was nothing to wait for", path, a.took)
		}
		p.wantFailure(p.tell("verify", value("Bearer x")), unreachable, 503)
		if a := p.tell("ping"); a.err != unreachable {
			t.Errorf("%s: ping returned %d", path, a.err)
		}
	}
}

func TestNoAnswer(t *testing.T) {
	d := startDaemon(t, socketPath(t), silent)
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), patience)
	before := descriptors(t, p)
	p.wantTimeout(p.decide("GET", "/"))
	p.wantTimeout(p.tell("verify", value("Bearer x")))
	if w := p.tell("wiped"); w.text["wiped"] != "yes" {
		t.Error("the request buffer still holds a question")
	}
	d.await(2)
	d.become(honest)
	p.tell("timeout", fmt.Sprint(plenty.Milliseconds()))
	p.wantAllowed(p.decide("GET", "/"))
	questions, accepted := d.asked()
	if len(questions) != 3 || accepted != 3 {
		t.Errorf("got %d questions over %d connections; want 3 over 3", len(questions), accepted)
	}
	if w := p.tell("wiped"); w.text["reply-wiped"] != "no" {
		t.Error("the reply is gone before the handle is closed")
	}
	p.tell("close")
	if w := p.tell("wiped"); w.text["reply-wiped"] != "yes" {
		t.Error("a closed handle still holds a reply")
	}
	if after := descriptors(t, p); after != before {
		t.Errorf("%d open descriptors; before the calls %d", after, before)
	}
	p.wantAllowed(p.decide("GET", "/")) // a closed handle opens again
}

func descriptors(t *testing.T, p *probe) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// What the firmware executes does not inherit the connection.
func TestClosedOnExec(t *testing.T) {
	d := startDaemon(t, socketPath(t), honest)
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	p.wantAllowed(p.decide("GET", "/"))
	dir := fmt.Sprintf("/proc/%d/", p.pid)
	entries, err := os.ReadDir(dir + "fd")
	if err != nil {
		t.Fatal(err)
	}
	sockets := 0
	for _, e := range entries {
		if to, _ := os.Readlink(dir + "fd/" + e.Name()); !strings.HasPrefix(to, "socket:") {
			continue
		}
		sockets++
		info, err := os.ReadFile(dir + "fdinfo/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		var position, flags int
		if _, err := fmt.Sscanf(string(info), "pos: %d\nflags: %o\n", &position, &flags); err != nil ||
			flags&syscall.O_CLOEXEC == 0 {
			t.Errorf("descriptor %s: %v, %s", e.Name(), err, info)
		}
	}
	if sockets != 1 {
		t.Errorf("%d sockets", sockets)
	}
}

// The answer to a question that timed out arrives while the next one waits: it must not answer that one.
func TestLateAnswer(t *testing.T) {
	var mu sync.Mutex
	var first io.Writer
	asked := make(chan struct{})
	d := startDaemon(t, socketPath(t), func(c io.Writer, question string) bool {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = c
			close(asked)
			return true
		}
		for _, id := range []string{"1", idOf(question)} {
			first.Write([]byte("allow 200\nid=" + id + "\nreason=ok\n"))
		}
		c.Write([]byte("deny 403\nid=" + idOf(question) + "\nreason=path-not-granted\n"))
		return true
	})
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), patience)
	p.wantTimeout(p.decide("GET", "/"))
	<-asked
	p.tell("timeout", fmt.Sprint(plenty.Milliseconds()))
	if a := p.decide("DELETE", "/x-nmos/"); a.decision != "deny" || a.status != 403 {
		t.Errorf("got %+v; want deny 403", a)
	}
}

// Two answers to one question: the second must not answer the next question, though the connection is kept.
func TestAnswerTooMany(t *testing.T) {
	d := startDaemon(t, socketPath(t), func(c io.Writer, question string) bool {
		honest(c, question)
		return honest(c, question)
	})
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	p.wantAllowed(p.decide("GET", "/"))
	d.become(replying("deny 401\nid=$ID\nreason=no-token\n"))
	p.wantFailure(p.decide("GET", "/"), badReply, 503)
	if a := p.decide("GET", "/"); a.decision != "deny" || a.status != 401 {
		t.Errorf("got %+v; want deny 401", a)
	}
}

// A daemon that went away between two calls, or in the middle of one, is asked again over a new connection, once.
func TestReconnects(t *testing.T) {
	path := socketPath(t)
	d := startDaemon(t, path, honest)
	p := startProbe(t, probeProgram(t), path, plenty)
	p.wantAllowed(p.decide("GET", "/"))

	d.stop()
	p.wantFailure(p.decide("GET", "/"), unreachable, 503)
	d = startDaemon(t, path, honest)
	p.wantAllowed(p.decide("GET", "/"))

	d.stop()
	d = startDaemon(t, path, honest)
	p.wantAllowed(p.decide("GET", "/")) // the old connection is found dead in this call
	if questions, accepted := d.asked(); len(questions) != 1 || accepted != 1 {
		t.Errorf("%d questions over %d connections; want 1 over 1", len(questions), accepted)
	}

	var once sync.Once
	d.become(func(c io.Writer, question string) bool {
		stays := true
		once.Do(func() { stays = false })
		return stays && honest(c, question)
	})
	p.wantAllowed(p.decide("GET", "/"))

	d.become(hangup)
	before, _ := d.asked()
	p.wantFailure(p.decide("GET", "/"), connectionLost, 503)
	after, _ := d.asked()
	if len(after)-len(before) != 2 || after[len(before)] != after[len(before)+1] {
		t.Errorf("asked %q; want the same question twice", after[len(before):])
	}
}

// A daemon that serves only some users accepts the others and hangs up without reading a word.
func TestTurnedAway(t *testing.T) {
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socketPath(t), Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond) // the question has arrived by then, so that the close resets
			c.Close()
		}
	}()
	p := startProbe(t, probeProgram(t), ln.Addr().String(), plenty)
	p.wantFailure(p.decide("GET", "/"), connectionLost, 503)
	ln.Close()
	<-done
}

// Asking again takes its time from the same allowance. On a busy machine the time may be over before the daemon hangs
// up, or run on behind its end: then there is more of it.
func TestReconnectsWithinTheTimeout(t *testing.T) {
	for allowance := patience; ; allowance *= 10 {
		d := startDaemon(t, socketPath(t), func(_ io.Writer, _ string) bool {
			time.Sleep(allowance * 2 / 3)
			return false
		})
		p := startProbe(t, probeProgram(t), d.ln.Addr().String(), allowance)
		a := p.decide("GET", "/")
		p.wantFailure(a, timedOut, 503)
		questions, _ := d.asked()
		if len(questions) == 2 && a.took >= allowance && a.took < allowance*5/3 {
			return
		}
		if allowance > 10*time.Second {
			t.Fatalf("asked %d times in %v; want 2 times in %v", len(questions), a.took, allowance)
		}
		t.Logf("asked %d times in %v, allowed were %v", len(questions), a.took, allowance)
	}
}

// A daemon that accepts nobody: the queue of connections is full, and connecting itself has to time out.
func TestFullBacklog(t *testing.T) {
	path := socketPath(t)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	p := startProbe(t, probeProgram(t), path, patience)
	for range 3 { // the first waits for an answer, the others for a place
		p.wantTimeout(p.decide("GET", "/"))
	}
	p.tell("interrupt", "1000")
	p.wantTimeout(p.decide("GET", "/"))
	p.tell("interrupt", "0")
}

// Signals neither end a wait nor prolong it.
func TestInterrupted(t *testing.T) {
	d := startDaemon(t, socketPath(t), func(c io.Writer, question string) bool {
		time.Sleep(50 * time.Millisecond)
		return honest(c, question)
	})
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	p.tell("interrupt", "1000")
	p.wantAllowed(p.decide("GET", "/"))
	p.tell("timeout", fmt.Sprint(patience.Milliseconds()))
	d.become(silent)
	p.wantTimeout(p.decide("GET", "/"))
	p.tell("interrupt", "0")
}

// After a fork both processes hold the handle, and each must read its own answers.
func TestFork(t *testing.T) {
	d := startDaemon(t, socketPath(t), honest)
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	p.wantAllowed(p.decide("GET", "/"))
	if a := p.tell("fork", "300"); a.text["parent"] != "0" || a.text["child"] != "0" {
		t.Errorf("%v; want every question answered", a.text)
	}
	if _, accepted := d.asked(); accepted != 2 {
		t.Errorf("%d connections; want one for each process", accepted)
	}
}

func TestThreads(t *testing.T) {
	d := startDaemon(t, socketPath(t), honest)
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	p.tell("threads", "8", "500", value("GET"), value("/a"), value("/b"), "-")
	if a := p.tell("on"); a.text["answered"] != "4000" {
		t.Errorf("%v; want every question answered", a.text)
	}
	questions, accepted := d.asked()
	if len(questions) != 4000 || accepted != 8 {
		t.Errorf("%d questions over %d connections; want 4000 over 8", len(questions), accepted)
	}
}

// The error body is JSON that fits or is not there.
func TestErrorBody(t *testing.T) {
	d := startDaemon(t, socketPath(t), replying("deny 403\nid=$ID\nreason=path-not-granted\n"))
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	p.decide("GET", "/")
	const want = `{"code":403,"error":"Forbidden","debug":"path-not-granted"}`
	full := 0
	for size := range 128 {
		a := p.tell("body", fmt.Sprint(size))
		switch a.text["text"] {
		case want:
			full++
		case "":
			if full > 0 {
				t.Errorf("nothing for a buffer of %d bytes", size)
			}
		default:
			t.Fatalf("a buffer of %d bytes holds %s", size, a.text["text"])
		}
		if a.text["length"] != fmt.Sprint(len(a.text["text"])) {
			t.Errorf("length %s of %s", a.text["length"], a.text["text"])
		}
	}
	if full == 0 || full > 128-len(want)-1 {
		t.Errorf("%d buffers under 128 bytes held the body of %d", full, len(want))
	}
	for _, long := range []struct{ reply, want string }{
		{"deny 403\nid=$ID\nreason=path-not-granted\nerror=it does \"not\"\n",
			`{"code":403,"error":"it does \"not\"","debug":"path-not-granted"}`},
		{"deny 403\nid=$ID\nreason=a\nerror=\n", `{"code":403,"error":"","debug":"a"}`},
		{"deny 403\nid=$ID\nreason=a\nerror=" + strings.Repeat("x", 600) + "\n", ""},
		{"deny 403\nid=$ID\nerror=a\nreason=" + strings.Repeat("x", 600) + "\n", ""},
	} {
		d.become(replying(long.reply))
		p.decide("GET", "/")
		if a := p.tell("body", "512"); a.text["text"] != long.want {
			t.Errorf("%.60q becomes %s; want %s", long.reply, a.text["text"], long.want)
		}
	}
	p.tell("odd-reply")
	if a := p.tell("body", "256"); a.text["text"] != `{"code":418,"error":"Error","debug":"\"\\\u000a\u0001\u007f\ufffd\ufffd/"}` {
		t.Errorf("an odd reason becomes %s", a.text["text"])
	}
	d.stop()
	p.decide("GET", "/")
	if a := p.tell("body", "256"); !strings.Contains(a.text["text"], `"debug":"the daemon cannot be reached"`) {
		t.Errorf("an unreachable daemon becomes %s", a.text["text"])
	}
}

// The head of a denial says what HTTP and NMOS want said with each status, or is not there.
func TestDenialHead(t *testing.T) {
	spec.Rules(t, "ANS-7")
	d := startDaemon(t, socketPath(t), honest)
	p := startProbe(t, probeProgram(t), d.ln.Addr().String(), plenty)
	const common = "|Content-Type: application/json|Content-Length: %d|Access-Control-Allow-Origin: *|" +
		"Access-Control-Expose-Headers: WWW-Authenticate, Retry-After, Allow|"
	for _, test := range []struct {
		reply, status, body, more string
	}{
		{"deny 401\nid=$ID\nreason=no-token\nwww-authenticate=Bearer realm=\"n\"\n", "401 Unauthorized",
			`{"code":401,"error":"Unauthorized","debug":"no-token"}`, "WWW-Authenticate: Bearer realm=\"n\"|"},
		{"deny 503\nid=$ID\nreason=keys-pending\nretry-after=2\n", "503 Service Unavailable",
			`{"code":503,"error":"Service Unavailable","debug":"keys-pending"}`, "Retry-After: 2|"},
		{"deny 405\nid=$ID\nreason=method\n", "405 Method Not Allowed",
			`{"code":405,"error":"Method Not Allowed","debug":"method"}`, "Allow: GET, HEAD, OPTIONS, POST, PUT, " +
				"PATCH, DELETE|"},
		{"error 400\nid=$ID\nreason=packet-text\n", "400 Bad Request",
			`{"code":400,"error":"Bad Request","debug":"packet-text"}`, ""},
	} {
		d.become(replying(test.reply))
		p.decide("GET", "/")
		want := "HTTP/1.1 " + test.status + fmt.Sprintf(common, len(test.body)) + test.more
		if body := p.tell("body", "256").text["text"]; body != test.body {
			t.Errorf("%s: body %s; want %s", test.status, body, test.body)
		}
		length := len(want) + strings.Count(want, "|") // CRLF is two bytes
		for size := range length + 4 {
			a := p.tell("head", fmt.Sprint(size))
			if fits := size > length; fits && a.text["text"] != want || !fits && a.text["text"] != "" {
				t.Fatalf("%s: a buffer of %d bytes holds %q; want %q of %d",
					test.status, size, a.text["text"], want, length)
			}
		}
	}
	d.become(honest)
	p.wantAllowed(p.decide("GET", "/"))
	if a := p.tell("head", "1024"); a.text["text"] != "" || a.text["length"] != "0" {
		t.Errorf("an allow has the head of a denial: %q", a.text["text"])
	}
}
