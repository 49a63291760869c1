package system_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
)

// admin makes one request of the admin socket and returns status and body.
func (b *box) admin(method, path, body string) (int, string) {
	b.t.Helper()
	client := httpClient(b.Admin())
	defer client.CloseIdleConnections()
	r, err := http.NewRequest(method, "http://daemon"+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// Who may use the admin socket is a matter of its own: its file's group, not allow_uids.
func TestAdminSocketRights(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give a socket to another group")
	}
	dir := newDir(t)
	config := trusting(t)
	config.Admin = true
	config.Sockets = fmt.Sprintf("admin_group = \"%d\"\nallow_uids = [%d]\n", nobody, nobody)
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	info, err := os.Lstat(b.Admin())
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); info.Mode() != os.ModeSocket|0o660 || stat.Gid != nobody || stat.Uid != 0 {
		t.Errorf("%v, user %d, group %d", info.Mode(), stat.Uid, stat.Gid)
	}
	if status, _ := b.admin("GET", "/inventory", ""); status != 404 { // root is not in allow_uids
		t.Errorf("got %d, want 404", status)
	}
	config.Sockets = "admin_group = \"0\"\n"
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b.hangUp("[sockets] admin_group: a change takes effect after a restart")
}

// The admin socket bears with callers who are slow, say too much, or something else, and the others are served
// meanwhile.
func TestAdminHostileCallers(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin = true
	b := start(t, config)
	b.waitLog(0, "keys fetched")
	tok := server.Token(mint.Options{}).Sign()
	if status, _ := b.admin("PUT", "/inventory", metered("sources/1/state")); status != 204 {
		t.Fatalf("got %d, want 204", status)
	}
	fine := func(after string) {
		t.Helper()
		if status, body := b.admin("GET", "/inventory", ""); status != 200 || body != metered("sources/1/state") {
			t.Errorf("after %s: %d %s", after, status, body)
		}
		b.wantResource("meter", "in-1", "read", tok, "200 ok /x-nmos/events/v1.0/sources/1/state")
	}
	if status, body := b.admin("PUT", "/inventory",
		metered("sources/2/state")+strings.Repeat(" ", 4<<20)); status != 413 {
		t.Errorf("4 MiB and more: %d %s", status, body)
	}
	fine("an oversize push")
	if status, _ := b.admin("DELETE", "/inventory", ""); status != 405 {
		t.Errorf("DELETE: %d", status)
	}
	if status, body := b.admin("GET", "/secrets", ""); status != 404 || !strings.Contains(body, `"code":404`) {
		t.Errorf("another path: %d %s", status, body)
	}
	for name, text := range map[string]string{
		"a packet": "resource 1\nkind=meter\nname=in-1\naccess=read\n\n", "junk": "\x00\xff\x16\x03\r\n\r\n",
		"a long line": strings.Repeat("x", 100<<10), "headers without end": "GET /inventory HTTP/1.1\r\n" +
			strings.Repeat("X: y\r\n", 20_000), "a length that lies": "PUT /inventory HTTP/1.1\r\nHost: a\r\n" +
			"Content-Length: 5\r\n\r\n{}",
		"chunks that lie": "PUT /inventory HTTP/1.1\r\nHost: a\r\n" +
			"Transfer-Encoding: chunked\r\n\r\nfffffffffffffff0\r\n{}",
		"two requests in one": "PUT /inventory HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n" +
			"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nPUT /inventory HTTP/1.1\r\n\r\n",
	} {
		conn, err := net.Dial("unix", b.Admin())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		io.WriteString(conn, text)
		conn.(*net.UnixConn).CloseWrite()
		if answer, err := io.ReadAll(conn); strings.Contains(string(answer), "HTTP/1.1 20") {
			t.Errorf("%s: %q, %v", name, answer, err)
		}
		conn.Close()
		fine(name)
	}

	// One who holds the place for a push, and others in the middle of a question or an answer.
	slow, err := net.Dial("unix", b.Admin())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	slow.SetDeadline(time.Now().Add(patience))
	// It is told to go on when it has the place; a push before that could take the place from it.
	io.WriteString(slow, "PUT /inventory HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
	const goOn = "HTTP/1.1 100 Continue\r\n\r\n"
	answer := make([]byte, len(goOn))
	if _, err := io.ReadFull(slow, answer); err != nil || string(answer) != goOn {
		t.Fatalf("the slow writer: %q, %v, want %q", answer, err, goOn)
	}
	io.WriteString(slow, "{")
	if status, _ := b.admin("PUT", "/inventory", metered("sources/1/state")); status != 503 {
		t.Errorf("while the slow writer has the place: %d, want 503", status)
	}
	fine("a slow writer began")
	if answer, err := io.ReadAll(slow); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("the slow writer: %q, %v", answer, err)
	}
	if status, _ := b.admin("PUT", "/inventory", metered("sources/1/state")); status != 204 {
		t.Errorf("after the slow writer: %d", status)
	}
	fine("it all")
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(b.Admin()); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}
