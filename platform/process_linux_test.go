package platform

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hardenedChild is set in the process that TestHarden starts, since what Harden does cannot be undone.
const hardenedChild = "PLATFORM_TEST_HARDENED"

func TestHarden(t *testing.T) {
	if os.Getenv(hardenedChild) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHarden$", "-test.count=1")
		cmd.Env = append(os.Environ(), hardenedChild+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := Harden(); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || n != 0 {
		t.Errorf("dumpable %d, %v", n, err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit != (unix.Rlimit{}) {
		t.Errorf("core limit %+v, %v", limit, err)
	}
	// A path near the limit is bound by way of /proc, which a process that is not dumpable must still reach.
	dir := socketDir(t)
	mustListen(t, filepath.Join(dir, strings.Repeat("x", maxSocketPath-len(dir)-1)), Options{})
}

func TestNotify(t *testing.T) {
	path := filepath.Join(socketDir(t), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	manager.SetDeadline(time.Now().Add(time.Minute))
	t.Setenv("NOTIFY_SOCKET", path)
	for _, c := range []struct {
		tell func() error
		want string
	}{
		{Ready, `^READY=1$`},
		{Reloading, `^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*$`},
		{Stopping, `^STOPPING=1$`},
		{Well, `^WATCHDOG=1$`},
	} {
		if err := c.tell(); err != nil {
			t.Error(err)
		}
		var b [256]byte
		n, err := manager.Read(b[:])
		if err != nil || !regexp.MustCompile(c.want).Match(b[:n]) {
			t.Errorf("got %q, %v, want %s", b[:n], err, c.want)
		}
	}
	manager.Close()
	if err := Ready(); err == nil || !strings.HasPrefix(err.Error(), "telling the service manager: ") {
		t.Errorf("a manager that is gone: %v", err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Ready(); err != nil {
		t.Errorf("no manager: %v", err)
	}
}

func TestWatchdogEnabled(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
		fault     string
	}{
		{"", "", 0, ""},
		{"30000000", "", 30 * time.Second, ""},
		{"30000000", strconv.Itoa(os.Getpid()), 30 * time.Second, ""},
		{"30000000", "1", 0, ""},
		{"soon", "", 0, "the service manager's watchdog: "},
		{"-1", "", 0, "the service manager's watchdog: "},
	} {
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		got, err := Watchdog()
		if got != c.want || (err == nil) != (c.fault == "") || err != nil && !strings.HasPrefix(err.Error(), c.fault) {
			t.Errorf("%q for %q: %v, %v", c.usec, c.pid, got, err)
		}
		if _, set := os.LookupEnv("WATCHDOG_USEC"); set {
			t.Error("WATCHDOG_USEC is left in the environment")
		}
	}
}

// confinedChild is set in the process that TestConfineAbstractManager starts.
const confinedChild = "PLATFORM_TEST_CONFINED"

// A service manager that listens on an abstract socket, as old ones do, is told of things from inside the sandbox.
func TestConfineAbstractManager(t *testing.T) {
	if dir := os.Getenv(confinedChild); dir != "" {
		s, err := Confine([]Place{{For: "late", Path: dir + "/none"}, {For: "the test", Path: dir},
			{For: "late, to write", Path: dir + "/none", Write: true},
			{For: "nothing", Path: "/none/none"}, {For: "chance", Path: "/none", Optional: true}})
		if err != nil {
			t.Fatal(err)
		}
		if s.ABI == 0 {
			t.Skip("this kernel has no Landlock")
		}
		if slices.Contains(s.InForce, abstractSockets) || !slices.Contains(s.Lacking, abstractSockets) {
			t.Errorf("said to be in force: %q", s.InForce)
		}
		if len(s.Places) != 1 || s.Places[0].Path != dir ||
			len(s.Missing) != 2 || s.Missing[0].For != "late, to write" || s.Missing[1].For != "nothing" {
			t.Errorf("places %+v, missing %+v", s.Places, s.Missing)
		}
		if _, err := os.ReadFile("/proc/self/status"); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a file elsewhere: %v", err)
		}
		if err := Ready(); err != nil {
			t.Error(err)
		}
		return
	}
	dir := socketDir(t)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@" + dir, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestConfineAbstractManager$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), confinedChild+"="+dir, "NOTIFY_SOCKET=@"+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skip("this kernel has no Landlock")
	}
	manager.SetDeadline(time.Now().Add(time.Minute))
	var b [64]byte
	if n, err := manager.Read(b[:]); err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("got %q, error %v", b[:n], err)
	}
}
