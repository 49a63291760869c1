package images_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
)

// machine is this system as a copy of its own, by namespaces: what is written goes to memory, /run and /dev are new,
// processes and mounts are its own. It shares the network's loopback. What has been written is in /mnt, too. All of it
// ends with the test.
type machine struct {
	t   *testing.T
	pid int    // of its init
	box string // the folder that the machine sees as /box

	said string // what the daemon answered last
}

// What init of a machine is.
const (
	// Just collects what has ended, as every init does.
	plainInit   = `exec chroot . /bin/sh -c 'while :; do sleep 600 & wait $!; done'`
	systemdInit = `exec chroot . /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=no`
)

// makeMachine makes the machine in the folder $1 and becomes its init $2. It must write nothing to what all machines
// share: the kernel's variables are read-only, and so is what systemd would do to them, to modules, to the console and
// to the disks.
const makeMachine = `
base=$1
mount --make-rprivate /
mount -t tmpfs tmpfs "$base/mnt" && cd "$base/mnt" && mkdir upper work root cgroup
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root || { echo "no overlay file system here"; exit 77; }
cd root
mount -t proc proc proc && mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs run && mount -t tmpfs tmpfs tmp && mount -t tmpfs -o mode=755 tmpfs dev
for d in null zero full random urandom tty; do touch dev/$d && mount --bind /dev/$d dev/$d; done
mkdir -p dev/pts dev/shm dev/mqueue dev/hugepages box && ln -s /proc/self/fd dev/fd
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts && ln -s pts/ptmx dev/ptmx
mount --bind "$base/box" box && mount --bind "$base/mnt/upper" mnt
rm -rf etc/systemd/system/*.wants usr/sbin/policy-rc.d etc/nmos-authd
for u in systemd-sysctl systemd-modules-load systemd-remount-fs systemd-update-utmp systemd-tmpfiles-setup-dev systemd-random-seed \
	systemd-journal-flush systemd-timesyncd systemd-udevd systemd-udev-trigger systemd-binfmt; do
	ln -sf /dev/null etc/systemd/system/$u.service
done
for u in dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
	sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount systemd-journald-audit.socket; do
	ln -sf /dev/null etc/systemd/system/$u
done
if mount -t cgroup2 cgroup2 "$base/mnt/cgroup" 2>/dev/null; then
	c=$base/mnt/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/$(basename "$base")
	mkdir "$c" && echo 0 >"$c/cgroup.procs"
	umount "$base/mnt/cgroup"
	exec unshare --cgroup sh -euc 'mount -t cgroup2 cgroup2 sys/fs/cgroup; touch box/ready; '"$2"
fi
touch box/ready
eval "$2"
`

// removeCgroup removes the control groups of a machine whose base folder had the name $1.
const removeCgroup = `
d=$(mktemp -d) && mount --make-rprivate / && mount -t cgroup2 cgroup2 "$d" &&
find "$d" -depth -type d -path "*/$1*" -exec rmdir {} +
umount "$d" && rmdir "$d"
`

// newMachine starts a machine. It skips the test where that cannot be done.
func newMachine(t *testing.T, init string) *machine {
	t.Helper()
	needs(t, "nsenter", "unshare", "mount", "chroot")
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a machine of its own by namespaces")
	}
	base, err := os.MkdirTemp("", "nmos-machine-")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, box: filepath.Join(base, "box")}
	for _, dir := range []string{base, m.box, filepath.Join(base, "mnt")} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	var said strings.Builder
	c := exec.Command("sh", "-euc", makeMachine, "sh", base, init)
	c.Stdout, c.Stderr = &said, &said
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := c.Start(); err != nil {
		os.RemoveAll(base)
		t.Skipf("no namespaces here: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		c.Process.Kill() // the kernel ends all others with it
		<-ended
		if _, err := command("/", nil, "unshare", "--mount", "sh", "-c", removeCgroup, "sh",
			filepath.Base(base)); err != nil {
			t.Log(err)
		}
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	m.pid = c.Process.Pid
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(m.box, "ready")); err == nil {
			return m
		}
		select {
		case err := <-ended:
			ended <- err
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() == 77 {
				t.Skip(strings.TrimSpace(said.String()))
			}
			t.Fatalf("the machine cannot be made: %v\n%s", err, said.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the machine is not ready:\n%s", said.String())
		}
	}
}

// newSystemd starts a machine with systemd and waits until it has booted.
func newSystemd(t *testing.T) *machine {
	t.Helper()
	needs(t, "systemctl")
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip("systemd is not installed")
	}
	m := newMachine(t, systemdInit)
	m.wait("systemd has booted", func() bool {
		out, _ := m.try("systemctl is-active basic.target")
		return out == "active"
	})
	return m
}

// try runs a shell command on the machine and returns what it printed and its exit status.
func (m *machine) try(script string) (string, int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	c := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(m.pid), "--mount", "--pid", "--uts", "--ipc",
		"--root", "--wd", "--", "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"DEBIAN_FRONTEND=noninteractive", "SYSTEMD_PAGER=cat", "/bin/sh", "-c", script)
	// A file, not a pipe: what a script leaves running would hold the pipe open.
	out, err := os.CreateTemp(m.box, "out")
	if err != nil {
		m.t.Fatal(err)
	}
	defer os.Remove(out.Name())
	defer out.Close()
	c.Stdout, c.Stderr = out, out
	err = c.Run()
	text, readErr := os.ReadFile(out.Name())
	var exit *exec.ExitError
	if readErr != nil || err != nil && !errors.As(err, &exit) {
		m.t.Fatalf("%s: %v, %v\n%s", script, err, readErr, text)
	}
	return strings.TrimSpace(string(text)), c.ProcessState.ExitCode()
}

// must is try for what has to succeed.
func (m *machine) must(script string) string {
	m.t.Helper()
	out, status := m.try(script)
	if status != 0 {
		m.t.Fatalf("%s: exit status %d\n%s", script, status, out)
	}
	return out
}

// status runs a command that has to end with this status.
func (m *machine) status(want int, script string) {
	m.t.Helper()
	if out, status := m.try(script); status != want {
		m.t.Fatalf("%s: exit status %d, want %d\n%s", script, status, want, out)
	}
}

// wait waits until something is so.
func (m *machine) wait(what string, so func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			out, _ := m.try("journalctl --no-pager -q -n 60 2>/dev/null; cat /box/*.log 2>/dev/null; ps -ef")
			m.t.Fatalf("it is not so that %s\n%s\nasked last, the daemon said: %s", what, out, m.said)
		}
	}
}

// bring copies a file into /box.
func (m *machine) bring(file string) string {
	m.t.Helper()
	write(m.t, filepath.Join(m.box, filepath.Base(file)), read(m.t, file), 0o644)
	return "/box/" + filepath.Base(file)
}

const (
	device  = "node-1.example.com"
	senders = "/x-nmos/connection/v1.1/single/senders"
	staged  = senders + "/6f1e0000-0000-4000-8000-000000000041/staged"
)

// configure starts an authorization server and writes into /box what takeUp takes: a configuration that names it, with
// more at its end, and its roots; and tokens: one that may read alone, and one that is signed by another key.
func (m *machine) configure(more string) *authserver.Server {
	m.t.Helper()
	s, err := authserver.Start(authserver.Options{Host: "localhost"})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { s.Close() })
	config := fmt.Sprintf("[device]\nnames = [%q]\n[authorization]\nservers = [%q]\nretry = \"1s\"\n[discovery]\n"+
		"mode = \"off\"\n%s", device, s.Issuer(), more)
	readOnly := mint.Options{
		Device: device, Client: "controller", Scope: "connection",
		Permissions: map[string]mint.Permission{"connection": {Read: []string{"*"}}},
	}
	write(m.t, filepath.Join(m.box, "ca.pem"), string(s.CAPEM()), 0o644)
	write(m.t, filepath.Join(m.box, "nmos-authd.toml"), config, 0o644)
	write(m.t, filepath.Join(m.box, "good.jwt"), s.Token(readOnly).Sign(), 0o644)
	other := s.Token(readOnly)
	other.Key = mint.GenerateKey(s.Signer().KID, 2048)
	write(m.t, filepath.Join(m.box, "forged.jwt"), other.Sign(), 0o644)
	return s
}

const (
	takeUp  = "cp /box/nmos-authd.toml /box/ca.pem /etc/nmos-authd/"
	askGood = "nmos-authd ask --token /box/good.jwt GET " + senders
)

// decides checks that the daemon decides by the server's keys, once it has them.
func (m *machine) decides() {
	m.t.Helper()
	m.wait("the daemon allows what the token permits", func() bool {
		status := 0
		m.said, status = m.try(askGood)
		return status == 0 && strings.HasPrefix(m.said, "allow 200\n")
	})
	for _, denied := range []string{
		"nmos-authd ask --token /box/good.jwt PATCH " + staged,
		"nmos-authd ask --token /box/forged.jwt GET " + senders,
		"nmos-authd ask GET " + senders,
	} {
		m.status(1, denied)
	}
}
