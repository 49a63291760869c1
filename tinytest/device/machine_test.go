package device_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
)

// hardware is what a machine is made of.
type hardware struct {
	memory, cores int                // MB, processors
	disks         []string           // /dev/disk0 and so on: a file, and how qemu has it: "a.ext4,snapshot=on"
	kernel        string             // more of the kernel's command line
	server        *authserver.Server // that the machine reaches; nil if none
	ports         []string           // of more servers on this host's loopback, at serverAt if there is a server
	notes         string             // a file to which /dev/vport*p2 appends
}

// machine is a machine that runs.
type machine struct {
	t       *testing.T
	command *exec.Cmd
	console string // a file
	ended   chan struct{}
	conn    net.Conn // to its shell
	answers *bufio.Reader
	number  int
	began   time.Time
	waited  time.Duration // for a processor of the host
	booted  time.Duration // until the shell answered
}

var machines int

// boot starts a machine, and waits until its shell answers.
func boot(t *testing.T, h hardware) *machine {
	t.Helper()
	machines++
	name := filepath.Join(workDir, strconv.Itoa(machines))
	m := &machine{t: t, console: name + ".console", ended: make(chan struct{})}
	args := []string{"-M", "virt", "-cpu", "cortex-a53", "-m", fmt.Sprint(h.memory), "-smp", fmt.Sprint(h.cores),
		"-nodefaults", "-display", "none", "-no-reboot", "-serial", "file:" + m.console,
		"-rtc", "base=1970-01-01T00:00:00", // no battery
		"-kernel", absolute(t, "build/device/vmlinuz"), "-initrd", absolute(t, "build/device/initrd"),
		"-append", "console=ttyAMA0 panic=-1 quiet net.ifnames=0 " + h.kernel,
		"-device", "virtio-serial-device",
		"-chardev", "socket,id=shell,path=" + name + ".shell,server=on,wait=off", "-device",
		"virtserialport,chardev=shell,nr=1"}
	if h.notes != "" {
		args = append(args, "-chardev", "file,id=notes,append=on,path="+h.notes, "-device",
			"virtserialport,chardev=notes,nr=2")
	}
	if h.server != nil {
		program, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		net := "user,id=net,restrict=on"
		for _, port := range append([]string{h.server.Port()}, h.ports...) {
			net += fmt.Sprintf(",guestfwd=tcp:%s:%s-cmd:%s -relay 127.0.0.1:%s", serverAt, port, program, port)
		}
		args = append(args, "-device", "virtio-net-device,netdev=net", "-netdev", net)
	}
	for n, disk := range h.disks {
		// Without locks: a relay that a machine began as it was killed holds them for a moment longer.
		args = append(args, "-drive",
			fmt.Sprintf("if=none,id=disk%d,format=raw,cache=writeback,file.locking=off,file=%s", n, disk),
			"-device", fmt.Sprintf("virtio-blk-device,drive=disk%d,serial=disk%d", n, n))
	}
	m.command = exec.Command("qemu-system-aarch64", args...)
	var said strings.Builder
	m.command.Stdout, m.command.Stderr = &said, &said
	m.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.began = time.Now()
	if err := m.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		m.command.Wait()
		close(m.ended)
	}()
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			t.Logf("qemu said %q; the console:\n%s", said.String(), m.consoleText())
		}
	})
	for over := m.patience(); m.conn == nil; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("unix", name+".shell")
		if err == nil {
			m.conn, m.answers = conn, bufio.NewReader(conn)
			break
		}
		select {
		case <-m.ended:
			t.Fatalf("qemu ended: %s", said.String())
		default:
		}
		if over() {
			t.Fatal(err)
		}
	}
	if _, _, err := m.exchange("true"); err != nil {
		t.Fatalf("the machine's shell does not answer: %v", err)
	}
	m.booted = m.ran()
	return m
}

// ran is for how long the machine has run, without the time in which it waited for a processor of the host, which has
// other things to do: that says nothing about the device.
func (m *machine) ran() time.Duration {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", m.command.Process.Pid))
	for _, thread := range threads {
		text, _ := os.ReadFile(thread) // nanoseconds on a processor, nanoseconds waiting for one, and how often
		if fields := strings.Fields(string(text)); len(fields) == 3 {
			waited, _ := strconv.ParseInt(fields[1], 10, 64)
			m.waited = max(m.waited, time.Duration(waited))
		}
	}
	return time.Since(m.began) - m.waited
}

// patience returns what reports whether the machine has had its time since.
func (m *machine) patience() (over func() bool) {
	began := m.ran()
	return func() bool { return m.ran()-began > patience }
}

// kill is the power cut.
func (m *machine) kill() {
	m.command.Process.Kill()
	<-m.ended
	if m.conn != nil {
		m.conn.Close()
	}
}

func (m *machine) consoleText() string {
	text, _ := os.ReadFile(m.console)
	if len(text) > 8000 {
		text = text[len(text)-8000:]
	}
	return string(text)
}

// exchange runs a command in the machine's shell. An error means that the machine has ended, or hangs.
func (m *machine) exchange(command string) (printed string, status int, err error) {
	m.number++
	m.conn.SetDeadline(time.Now().Add(patience))
	over := m.patience()
	if _, err := fmt.Fprintf(m.conn, "%d %s\n", m.number,
		base64.StdEncoding.EncodeToString([]byte(command))); err != nil {
		return "", 0, err
	}
	begun := ""
	for {
		m.conn.SetReadDeadline(time.Now().Add(time.Second))
		line, err := m.answers.ReadString('\n')
		begun += line
		if errors.Is(err, os.ErrDeadlineExceeded) && !over() {
			continue
		}
		if err != nil {
			return "", 0, err
		}
		line, begun = begun, ""
		words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(words) != 3 || words[0] != strconv.Itoa(m.number) {
			continue // of a shell that ended meanwhile
		}
		text, err := base64.StdEncoding.DecodeString(words[2])
		status, err2 := strconv.Atoi(words[1])
		return strings.TrimSuffix(string(text), "\n"), status, errors.Join(err, err2)
	}
}

// try runs a command in a machine that must be well.
func (m *machine) try(command string) (printed string, status int) {
	m.t.Helper()
	printed, status, err := m.exchange(command)
	if err != nil {
		m.t.Fatalf("%s: %v", command, err)
	}
	return printed, status
}

// must is try for a command that must succeed.
func (m *machine) must(command string) string {
	m.t.Helper()
	printed, status := m.try(command)
	if status != 0 {
		m.t.Fatalf("exit status %d:\n%s\n%s", status, command, printed)
	}
	return printed
}

// wait waits for a condition.
func (m *machine) wait(what string, done func() bool) {
	m.t.Helper()
	for over := m.patience(); !done(); time.Sleep(200 * time.Millisecond) {
		if over() {
			m.t.Fatalf("waited %v for: %s", patience, what)
		}
	}
}

// step is a line of the table: do returns what was seen. It ends the test if do finds something wrong.
func (m *machine) step(what string, do func() string) {
	m.t.Helper()
	outer, seen := m.t, "WRONG: build/device/test.txt says what"
	defer func() { m.t = outer }()
	ok := outer.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
		m.t = t
		if text := do(); !t.Failed() {
			seen = text
		}
	})
	results.add(what, seen)
	if !ok {
		outer.FailNow()
	}
}

// setClock sets the machine's clock as an operator does.
func (m *machine) setClock(now time.Time) {
	m.t.Helper()
	m.must(fmt.Sprintf("date -u -s @%d", now.Unix()))
}

// answer is what the C client's example printed.
type answer struct {
	first  string // "deny 403"
	reason string
	all    string
}

func (a answer) String() string { return a.first + " " + a.reason }

// ask asks by the C client until the daemon has answered: the client's own patience is a second, in which a busy host
// need not get to it.
func (m *machine) ask(token string, words ...string) answer {
	m.t.Helper()
	// What ps shows is the shell alone, and the token is not in its arguments.
	command := fmt.Sprintf("printf 'Bearer %%s\\n' '%s' | example -a %sauthz.sock %s",
		token, sockets, strings.Join(words, " "))
	if token == "" {
		command = fmt.Sprintf("example %sauthz.sock %s", sockets, strings.Join(words, " "))
	}
	var a answer
	m.wait("an answer to "+strings.Join(words, " "), func() bool {
		printed, status := m.try(command)
		if status > 2 {
			m.t.Fatalf("the example ended with %d:\n%s", status, printed)
		}
		a.all, a.reason = printed, ""
		first, rest, _ := strings.Cut(printed, "\n")
		a.first = first
		for l := range strings.Lines(rest) {
			if reason, found := strings.CutPrefix(l, "reason: "); found {
				a.reason = strings.TrimSpace(reason)
			}
		}
		return status != 2
	})
	return a
}

// want asks about reading the node, and checks the answer.
func (m *machine) want(what, token, want string) {
	m.t.Helper()
	if got := m.ask(token, "GET", self).String(); got != want {
		m.t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

// wantUntold asks a device whose clock has not been set: it cannot tell, and if it has no keys yet it says that
// instead.
func (m *machine) wantUntold(what, token string) {
	m.t.Helper()
	if got := m.ask(token, "GET", self).String(); got != "deny 503 clock-untrusted" && got != "deny 503 keys-pending" {
		m.t.Errorf("%s: got %s, want deny 503 clock-untrusted or keys-pending", what, got)
	}
}

// await asks until the answer comes.
func (m *machine) await(what, token, want string) {
	m.t.Helper()
	var got answer
	for over := m.patience(); got.String() != want; time.Sleep(200 * time.Millisecond) {
		if over() {
			log, _ := m.try("tail -n 40 /run/messages 2>/dev/null || journalctl --no-pager -q -n 40 " +
				"-u nmos-authd -o cat; date -u")
			m.t.Fatalf("%s: after %v got %v, want %s; the device's log:\n%s", what, patience, got, want, log)
		}
		got = m.ask(token, "GET", self)
	}
}

// state is what the status says.
type state struct {
	Healthy  bool
	Degraded []string
	Clock    struct{ State string }
	Servers  []struct{ Kids []string }
	State    struct {
		Kept  bool
		Error string
	}
	Sandbox struct {
		Landlock int
		Why      string
	}
	Memory struct {
		Resident int64 `json:"resident_bytes"`
	}
}

// parseState reads what "nmos-authd status --json" has printed.
func parseState(printed string) (s state, err error) {
	return s, json.Unmarshal([]byte(printed), &s)
}

// status asks the daemon for its status until it answers.
func (m *machine) status() (s state) {
	m.t.Helper()
	m.wait("a status", func() bool {
		printed, status := m.try("nmos-authd status --json")
		if status > 1 {
			return false
		}
		var err error
		if s, err = parseState(printed); err != nil {
			m.t.Fatalf("%v:\n%s", err, printed)
		}
		return true
	})
	return s
}

// pid is the daemon's process, "" if none.
func (m *machine) pid() string {
	m.t.Helper()
	out, _ := m.try("for p in /proc/[0-9]*; do [ \"$(readlink $p/exe)\" = /usr/bin/nmos-authd ] && " +
		"echo ${p#/proc/}; done; true")
	return strings.TrimSpace(out)
}

// processStatus returns the values of /proc/PID/status by name.
func (m *machine) processStatus(pid string) map[string]string {
	m.t.Helper()
	values := map[string]string{}
	for l := range strings.Lines(m.must("cat /proc/" + pid + "/status")) {
		name, value, _ := strings.Cut(l, ":")
		values[name] = strings.Join(strings.Fields(value), " ")
	}
	return values
}

// memory is what the process has in memory, in MB.
func (m *machine) memory(pid string) string {
	m.t.Helper()
	s := m.processStatus(pid)
	return fmt.Sprintf("private %s, resident %s", megabytes(m.t, s["RssAnon"]), megabytes(m.t, s["VmRSS"]))
}

func megabytes(t *testing.T, kilobytes string) string {
	t.Helper()
	n, err := strconv.ParseFloat(strings.TrimSuffix(kilobytes, " kB"), 64)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%.1f MB", n*1024/1e6)
}

// disk makes an empty ext4 file system in a file, of that many megabytes.
func disk(t *testing.T, name string, size int, args ...string) string {
	t.Helper()
	path := filepath.Join(workDir, name)
	command(t, "mke2fs",
		append([]string{"-q", "-F", "-t", "ext4", "-m", "0"}, append(args, path, fmt.Sprintf("%dM", size))...)...)
	return path
}

// What a machine waits for because the host is busy is not its own time.
func TestMachineTime(t *testing.T) {
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		t.Skip("this kernel does not count how long a thread waits for a processor:", err)
	}
	if err := exec.Command("taskset", "-c", "0", "true").Run(); err != nil {
		t.Skipf("a processor cannot be chosen: %v", err)
	}
	var busy []*machine
	for range 2 { // on one processor
		m := &machine{command: exec.Command("taskset", "-c", "0", "sh", "-c", "while :; do :; done"), began: time.Now()}
		if err := m.command.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			m.command.Process.Kill()
			m.command.Wait()
		}()
		busy = append(busy, m)
	}
	for began := time.Now(); busy[0].waited+busy[1].waited < 100*time.Millisecond; time.Sleep(time.Millisecond) {
		if busy[0].ran(); time.Since(began) > time.Minute {
			t.Fatal("two processes on one processor have not waited for it")
		}
		if ran, all := busy[1].ran(), time.Since(busy[1].began); ran > all || ran < 0 {
			t.Fatalf("got %v of %v", ran, all)
		}
	}
}
