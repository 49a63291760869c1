package ways

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/rows"
)

// patience is how long anything is waited for that should come.
const patience = time.Minute

// connections is how few the daemon serves concurrently.
const connections = 20

// Rig is the real daemon as the rows need it, with an authorization server. It does not run yet.
type Rig struct {
	t       *testing.T
	program string
	Dir     daemon.Dir
	Server  *authserver.Server
	Running *daemon.Daemon // nil: it does not run
}

// NewRig has the daemon that program is.
func NewRig(t *testing.T, program string) *Rig {
	t.Helper()
	server, err := authserver.Start(authserver.Options{Key: mint.CachedKey("key-1", 2048)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	dir, err := daemon.NewDir()
	if err != nil {
		t.Fatal(err)
	}
	r := &Rig{t: t, program: program, Dir: dir, Server: server}
	t.Cleanup(func() {
		if r.Running != nil {
			r.Running.Kill()
		}
		if err := dir.Remove(); err != nil {
			t.Error(err)
		}
	})
	inventory := dir.File("inventory.json")
	if err := os.WriteFile(inventory, []byte(rows.Inventory), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dir.Write(daemon.Config{Servers: []string{server.Issuer()}, CAPEM: server.CAPEM(), More: fmt.Sprintf(
		"retry = \"1s\"\n%s[inventory]\nfile = %q\n[limits]\nconnections = %d\n", rows.Config, inventory,
		connections)}); err != nil {
		t.Fatal(err)
	}
	return r
}

// Start runs the daemon and waits until it serves.
func (r *Rig) Start() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	var err error
	if r.Running, err = daemon.StartCommand(ctx, exec.Command(r.program), r.Dir); err != nil {
		r.t.Fatal(err)
	}
}

// Stop ends the daemon as a service manager does.
func (r *Rig) Stop() {
	r.t.Helper()
	if err := r.Running.Stop(); err != nil {
		r.t.Error(err)
	}
}

// hang stops the daemon's process, as a debugger does, and waits until that is so.
func (r *Rig) hang() {
	r.t.Helper()
	r.signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.Running.PID()))
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.Contains(string(stat), ") T ") {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the daemon runs on after SIGSTOP: %s", stat)
		}
	}
}

func (r *Rig) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.Running.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// Sign signs a token for the daemon's device.
func (r *Rig) Sign(o mint.Options) string { return r.Server.Token(o).Sign() }

// ready waits until the daemon allows what a row asks.
func (r *Rig) ready(row rows.Question) {
	r.t.Helper()
	conn, err := net.Dial("unixpacket", r.Dir.Authz())
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	answer := make([]byte, 1<<16)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn.SetDeadline(deadline)
		if _, err := conn.Write([]byte(row.Packet)); err != nil {
			r.t.Fatal(err)
		}
		n, err := conn.Read(answer)
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.HasPrefix(string(answer[:n]), row.First+"\n") {
			return
		}
	}
}

// crowd is how many connections of one process are open at a socket beside those that ask: more than the daemon keeps.
const crowd = 1100

// occupy puts each socket of the daemon over its limits until the returned function is called: with more connections
// than it keeps, none of which asks anything, and with more than it serves, which do nothing but ask.
func (r *Rig) occupy() (release func()) {
	var all sync.WaitGroup
	ended := make(chan struct{})
	var mu sync.Mutex
	var open []net.Conn
	dial := func(network, path string) net.Conn {
		conn, err := net.Dial(network, path)
		if err != nil {
			return nil // one more than the daemon keeps
		}
		mu.Lock()
		defer mu.Unlock()
		open = append(open, conn)
		return conn
	}
	over := func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}
	ask := func(network, path, question string) {
		answer := make([]byte, 1<<16)
		for !over() {
			conn := dial(network, path)
			for conn != nil && !over() {
				conn.SetDeadline(time.Now().Add(patience))
				if _, err := conn.Write([]byte(question)); err != nil {
					break
				}
				if _, err := conn.Read(answer); err != nil {
					break
				}
				time.Sleep(time.Millisecond) // it is to be over its limit, not short of processor time
			}
		}
	}
	for _, at := range []struct{ network, path, question string }{
		{"unixpacket", r.Dir.Authz(), "decide 1\nmethod=GET\ntarget=/x-nmos/\n"},
		{"unix", r.Dir.HTTP(),
			"GET /authorize HTTP/1.1\r\nHost: a\r\nX-Original-Method: GET\r\nX-Original-URI: /x-nmos/\r\n\r\n"},
	} {
		for range crowd {
			dial(at.network, at.path)
		}
		for range 2 * connections {
			all.Go(func() { ask(at.network, at.path, at.question) })
		}
	}
	return func() {
		close(ended)
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		all.Wait()
		for _, conn := range open { // those that were opened meanwhile
			conn.Close()
		}
	}
}
