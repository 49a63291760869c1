package system_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/spec"
)

// A packet that is none gets its error, and the connection serves the next one.
func TestBadPackets(t *testing.T) {
	spec.Rules(t, "ANS-4")
	t.Parallel()
	b := start(t, trusting(t))
	conn := dialPacket(t, b.Authz())
	const good = "decide 1\nmethod=GET\ntarget=/x-nmos\n"
	for _, c := range []struct{ name, packet, reason string }{
		{"1 byte", "x", "packet-form"},
		{"a newline", "\n", "packet-verb"},
		{"a NUL", "\x00", "packet-text"},
		{"64 KiB", good + "upgrade=" + strings.Repeat("x", 64<<10-len(good)-len("upgrade=")), "packet-too-long"},
		{"64 KiB of one byte", strings.Repeat("\n", 64<<10), "packet-too-long"},
		{"190 KiB", strings.Repeat("x", 190<<10), "packet-too-long"},
		{"one byte over the limit",
			good + "upgrade=" + strings.Repeat("x", 32<<10-len(good)-len("upgrade=\n")+1) + "\n", "packet-too-long"},
		{"cut in the first line", good[:5], "packet-form"},
		{"cut in a name", good[:12], "packet-form"},
		{"cut in a value", good[:len(good)-3], "packet-form"},
		{"cut before the last newline", good[:len(good)-1], "packet-form"},
		{"not UTF-8", "decide 1\nmethod=GET\ntarget=/\xc3\x28\n", "packet-text"},
		{"a NUL in a value", "decide 1\nmethod=GET\ntarget=/x\x00y\n", "packet-text"},
		{"method twice", good + "method=OPTIONS\n", "packet-twice"},
		{"target twice", good + "target=/\n", "packet-twice"},
		{"two packets in one", good + good, "packet-form"},
		{"an unknown name", good + "token=x\n", "packet-name"},
		{"an empty line", good + "\n", "packet-form"},
		{"an unknown question", "decide 2\nmethod=GET\ntarget=/\n", "packet-verb"},
		{"a carriage return", strings.ReplaceAll(good, "\n", "\r\n"), "packet-verb"},
		{"no target", "decide 1\nmethod=GET\n", "packet-missing"},
		{"an id that is too long", good + "id=" + strings.Repeat("1", 65) + "\n", "packet-id"},
		{"an id with an escape", good + "id=\x1b[2J\n", "packet-id"},
		{"HTTP", "GET /authorize HTTP/1.1\r\nHost: daemon\r\n\r\n", "packet-verb"},
	} {
		reply, err := exchange(conn, c.packet)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if want := "error 400\nreason=" + c.reason + "\n"; !strings.HasPrefix(reply, want) {
			t.Errorf("%s: %q, want %q", c.name, reply, want)
		}
		if reply, err = exchange(conn, good); err != nil || !strings.HasPrefix(reply, "allow 200\nreason=public\n") {
			t.Fatalf("after %s: %q, %v", c.name, reply, err)
		}
	}
	exact := good + "upgrade=" + strings.Repeat("x", 32<<10-len(good)-len("upgrade=\n")) + "\n"
	if reply, err := exchange(conn, exact); err != nil || !strings.HasPrefix(reply, "allow 200\n") {
		t.Errorf("a packet of exactly the limit: %.100q, %v", reply, err)
	}

	// A packet of no bytes is what the end of a connection looks like.
	other := dialPacket(t, b.Authz())
	if _, err := sendEmpty(conn); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 100)); !errors.Is(err, io.EOF) {
		t.Errorf("after an empty packet: %d bytes, %v", n, err)
	}
	if reply, err := exchange(other, good); err != nil || !strings.HasPrefix(reply, "allow 200\n") {
		t.Errorf("on another connection: %q, %v", reply, err)
	}
	if log := b.troubles(); log != "" {
		t.Errorf("callers that misspeak fill the log:\n%s", log)
	}
}

// sendEmpty sends a packet of no bytes, for which net.Conn has no call.
func sendEmpty(conn net.Conn) (int, error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var sent error
	if err := raw.Write(func(fd uintptr) bool {
		sent = syscall.Sendto(int(fd), nil, 0, nil)
		return !errors.Is(sent, syscall.EAGAIN)
	}); err != nil {
		return 0, err
	}
	return 0, sent
}

// Many packets may be under way on one connection: the replies come in their order, each with its id.
func TestPacketsInARow(t *testing.T) {
	t.Parallel()
	b := start(t, trusting(t))
	conn := dialPacket(t, b.Authz())
	reply := make([]byte, 4096)
	for round := range 20 {
		for n := range 30 {
			if _, err := fmt.Fprintf(conn, "decide 1\nmethod=GET\ntarget=/x-nmos\nid=%d.%d\n", round, n); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 30 {
			size, err := conn.Read(reply)
			if want := fmt.Sprintf("allow 200\nid=%d.%d\n", round, n); err != nil ||
				!strings.HasPrefix(string(reply[:size]), want) {
				t.Fatalf("%q, %v, want %q", reply[:size], err, want)
			}
		}
	}
}

// Connections over the limit wait, and connections that ask nothing give way to them: whoever asks is answered, on each
// socket.
func TestConnectionLimit(t *testing.T) {
	spec.Rules(t, "ANS-5")
	t.Parallel()
	const limit = 4
	config := trusting(t)
	config.More = fmt.Sprintf("[limits]\nconnections = %d", limit)
	b := start(t, config)
	before := b.descriptors()
	idle := []net.Conn{}
	for range 300 {
		conn := dialPacket(t, b.Authz())
		conn.SetDeadline(time.Now().Add(patience))
		idle = append(idle, conn)
	}
	asking := newCaller(t, b.Dir)
	command(t, "", "ask", "--socket", b.Authz(), "--timeout", "20s", "GET", "/x-nmos").check(t, 0,
		"allow 200\nreason=public\n", "")
	for _, conn := range idle {
		conn.Close()
	}
	for i := range 300 {
		conn := dialPacket(t, b.Authz())
		conn.SetDeadline(time.Now().Add(patience))
		if reply, err := exchange(conn, "ping 1\n"); err != nil || reply != "pong 1\n" {
			t.Fatalf("connection %d, of which each asks once and is kept: %q, %v", i, reply, err)
		}
		if a, err := asking.try(get("/x-nmos"), false); err != nil || a.status != 200 {
			t.Fatalf("a caller beside %d connections: %v, %v", i, a, err)
		}
	}

	for range 300 {
		conn, err := net.Dial("unix", b.HTTP())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	if a, err := tryHTTP(b.http, get("/x-nmos")); err != nil || a.status != 200 {
		t.Errorf("http.sock beside 300 connections that ask nothing: %v, %v", a, err)
	}
	if n := strings.Count(b.Log(), "connection"); n > 30 {
		t.Errorf("%d lines in the log: a caller that is broken could fill the flash", n)
	}
	eventually(t, "connections that gave way to be closed",
		func() bool { return b.descriptors() <= before+2*limit+300 })
}

// nobody is another user, and a group that may connect.
const nobody = 65534

// Who may connect: the file's mode and group say it, and allow_uids among those.
func TestWhoMayAsk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can ask as another user")
	}
	if info, err := os.Stat(os.TempDir()); err != nil || info.Mode().Perm()&1 == 0 {
		t.Skipf("another user cannot reach %s", os.TempDir())
	}
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	dir := newDir(t)
	if err := os.Chmod(dir.Path(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, Daemon: startIn(t, dir), caller: newCaller(t, dir)}
	checkSockets(t, dir, 0)
	askAs(t, dir, nobody, nobody).check(t, 2, "", "permission denied")
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}

	config.Sockets = fmt.Sprintf("group = \"%d\"\nallow_uids = [%d]", nobody, os.Getuid())
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b.Daemon = startIn(t, dir)
	checkSockets(t, dir, nobody)
	b.want(get("/x-nmos"), 200, "public")
	b.askHTTP(get("/x-nmos"))
	askAs(t, dir, nobody, 1).check(t, 2, "", "permission denied")
	askAs(t, dir, nobody, nobody).check(t, 2, "", "this user may not ask")
	b.waitLog(0, fmt.Sprintf("user %d may not ask: allow_uids does not name it", nobody))

	config.Sockets = fmt.Sprintf("group = \"%d\"\nallow_uids = [%d, %d]", nobody, os.Getuid(), nobody)
	b.reload(config)
	askAs(t, dir, nobody, nobody).check(t, 0, "allow 200\nreason=public\n", "")

	// Not even the user that the daemon runs as, if the list does not name it.
	config.Sockets = fmt.Sprintf("group = \"%d\"\nallow_uids = [%d]", nobody, nobody)
	b.reload(config)
	command(t, "", "ask", "--socket", dir.Authz(), "GET", "/x-nmos").check(t, 2, "", "this user may not ask")
	askAs(t, dir, nobody, nobody).check(t, 0, "allow 200\nreason=public\n", "")
	if r, err := b.packet.Ask("ping 1"); err == nil { // over a connection from before
		t.Errorf("a user who was dropped is answered: %v", r)
	}
	if a, err := tryHTTP(b.http, get("/x-nmos")); err == nil {
		t.Errorf("a user who was dropped is answered on http.sock: %v", a)
	}
}

// askAs runs the command as another user.
func askAs(t *testing.T, dir daemon.Dir, uid, gid uint32) result {
	t.Helper()
	c := exec.Command(program, "ask", "--socket", dir.Authz(), "--timeout", "20s", "GET", "/x-nmos")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	return finish(t, c, "")
}

// checkSockets looks at the rights of both sockets' files, and that nothing else lies beside them but locks.
func checkSockets(t *testing.T, dir daemon.Dir, gid uint32) {
	t.Helper()
	for _, path := range []string{dir.Authz(), dir.HTTP()} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if stat := info.Sys().(*syscall.Stat_t); info.Mode() != os.ModeSocket|0o660 ||
			stat.Gid != gid || stat.Uid != 0 {
			t.Errorf("%s: %v, user %d, group %d", path, info.Mode(), stat.Uid, stat.Gid)
		}
	}
	entries, err := os.ReadDir(dir.Path() + "/run")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasSuffix(name, ".sock") && !strings.HasSuffix(name, ".sock.lock") {
			t.Errorf("%s lies beside the sockets", name)
		}
	}
}

// A group that does not exist, or a folder that is not there, is said at the start.
func TestSocketsThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, complaint string }{
		"no group": {"[sockets]\nauthz = %q\ngroup = \"no-such-group\"\n",
			`there is no group "no-such-group" on this system`},
		"no folder": {"[sockets]\nauthz = %q\nhttp = \"/no/such/folder/http.sock\"\n",
			"the directory /no/such does not exist"},
		"a long path": {"[sockets]\nauthz = %q\nhttp = \"/" + strings.Repeat("x", 107) + "\"\n",
			"a socket's path has at most 107"},
		"not a folder": {"[sockets]\nauthz = %q\nhttp = \"/dev/null/http.sock\"\n", "/dev/null"},
	} {
		dir := newDir(t)
		text := fmt.Sprintf(c.text, dir.Authz()) +
			"[device]\nnames = [\"node-1.example.com\"]\n[state]\ndir = \"\"\n[discovery]\nmode = \"off\"\n"
		if err := dir.WriteText(text); err != nil {
			t.Fatal(err)
		}
		r := command(t, "", "run", "--config", dir.ConfigFile())
		if r.status != 1 || !strings.Contains(r.errors, c.complaint) {
			t.Errorf("%s: exit status %d, %s, want %q", name, r.status, r.errors, c.complaint)
		}
		if _, err := os.Lstat(dir.Authz()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the other socket is left: %v", name, err)
		}
	}
}

// Nobody reads the log, and connections are refused, which would be logged: whoever may ask is answered nevertheless,
// and SIGTERM ends the daemon.
func TestStuckLog(t *testing.T) {
	spec.Rules(t, "ANS-5")
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can ask as another user")
	}
	dir := newDir(t)
	if err := os.Chmod(dir.Path(), 0o755); err != nil {
		t.Fatal(err)
	}
	config := trusting(t)
	config.Sockets = fmt.Sprintf("group = \"%d\"\nallow_uids = [0]", nobody)
	config.More = "[audit]\nsinks = [\"log\"]\nfull = \"drop\"\n"
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	unread, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Close()
	d := exec.Command(program, "run", "--config", dir.ConfigFile())
	d.Stderr = stderr
	d.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	stderr.Close()
	ended := make(chan error, 1)
	go func() { ended <- d.Wait() }()
	t.Cleanup(func() { d.Process.Kill() })
	c := newCaller(t, dir)
	eventually(t, "the daemon to serve", func() bool {
		_, err := c.try(get("/x-nmos"), false)
		return err == nil
	})
	for range 3000 { // more than the pipe holds
		c.want(get("/x-nmos"), 200, "public")
	}
	for range 3 {
		askAs(t, dir, nobody, nobody).check(t, 2, "", "this user may not ask")
		for _, overHTTP := range []bool{false, true} {
			if a, err := newCaller(t, dir).try(get("/x-nmos"), overHTTP); err != nil || a.status != 200 {
				t.Fatalf("a new connection beside a refused one: %v, %v", a, err)
			}
		}
	}
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("SIGTERM does not end it")
	}
}
