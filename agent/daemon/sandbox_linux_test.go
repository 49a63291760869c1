package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nmosauthd/agent/certs"
	"nmosauthd/platform"
)

// confinedDir is set, to the folder that the parent has made, in the process that TestSandbox starts: there is no way
// out.
const confinedDir = "NMOS_AUTHD_TEST_CONFINED"

// A daemon is set up as run does it, with a configuration that uses every place there is, and shuts itself in. Then it
// tries all over the file system to open, make, remove and execute, and whatever it succeeds in must lie within its
// places.
func TestSandbox(t *testing.T) {
	if dir := os.Getenv(confinedDir); dir != "" {
		testConfined(t, dir)
		return
	}
	dir, err := os.MkdirTemp("", "nmos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	layOut(t, dir)

	// Sockets of the parent, which is outside: one that the child may connect to, and one that it may not.
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	abstract, err := net.Listen("unix", "@"+dir)
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSandbox$", "-test.count=1",
		"-test.v", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), confinedDir+"="+dir, "NMOS_AUTHD_TEST_TCP="+tcp.Addr().String(),
		"TMPDIR="+filepath.Join(dir, "outside"))
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("the child skipped:\n%s", out)
	default:
		t.Logf("%s", out)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "outside", "precious")); string(text) != "precious" {
		t.Errorf("the file outside: %q, %v", text, err)
	}
}

// layOut makes a device's folders: those of the daemon, and "outside". What the daemon only reads lies in folders named
// v1, beside which a v2 can be put.
func layOut(t *testing.T, dir string) {
	t.Helper()
	for _, folder := range []string{"conf/v1", "roots/v1", "shared-roots/v1", "run", "log", "metrics", "inventory/v1",
		"firmware/v1", "outside/folder"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf(`[device]
names = ["node-1.example.com"]
[discovery]
mode = "off"
[authorization]
ca_file = "%[1]s/roots/v1"
[sockets]
authz = "%[1]s/run/authz.sock"
http = "%[1]s/run/http.sock"
admin = ""
[state]
dir = "%[1]s/state"
[inventory]
file = "%[1]s/inventory/v1/resources.json"
[audit]
file = "%[1]s/log/audit.log"
[metrics]
file = "%[1]s/metrics/nmos.prom"
[certificates]
est = "https://127.0.0.1:1"
trust_first = true
folder = "%[1]s/certs"
`, dir)
	for name, text := range map[string]string{
		"conf/v1/nmos-authd.toml":    config,
		"shared-roots/v1/ca.pem":     "a root",
		"firmware/v1/resources.json": "{}",
		"outside/precious":           "precious",
		"outside/folder/file":        "file",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"roots/v1/ca.pem": "shared-roots/v1/ca.pem",
		"inventory/v1/resources.json": "firmware/v1/resources.json"} {
		if err := os.Symlink(filepath.Join(dir, target), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// prober tries things. The places are what the configuration names, not what the sandbox says of itself.
type prober struct {
	t             *testing.T
	reads, writes []string // folders and files
	tried, got    int
}

func (p *prober) within(places []string, path string) bool {
	real := platform.RealPath(path)
	return slices.ContainsFunc(places, func(place string) bool {
		return real == place || strings.HasPrefix(real, strings.TrimSuffix(place, "/")+"/")
	})
}

// result notes one attempt: it may only have succeeded if that is allowed.
func (p *prober) result(what, path string, succeeded, allowed bool) {
	p.tried++
	if succeeded {
		p.got++
	}
	if succeeded && !allowed {
		p.t.Errorf("%s: got %s, which the sandbox must deny", what, path)
	}
}

func testConfined(t *testing.T, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	files, folders := collect(dir)
	threads := startThreads(16) // that are there already when it happens

	d, err := newDaemon(at("conf/v1/nmos-authd.toml"), "test", NewLogQueue(os.Stderr), nil)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 2)
	if err := d.listen(failed); err != nil {
		t.Fatal(err)
	}
	d.startCerts()
	d.confine(platform.DenyCalls())
	if strings.Contains(d.noSandboxReason, "the kernel has no Landlock") { // qemu has neither
		t.Skip("this kernel has no Landlock")
	}
	if d.sandbox == nil {
		t.Fatalf("got no sandbox: %v", d.noSandboxReason)
	}

	p := &prober{t: t}
	for _, name := range []string{"state", "run", "log", "metrics", "certs"} {
		p.writes = append(p.writes, at(name))
	}
	p.reads = append(p.writes, at("conf"), at("roots"), at("shared-roots"), at("inventory"), at("firmware"))
	adder(func(place platform.Place) { p.reads = append(p.reads, platform.RealPath(place.Path)) }).resolver()
	for _, path := range d.device.places.Reads {
		p.reads = append(p.reads, platform.RealPath(path))
	}
	if withCgo() { // the library needs to see the threads that C has started
		p.reads = append(p.reads, fmt.Sprintf("/proc/%d/task", os.Getpid()))
	}
	for _, place := range d.sandbox.Places {
		if !p.within(p.reads, place.Path) || place.Write && !p.within(p.writes, place.Path) {
			t.Errorf("%q was not expected to be a place", place.Path)
		}
	}
	p.all(files, folders)
	if len(files) < 500 || len(folders) < 100 || p.got == 0 {
		t.Errorf("%d files and %d folders tried, %d attempts succeeded: not looked in the right places",
			len(files), len(folders), p.got)
	}
	t.Logf("%d files and %d folders, %d attempts, %d succeeded", len(files), len(folders), p.tried, p.got)
	threads.each(t, func() error {
		if _, err := os.ReadFile(at("outside/precious")); !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("a thread that was there before reads what lies outside: %v", err)
		}
		return nil
	})
	testOutside(t, d, dir)
	testInside(t, d, dir)
	// The web server's files are written, and replaced, where the sandbox lets nothing else be made.
	for _, roots := range []string{"one", "two"} {
		if err := d.certs.files.give(certs.Bundle{Roots: []byte(roots)}); err != nil {
			t.Errorf("handing over: %v", err)
		}
		if text, err := os.ReadFile(at("certs/roots.pem")); string(text) != roots || err != nil {
			t.Errorf("handed over: got %q, %v", text, err)
		}
	}
}

// testOutside tries what would do harm on a folder of the test's own.
func testOutside(t *testing.T, d *daemon, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	precious, state := at("outside/precious"), at("state")
	if err := os.WriteFile(filepath.Join(state, "script"), []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, filepath.Join(state, "link")); err == nil {
		t.Error("a link was made: nothing of the daemon makes one")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) func() error {
		return func() error { return exec.Command(name, args...).Run() }
	}
	attempts := map[string]func() error{
		"reading":                func() error { _, err := os.ReadFile(precious); return err },
		"writing":                func() error { return os.WriteFile(precious, nil, 0o600) },
		"removing":               func() error { return os.Remove(precious) },
		"renaming":               func() error { return os.Rename(precious, precious+"2") },
		"moving in":              func() error { return os.Rename(precious, filepath.Join(state, "precious")) },
		"moving out":             func() error { return os.Rename(filepath.Join(state, "mine"), at("outside/mine")) },
		"linking in":             func() error { return os.Link(precious, filepath.Join(state, "precious")) },
		"linking out":            func() error { return os.Link(filepath.Join(state, "mine"), at("outside/mine")) },
		"making a file":          func() error { return os.WriteFile(at("outside/new"), nil, 0o600) },
		"making a folder":        func() error { return os.Mkdir(at("outside/new"), 0o700) },
		"making a folder inside": func() error { return os.Mkdir(filepath.Join(state, "new"), 0o700) },
		"listing":                func() error { _, err := os.ReadDir(at("outside")); return err },
		"writing the config":     func() error { return os.WriteFile(at("conf/v1/nmos-authd.toml"), nil, 0o600) },
		"executing a script":     run(filepath.Join(state, "script")),
		"executing the shell":    run("/bin/sh", "-c", "true"),
		"executing itself":       run(self, "-test.run=^$"),
		"a file in memory":       func() error { _, err := unix.MemfdCreate("program", 0); return err },
		"an abstract socket": func() error {
			_, err := net.Dial("unix", "@"+dir)
			return err
		},
		"a signal to the parent": func() error { return syscall.Kill(os.Getppid(), 0) },
		"listening on TCP": func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			return unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
		},
	}
	if d.sandbox.ABI >= 3 {
		attempts["truncating"] = func() error { return os.Truncate(precious, 0) }
	}
	if d.sandbox.ABI < 4 {
		delete(attempts, "listening on TCP")
	}
	if d.sandbox.ABI < 6 {
		delete(attempts, "an abstract socket")
		delete(attempts, "a signal to the parent")
	}
	for what, attempt := range attempts {
		// EXDEV is the kernel's word for moving and linking between folders.
		if err := attempt(); !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.EXDEV) {
			t.Errorf("%s: got %v, want %v or %v", what, err, fs.ErrPermission, unix.EXDEV)
		}
	}
}

// testInside does what the daemon does.
func testInside(t *testing.T, d *daemon, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"state/x", "log/x", "metrics/x"} {
		err := os.WriteFile(at(name), []byte("x"), 0o600)
		err = errors.Join(err, os.WriteFile(at(name), []byte("again"), 0o600)) // truncates
		err = errors.Join(err, os.Rename(at(name), at(name+".1")), os.Remove(at(name+".1")))
		if err != nil {
			t.Errorf("%s: got %v, want it allowed", name, err)
		}
	}
	if err := d.persisted.dir.WriteFile("keys", []byte("kept")); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"conf/v1/nmos-authd.toml", "roots/v1/ca.pem", "inventory/v1/resources.json"} {
		if _, err := os.ReadFile(at(name)); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := d.device.LoadConfig(d.file); err != nil {
		t.Errorf("the configuration: %v", err)
	}
	conn, err := net.DialTimeout("tcp", os.Getenv("NMOS_AUTHD_TEST_TCP"), 10*time.Second)
	if err != nil {
		t.Errorf("connecting: %v", err)
	} else {
		conn.Close()
	}
	d.close()
	for _, name := range []string{"run/authz.sock", "run/http.sock"} {
		if _, err := os.Lstat(at(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

// all tries every file and folder. Each attempt is such that, if it is let through where it should not be, no harm is
// done: a file is opened and not touched, a folder is removed as if it were a file.
func (p *prober) all(files, folders []string) {
	opens := func(what, path string, flags int, allowed bool) {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_NOFOLLOW, 0o600)
		if err == nil {
			unix.Close(fd)
		}
		p.result(what, path, err == nil, allowed)
	}
	for _, path := range files {
		read, write := p.within(p.reads, path), p.within(p.writes, path)
		opens("opened to be read", path, unix.O_RDONLY, read)
		opens("opened to be written", path, unix.O_WRONLY, write)
		// The sandbox is asked before it is noticed that this is not a folder.
		p.result("could remove a folder there", path, errors.Is(unix.Rmdir(path), unix.ENOTDIR), false)
	}
	for _, path := range folders {
		read, write := p.within(p.reads, path), p.within(p.writes, path)
		opens("listed", path, unix.O_RDONLY|unix.O_DIRECTORY, read)
		if path != "/" { // of which the kernel says so without asking
			p.result("could remove a file there", path, errors.Is(unix.Unlink(path), unix.EISDIR),
				p.within(p.writes, filepath.Dir(path)))
		}
		name := filepath.Join(path, ".nmos-authd-test")
		for what, attempt := range map[string]func() error{
			"made a folder in":   func() error { return unix.Mkdir(name, 0o700) },
			"made a link in":     func() error { return unix.Symlink("nothing", name) },
			"made a pipe in":     func() error { return unix.Mkfifo(name, 0o600) },
			"made a socket file": func() error { return unix.Mknod(name, unix.S_IFSOCK|0o600, 0) },
		} {
			err := attempt()
			if err == nil {
				os.Remove(name)
			}
			p.result(what, path, err == nil, false)
		}
		opens("made a file in", name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, write)
		os.Remove(name)
	}
}

// collect lists what is there while that can still be seen: the system down to some depth, and the folder of the test
// whole.
func collect(dir string) (files, folders []string) {
	const depth, most = 4, 40
	var walk func(path string, depth int)
	walk = func(path string, depth int) {
		folders = append(folders, path)
		entries, err := os.ReadDir(path)
		if err != nil || depth == 0 {
			return
		}
		if len(entries) > most && path != "/etc" { // from all of it, not only from its beginning
			for i := range most {
				entries[i] = entries[i*len(entries)/most]
			}
			entries = entries[:most]
		}
		for _, e := range entries {
			switch name := filepath.Join(path, e.Name()); {
			case name == "/sys/kernel/debug", name == "/sys/kernel/tracing", name == dir:
			case e.IsDir():
				walk(name, depth-1)
			case e.Type().IsRegular():
				files = append(files, name)
			}
		}
	}
	walk("/", depth)
	walk(dir, 8)
	walk("/proc/self", 2)
	return files, folders
}

// withCgo reports whether this was built with cgo, as for the race detector. The daemon for devices is not.
func withCgo() bool {
	info, ok := debug.ReadBuildInfo()
	return !ok || slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "1"})
}

// threads are goroutines on threads of their own.
type threads struct {
	work []chan func() error
	done chan error
}

func startThreads(n int) *threads {
	s := &threads{done: make(chan error)}
	var ready sync.WaitGroup
	for range n {
		work := make(chan func() error)
		s.work = append(s.work, work)
		ready.Add(1)
		go func() {
			runtime.LockOSThread()
			ready.Done()
			for f := range work {
				s.done <- f()
			}
		}()
	}
	ready.Wait()
	return s
}

// each has every thread do f.
func (s *threads) each(t *testing.T, f func() error) {
	t.Helper()
	for _, work := range s.work {
		work <- f
		if err := <-s.done; err != nil {
			t.Error(err)
		}
	}
}
