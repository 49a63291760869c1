// Package emulate_test runs the daemon and the C client as they are built for 64-bit and 32-bit ARM, under qemu-user.
//
// It needs qemu-user and cross compilers; "make emulate" installs them and runs the decision path's unit tests in the
// same way. Without them the tests are skipped and say so, and fail where NMOS_EMULATE is set, as make emulate does.
//
// What qemu-user (7.2, Debian 12) cannot show, and what is done about it:
//
//   - Landlock: its system calls are not translated, so the daemon says that the kernel has none. TestDaemon wants just
//
// that
//
//	  said; tinytest/system tests the sandbox itself.
//	- A clock that is set while the daemon runs (a timer that is cancelled by it): a process cannot set the host's
//
// clock. The
//
//	  unit tests of platform and of agent do it with a clock of their own.
//	- Speed, memory and timing: an emulator's have nothing to do with the device's.
//	- The processor's order of memory accesses: the host's is stricter than ARM's, so a missing barrier does not show.
//
// The race
//
//	detector is there for that ("make race").
package emulate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/tinytest/daemon"
)

const (
	root   = "../.."
	client = root + "/platform/cclient"
	probe  = root + "/tinytest/clients/testdata/probe.c"
)

// machine is a kind of processor.
type machine struct {
	name     string // of the folder under build/
	qemu, cc string // commands
	machine  string // what the ELF header says
	longBits int    // of a C long
}

var machines = []machine{
	{"arm64", "qemu-aarch64", "aarch64-linux-gnu-gcc", "EM_AARCH64", 64},
	{"armv7", "qemu-arm", "arm-linux-gnueabihf-gcc", "EM_ARM", 32},
}

// onEach runs a test for each machine whose tools are there.
func onEach(t *testing.T, test func(t *testing.T, m machine)) {
	t.Helper()
	for _, m := range machines {
		t.Run(m.name, func(t *testing.T) {
			if path, err := exec.LookPath(m.qemu); err == nil {
				m.qemu = path
			} else if m.qemu, err = exec.LookPath(m.qemu + "-static"); err != nil {
				lacking(t, err)
			}
			if _, err := exec.LookPath(m.cc); err != nil {
				lacking(t, err)
			}
			test(t, m)
		})
	}
}

// lacking ends a test that has not got what it needs.
func lacking(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("NMOS_EMULATE") != "" {
		t.Fatal(err)
	}
	fmt.Printf("%s skipped: %v (make emulate installs it)\n", t.Name(), err)
	t.Skip(err)
}

// run runs a program to its end and returns what it printed and its exit status.
func run(t *testing.T, input, name string, args ...string) (printed string, exit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		return string(out), ended.ExitCode()
	} else if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out), 0
}

var buildDir string

func TestMain(m *testing.M) {
	os.Exit(daemon.Main(m, func(dir string) error {
		buildDir = dir
		return nil
	}))
}

// program is compiled for m once, statically linked, from C sources.
func (m machine) program(t *testing.T, name string, sources ...string) string {
	t.Helper()
	path := filepath.Join(buildDir, name+"-"+m.name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	args := append([]string{"-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-static", "-pthread",
		"-I" + client, "-o", path, client + "/nmos_authz.c"}, sources...)
	if out, exit := run(t, "", m.cc, args...); exit != 0 {
		t.Fatalf("%s: exit status %d\n%s", m.cc, exit, out)
	}
	return path
}

// daemonProgram is the daemon as it is shipped: the product of make cross.
func (m machine) daemonProgram(t *testing.T) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	target := "build/linux-" + m.name + "/nmos-authd"
	if !built[target] {
		if out, exit := run(t, "", "make", "-s", "-C", root, target); exit != 0 {
			t.Fatalf("make %s: exit status %d\n%s", target, exit, out)
		}
		built[target] = true
	}
	path, err := filepath.Abs(filepath.Join(root, target))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	building sync.Mutex
	built    = map[string]bool{}
)

// device is an emulated daemon and the C example that asks it, emulated as well.
type device struct {
	t       *testing.T
	m       machine
	dir     daemon.Dir
	running *daemon.Daemon
	example string
}

func newDevice(t *testing.T, m machine) *device {
	t.Helper()
	dir, err := daemon.NewDir()
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, m: m, dir: dir, example: m.program(t, "example", client+"/example.c")}
	t.Cleanup(func() {
		if d.running != nil {
			d.running.Kill()
		}
		if err := dir.Remove(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *device) configure(c daemon.Config) {
	d.t.Helper()
	if err := d.dir.Write(c); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) start() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	running, err := daemon.StartCommand(ctx, exec.Command(d.m.qemu, d.m.daemonProgram(d.t)), d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	d.running = running
}

func (d *device) stop() {
	d.t.Helper()
	if err := d.running.Stop(); err != nil {
		d.t.Errorf("the daemon ended with %v:\n%s", err, d.running.Log())
	}
}

// ask has the C example ask; the words are its arguments behind the socket. Without a token it sends none.
func (d *device) ask(token string, words ...string) answer {
	d.t.Helper()
	args, input := []string{d.example}, ""
	if token != "" {
		args, input = append(args, "-a"), "Bearer "+token+"\n"
	}
	args = append(append(args, d.dir.Authz()), words...)
	out, exit := run(d.t, input, d.m.qemu, args...)
	for range 20 { // what is emulated may need more time than firmware gives it
		if !strings.Contains(out, "the daemon did not answer in time") {
			break
		}
		out, exit = run(d.t, input, d.m.qemu, args...)
	}
	first, rest, _ := strings.Cut(out, "\n")
	a := answer{first: first, exit: exit, lines: map[string]string{}, all: out}
	for line := range strings.Lines(rest) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		a.lines[name] = value
	}
	if token != "" && strings.Contains(out, token) {
		d.t.Error("the example printed a token")
	}
	return a
}

// answer is what the example printed.
type answer struct {
	first string // "deny 403"
	exit  int
	lines map[string]string
	all   string
}

func (a answer) want(t *testing.T, what, first, reason string) {
	t.Helper()
	exit := 1
	if strings.HasPrefix(first, "allow") {
		exit = 0
	}
	if a.first != first || a.lines["reason"] != reason || a.exit != exit {
		t.Errorf("%s: exit %d, want %s, %s:\n%s", what, a.exit, first, reason, a.all)
	}
}

// logged counts lines of the daemon's log that hold text.
func (d *device) logged(text string) int {
	n := 0
	for line := range bytes.Lines([]byte(d.running.Log())) {
		if bytes.Contains(line, []byte(text)) {
			n++
		}
	}
	return n
}
