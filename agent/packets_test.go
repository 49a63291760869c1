package agent_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// packetSocket listens on a SOCK_SEQPACKET socket with a short path.
func packetSocket(tb testing.TB) net.Listener {
	tb.Helper()
	dir, err := os.MkdirTemp("", "n")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unixpacket", filepath.Join(dir, "s"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return l
}

// caller is one connection to a packet socket.
type caller struct {
	*net.UnixConn
	tb testing.TB
}

func dial(tb testing.TB, l net.Listener) caller {
	tb.Helper()
	conn, err := net.DialUnix("unixpacket", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	conn.SetWriteBuffer(1 << 20) // for packets far beyond what the agent reads
	return caller{conn, tb}
}

func (c caller) send(packet string) {
	c.tb.Helper()
	// Write would send nothing for an empty packet
	if _, _, err := c.WriteMsgUnix([]byte(packet), nil, nil); err != nil {
		c.tb.Fatal(err)
	}
}

func (c caller) receive() answer {
	c.tb.Helper()
	reply := make([]byte, 1<<17)
	n, err := c.Read(reply)
	if err != nil {
		c.tb.Fatalf("no reply: %v", err)
	}
	return parseAnswer(c.tb, reply[:n])
}

func (c caller) ended() bool {
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

// serving is a Server of packets on a socket.
type serving struct {
	agent.Server
	listener net.Listener
	served   chan error
}

func serve(tb testing.TB, d *device) *serving {
	s := &serving{listener: packetSocket(tb), served: make(chan error, 1)}
	s.Handle, s.Report = d.servePackets, func(err error) { tb.Logf("reported: %v", err) }
	go func() { s.served <- s.Serve(s.listener) }()
	tb.Cleanup(func() { s.end(tb, time.Minute) })
	return s
}

func (s *serving) end(tb testing.TB, within time.Duration) {
	tb.Helper()
	s.listener.Close()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	s.Shutdown(ctx)
	if s.served != nil {
		if err := <-s.served; err != nil {
			tb.Error(err)
		}
		s.served = nil
	}
}

// Bad input of every kind gets its answer, and the next request on that connection is served.
func TestBadPackets(t *testing.T) {
	spec.Rules(t, "ANS-4", "TOK-5")
	tok := mint.New(mint.Options{})
	d := newDevice(t, nil, tok.Key.JWK())
	good := get(senders, tok.Sign())
	c := dial(t, serve(t, d).listener)
	padding := func(total int) string {
		const head = "decide 1\nmethod=GET\ntarget=/"
		return head + strings.Repeat("x", total-len(head)-1) + "\n"
	}
	made := func(name string) string {
		made, ok := mint.Lookup(name)
		if !ok {
			t.Fatalf("the mint has no %s", name)
		}
		return made.Make(tok)
	}
	for _, bad := range []struct{ name, packet, want string }{
		{"one byte", "x", "error 400 packet-form"},
		{"one newline", "\n", "error 400 packet-verb"},
		{"one NUL", "\x00", "error 400 packet-text"},
		{"one byte over the limit", padding(32<<10 + 1), "error 400 packet-too-long"},
		{"64 KiB", padding(64 << 10), "error 400 packet-too-long"},
		{"64 KiB of NUL", string(make([]byte, 64<<10)), "error 400 packet-too-long"},
		{"64 KiB of newlines", strings.Repeat("\n", 64<<10), "error 400 packet-too-long"},
		{"32 KiB of newlines", "ping 1\n" + strings.Repeat("\n", 32<<10-7), "error 400 packet-form"},
		{"cut short", good[:len(good)-20], "error 400 packet-form"},
		{"cut short in the first line", good[:5], "error 400 packet-form"},
		{"not UTF-8", "decide 1\nmethod=GET\ntarget=/\xff\n", "error 400 packet-text"},
		{"NUL", "decide 1\nmethod=GET\ntarget=/\x00\n", "error 400 packet-text"},
		{"doubled name", "decide 1\nmethod=GET\nmethod=GET\ntarget=/\n", "error 400 packet-twice"},
		{"unknown name", "decide 1\nmethod=GET\ntarget=/\ncookie=x\n", "error 400 packet-name"},
		{"a token as a name", "decide 1\nmethod=GET\ntarget=/\neyJhbGciOiJSUzUxMiJ9=x\n", "error 400 packet-name"},
		{"another's name", "decide 1\nmethod=GET\ntarget=/\nscope=x\n", "error 400 packet-name"},
		{"bad access", "resource 1\nkind=a\nname=b\naccess=c\n", "error 400 packet-value"},
		{"bad kind", "resource 1\nkind=\nname=b\naccess=c\n", "error 400 packet-value"},
		{"bad name", "resource 1\nkind=a\nname=\x1b\naccess=read\n", "error 400 packet-value"},
		{"bad api", "control 1\napi=x\nsubscribe=root\n", "error 400 packet-value"},
		{"bad model", "control 1\napi=control\nmodel=\nsubscribe=root\n", "error 400 packet-value"},
		{"bad command", "control 1\napi=control\nsubscribe=root\ncommand=1\n", "error 400 packet-value"},
		{"bad role path", "control 1\napi=control\nsubscribe=\n", "error 400 packet-value"},
		{"too many", "control 1\napi=control\n" + strings.Repeat("subscribe=a\n", 1025), "error 400 packet-too-long"},
		{"nothing asked", "control 1\napi=control\n", "error 400 packet-missing"},
		{"bad scope", "token 1\nscope=a  b\n", "error 400 packet-value"},
		{"bad server", "token 1\nscope=a\nresource=ftp://x\n", "error 400 packet-value"},
		{"bad token-id", "token 1\nscope=a\nrefused=x\n", "error 400 packet-value"},
		{"missing name", "decide 1\nmethod=GET\n", "error 400 packet-missing"},
		{"unknown question", "decide 9\nmethod=GET\ntarget=/\n", "error 400 packet-verb"},
		{"HTTP", "GET / HTTP/1.1\r\nHost: node\r\n\r\n", "error 400 packet-verb"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00", "error 400 packet-text"},
		{"long id", "ping 1\nid=" + strings.Repeat("x", 65) + "\n", "error 400 packet-id"},
		{"a token of 100 KB", get(senders, made("token-100-kb")), "error 400 packet-too-long"},
		{"a token of 30 KB", get(senders, strings.Repeat("x", 30_000)), "deny 401 token-too-large"},
		{"a token nested 200,000 deep", get(senders, made("payload-nested-200000-deep")), "error 400 packet-too-long"},
		{"a token nested 5,000 deep", get(senders, made("payload-nested-5000-deep")), "deny 401 token-json"},
		{"a token nested and unfinished", get(senders, made("payload-nested-unfinished")), "deny 401 token-json"},
		{"a path of 32 KiB", padding(32 << 10), "deny 400 path-too-long"},
		{"a method of 30 KB", "decide 1\nmethod=" + strings.Repeat("G", 30_000) + "\ntarget=/\n", "deny 405 method"},
		{"4,000 empty targets", "decide-all 1\n" + strings.Repeat("target=\n", 4000), "deny 400 path-ambiguous"},
	} {
		c.send(bad.packet)
		got := c.receive()
		if got.first+" "+got.reason() != bad.want {
			t.Errorf("%s: got %v, want %s", bad.name, got.first+" "+got.reason(), bad.want)
		}
		if want := map[string]string{"missing name": "target", "doubled name": "method", "long id": "id",
			"another's name": "scope", "bad access": "access", "bad kind": "kind", "bad name": "name", "bad api": "api",
			"bad model": "model", "bad command": "command", "bad role path": "subscribe", "bad scope": "scope",
			"bad server": "resource", "bad token-id": "refused",
			"too many": "subscribe", "nothing asked": "command or subscribe"}[bad.name]; got.lines["detail"] != want {
			t.Errorf("%s: got the detail %q, want %q", bad.name, got.lines["detail"], want)
		}
		c.send(good)
		if got := c.receive(); got.first != "allow 200" {
			t.Errorf("after %s: %v", bad.name, got)
		}
	}
}

// Packets may be sent ahead; the replies come in order.
func TestRepliesComeInOrder(t *testing.T) {
	c := dial(t, serve(t, newDevice(t, nil, mint.CachedKey(mint.DefaultKID, 2048).JWK())).listener)
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		c.send("ping 1\nid=" + id + "\n")
	}
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		if got := c.receive(); got.first != "pong 1" || got.lines["id"] != id {
			t.Errorf("%v, want %s", got, id)
		}
	}
}

// A packet of 0 bytes ends the connection; what was sent before is answered, what comes after is not.
func TestEmptyPacketEnds(t *testing.T) {
	s := serve(t, newDevice(t, nil, mint.CachedKey(mint.DefaultKID, 2048).JWK()))
	c := dial(t, s.listener)
	c.send("ping 1\nid=1\n")
	c.send("")
	if got := c.receive(); got.lines["id"] != "1" {
		t.Errorf("got %v", got)
	}
	if !c.ended() {
		t.Error("the connection is still open")
	}
	next := dial(t, s.listener)
	next.send("ping 1\n")
	if got := next.receive(); got.first != "pong 1" {
		t.Errorf("on the next connection: %v", got)
	}
}

// Shutdown answers what has arrived, then ends the connections; a caller that does not read is cut off when time is up.
func TestShutdown(t *testing.T) {
	d := newDevice(t, nil, mint.CachedKey(mint.DefaultKID, 2048).JWK())
	s := serve(t, d)
	idle, busy := dial(t, s.listener), dial(t, s.listener)
	for _, c := range []caller{idle, busy} {
		c.send("ping 1\n")
		c.receive()
	}
	for range 5 {
		busy.send("ping 1\n")
	}
	s.end(t, time.Minute)
	for i := range 5 {
		if got := busy.receive(); got.first != "pong 1" {
			t.Fatalf("packet %d: %v", i, got)
		}
	}
	if !busy.ended() || !idle.ended() {
		t.Error("a connection is still open")
	}
	if _, err := net.DialUnix("unixpacket", nil, s.listener.Addr().(*net.UnixAddr)); err == nil {
		t.Error("still listening")
	}

	s = serve(t, d)
	deaf := dial(t, s.listener)
	for {
		deaf.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := deaf.Write([]byte("ping 1\n")); err != nil { // until the replies that nobody reads stop the server
			break
		}
	}
	s.end(t, 10*time.Millisecond) // whoever waited for this caller would wait forever
}
