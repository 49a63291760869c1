// Package system_test tests the whole: the real daemon as a process, authorization servers on real TLS, real sockets.
// What one package does alone is tested beside it; here it is shown that the parts hold together, also where one of
// them misbehaves.
//
// The tests wait more than they compute, so more of them run together than there are processors. Nothing sleeps to let
// something happen: what is awaited is polled for, with a deadline that only a failure reaches.
package system_test

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
)

// program is the daemon, built by TestMain; folder is for what else the tests share.
var program, folder string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(daemon.Main(m, func(dir string) (err error) {
		folder = dir
		program, err = daemon.Build(dir, buildFlags()...)
		return err
	}))
}

func buildFlags() []string {
	if raceDetector {
		return []string{"-race"}
	}
	return nil
}

// patience is how long anything is waited for that should come. Machines that test are slow at times.
const patience = time.Minute

// box is a daemon under test, with a connection to each of its sockets.
type box struct {
	*daemon.Daemon
	*caller
	t      *testing.T
	config daemon.Config
}

// newDir makes a folder for a daemon.
func newDir(t *testing.T) daemon.Dir {
	t.Helper()
	dir, err := daemon.NewDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Remove(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// start runs a daemon of this configuration.
func start(t *testing.T, c daemon.Config) *box {
	t.Helper()
	dir := newDir(t)
	if err := dir.Write(c); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: c, caller: newCaller(t, dir)}
	b.Daemon = startIn(t, dir)
	return b
}

// startIn runs a daemon by the configuration that lies in dir. If it fails the test, what it wrote is shown.
func startIn(t *testing.T, dir daemon.Dir) *daemon.Daemon {
	t.Helper()
	return startCommand(t, exec.Command(program), dir)
}

func startCommand(t *testing.T, command *exec.Cmd, dir daemon.Dir) *daemon.Daemon {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := daemon.StartCommand(ctx, command, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Kill()
		log := d.Log()
		if strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic: ") || t.Failed() {
			t.Errorf("the daemon wrote:\n%s", log)
		}
	})
	return d
}

// newServer starts an authorization server. Unless the options say otherwise its CA and its first key are those of all
// tests, since making them takes long.
func newServer(t *testing.T, o authserver.Options) *authserver.Server {
	t.Helper()
	if o.CA == nil {
		o.CA = ca(t)
	}
	if o.Key == nil {
		o.Key = mint.CachedKey("key-1", 2048)
	}
	s, err := authserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// trusting is the configuration for a daemon that has these servers.
func trusting(t *testing.T, servers ...*authserver.Server) daemon.Config {
	t.Helper()
	c := daemon.Config{CAPEM: ca(t).PEM()}
	for _, s := range servers {
		c.Servers = append(c.Servers, s.Issuer())
	}
	return c
}

// eventually waits until done is true. What it waits for is named for the failure.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	daemon.Eventually(t, patience, what, done)
}

// waitRequests waits until the server has had n requests for a path.
func waitRequests(t *testing.T, s *authserver.Server, path string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.WaitRequests(ctx, path, n); err != nil {
		t.Fatalf("%d of %d requests for %s: %v", s.Requests(path), n, path, err)
	}
}

// waitLog waits for a text in the log behind its first `after` bytes.
func (b *box) waitLog(after int, text string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	if err := b.WaitLog(ctx, after, text); err != nil {
		b.t.Fatal(err)
	}
}

// reload puts another configuration into force.
func (b *box) reload(c daemon.Config) {
	b.t.Helper()
	if err := b.Write(c); err != nil {
		b.t.Fatal(err)
	}
	b.config = c
	b.hangUp("configuration reread")
}

// hangUp sends SIGHUP and waits for what the log says of it.
func (b *box) hangUp(says string) {
	b.t.Helper()
	after := len(b.Log())
	if err := b.Signal(syscall.SIGHUP); err != nil {
		b.t.Fatal(err)
	}
	b.waitLog(after, says)
}

// waitEnd waits until the daemon has ended and returns its exit status.
func (b *box) waitEnd() int {
	b.t.Helper()
	select {
	case <-b.Ended():
	case <-time.After(patience):
		b.t.Fatal("the daemon does not end")
	}
	return b.State().ExitCode()
}

// cutOff is what the log says if the daemon, told to stop, had to wait for somebody until its time was over.
const cutOff = "connections were cut"

// troubles returns the warnings and errors of the daemon's log, but those about where the test runs: as root, or on a
// kernel without a sandbox.
func (b *box) troubles() string {
	var lines strings.Builder
	for line := range strings.Lines(b.Log()) {
		if strings.Contains(line, "running as root") || strings.Contains(line, "sandbox: not in force") {
			continue
		}
		if strings.Contains(line, `"level":"warn"`) || strings.Contains(line, `"level":"error"`) {
			lines.WriteString(line)
		}
	}
	return lines.String()
}
