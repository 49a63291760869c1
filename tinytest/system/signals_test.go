package system_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
)

// A configuration that is reread counts immediately, on open connections too, and for tokens that were accepted
// before.
func TestReload(t *testing.T) {
	t.Parallel()
	first, second := newServer(t, authserver.Options{}), newServer(t, authserver.Options{})
	config := trusting(t, first)
	b := start(t, config)
	token := get(senders).bearing(everything(first).Sign())
	b.await(token, 200, "ok")

	config.Names = []string{"node-2.example.com"}
	b.reload(config)
	if a := b.askBoth(token); a.status != 403 || a.reason != "audience" ||
		!strings.HasPrefix(a.challenge, `Bearer realm="node-2.example.com"`) {
		t.Errorf("under another name: %v, %s", a, a.challenge)
	}
	b.want(get(senders).bearing(first.Token(mint.Options{Device: "node-2.example.com"}).Sign()), 200, "ok")
	config.Names = nil
	b.reload(config)
	b.want(token, 200, "ok")

	config.Mode = "observe"
	b.reload(config)
	if a := b.askBoth(get(senders)); a.status != 200 || a.reason != "observe" || a.would != "401 no-token" {
		t.Errorf("in observe mode: %v", a)
	}
	config.Mode = ""
	b.reload(config)
	b.want(get(senders), 401, "no-token")

	config.More = "[limits]\ntoken_bytes = 1024\n[paths]\npublic = [\"/meters\"]"
	b.reload(config)
	long := everything(first)
	long.Claims.Set("x-fill", strings.Repeat("x", 1024))
	b.want(get(senders).bearing(long.Sign()), 401, "token-too-large")
	b.want(get("/meters/1"), 200, "public")

	// Another server beside the first, then in its place: what the first one signed is refused immediately.
	config = trusting(t, first, second)
	b.reload(config)
	b.want(token, 200, "ok")
	theirs := get(senders).bearing(everything(second).Sign())
	b.await(theirs, 200, "ok")
	b.reload(trusting(t, second))
	b.want(theirs, 200, "ok")
	if a := b.askBoth(token); a.status != 401 || a.reason != "issuer-untrusted" {
		t.Errorf("a token of a server that is trusted no more: %v", a)
	}
	if n := second.Requests(authserver.PathJWKS); n != 1 {
		t.Errorf("the keys that were held have been fetched %d times", n)
	}
	if told := states(b.Told()); len(told) < 3 || told[0] != "READY=1" ||
		!strings.HasPrefix(told[1], "RELOADING=1\nMONOTONIC_USEC=") || told[2] != "READY=1" {
		t.Errorf("the service manager was told %q", told)
	}
}

// A configuration that is broken changes nothing, and the log says where it is broken.
func TestReloadOfBrokenFile(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := start(t, trusting(t, server))
	token := get(senders).bearing(everything(server).Sign())
	b.await(token, 200, "ok")
	for text, says := range map[string]string{
		"mode = \"off\"\n\nmood = \"bad\"\n":           ":3: unknown key",
		"mode = \"off\"\n[device]\nnames = [\n":        ":3: ",
		"mode = \"off\"\n[limits]\nconnections = 0\n":  ":3: [limits] connections: 0 is out of range",
		"mode = \"off\"\n[authorization]\nretry = 1\n": ":3: [authorization] retry: must be a string",
	} {
		after := len(b.Log())
		if err := b.WriteText(text); err != nil {
			t.Fatal(err)
		}
		b.hangUp("configuration not reread; the old one stays in force")
		b.waitLog(after, b.ConfigFile()+says)
		b.want(token, 200, "ok")
		b.want(get(senders), 401, "no-token")
	}
	if err := os.Remove(b.ConfigFile()); err != nil {
		t.Fatal(err)
	}
	b.hangUp("no such file")
	b.want(token, 200, "ok")
	b.want(get(senders), 401, "no-token")
	if n := server.Requests(authserver.PathJWKS); n != 1 {
		t.Errorf("%d requests for keys", n)
	}
	b.reload(b.config)

	// Sockets cannot move while the daemon runs; it says so, every time, and goes on where it is.
	for range 2 {
		config := b.config
		config.Sockets = "group = \"0\""
		if err := b.Write(config); err != nil {
			t.Fatal(err)
		}
		b.hangUp("[sockets] group: a change takes effect after a restart")
	}
	b.want(token, 200, "ok")
}

// dialPacket opens a connection to the decision socket that the test drives itself. The daemon has accepted it.
func dialPacket(t *testing.T, socket string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unixpacket", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	if reply, err := exchange(conn, "ping 1\n"); err != nil || reply != "pong 1\n" {
		t.Fatalf("%q, %v", reply, err)
	}
	return conn
}

func exchange(conn net.Conn, packet string) (string, error) {
	if _, err := conn.Write([]byte(packet)); err != nil {
		return "", err
	}
	b := make([]byte, 64<<10)
	n, err := conn.Read(b)
	return string(b[:n]), err
}

// What was sent before the daemon is told to stop is answered; then every connection ends, and so does the daemon,
// soon, with its sockets removed.
func TestStopAnswersWhatHasArrived(t *testing.T) {
	t.Parallel()
	const packets, connections = 50, 8
	server := newServer(t, authserver.Options{})
	b := start(t, trusting(t, server))
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	var conns []net.Conn
	for range connections {
		conns = append(conns, dialPacket(t, b.Authz()))
	}
	idle := dialPacket(t, b.Authz())
	b.askHTTP(get("/x-nmos")) // leaves a connection open
	forge := forger(server)
	for n := range packets {
		for _, conn := range conns { // forged, so that each takes its time
			packet := strings.Join(get(senders).bearing(forge("key-1")).lines(), "\n") + fmt.Sprintf("\nid=%d\n", n)
			if _, err := conn.Write([]byte(packet)); err != nil {
				t.Fatal(err)
			}
		}
	}
	begin := time.Now()
	if err := b.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, 4096)
	for _, conn := range conns {
		for n := range packets {
			size, err := conn.Read(reply)
			if want := fmt.Sprintf("deny 401\nid=%d\nreason=signature\n", n); err != nil ||
				!bytes.HasPrefix(reply[:size], []byte(want)) {
				t.Fatalf("packet %d: %q, %v", n, reply[:size], err)
			}
		}
	}
	for _, conn := range append(conns, idle) {
		if n, err := conn.Read(reply); !errors.Is(err, io.EOF) {
			t.Errorf("behind the last reply: %q, %v", reply[:n], err)
		}
	}
	if status := b.waitEnd(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	t.Logf("stopped after %v", time.Since(begin)) // that idle connections were not waited for, the log says: see below
	for _, path := range []string{b.Authz(), b.HTTP()} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	if told := states(b.Told()); !slices.Equal(told, []string{"READY=1", "STOPPING=1"}) {
		t.Errorf("the service manager was told %q", told)
	}
	if log := b.Log(); b.troubles() != "" || !strings.Contains(log, `"message":"stopped"`) {
		t.Errorf("the log of a plain stop:\n%s", log)
	}
}

// Callers that never read, or never end their request, do not keep the daemon from stopping.
func TestStopDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	b := start(t, trusting(t))
	deaf := dialPacket(t, b.Authz())
	for n := 0; ; n++ { // until both sides' buffers are full
		deaf.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		if _, err := deaf.Write([]byte("ping 1\n")); errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil {
			t.Fatalf("packet %d: %v", n, err)
		}
	}
	slow, err := net.Dial("unix", b.HTTP())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := io.WriteString(slow, "GET /authorize HTTP/1.1\r\nHost:"); err != nil {
		t.Fatal(err)
	}
	b.want(get("/x-nmos"), 200, "public")
	begin := time.Now()
	if err := b.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := b.waitEnd(); status != 0 || !strings.Contains(b.Log(), cutOff) {
		t.Errorf("got exit status %d, want 0, and a log that says %q:\n%s", status, cutOff, b.Log())
	}
	t.Logf("stopped after %v", time.Since(begin))
}

// Under load too: whoever could send a question before the end gets its answer.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := start(t, trusting(t, server))
	good := everything(server).Sign()
	b.await(get(senders).bearing(good), 200, "ok")
	var asked, askedHTTP atomic.Int64
	var workers sync.WaitGroup
	packet := strings.Join(get(senders).bearing(good).lines(), "\n") + "\n"
	for range 4 {
		conn := dialPacket(t, b.Authz())
		workers.Go(func() {
			reply := make([]byte, 4096)
			for {
				if _, err := conn.Write([]byte(packet)); err != nil {
					if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("the end of a connection: %v", err)
					}
					return
				}
				if n, err := conn.Read(reply); err != nil || !bytes.HasPrefix(reply[:n], []byte("allow 200\n")) {
					t.Errorf("a question was sent and not answered: %q, %v", reply[:n], err)
					return
				}
				asked.Add(1)
			}
		})
		client := httpClient(b.HTTP())
		workers.Go(func() {
			defer client.CloseIdleConnections()
			for {
				a, err := tryHTTP(client, get(senders).bearing(good))
				if err != nil {
					return
				}
				if a.status != 200 {
					t.Errorf("over HTTP: %v", a)
				}
				askedHTTP.Add(1)
			}
		})
	}
	eventually(t, "load", func() bool { return asked.Load() > 500 && askedHTTP.Load() > 100 })
	begin := time.Now()
	if err := b.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	status := b.waitEnd()
	took := time.Since(begin)
	workers.Wait()
	if status != 0 {
		t.Errorf("got exit status %d, want 0", status)
	}
	t.Logf("stopped after %v and %d + %d questions", took, asked.Load(), askedHTTP.Load())
}

// A daemon that was killed leaves its sockets behind; the next one takes their place. A socket on which somebody
// answers, and a file that is none, stay untouched.
func TestSocketsLeftBehind(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := start(t, trusting(t, server))
	token := get(senders).bearing(everything(server).Sign())
	b.await(token, 200, "ok")

	r := command(t, "", "run", "--config", b.ConfigFile())
	r.check(t, 1, "",
		fmt.Sprintf("nmos-authd: %s: another nmos-authd (pid %d) is listening on this socket", b.Authz(), b.PID()))
	b.askBoth(token)
	b.want(token, 200, "ok")
	if err := errors.Join(daemonAnswers(b.Dir)); err != nil {
		t.Errorf("the first daemon is disturbed: %v", err)
	}
	if log := b.troubles(); log != "" {
		t.Errorf("the first daemon is disturbed:\n%s", log)
	}

	b.Kill()
	for _, path := range []string{b.Authz(), b.HTTP()} {
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
			t.Errorf("%s: %v", path, err)
		}
	}
	b.Daemon = startIn(t, b.Dir)
	b.await(token, 200, "ok")
	b.askBoth(token)
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.HTTP(), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "", "run", "--config", b.ConfigFile()).check(t, 1, "", b.HTTP()+": exists and is not a socket")
	if text, err := os.ReadFile(b.HTTP()); string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := os.Lstat(b.Authz()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the daemon that did not start left its other socket: %v", err)
	}
}

// daemonAnswers asks both sockets over connections of their own.
func daemonAnswers(dir daemon.Dir) error {
	conn, err := net.Dial("unixpacket", dir.Authz())
	if err != nil {
		return err
	}
	defer conn.Close()
	if reply, err := exchange(conn, "ping 1\n"); err != nil || reply != "pong 1\n" {
		return fmt.Errorf("%q, %w", reply, err)
	}
	stream, err := net.Dial("unix", dir.HTTP())
	if err != nil {
		return err
	}
	defer stream.Close()
	if _, err := io.WriteString(stream, "GET /authorize HTTP/1.1\r\nHost: daemon\r\n\r\n"); err != nil {
		return err
	}
	r, err := http.ReadResponse(bufio.NewReader(stream), nil)
	if err != nil {
		return err
	}
	return r.Body.Close()
}

// A SIGHUP that comes before the daemon serves does not end it, and what was written meanwhile is read.
func TestHangupDuringTheStart(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	if err := dir.Write(daemon.Config{Servers: []string{"https://127.0.0.1:9"}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(dir.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	// The configuration is a pipe, so that the test knows when it is read.
	if err := errors.Join(os.Remove(dir.ConfigFile()), syscall.Mkfifo(dir.ConfigFile(), 0o644)); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "run", "--config", dir.ConfigFile())
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		command.Wait()
		close(ended)
	}()
	defer command.Process.Kill()
	// feed writes the configuration once somebody reads it, and reports false once the daemon has ended.
	feed := func(meanwhile func()) bool {
		for {
			f, err := os.OpenFile(dir.ConfigFile(), os.O_WRONLY|syscall.O_NONBLOCK, 0)
			if err == nil {
				meanwhile()
				f.Write(text) // in vain if the daemon has ended
				f.Close()
				return true
			}
			select {
			case <-ended:
				return false
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	feed(func() {
		command.Process.Signal(syscall.SIGHUP)
		time.Sleep(50 * time.Millisecond) // for the signal to end it, if it does
	})
	for {
		if _, err := os.Stat(dir.Authz()); err == nil {
			break
		}
		select {
		case <-ended:
			t.Fatalf("the daemon has ended: %v", command.ProcessState)
		case <-time.After(5 * time.Millisecond):
		}
	}
	go func() {
		for feed(func() {}) { // the reload
			time.Sleep(5 * time.Millisecond)
		}
	}()
	command.Process.Signal(syscall.SIGTERM)
	if <-ended; !command.ProcessState.Success() {
		t.Errorf("the daemon has ended: %v", command.ProcessState)
	}
}
