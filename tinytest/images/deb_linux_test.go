package images_test

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"nmosauthd/tinytest/spec"
)

// newDebian is a machine without systemd, to which a package is brought; it returns the package's path there.
func newDebian(t *testing.T) (*machine, string) {
	t.Helper()
	needs(t, "dpkg", "invoke-rc.d", "update-rc.d", "start-stop-daemon", "logger", "pgrep")
	m := newMachine(t, plainInit)
	// No init tells invoke-rc.d which services are to run.
	m.must(`rm -f /sbin/runlevel && printf '#!/bin/sh\necho N 2\n' >/sbin/runlevel && chmod 755 /sbin/runlevel`)
	return m, m.bring(built(t, "amd64.deb"))
}

// needsAMD64 skips a test that runs the package's program where it does not run.
func needsAMD64(t *testing.T) {
	t.Helper()
	if out, err := command(root, nil, "uname", "-m"); err != nil || strings.TrimSpace(out) != "x86_64" {
		t.Skipf("the package for amd64 does not run here: %s", out)
	}
}

func TestDebIsInstalledAskedUpgradedAndPurged(t *testing.T) {
	needsAMD64(t)
	m, deb := newDebian(t)
	syslog := m.listenSyslog()
	before := m.written()

	m.must("dpkg -i " + deb)
	m.must("/etc/init.d/nmos-authd status")
	m.status(1, "nmos-authd ask GET "+senders) // as installed, no server is known, and it denies
	m.wait("the log comes to syslog", func() bool { return strings.Contains(syslog(), "nmos-authd: ") })
	m.runsAsItsUser()
	for _, c := range []struct{ path, want string }{
		{"/run/nmos-authd", "nmos-authd:nmos-authd 755"},
		{"/run/nmos-authd/authz.sock", "nmos-authd:nmos-authd 660"},
		{"/run/nmos-authd/http.sock", "nmos-authd:nmos-authd 660"},
		{"/var/lib/nmos-authd", "nmos-authd:nmos-authd 700"},
		{"/run/nmos-authd.pid", "root:root 644"},
		{"/etc/nmos-authd/nmos-authd.toml", "root:root 644"},
	} {
		if got := m.must("stat -c '%U:%G %a' " + c.path); got != c.want {
			t.Errorf("%s is %s, want %s", c.path, got, c.want)
		}
	}

	m.configure("")
	m.must(takeUp + " && /etc/init.d/nmos-authd reload")
	m.decides()
	pid := m.must("cat /run/nmos-authd.pid")

	m.must("echo 'mode = 1' >/etc/nmos-authd/nmos-authd.toml")
	m.status(6, "/etc/init.d/nmos-authd reload")
	m.status(6, "/etc/init.d/nmos-authd restart") // the good daemon is not stopped for one that would not start
	if now := m.must("cat /run/nmos-authd.pid; pgrep -c -x nmos-authd"); now != pid+"\n1" {
		t.Errorf("after a restart with a broken file, process and number of processes are %q, want %s and 1", now, pid)
	}
	m.must("nmos-authd ask --socket /run/nmos-authd/authz.sock --token /box/good.jwt GET " + senders) // as before
	m.must(takeUp)

	m.must("/etc/init.d/nmos-authd start") // it runs already, and there will be no second one
	if now := m.must("cat /run/nmos-authd.pid; pgrep -c -x nmos-authd"); now != pid+"\n1" {
		t.Errorf("after a second start, process and number of processes are %q, want %s and 1", now, pid)
	}
	m.must("/etc/init.d/nmos-authd stop")
	m.status(3, "/etc/init.d/nmos-authd status")
	m.status(1, "pgrep -x nmos-authd")
	m.status(2, "nmos-authd ask GET /")
	m.must(`mv /usr/bin/nmos-authd /usr/bin/kept && printf '#!/bin/sh\nkill -KILL $$\n' >/usr/bin/nmos-authd && chmod 755 /usr/bin/nmos-authd`)
	m.status(1, "/etc/init.d/nmos-authd start") // killed, as when there is no memory
	m.must("mv /usr/bin/kept /usr/bin/nmos-authd; /etc/init.d/nmos-authd start")
	m.decides()
	if out := m.must("cat /proc/[0-9]*/cmdline | tr '\\0' ' '"); strings.Contains(out, "mkfifo") {
		t.Error("the list of processes shows the text of the init script")
	}
	m.must("/etc/init.d/nmos-authd restart")
	m.decides()

	pid = m.must("cat /run/nmos-authd.pid")
	m.must("dpkg -i " + deb)
	if m.must("cat /run/nmos-authd.pid") == pid {
		t.Error("after an upgrade the old daemon still runs")
	}
	m.must("cmp /box/nmos-authd.toml /etc/nmos-authd/nmos-authd.toml")
	m.decides()

	// Who builds an image forbids packages to start anything.
	m.must(`/etc/init.d/nmos-authd stop; printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; dpkg -i ` + deb)
	m.status(1, "pgrep -x nmos-authd")
	m.must("rm /usr/sbin/policy-rc.d; /etc/init.d/nmos-authd start")

	m.must("dpkg --remove nmos-authd")
	m.status(1, "pgrep -x nmos-authd")
	m.must("test -e /etc/nmos-authd/nmos-authd.toml && test -d /var/lib/nmos-authd")
	m.must("dpkg --purge nmos-authd")
	var left []string
	for file := range m.written() {
		if !before[file] {
			left = append(left, file)
		}
	}
	slices.Sort(left)
	// What an administrator has brought is not the package's.
	if want := []string{"/etc/nmos-authd", "/etc/nmos-authd/ca.pem"}; !slices.Equal(left, want) {
		t.Errorf("after the purge there is %q, want %q", left, want)
	}
	m.must("id nmos-authd && ! test -e /run/nmos-authd && ! test -e /run/nmos-authd.pid")
}

// written are the files that were written on the machine, and the folders named after the package; not those of dpkg
// and of logs, and what keeps users.
func (m *machine) written() map[string]bool {
	all := map[string]bool{}
	out := m.must(`cd /mnt && find . \( -path ./var/lib/dpkg -o -path ./var/log -o -path ./var/cache \) -prune -o \
		\( -type f -o -type l -o -name '*nmos*' \) ! -type c -print`)
	for line := range strings.Lines(out) {
		file := strings.TrimPrefix(strings.TrimSpace(line), ".")
		if !regexp.MustCompile(`^/etc/((passwd|group|shadow|gshadow)-?|\.pwd\.lock)$`).MatchString(file) {
			all[file] = true
		}
	}
	return all
}

// runsAsItsUser checks that the process has its own user, no capability, and no way to more.
func (m *machine) runsAsItsUser() {
	m.t.Helper()
	uid := m.must("id -u nmos-authd")
	status := m.must("cat /proc/$(pgrep -x nmos-authd)/status")
	for _, want := range []string{"Uid:\t" + uid + "\t" + uid + "\t" + uid + "\t" + uid, "CapEff:\t0000000000000000",
		"CapPrm:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(status, "\n"+want+"\n") {
			m.t.Errorf("the daemon's process is not as it should be: no %q in\n%s", want, status)
		}
	}
}

// listenSyslog is the machine's syslog. What it returns tells all that has come.
func (m *machine) listenSyslog() func() string {
	m.t.Helper()
	path := fmt.Sprintf("/proc/%d/root/dev/log", m.pid)
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Close() })
	var mu sync.Mutex
	var lines []string
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			lines = append(lines, string(b[:n]))
			mu.Unlock()
		}
	}()
	all := func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(lines, "\n")
	}
	m.t.Cleanup(func() {
		if m.t.Failed() {
			m.t.Logf("syslog:\n%s", all())
		}
	})
	return all
}

func TestDebUnderSystemd(t *testing.T) {
	needsAMD64(t)
	needs(t, "dpkg", "deb-systemd-helper", "deb-systemd-invoke", "pgrep")
	m := newSystemd(t)
	deb := m.bring(built(t, "amd64.deb"))
	const units = "nmos-authd.service nmos-authd.socket nmos-authd-http.socket nmos-authd-admin.socket"
	all := func(what string) {
		t.Helper()
		if out, _ := m.try("systemctl is-" + what + " " +
			units); out != strings.TrimSpace(strings.Repeat(what+"\n", 4)) {
			status, _ := m.try("systemctl status --no-pager -l " + units + "; journalctl --no-pager -q -n 50")
			t.Fatalf("not all units are %s: %q\n%s", what, out, status)
		}
	}
	m.must("dpkg -i " + deb)
	all("enabled")
	all("active")
	m.runsAsItsUser()
	m.must("grep -q '^Seccomp:.2$' /proc/$(pgrep -x nmos-authd)/status")
	m.configure("")
	m.must(takeUp + " && systemctl reload nmos-authd")
	m.decides()

	// The watchdog is fed, and a daemon that hangs is started again.
	m.must(`mkdir -p /etc/systemd/system/nmos-authd.service.d && printf '[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\n' \
		>/etc/systemd/system/nmos-authd.service.d/test.conf && systemctl daemon-reload && systemctl restart nmos-authd.service`)
	m.decides()
	fed := m.must("systemctl show -P WatchdogTimestampMonotonic nmos-authd")
	m.wait("the watchdog is fed", func() bool {
		return m.must("systemctl show -P WatchdogTimestampMonotonic nmos-authd") != fed
	})
	if out := m.must("systemctl show -P NRestarts nmos-authd"); out != "0" {
		t.Errorf("the daemon was started again %s times", out)
	}
	m.must("kill -STOP $(systemctl show -P MainPID nmos-authd)")
	m.wait("a daemon that hangs is started again",
		func() bool { out, _ := m.try("systemctl show -P NRestarts nmos-authd"); return out == "1" })
	m.decides()

	// A daemon that dies is started again; who asks meanwhile waits.
	pid := m.must("systemctl show -P MainPID nmos-authd")
	m.must("systemctl kill -s KILL nmos-authd")
	m.wait("the daemon is started again", func() bool {
		now, _ := m.try("systemctl show -P MainPID nmos-authd")
		return now != "0" && now != pid
	})
	m.must("nmos-authd ask --timeout 20s --token /box/good.jwt GET " + senders)
	// One that does not run is started by the first who asks.
	m.must("systemctl stop nmos-authd.service 2>/dev/null")
	m.must("nmos-authd ask --timeout 20s --token /box/good.jwt GET " + senders)
	m.decides()

	// Another group may ask, and there is no HTTP socket.
	m.must(`systemctl stop nmos-authd.service nmos-authd.socket nmos-authd-http.socket; systemctl mask nmos-authd-http.socket
		printf '[sockets]\nhttp = ""\n' >>/etc/nmos-authd/nmos-authd.toml && mkdir /etc/systemd/system/nmos-authd.socket.d &&
		printf '[Socket]\nSocketGroup=audio\n' >/etc/systemd/system/nmos-authd.socket.d/group.conf &&
		systemctl daemon-reload && systemctl start nmos-authd.service`)
	m.decides()
	got := m.must("cd /run/nmos-authd && ! test -e http.sock && stat -c '%U:%G %a' authz.sock")
	if got != "nmos-authd:audio 660" {
		t.Errorf("the decision socket is %s, want nmos-authd:audio 660", got)
	}
	m.must("systemctl unmask nmos-authd-http.socket; rm -r /etc/systemd/system/nmos-authd.socket.d; systemctl " +
		"daemon-reload; " + takeUp +
		"; systemctl stop nmos-authd.service nmos-authd.socket; systemctl start nmos-authd.service")

	pid = m.must("systemctl show -P MainPID nmos-authd")
	m.must("dpkg -i " + deb)
	all("active")
	if m.must("systemctl show -P MainPID nmos-authd") == pid {
		t.Error("after an upgrade the old daemon still runs")
	}
	m.must("cmp /box/nmos-authd.toml /etc/nmos-authd/nmos-authd.toml")
	m.decides()

	// What the unit forbids must be nothing that the daemon needs.
	journal := m.must("journalctl --no-pager -q -u nmos-authd -o cat")
	if strings.Contains(journal, "not permitted") || strings.Contains(journal, "not hardened") ||
		!strings.Contains(journal, "serving") {
		t.Errorf("the daemon's log under the unit:\n%s", journal)
	}
	const askVersion = 1 // LANDLOCK_CREATE_RULESET_VERSION
	if abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, askVersion); errno != 0 {
		t.Logf("the kernel has no Landlock: %v", errno)
	} else if !strings.Contains(journal, fmt.Sprintf(`"sandbox: in force","landlock":%d`, abi)) {
		t.Errorf("the unit keeps the daemon from shutting itself in:\n%s", journal)
	}
	m.must("rm -r /etc/systemd/system/nmos-authd.service.d && dpkg --purge nmos-authd")
	m.status(1, "pgrep -x nmos-authd")
	m.must("! test -e /run/nmos-authd && ! test -e /var/lib/nmos-authd && ! test -e /etc/nmos-authd/nmos-authd.toml")
	out, _ := m.try("systemctl list-units --all --plain --no-legend 'nmos-authd*'; find /etc/systemd -name 'nmos*'")
	if out != "" {
		t.Errorf("after the purge systemd still knows of %q", out)
	}
}

// On a device without systemd BusyBox brings all that the init script calls.
func TestDebWithBusyBox(t *testing.T) {
	needsAMD64(t)
	needs(t, "busybox", "adduser")
	m, deb := newDebian(t)
	m.must(`rm -f /usr/bin/systemd-sysusers /bin/systemd-sysusers /bin/systemd-tmpfiles /usr/sbin/invoke-rc.d /usr/bin/deb-systemd-helper \
		/lib/lsb/init-functions
	ln -sf "$(command -v busybox)" /usr/sbin/start-stop-daemon
	for a in logger mkfifo sleep id cat chown chmod; do ln -sf "$(command -v busybox)" /usr/bin/$a; done
	ln -sf "$(command -v busybox)" /bin/sh`)
	m.must("dpkg -i " + deb)
	m.must("/etc/init.d/nmos-authd status")
	m.runsAsItsUser()
	m.configure("")
	m.must(takeUp + " && /etc/init.d/nmos-authd reload")
	m.decides()
	m.must("/etc/init.d/nmos-authd restart")
	m.decides()
	m.must("dpkg --purge nmos-authd")
	m.status(1, "pgrep -x nmos-authd")
}

// A device's root may be read-only, with one folder to write in or none beside /run.
func TestReadOnlyRoot(t *testing.T) {
	needsAMD64(t)
	m, deb := newDebian(t)
	m.must(`printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; dpkg -i ` + deb)
	server := m.configure("")
	m.must(takeUp + ` && mkdir -p /var/lib/nmos-authd && umount /tmp &&
		mount -t tmpfs tmpfs /var/lib/nmos-authd && mount -o remount,ro /`)
	m.status(1, "touch /etc/nmos-authd/written /var/lib/written /tmp/written 2>/dev/null")
	m.must("/etc/init.d/nmos-authd start")
	m.decides()
	m.wait("the keys are kept", func() bool {
		_, status := m.try("ls /var/lib/nmos-authd | grep -q .")
		return status == 0
	})
	// With what was kept it decides immediately, server or not.
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	m.must("/etc/init.d/nmos-authd restart")
	m.decides()
	m.must("/etc/init.d/nmos-authd stop && umount /var/lib/nmos-authd")

	m.configure("[state]\ndir = \"\"\n")
	m.must("mount -o remount,rw / && " + takeUp + " && mount -o remount,ro /")
	if out := m.must("rm -r /run/nmos-authd; umask 077; /etc/init.d/nmos-authd start"); out != "" {
		t.Errorf("the init script complains of a state that is not wanted: %q", out)
	}
	if got := m.must("stat -c '%U %a' /run/nmos-authd"); got != "nmos-authd 755" {
		t.Errorf("started under umask 077, got %q for /run/nmos-authd, want nmos-authd 755", got)
	}
	m.decides()
	if out := m.must("ls -A /var/lib/nmos-authd"); out != "" {
		t.Errorf("without a state there is %q", out)
	}
	m.must("/etc/init.d/nmos-authd stop")
}

// The same under systemd with no folder but those in memory, by the drop-in of configs/README.md.
func TestReadOnlyRootUnderSystemd(t *testing.T) {
	needsAMD64(t)
	needs(t, "dpkg", "deb-systemd-helper", "deb-systemd-invoke")
	m := newSystemd(t)
	m.must("dpkg -i " + m.bring(built(t, "amd64.deb")))
	m.configure("[state]\ndir = \"\"\n")
	m.must(takeUp + ` && systemctl stop nmos-authd.service nmos-authd.socket nmos-authd-http.socket nmos-authd-admin.socket &&
		mkdir /etc/systemd/system/nmos-authd.service.d && rm -r /var/lib/nmos-authd &&
		systemctl daemon-reload && mount -o remount,ro /`)
	m.status(1, "touch /etc/nmos-authd/written /var/lib/written /var/tmp/written 2>/dev/null")
	m.must("systemctl start nmos-authd.service || { journalctl --no-pager -q -n 30; exit 1; }")
	m.decides()
	m.must("test $(systemctl show -P NRestarts nmos-authd) = 0 && ! test -e /var/lib/nmos-authd")
}

// A state partition that is missing, mounted with nofail, does not keep the daemon from running: it serves with what it
// has. Once the partition is there, a restart keeps the keys on it.
func TestMissingDiskUnderSystemd(t *testing.T) {
	spec.Rules(t, "KEY-3")
	needsAMD64(t)
	needs(t, "dpkg", "deb-systemd-helper", "deb-systemd-invoke")
	m := newSystemd(t)
	m.must("dpkg -i " + m.bring(built(t, "amd64.deb")))
	m.configure("")
	m.must(takeUp + ` && systemctl stop nmos-authd.service nmos-authd.socket nmos-authd-http.socket nmos-authd-admin.socket &&
		rm -r /var/lib/nmos-authd &&
		printf '[Mount]\nWhat=/dev/none-such\nWhere=/var/lib\nType=ext4\n' >/etc/systemd/system/var-lib.mount &&
		mkdir -p '/etc/systemd/system/dev-none\x2dsuch.device.d' &&
		printf '[Unit]\nJobRunningTimeoutSec=2s\n' >'/etc/systemd/system/dev-none\x2dsuch.device.d/t.conf' &&
		systemctl daemon-reload && ! timeout 60 systemctl start var-lib.mount`)
	m.must("timeout 60 systemctl start nmos-authd.service || { journalctl --no-pager -q -n 30; exit 1; }")
	m.decides()
	m.must("test $(systemctl show -P NRestarts nmos-authd) = 0")
	// The disk comes.
	m.must(`rm -r /etc/systemd/system/var-lib.mount && systemctl daemon-reload && mount -t tmpfs -o mode=755 tmpfs /var/lib &&
		systemctl restart nmos-authd.service || { journalctl --no-pager -q -n 30; exit 1; }`)
	m.decides()
	m.wait("the keys are kept", func() bool {
		_, status := m.try("ls /var/lib/nmos-authd | grep -q .")
		return status == 0
	})
	if got := strings.TrimSpace(m.must("stat -c '%U %a' /var/lib/nmos-authd")); got != "nmos-authd 700" {
		t.Errorf("got %q for the folder of the state, want nmos-authd 700", got)
	}
}
