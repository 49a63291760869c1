package device_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// Applets that BusyBox's root has: those that the init script calls, and those of these tests.
const applets = "sh init cat chmod chown cmp cp cut date dd df echo false free grep head id kill ln logger ls mkdir " +
	"mkfifo mount mv poweroff printf ps readlink rm rmdir sed sleep start-stop-daemon sync syslogd tail test touch " +
	"true umount wc base64"

const inittab = "::sysinit:/etc/rcS\n::respawn:/usr/sbin/device-agent\n"

// What a small device's start does. One partition can be written to.
const rcS = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs tmp /tmp
mount -t ext4 /dev/disk1 /var/lib
syslogd -O /run/messages
/etc/init.d/nmos-authd start >/run/started 2>&1
echo $? >>/run/started
`

// busyBoxRoot makes a read-only root with BusyBox's init, the System V script and the daemon as shipped.
func busyBoxRoot(t *testing.T, server *authserver.Server) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"bin", "dev", "etc/init.d", "etc/nmos-authd", "proc", "root", "run", "sys", "tmp",
		"usr/bin", "usr/sbin", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, applet := range strings.Fields(applets) {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../bin/busybox", filepath.Join(dir, "usr/sbin/init")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usr/sbin", filepath.Join(dir, "sbin")); err != nil {
		t.Fatal(err)
	}
	for to, from := range map[string]string{
		"bin/busybox":           absolute(t, "build/device/busybox"),
		"usr/bin/nmos-authd":    absolute(t, "build/linux-arm64/nmos-authd"),
		"etc/init.d/nmos-authd": absolute(t, "configs/sysvinit/nmos-authd"),
		"usr/sbin/device-agent": "testdata/agent.sh", "usr/bin/example": guestProgram(t, "example"),
		"usr/bin/guest": guestProgram(t, "guest"),
	} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for to, text := range map[string]string{
		"etc/inittab": inittab, "etc/rcS": rcS, "etc/hosts": serverAt + " " + serverName + "\n127.0.0.1 localhost\n",
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nnmos-authd:x:100:100::/var/lib/nmos-authd:/bin/false\n",
		"etc/group":  "root:x:0:\nnmos-authd:x:100:\n", "etc/nmos-authd/ca.pem": string(server.CAPEM()),
		"etc/nmos-authd/nmos-authd.toml": configuration(server),
	} {
		if err := os.WriteFile(filepath.Join(dir, to), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(workDir, "busybox-"+server.Port()+".squashfs")
	command(t, "mksquashfs", dir, image, "-all-root", "-noappend", "-quiet", "-no-progress")
	return image
}

// smallMemory is that of the machine, in MB. Of 64 Debian's kernel, which is not made for that little, takes 26 for its
// program, and its slabs 21: 8 of those for the file system for tracing, an inode of every kind of event. 9 are then
// free as the init script begins, 17 with initcall_blacklist=tracer_init_tracefs. The daemon starts in those, too, but
// the steps below were not seen to end on a busy host.
const smallMemory = 80

// A device without systemd, of little memory, whose root cannot be written to.
func TestBusyBox(t *testing.T) {
	spec.Rules(t, "OPS-1")
	needsDevice(t)
	server := startServer(t)
	m := boot(t, hardware{memory: smallMemory, cores: 1, server: server, kernel: "ro cma=0",
		disks: []string{busyBoxRoot(t, server) + ",readonly=on", disk(t, "busybox.ext4", 8)}})
	good := template(server).Sign()
	m.step("BusyBox init, read-only squashfs root", func() string {
		if out, status := m.try("touch /etc/nmos-authd/x /usr/x 2>&1"); status == 0 {
			m.t.Errorf("the root can be written to: %s", out)
		}
		if got := m.must("cat /run/started"); got != "0" {
			m.t.Errorf("the init script, at the start: %q, want 0 and nothing else", got)
		}
		m.must("/etc/init.d/nmos-authd status")
		s := m.processStatus(m.pid())
		for name, want := range map[string]string{"Uid": "100 100 100 100", "Gid": "100 100 100 100",
			"CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"} {
			if s[name] != want {
				m.t.Errorf("/proc/PID/status: %s is %q, want %q", name, s[name], want)
			}
		}
		sandbox := m.status().Sandbox
		if sandbox.Landlock == 0 {
			m.t.Errorf("Landlock is not in force: %s", sandbox.Why)
		}
		return fmt.Sprintf("the System V script has started it as its user, seccomp 2, Landlock %d; shell after %.0f s",
			sandbox.Landlock, m.booted.Seconds())
	})
	m.step("clock of 1970", func() string {
		if year := m.must("date -u +%Y"); year != "1970" {
			m.t.Errorf("the machine's clock shows %s, want 1970", year)
		}
		m.wantUntold("before the clock is set", good)
		m.want("without a token", "", "deny 401 no-token")
		return m.ask(good, "GET", self).String()
	})
	m.step("set by date", func() string {
		m.setClock(time.Now())
		m.await("a good token once the clock is set", good, "allow 200 ok")
		m.want("a forged token", forged(server), "deny 401 signature")
		m.want("an expired token", expired(server), "deny 401 token-expired")
		return "allow 200; forged and expired 401"
	})
	m.step("10,000 decisions, little memory", func() string {
		allowed := m.must(fmt.Sprintf("printf 'Bearer %%s\\n' '%s' | guest load %sauthz.sock 10000", good, sockets))
		if allowed != "10000" {
			m.t.Errorf("of 10,000 questions with a good token %s were allowed", allowed)
		}
		fields := strings.Fields(m.must("grep -E 'MemTotal|MemAvailable' /proc/meminfo"))
		if messages, _ := m.try("grep -i 'out of memory' /run/messages"); messages != "" {
			m.t.Errorf("got %s, want nothing killed for memory", messages)
		}
		return fmt.Sprintf("all allowed; %s; of %d MB the kernel leaves %s, and %s are still available",
			m.memory(m.pid()), smallMemory, megabytes(m.t, fields[1]), megabytes(m.t, fields[4]))
	})
	m.step("restart, server unreachable", func() string {
		m.wait("the keys are kept", func() bool { return m.status().State.Kept })
		server.Misbehave("/", authserver.ResetConnect)
		m.must("/etc/init.d/nmos-authd restart")
		m.want("after a restart", good, "allow 200 ok")
		m.want("a forged token", forged(server), "deny 401 signature")
		m.must("/etc/init.d/nmos-authd stop")
		if pid := m.pid(); pid != "" {
			m.t.Errorf("after stop the process %s is still there", pid)
		}
		m.must("/etc/init.d/nmos-authd start")
		m.want("after stop and start", good, "allow 200 ok")
		return "allow 200 by the keys in flash; forged 401"
	})
}

// cuts is how often the power is cut.
const cuts = 20

// history is what the test knows of the server's keys.
type history struct {
	keys      []*mint.Key
	withdrawn map[string]bool
	kept      []string // the kids that are on flash for certain
	acked     int      // the last inventory that is on flash for certain; the next one may be
	checked   int      // how often inventories were checked
}

// token is a good token under a certain key.
func (h *history) token(server *authserver.Server, key *mint.Key) string {
	token := template(server)
	token.Header.Set("kid", key.KID)
	token.Key = key
	return token.Sign()
}

// rotate publishes a new key, and withdraws all but the last three, in one step for whoever fetches them.
func (h *history) rotate(server *authserver.Server) {
	defer server.Hold(authserver.PathJWKS)()
	h.keys = append(h.keys, server.Rotate())
	for _, key := range h.keys[:max(0, len(h.keys)-3)] {
		if !h.withdrawn[key.KID] {
			server.RemoveKey(key.KID)
			h.withdrawn[key.KID] = true
		}
	}
}

// check asks a device that has just started, with the server out of reach: what was kept for certain must be known,
// what was being written may be, and nothing else is believed.
func (h *history) check(m *machine, server *authserver.Server) {
	usable := ""
	for _, key := range h.keys[max(0, len(h.keys)-8):] {
		token := h.token(server, key)
		got := m.ask(token, "GET", self).String()
		right := []string{"allow 200 ok", "deny 503 keys-pending"} // it may have been written
		switch {
		case h.withdrawn[key.KID] && h.before(key, h.kept): // its withdrawal is kept
			right = []string{"deny 503 keys-pending", "deny 401 key-unknown"}
		case h.withdrawn[key.KID]: // its withdrawal may have been written
			right = append(right, "deny 401 key-unknown")
		case slices.Contains(h.kept, key.KID):
			right = right[:1]
		}
		if !slices.Contains(right, got) {
			m.t.Errorf("a token under %s got %s, want one of %q (kept for certain: %q)", key.KID, got, right, h.kept)
		}
		if got == "allow 200 ok" {
			usable = token
		}
	}
	stranger := *attacker()
	stranger.KID = h.keys[len(h.keys)-1].KID
	if len(h.kept) > 0 {
		stranger.KID = h.kept[len(h.kept)-1]
	}
	got := m.ask(h.token(server, &stranger), "GET", self)
	if got.first != "deny 401" && got.first != "deny 503" ||
		len(h.kept) > 0 && !h.withdrawn[stranger.KID] && got.reason != "signature" {
		m.t.Errorf("a forged token under %s got %v", stranger.KID, got)
	}
	if h.acked > 0 && usable != "" {
		var known []int
		for n := max(1, h.acked-1); n <= h.acked+1; n++ {
			switch a := m.ask(usable, "meter", fmt.Sprintf("in-%d", n), "read"); a.String() {
			case "allow 200 ok":
				known = append(known, n)
			case "deny 403 resource-unknown":
			default:
				m.t.Errorf("about the meter in-%d: %v", n, a)
			}
		}
		if len(known) != 1 || known[0] < h.acked {
			m.t.Errorf("inventories %v are in force; %d was acknowledged, and %d may have been written",
				known, h.acked, h.acked+1)
			return
		}
		h.acked, h.checked = known[0], h.checked+1
	}
}

// before reports whether key is older than all of kids, so that their set was published without it.
func (h *history) before(key *mint.Key, kids []string) bool {
	for _, k := range h.keys {
		if k == key {
			return len(kids) > 0 && !slices.Contains(kids, key.KID)
		}
		if slices.Contains(kids, k.KID) {
			return false
		}
	}
	return false
}

// An expectation that is wrong would find fault with a device that is right, or none with one that is wrong.
func TestHistory(t *testing.T) {
	h := &history{}
	for n := range 5 {
		h.keys = append(h.keys, &mint.Key{KID: fmt.Sprint("key-", n)})
	}
	for n, want := range []bool{true, true, false, false, false} {
		if got := h.before(h.keys[n], []string{"key-2", "key-3"}); got != want {
			t.Errorf("key-%d is before key-2 and key-3: got %v, want %v", n, got, want)
		}
		if h.before(h.keys[n], nil) {
			t.Errorf("key-%d is before no keys at all: got true", n)
		}
	}
}

// The power is cut while keys rotate and inventories are pushed, at a random moment; the first decisions after the next
// start, with the server out of reach, are right.
func TestPowerCuts(t *testing.T) {
	spec.Rules(t, "KEY-3")
	needsDevice(t)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("NMOS_DEVICE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(seed, 0))
	server := startServer(t)
	h := &history{keys: server.Keys(), withdrawn: map[string]bool{}}
	notes := filepath.Join(workDir, "acknowledged")
	image, flash := busyBoxRoot(t, server), disk(t, "powercut.ext4", 8)
	writes, found := 0, 0
	var m *machine
	cut := func(n int) {
		m = boot(t, hardware{memory: 128, cores: 1, server: server, kernel: "ro cma=0", notes: notes,
			disks: []string{image + ",readonly=on", flash}})
		defer m.kill()
		// The first decision is by a clock of 1970, the next ones by that which an operator or a time service has set.
		m.wantUntold("before the clock is set", h.token(server, h.keys[len(h.keys)-1]))
		m.setClock(time.Now())
		h.check(m, server)
		if log := m.must("grep -c 'cut short' /run/messages || true"); log != "0" {
			found++
		}
		if n == cuts || m.t.Failed() {
			return
		}
		server.Behave()
		m.await("a token under the newest key", h.token(server, h.keys[len(h.keys)-1]), "allow 200 ok")
		// Until the power is cut: inventories as fast as they are taken, and new keys.
		m.must(fmt.Sprintf("guest push %sadmin.sock %d >$(ls /dev/vport*p2) 2>/dev/null </dev/null &",
			sockets, h.acked+1))
		power := time.AfterFunc(time.Duration(random.Int64N(int64(12*time.Second))), m.kill)
		defer power.Stop()
		for {
			h.rotate(server)
			newest := h.keys[len(h.keys)-1].KID
			for kept := false; !kept; {
				// Its name in the file says that the write has begun; "kept" after that, that it is done.
				printed, status, err := m.exchange(fmt.Sprintf("grep -q %s /var/lib/nmos-authd/keys* && nmos-authd "+
					"status --json", newest))
				if err != nil {
					return
				}
				if s, err := parseState(printed); err == nil && status <= 1 && s.State.Kept && len(s.Servers) > 0 &&
					slices.Contains(s.Servers[0].Kids, newest) {
					h.kept, kept = s.Servers[0].Kids, true
				}
			}
		}
	}
	for n := 0; n <= cuts; n++ {
		server.Misbehave("/", authserver.ResetConnect)
		if cut(n); t.Failed() {
			break
		}
		text, _ := os.ReadFile(notes)
		if lines := strings.Fields(string(text)); len(lines) > 0 {
			last, _ := strconv.Atoi(lines[len(lines)-1])
			h.acked = max(h.acked, last)
			writes = len(lines)
		}
	}
	seen := fmt.Sprintf("%d starts with the server out of reach: all decisions right. %d keys, %d inventories, "+
		"looked for after %d starts; a write was cut short %d times. Seed %d",
		cuts, len(h.keys), writes, h.checked, found, seed)
	if t.Failed() {
		seen = fmt.Sprintf("WRONG: build/device/test.txt says what. NMOS_DEVICE_SEED=%d", seed)
	}
	results.add(fmt.Sprintf("power cut %d times at random", cuts), seen)
}
