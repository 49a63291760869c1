// Package device_test boots a device: Debian's arm64 kernel on an emulated machine (qemu-system-aarch64, TCG), a system
// with systemd and one with BusyBox's init on a read-only root, and the packages as they are shipped.
//
// "make device" makes what is booted (scripts/device.sh), runs these tests, and prints a table of what was done and
// what was seen, which is also in build/device.txt. Elsewhere the tests are skipped and say so.
//
// The authorization server is the pretend one, in the test's own process. The machine reaches it at 10.0.2.100, through
// a forwarding of qemu's own network, and nothing else on any network: to the host this is traffic on loopback. The
// machine's shell is driven over a virtio port, so that neither needs the other's network to be well.
//
// What an emulated machine cannot show: speed (times are printed, never asserted), the processor's order of memory
// accesses, and a flash that reorders or tears writes by itself; tinytest/powercut has images of those.
package device_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
)

const (
	root       = "../.."
	parts      = root + "/build/device" // made by scripts/device.sh
	deviceName = "node-1.example.com"
	serverName = "auth.example.com"
	serverAt   = "10.0.2.100" // as the machine sees it
	self       = "/x-nmos/node/v1.3/self"
	sockets    = "/run/nmos-authd/"

	// patience is how long anything may take, by the time that the machine has run.
	patience = 10 * time.Minute
)

var workDir string // removed at the end

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "-relay" { // qemu runs this for each connection to the server
		relay(os.Args[2])
		return
	}
	status := daemon.Main(m, func(dir string) error {
		workDir = dir
		return nil
	})
	if results.rows != nil {
		if err := os.WriteFile(root+"/build/device.txt", []byte(results.String()), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

// relay joins standard input and output to a server on loopback.
func relay(address string) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	go func() {
		io.Copy(c, os.Stdin)
		c.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(os.Stdout, c)
}

// needsDevice skips a test that is not run by make device.
func needsDevice(t *testing.T) {
	t.Helper()
	if os.Getenv("NMOS_DEVICE") == "" {
		fmt.Printf("%s skipped: it boots a machine (make device)\n", t.Name())
		t.Skip("make device runs it")
	}
	if _, err := exec.LookPath("qemu-system-aarch64"); err != nil {
		t.Fatal(err)
	}
}

// command runs a program on this machine.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(c.Args, " "), err, out)
	}
	return string(out)
}

// absolute is where a file of the sources or of build/ is.
func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, path))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildGuest = sync.OnceValue(func() error {
	const client = root + "/platform/cclient/"
	for program, source := range map[string]string{"example": client + "example.c", "guest": "testdata/guest.c"} {
		out, err := exec.Command("aarch64-linux-gnu-gcc", "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-static",
			"-I"+client, "-o", filepath.Join(workDir, program), client+"nmos_authz.c", source).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", program, err, out)
		}
	}
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o",
		filepath.Join(workDir, "hello"), "./testdata/hello")
	c.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("hello: %w\n%s", err, out)
	}
	return nil
})

// guestProgram is one of the programs for the machine: example (the C client's), guest, hello.
func guestProgram(t *testing.T, name string) string {
	t.Helper()
	if err := buildGuest(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(workDir, name)
}

// startServer starts the pretend authorization server.
func startServer(t *testing.T) *authserver.Server {
	t.Helper()
	server, err := authserver.Start(authserver.Options{Host: serverName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

// configuration is the device's file. The keys are fetched as often as may be.
func configuration(server *authserver.Server) string {
	return fmt.Sprintf("[device]\nnames = [%q]\n[authorization]\nservers = [%q]\nrefresh = \"5s\"\nretry = \"1s\"\n",
		deviceName, server.Issuer())
}

// template is a token that may read the node and all meters, by the host's clock.
func template(server *authserver.Server) *mint.Token {
	return server.Token(mint.Options{Device: deviceName, Now: time.Now().Add(-time.Minute),
		Permissions: map[string]mint.Permission{
			"node": {Read: []string{"self"}}, "events": {Read: []string{"*"}}}})
}

// attacker has a key of his own.
var attacker = sync.OnceValue(func() *mint.Key { return mint.GenerateKey("attacker", 2048) })

// forged is a good token but for its signature.
func forged(server *authserver.Server) string {
	token := template(server)
	token.Key = attacker()
	return token.Sign()
}

// expired is a token that ended an hour ago.
func expired(server *authserver.Server) string {
	token := template(server)
	token.Claims.Set("iat", token.Now.Add(-2*time.Hour).Unix())
	token.Claims.Set("exp", token.Now.Add(-time.Hour).Unix())
	return token.Sign()
}

// results are what is printed at the end.
var results table

// table says what was done and what was seen, for a terminal of 80 columns.
type table struct {
	mu   sync.Mutex
	rows [][2]string
}

const (
	leftColumn  = 31
	rightColumn = 79 - leftColumn - 2
)

func (r *table) add(done, seen string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, [2]string{done, seen})
}

func (r *table) String() string {
	var b strings.Builder
	for _, row := range append([][2]string{{"done", "seen"}}, r.rows...) {
		left, right := fold(row[0], leftColumn), fold(row[1], rightColumn)
		for n := range max(len(left), len(right)) {
			b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s  %s", leftColumn, line(left, n), line(right, n)), " ") +
				"\n")
		}
	}
	return b.String()
}

func line(lines []string, n int) string {
	if n < len(lines) {
		return lines[n]
	}
	return ""
}

// fold breaks text at spaces into lines of that many bytes; a word that is longer is cut.
func fold(text string, width int) (lines []string) {
	last := ""
	for _, word := range strings.Fields(text) {
		if last != "" && len(last)+1+len(word) > width {
			lines, last = append(lines, last), ""
		}
		for ; len(word) > width; word = word[width:] {
			lines = append(lines, word[:width])
		}
		last = strings.TrimSpace(last + " " + word)
	}
	if last != "" || lines == nil {
		lines = append(lines, last)
	}
	return lines
}

// A serial console has 80 columns.
func TestTableFits(t *testing.T) {
	var r table
	r.add("short", "ok")
	r.add(strings.Repeat("many words ", 20), strings.Repeat("x", 300)+" end")
	r.add("", strings.Repeat("a bc def ", 40))
	text := r.String()
	for l := range strings.Lines(text) {
		if len(strings.TrimSuffix(l, "\n")) > 79 {
			t.Errorf("got a line of %d columns, want at most 79: %q", len(l)-1, l)
		}
	}
	squeezed := func(s string) string { return strings.Join(strings.Fields(s), "") }
	if got, want := strings.Count(squeezed(text), "x"), 300; got != want {
		t.Errorf("got %d of a word's %d letters", got, want)
	}
	if got, want := strings.Count(text, "many"), 20; got != want {
		t.Errorf("got %d words of %d", got, want)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func median(values []int) int {
	slices.Sort(values)
	return values[len(values)/2]
}
