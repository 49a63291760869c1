package fire_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/status"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/mint"
)

// rig is a daemon with all that it depends on, and the load that it bears.
type rig struct {
	*daemon.Daemon
	t      *testing.T
	server *authserver.Server
	dns    *dnsserver.Server
	dir    daemon.Dir
	config daemon.Config
	probes []probe
	next   int // fresh token
	asks   outcome
	load   []*actor
	holder *exec.Cmd // of the mount namespace; nil if none
	audits string    // the pattern of the audit's files, as this process sees them
	clock  *os.File  // that moves the daemon's clock; nil if none
}

// key-2 is published by a server that behaves again, key-3 never.
var (
	lateKey  = mint.CachedKey("key-2", 2048)
	otherKey = mint.CachedKey("key-3", 2048)
)

// day is how long tokens live that must outlive a step of the clock.
const day = 24 * time.Hour

// newRig starts a server, a name server that knows it, and a daemon that finds it there.
func newRig(t *testing.T, f fault) *rig {
	t.Helper()
	r := &rig{t: t, dir: newDir(t), server: newServer(t, authserver.Options{Host: "auth-1.example.com"})}
	var err error
	if r.dns, err = dnsserver.Start(dnsserver.Options{Zone: fmt.Sprintf(`
$ORIGIN example.com.
_nmos-auth._tcp        PTR auth-1._nmos-auth._tcp
auth-1._nmos-auth._tcp SRV 0 0 %s auth-1
auth-1._nmos-auth._tcp TXT "api_proto=https" "api_ver=v1.0" "pri=10"
auth-1                 A 127.0.0.1
`, r.server.Port())}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.dns.Close() })
	flash := r.dir.File("flash")
	if err := os.Mkdir(flash, 0o755); err != nil {
		t.Fatal(err)
	}
	seen := flash
	if f.mounts {
		seen = r.mount(flash)
	}
	if err := os.Mkdir(filepath.Join(seen, "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.audits = filepath.Join(seen, "audit.jsonl*")
	r.config = daemon.Config{
		CAPEM: r.server.CAPEM(), Admin: true, State: filepath.Join(flash, "state"),
		Discovery: fmt.Sprintf("mode = \"unicast\"\ndomains = [\"example.com\"]\ndns_servers = [%q]", r.dns.Addr()),
		More: fmt.Sprintf("retry = \"1s\"\n[audit]\nsinks = [\"file\"]\nfile = %q\nfile_bytes = 262144\nfiles = 100\n"+
			"repeat = \"1s\"\n", filepath.Join(flash, "audit.jsonl")),
	}
	if err := r.dir.Write(r.config); err != nil {
		t.Fatal(err)
	}
	if f.clock {
		r.clock = r.newClock()
	}
	r.begin()
	eventually(t, "the keys", func() bool { a, _ := r.try(r.fresh("")); return a == "200 ok" })
	r.makeProbes(f)
	return r
}

// begin starts the daemon.
func (r *rig) begin() {
	command := exec.Command(program)
	if r.clock != nil {
		command = exec.Command(steppedProgram(r.t))
		command.Env = append(os.Environ(), "NMOS_TEST_CLOCK="+r.clock.Name())
	}
	if r.holder != nil {
		command = exec.Command("nsenter", "-t", fmt.Sprint(r.holder.Process.Pid), "-m", program)
	}
	r.Daemon = start(r.t, r.dir, command)
}

// mount has the daemon see a small file system of its own on a folder, and returns where this process sees that.
func (r *rig) mount(folder string) string {
	r.t.Helper()
	if os.Getuid() != 0 {
		r.t.Skip("skipped: only root can mount a file system")
	}
	const script = `mount --make-rprivate / && mount -t tmpfs -o size=32m tmpfs "$0" && echo mounted && exec cat`
	r.holder = exec.Command("unshare", "-m", "sh", "-c", script, folder)
	in, err1 := r.holder.StdinPipe()
	out, err2 := r.holder.StdoutPipe()
	if err := errors.Join(err1, err2, r.holder.Start()); err != nil {
		r.t.Skip("skipped: no mount namespace here: ", err)
	}
	r.t.Cleanup(func() {
		in.Close()
		r.holder.Wait()
	})
	said := make([]byte, 8)
	if n, _ := io.ReadFull(out, said); string(said[:n]) != "mounted\n" {
		r.t.Skip("skipped: no mount namespace here")
	}
	return fmt.Sprintf("/proc/%d/root%s", r.holder.Process.Pid, folder)
}

// flash is the folder of state and audit as this process sees it.
func (r *rig) flash() string { return filepath.Dir(r.audits) }

// inside runs a command where the daemon's file system is mounted.
func (r *rig) inside(args ...string) {
	r.t.Helper()
	args = append([]string{"-t", fmt.Sprint(r.holder.Process.Pid), "-m"}, args...)
	if out, err := exec.Command("nsenter", args...).CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %v %s", args, err, out)
	}
}

// fresh is a question with a good token that nobody has seen before, signed by a key of the server's, or another.
func (r *rig) fresh(want string, key ...*mint.Key) probe {
	r.next++
	token := r.server.Token(mint.Options{Subject: fmt.Sprint("user-", r.next), Life: day})
	for _, k := range key {
		token.Key = k
		token.Header.Set("kid", k.KID)
	}
	return probe{Name: "a new token", Method: "GET", Target: asked, Token: token.Sign(), Want: want}
}

// makeProbes makes the mix of questions. While the fault lasts some may get other answers.
func (r *rig) makeProbes(f fault) {
	sign := func(o mint.Options, change func(*mint.Token)) string {
		if o.Life == 0 {
			o.Life = day
		}
		token := r.server.Token(o)
		if change != nil {
			change(token)
		}
		return token.Sign()
	}
	known := sign(mint.Options{}, nil)
	forged := sign(mint.Options{}, func(t *mint.Token) { t.Key = otherKey })
	r.probes = []probe{
		{"known", "GET", asked, known, "200 ok"},
		{"known, to write", "PATCH", asked, known, "200 ok"},
		{"public", "GET", "/x-nmos", "", "200 public"},
		{"no token", "GET", asked, "", "401 no-token"},
		{"forged", "GET", asked, forged, "401 signature"},
		{"other device", "GET", asked, sign(mint.Options{Device: "node-2.example.com"}, nil), "403 audience"},
		{"may only read", "PATCH", asked, sign(mint.Options{Permissions: map[string]mint.Permission{
			"connection": {Read: []string{"*"}}}}, nil), "403 path-not-granted"},
		{"expired", "GET", asked, sign(mint.Options{Now: time.Now().Add(-30 * time.Minute), Life: 10 * time.Minute},
			nil), "401 token-expired"},
		{"short", "GET", asked, sign(mint.Options{Life: 30 * time.Minute}, nil), "200 ok"},
		{"ambiguous", "GET", asked + "//x", known, "400 path-ambiguous"},
	}
	for range 80 { // with the others more than are remembered
		r.probes = append(r.probes, r.fresh("200 ok"))
	}
	for i := range 10 {
		key := &mint.Key{KID: fmt.Sprint("gone-", i), Private: otherKey.Private}
		r.probes = append(r.probes, r.fresh("503 keys-pending|401 key-unknown", key))
		r.probes[len(r.probes)-1].Name = "unknown key"
	}
	for i := range r.probes {
		q := &r.probes[i]
		if q.Token != "" && q.Name != "ambiguous" && f.also != "" {
			q.Want += "|" + f.also
		}
		if also := f.may[q.Name]; also != "" {
			q.Want += "|" + also
		}
	}
}

// bear starts the load: three callers, one of them over HTTP.
func (r *rig) bear() {
	for i := range 3 {
		p := part{Socket: r.dir.Authz(), Connections: 3, Probes: r.probes, Pause: 5 * time.Millisecond}
		if soaking() {
			p.Pause = time.Millisecond
		}
		if i == 2 {
			p.Socket, p.HTTP = r.dir.HTTP(), true
		}
		r.load = append(r.load, act(r.t, "", "load", p))
	}
}

// relieve ends the load and returns what came of it, and of the questions that the test asked itself.
func (r *rig) relieve() outcome {
	r.t.Helper()
	all := r.asks
	for _, a := range r.load {
		var o outcome
		a.end(&o)
		all.add(o)
	}
	return all
}

// try asks the decision socket on a connection of its own.
func (r *rig) try(q probe) (string, error) {
	c := client{p: part{Socket: r.dir.Authz()}, out: &r.asks}
	defer c.drop()
	return c.ask(q.bytes(false))
}

// want asks and compares.
func (r *rig) want(when string, q probe, want string) {
	r.t.Helper()
	q.Want = want
	if got, err := r.try(q); err != nil || !q.met(got) {
		r.t.Errorf("%s: %s: got %s, %v, want %s", when, q.Name, got, err, want)
	}
}

// named returns one of the probes.
func (r *rig) named(name string) probe {
	i := slices.IndexFunc(r.probes, func(q probe) bool { return q.Name == name })
	return r.probes[i]
}

// await asks until the answer is as wanted.
func (r *rig) await(what string, q probe, want string) {
	r.t.Helper()
	eventually(r.t, what, func() bool { got, _ := r.try(q); return got == want })
}

// status asks the administration socket, and checks that the audit's figures add up.
func (r *rig) status() *status.Status {
	r.t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.dir.Admin())
		},
	}}
	response, err := client.Get("http://daemon/status")
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := status.Parse(text)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, sink := range s.Audit.Sinks {
		if sum := sink.Kept + sink.Dropped + sink.Queued + s.Audit.Pending; sum != s.Audit.Recorded {
			r.t.Errorf("the audit: got %d kept + %d dropped + %d queued + %d pending = %d, want the %d recorded",
				sink.Kept, sink.Dropped, sink.Queued, s.Audit.Pending, sum, s.Audit.Recorded)
		}
	}
	return s
}

// tally reads the audit's files: decisions that are there, and those that are said to be missing; and of the former
// those that allowed a change, each of which has a line of its own.
func (r *rig) tally() (kept, dropped uint64, writes int) {
	r.t.Helper()
	files, err := filepath.Glob(r.audits)
	if err != nil || len(files) == 0 {
		r.t.Fatalf("no files %s, %v", r.audits, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var record struct {
				Event, Method, Decision string
				Count                   uint64
			}
			if json.Unmarshal(line, &record) != nil {
				continue // torn by an error, and written once more: "audit verify" says whether it may be
			}
			switch record.Event {
			case "":
				kept += max(record.Count, 1)
				if record.Method == "PATCH" && record.Decision == "allow" {
					writes++
				}
			case "dropped":
				dropped += record.Count
			}
		}
	}
	out, err := exec.Command(program, append([]string{"audit", "verify"}, files...)...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "intact\n") {
		r.t.Errorf("audit verify: got %v\n%s, want intact", err, out)
	}
	return kept, dropped, writes
}
