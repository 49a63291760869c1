package device_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/spec"
)

const units = "nmos-authd.socket nmos-authd-http.socket nmos-authd-admin.socket nmos-authd.service"

// box is a disk with what the machine needs, which it sees as /box; more are files by name.
func box(t *testing.T, server *authserver.Server, more map[string]string) string {
	t.Helper()
	debs, err := filepath.Glob(root + "/build/packages/nmos-authd_*_arm64.deb")
	if err != nil || len(debs) != 1 {
		t.Fatalf("got %d packages for arm64 in build/packages, want 1 (make packages): %v", len(debs), err)
	}
	dir := t.TempDir()
	for to, from := range map[string]string{"nmos-authd.deb": debs[0], "example": guestProgram(t, "example"),
		"guest": guestProgram(t, "guest"), "hello": guestProgram(t, "hello")} {
		command(t, "cp", from, filepath.Join(dir, to))
	}
	write(t, filepath.Join(dir, "ca.pem"), string(server.CAPEM()))
	write(t, filepath.Join(dir, "nmos-authd.toml"), configuration(server))
	for name, text := range more {
		write(t, filepath.Join(dir, name), text)
	}
	return disk(t, "box-"+server.Port()+".ext4", 64, "-d", dir)
}

// A device with systemd, from the installation of the .deb on.
func TestSystemd(t *testing.T) {
	spec.Rules(t, "OPS-1")
	needsDevice(t)
	server := startServer(t)
	m := boot(t, hardware{memory: 256, cores: 2, server: server, kernel: "rw systemd.mask=serial-getty@ttyAMA0.service",
		disks: []string{absolute(t, "build/device/debian.ext4") + ",snapshot=on", box(t, server, nil) + ",readonly=on",
			disk(t, "state.ext4", 8)}})
	good := template(server).Sign()
	m.step("dpkg -i nmos-authd.deb", func() string {
		m.must("mount -o ro /dev/disk1 /box && mkdir -p /var/lib/nmos-authd && mount /dev/disk2 /var/lib/nmos-authd")
		m.must("dpkg -i /box/nmos-authd.deb")
		for _, want := range []string{"enabled", "active"} {
			if out, _ := m.try("systemctl is-" + want + " " +
				units); out != strings.TrimSpace(strings.Repeat(want+"\n", 4)) {
				m.t.Errorf("the units are %q, want each %s", out, want)
			}
		}
		owner := m.must("chown nmos-authd: /var/lib/nmos-authd; stat -c %U:%a /run/nmos-authd")
		if owner != "nmos-authd:755" {
			m.t.Errorf("/run/nmos-authd is %s, want nmos-authd:755", owner)
		}
		m.must(fmt.Sprintf("cp /box/ca.pem /box/nmos-authd.toml /etc/nmos-authd/ && echo '%s %s' >>/etc/hosts",
			serverAt, serverName))
		m.must("systemctl restart nmos-authd.service")
		return fmt.Sprintf("kernel %s, systemd %s, shell after %.0f s; 3 sockets and the service enabled and active",
			m.must("uname -r"), m.must("systemctl --version | sed -n '1s/systemd \\([0-9]*\\).*/\\1/p'"),
			m.booted.Seconds())
	})
	m.step("user, sandbox as shipped", func() string {
		s := m.processStatus(m.pid())
		uid := m.must("id -u nmos-authd")
		for name, want := range map[string]string{"Uid": strings.TrimSpace(strings.Repeat(uid+" ", 4)),
			"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0000000000000000", "CapBnd": "0000000000000000"} {
			if s[name] != want {
				m.t.Errorf("/proc/PID/status: %s is %q, want %q", name, s[name], want)
			}
		}
		journal := m.must("journalctl --no-pager -q -u nmos-authd -o cat")
		sandbox := m.status().Sandbox
		if !strings.Contains(journal, fmt.Sprintf(`"sandbox: in force","landlock":%d`, sandbox.Landlock)) ||
			sandbox.Landlock == 0 ||
			strings.Contains(journal, "not permitted") || strings.Contains(journal, "not hardened") {
			m.t.Errorf("Landlock %d (%s); the daemon's log:\n%s", sandbox.Landlock, sandbox.Why, journal)
		}
		return fmt.Sprintf("uid %s, no capabilities, seccomp 2 with %s filters, Landlock %d",
			uid, s["Seccomp_filters"], sandbox.Landlock)
	})
	m.step("clock of 1970", func() string {
		shows := m.must("date -u +%Y-%m-%d")
		m.wantUntold("before the clock is set", good)
		return fmt.Sprintf("%v (systemd has made it %s)", m.ask(good, "GET", self), shows)
	})

	m.step("disk full as keys come", func() string {
		m.must("dd if=/dev/zero of=/var/lib/nmos-authd/fill bs=4k 2>/dev/null; dd if=/dev/zero " +
			"of=/var/lib/nmos-authd/fill2 bs=1 2>/dev/null; true")
		// The daemon may have fetched and written its keys before the clock was set, since it judges certificates by
		// the time of its build at least. A token of a key that it has not seen makes it look again.
		m.setClock(time.Now())
		m.await("a good token once the clock is set", good, "allow 200 ok")
		for range 15 { // more than fits where they are kept already, which takes no room
			server.Rotate()
		}
		m.await("a token of the server's new key", template(server).Sign(), "allow 200 ok")
		var s state
		m.wait("the status says that the disk is full", func() bool {
			s = m.status()
			return s.State.Error != "" && !s.State.Kept && !s.Healthy
		})
		m.want("a forged token", forged(server), "deny 401 signature")
		m.must("rm /var/lib/nmos-authd/fill*")
		return fmt.Sprintf("decisions go on; %q", s.State.Error)
	})
	m.step("room again, SIGKILL, server gone", func() string {
		freed := time.Now()
		m.wait("the keys are kept", func() bool { return m.status().State.Kept })
		took := time.Since(freed)
		server.Misbehave("/", authserver.ResetConnect)
		before := m.pid()
		m.must("systemctl kill -s KILL nmos-authd.service")
		m.wait("another process", func() bool { pid := m.pid(); return pid != "" && pid != before })
		m.want("after a restart", good, "allow 200 ok")
		m.want("a forged token", forged(server), "deny 401 signature")
		server.Behave()
		return fmt.Sprintf("written %.0f s after there was room; then right by the keys in flash", took.Seconds())
	})

	m.step("the clock is set back and forth", func() string {
		for _, s := range []struct {
			by   time.Duration
			want string
		}{
			{2 * time.Hour, "deny 401 token-expired"},
			{0, "allow 200 ok"},
			{30 * time.Minute, "allow 200 ok"},
			{-4 * time.Minute, "allow 200 ok"},
			{37 * time.Second, "allow 200 ok"},
			{0, "allow 200 ok"},
		} {
			m.setClock(time.Now().Add(s.by))
			m.await(fmt.Sprintf("a good token with the clock at %v", s.by), good, s.want)
			if got := m.ask(expired(server), "GET", self); got.String() != "deny 401 token-expired" {
				m.t.Errorf("an expired token with the clock at %v: %v", s.by, got)
			}
		}
		m.setClock(time.Unix(86400, 0))
		m.await("a good token in 1970", good, "deny 503 clock-untrusted")
		m.setClock(time.Now())
		m.await("a good token", good, "allow 200 ok")
		return "+2 h 401 expired; 0, +30 min, -4 min, +37 s 200; 1970 503; now 200"
	})
	m.step("started by its socket", func() string {
		m.must("systemctl stop nmos-authd.service")
		if out, _ := m.try("systemctl is-active nmos-authd.service nmos-authd.socket"); out != "inactive\nactive" {
			m.t.Errorf("after the stop of the service: %q, want it inactive and its socket active", out)
		}
		m.want("the first who asks", good, "allow 200 ok")
		if out, _ := m.try("systemctl is-active nmos-authd.service"); out != "active" {
			m.t.Errorf("after the first question the service is %q", out)
		}
		return "the first question is answered: allow 200"
	})
	m.step("watchdog as shipped", func() string {
		show := func(what string) string { return m.must("systemctl show -P " + what + " nmos-authd.service") }
		fed := show("WatchdogTimestampMonotonic")
		m.wait("the watchdog is fed", func() bool { return show("WatchdogTimestampMonotonic") != fed })
		if n := show("NRestarts"); n != "0" && n != "1" { // of the SIGKILL above
			m.t.Errorf("the daemon was started again %s times", n)
		}
		restarts, _ := strconv.Atoi(show("NRestarts"))
		began := m.must("date +%s")
		m.must("kill -STOP " + m.pid())
		m.wait("the daemon that hangs is started again", func() bool {
			n, _ := strconv.Atoi(show("NRestarts"))
			return n > restarts && show("ActiveState") == "active"
		})
		m.want("after that", good, "allow 200 ok")
		if out := m.must("journalctl --no-pager -q -u nmos-authd -o cat | grep -ci 'watchdog timeout'"); out == "0" {
			m.t.Error("the journal does not say that it was the watchdog")
		}
		start, _ := strconv.Atoi(began)
		end, _ := strconv.Atoi(m.must("date +%s"))
		return fmt.Sprintf("fed; stopped by SIGSTOP it decides again after %d s", end-start)
	})
	m.step("memory", func() string {
		// As shipped, keys are fetched once an hour; every 5 s their garbage would be measured, too.
		m.must("sed -i '/^refresh\\|^retry/d' /etc/nmos-authd/nmos-authd.toml && systemctl restart nmos-authd.service")
		m.await("a good token", good, "allow 200 ok")
		idle := m.memory(m.pid())
		const times, portion = 100000, 5000 // an answer of the shell may take only so long
		for range times / portion {
			allowed := m.must(fmt.Sprintf("printf 'Bearer %%s\\n' '%s' | guest load %sauthz.sock %d",
				good, sockets, portion))
			if allowed != fmt.Sprint(portion) {
				m.t.Fatalf("of %d questions with a good token %s were allowed", portion, allowed)
			}
		}
		return fmt.Sprintf("at first: %s; after 100,000 decisions: %s", idle, m.memory(m.pid()))
	})
	m.step("exec to the first answer", func() string {
		m.must("systemctl stop " + units)
		m.must("mkdir -p /run/first && chown nmos-authd: /run/first && cp /etc/nmos-authd/nmos-authd.toml " +
			"/run/first/ && " +
			`printf '[sockets]\nauthz = "/run/first/a"\nhttp = "/run/first/h"\nadmin = ""\n' >>/run/first/nmos-authd.toml`)
		as := "setpriv --reuid=nmos-authd --regid=nmos-authd --clear-groups "
		var first, hello []int
		for range 5 {
			first = append(first, m.microseconds(fmt.Sprintf("printf 'Bearer %%s\\n' '%s' | %s /box/guest first "+
				"/run/first/a /usr/bin/nmos-authd run --config /run/first/nmos-authd.toml 2>/dev/null", good, as)))
			hello = append(hello,
				m.microseconds(as+"/box/guest connect /run/first/b /box/hello /run/first/b; rm -f /run/first/b"))
		}
		f, h := median(first), median(hello)
		return fmt.Sprintf("%.0f ms, a Go program that opens a socket %.0f ms: %.1f times (medians of 5)",
			float64(f)/1e3, float64(h)/1e3, float64(f)/float64(h))
	})
}

func (m *machine) microseconds(command string) int {
	m.t.Helper()
	n, err := strconv.Atoi(m.must(command))
	if err != nil || n <= 0 {
		m.t.Fatalf("%s: %d µs, %v", command, n, err)
	}
	return n
}
