// Package fire_test tests the daemon under fire: floods of forged tokens beside a bare echo, and faults one after
// another while it is loaded. Who asks is a process of its own, several of them where callers are told apart: this
// test's program again, in another role.
//
// Nothing here asserts a time. What is counted is asserted: wrong answers, lost questions, records of the audit,
// requests at the server, memory against its limit. Times stand in tables, in lines that begin with FIGURES.
package fire_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
)

// program is the daemon, built by TestMain.
var program, folder string

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil { // they wait more than they compute
		panic(err)
	}
	os.Exit(daemon.Main(m, func(dir string) (err error) {
		folder = dir
		program, err = daemon.Build(dir, "-trimpath", "-ldflags=-s -w")
		return err
	}))
}

// patience is how long anything is waited for that should come. Machines that test are slow at times.
const patience = time.Minute

// soaking reports whether this is the long form, which "make soak" runs.
func soaking() bool { return os.Getenv("NMOS_SOAK") != "" }

// ca signs the certificates of all servers.
var ca = sync.OnceValues(func() (*authserver.CA, error) { return authserver.NewCA("nmos-authd fire test CA") })

func newServer(t *testing.T, o authserver.Options) *authserver.Server {
	t.Helper()
	authority, err := ca()
	if err != nil {
		t.Fatal(err)
	}
	o.CA = authority
	if o.Key == nil {
		o.Key = mint.CachedKey(mint.DefaultKID, 2048)
	}
	s, err := authserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

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

// trusting is the configuration of a daemon that trusts this server.
func trusting(s *authserver.Server) daemon.Config {
	return daemon.Config{CAPEM: s.CAPEM(), Servers: []string{s.Issuer()}, Admin: true, More: "retry = \"1s\"\n"}
}

// start runs a daemon by the configuration in dir. If it fails the test, the end of what it wrote is shown.
func start(t *testing.T, dir daemon.Dir, command *exec.Cmd) *daemon.Daemon {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := daemon.StartCommand(ctx, command, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Kill()
		if log := d.Log(); t.Failed() || strings.Contains(log, "panic: ") || strings.Contains(log, "DATA RACE") {
			t.Errorf("the daemon wrote, at its end:\n%s", withoutRecords(log))
		}
	})
	return d
}

// withoutRecords is the end of a log without the audit's lines, of which there are many.
func withoutRecords(log string) string {
	var kept []string
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, `{"audit":`) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-60):], "")
}

// eventually waits until done is true. What it waits for is named for the failure.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	daemon.Eventually(t, patience, what, done)
}

// memory is a figure of /proc/PID/status in KiB, such as VmHWM.
func memory(t *testing.T, pid int, name string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in /proc", name)
	return 0
}
