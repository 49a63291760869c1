package fire_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// fault is what happens to a daemon under load.
type fault struct {
	name   string
	rule   string
	mounts bool              // the daemon has a small file system of its own
	clock  bool              // its clock can be moved
	also   string            // a further answer that any token may get meanwhile
	may    map[string]string // further answers that some questions may get meanwhile
	ends   bool              // the daemon ends meanwhile, so that some questions go without an answer for a while
	killed bool              // and what it had in memory is gone
	strike func(*rig)        // begins, checks, and ends it
}

// lie is what a server says in place of the truth, and where.
type lie struct {
	path  string
	fault authserver.Fault
}

func lies() []lie {
	all := []lie{
		{"", authserver.CertOtherCA},
		{authserver.PathJWKS, authserver.KeysEmpty},
		{authserver.PathMetadata, authserver.MetadataOtherIssuer},
		{authserver.PathMetadata, authserver.MetadataJWKSHTTP},
		{authserver.PathJWKS, authserver.KeysOf1024},
		{authserver.PathJWKS, authserver.BodyDuplicates},
		{authserver.PathJWKS, authserver.BodyEndless},
	}
	if !soaking() { // each costs a fetch, which come ever more slowly after failures
		return all[:2]
	}
	return all
}

var faults = []fault{
	{name: "server killed", rule: "KEY-3", strike: func(r *rig) {
		r.server.Misbehave("", authserver.ResetConnect)
		r.lateKeyWaits()
	}},
	{name: "server hangs", rule: "KEY-3", strike: func(r *rig) {
		r.server.Misbehave("", authserver.HangConnect)
		r.lateKeyWaits()
	}},
	{name: "server drips", rule: "KEY-3", strike: func(r *rig) {
		r.server.Misbehave(authserver.PathJWKS, authserver.Drip)
		r.lateKeyWaits()
	}},
	{name: "server lies", rule: "KEY-8", strike: func(r *rig) {
		for _, lie := range lies() {
			r.server.Behave()
			r.server.Misbehave(lie.path, lie.fault)
			after := r.server.Connections()
			// Each causes a fetch once the last one's interval is over (KEY-6).
			eventually(r.t, "a fetch of "+string(lie.fault), func() bool {
				r.try(r.fresh("", &mint.Key{KID: fmt.Sprint("lie-", r.next), Private: otherKey.Private}))
				return r.server.Connections() > after
			})
		}
		r.lateKeyWaits()
	}},
	{name: "DNS gone", rule: "DIS-6", strike: func(r *rig) {
		for _, kind := range []string{"PTR", "SRV", "TXT", "A", "AAAA"} {
			for _, name := range []string{"_nmos-auth._tcp", "auth-1._nmos-auth._tcp", "auth-1"} {
				r.dns.Misbehave(name+".example.com.", kind, dnsserver.Silent)
			}
		}
		r.dns.Close()
		if err := r.Signal(syscall.SIGHUP); err != nil { // it looks again
			r.t.Fatal(err)
		}
		r.hold()
	}},
	{name: "clock an hour ahead", rule: "CLM-7", clock: true, may: map[string]string{
		"short": "401 token-expired",
	}, strike: func(r *rig) {
		r.step(time.Hour)
		r.want("an hour ahead", r.named("short"), "401 token-expired")
		r.want("an hour ahead", r.named("known"), "200 ok")
		r.hold()
		r.step(0)
		r.await("the token to be good again", r.named("short"), "200 ok")
	}},
	{name: "clock an hour back", rule: "OPS-1", clock: true, also: "503 clock-untrusted", strike: func(r *rig) {
		r.step(-time.Hour)
		r.await("the known token", r.named("known"), "200 ok")
		r.want("an hour back", r.named("expired"), "401 token-expired") // others have shown that it is later
		r.hold()
		r.step(0)
	}},
	{name: "clock in 1970", rule: "OPS-1", clock: true, also: "503 clock-untrusted", strike: func(r *rig) {
		r.step(-time.Duration(time.Now().UnixNano()))
		r.want("in 1970", r.named("known"), "503 clock-untrusted")
		r.want("in 1970", r.named("forged"), "401 signature")
		r.want("in 1970", r.named("public"), "200 public")
		r.hold()
		r.step(0)
		r.await("the known token", r.named("known"), "200 ok")
	}},
	{name: "flash full", rule: "OPS-2", mounts: true, strike: func(r *rig) {
		filler, err := os.Create(filepath.Join(r.flash(), "filler"))
		if err != nil {
			r.t.Fatal(err)
		}
		for err == nil {
			_, err = filler.Write(make([]byte, 4096))
		}
		filler.Close() // or it takes its room still when it is removed
		if !errors.Is(err, syscall.ENOSPC) {
			r.t.Fatalf("filling the disk: got %v, want ENOSPC", err)
		}
		r.newKeyComes(lateKey)
		eventually(r.t, "status, to say that the audit cannot be written", func() bool {
			return r.status().Audit.Sinks[0].Error != ""
		})
		r.hold()
		if err := os.Remove(filler.Name()); err != nil {
			r.t.Fatal(err)
		}
		r.kept()
	}},
	{name: "state read-only", rule: "OPS-2", mounts: true, strike: func(r *rig) {
		folder := r.dir.File("flash")
		r.inside("mount", "--bind", folder+"/state", folder+"/state")
		r.inside("mount", "-o", "remount,bind,ro", folder+"/state")
		r.newKeyComes(lateKey)
		r.stateFails()
		r.hold()
		r.inside("mount", "-o", "remount,bind,rw", folder+"/state")
		r.kept()
	}},
	{name: "state gone", rule: "OPS-2", strike: func(r *rig) {
		state := filepath.Join(r.flash(), "state")
		if err := os.Rename(state, state+".away"); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(state, nil, 0o600); err != nil {
			r.t.Fatal(err)
		}
		r.newKeyComes(lateKey)
		r.stateFails()
		r.hold()
		if err := errors.Join(os.Remove(state), os.Rename(state+".away", state)); err != nil {
			r.t.Fatal(err)
		}
		r.kept()
	}},
	{name: "2000 connections left", rule: "ANS-5", strike: func(r *rig) {
		r.crowd(2000)
		r.hold()
	}},
	{name: "half packets", rule: "ANS-4", strike: (*rig).halves},
	{name: "readers that never read", rule: "ANS-5", strike: (*rig).deaf},
	{name: "callers stopped (SIGSTOP)", rule: "ANS-5", strike: func(r *rig) {
		r.load[0].signal(syscall.SIGSTOP)
		r.load[2].signal(syscall.SIGSTOP)
		r.want("while others are stopped", r.named("known"), "200 ok")
		r.hold()
		r.load[0].signal(syscall.SIGCONT)
		r.load[2].signal(syscall.SIGCONT)
	}},
	{name: "SIGHUP, broken files", rule: "reload", strike: (*rig).brokenFiles},
	{name: "daemon killed", rule: "KEY-3", ends: true, killed: true, strike: func(r *rig) {
		r.restart(func() { r.Kill() })
	}},
	{name: "daemon restarted", rule: "KEY-3", ends: true, strike: func(r *rig) {
		r.restart(func() {
			if err := r.Stop(); err != nil {
				r.t.Error(err)
			}
		})
	}},
}

// times is how often the daemon is ended.
func times() int {
	if soaking() {
		return 5
	}
	return 1
}

// queued is how many records the audit's queue holds (agent/audit/AUDIT.md).
const queued = 170

// restart has the daemon end and start again, without a server.
func (r *rig) restart(end func()) {
	for range times() {
		eventually(r.t, "the keys to be kept", func() bool { return r.status().State.Kept })
		r.server.Misbehave("", authserver.ResetConnect)
		end()
		r.begin()
		r.want("the first question after the restart", r.fresh(""), "200 ok")
		r.server.Behave()
		r.hold()
	}
}

// hold lets the fault last.
func (r *rig) hold() {
	lasts := 500 * time.Millisecond
	if soaking() {
		lasts = 8 * time.Second
	}
	for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r.want("while the fault lasts", r.fresh(""), "200 ok|503 clock-untrusted")
		r.status()
	}
}

// lateKeyWaits has the server publish another key that cannot be fetched now. What is held stays valid.
func (r *rig) lateKeyWaits() {
	r.server.AddKey(lateKey)
	late := r.fresh("", lateKey)
	r.want("while the server fails", late, "503 keys-pending")
	r.hold()
	r.want("while the server fails", late, "503 keys-pending")
	r.server.Behave()
	r.await("the new key", late, "200 ok")
}

// newKeyComes has the server publish another key, which is used whether it can be kept or not.
func (r *rig) newKeyComes(key *mint.Key) {
	r.server.AddKey(key)
	r.await("the new key", r.fresh("", key), "200 ok")
}

// stateFails waits until status says that the state cannot be written.
func (r *rig) stateFails() {
	eventually(r.t, "status, to say that the state cannot be written",
		func() bool { return r.status().State.Error != "" })
}

// kept waits until what was to be kept is: another key, and the audit.
func (r *rig) kept() {
	r.newKeyComes(&mint.Key{KID: "key-4", Private: lateKey.Private})
	eventually(r.t, "the state to be kept, and the audit", func() bool {
		s := r.status()
		return s.State.Kept && s.State.Error == "" && s.Audit.Sinks[0].Error == "" && s.Audit.Sinks[0].Queued == 0
	})
}

// crowd opens so many connections, leaves them behind in several ways, and goes on with those that are left.
func (r *rig) crowd(n int) {
	var open []net.Conn
	for i := range n {
		network, socket := "unixpacket", r.dir.Authz()
		if i%2 == 1 {
			network, socket = "unix", r.dir.HTTP()
		}
		conn, err := dialOnly(network, socket)
		if err != nil {
			r.t.Fatal(err)
		}
		open = append(open, conn)
		if i%4 == 3 { // half a request
			conn.Write([]byte("GET /authorize HTTP/1.1\r\nHost: dae"))
		}
		if i%100 == 0 {
			r.want("among many connections", r.named("known"), "200 ok")
		}
	}
	r.hold()
	for _, conn := range open {
		conn.Close()
	}
}

// halves sends what breaks off, and more than fits.
func (r *rig) halves() {
	whole := r.named("known").bytes(false)
	for n := range 40 {
		conn, err := dialOnly("unixpacket", r.dir.Authz())
		if err != nil {
			r.t.Fatal(err)
		}
		broken := whole[:1+n*(len(whole)-2)/40]
		if n == 0 {
			broken = bytes.Repeat([]byte("x"), 40<<10)
		}
		buf := make([]byte, 4096)
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write(broken); err != nil {
			r.t.Fatal(err)
		}
		r.asks.Sent++
		m, err := conn.Read(buf)
		if err != nil || bytes.HasPrefix(buf[:m], []byte("allow")) {
			r.t.Errorf("%.60q: got %q, %v, want no allowance", broken, buf[:m], err)
		} else {
			r.asks.Answered++
		}
		conn.Close()

		if conn, err = dialOnly("unix", r.dir.HTTP()); err != nil {
			r.t.Fatal(err)
		}
		request := r.named("known").bytes(true)
		conn.Write(request[:len(request)*n/40])
		conn.Close()
	}
	r.hold()
}

// deaf asks over many connections and takes no answer, until nothing more can be sent.
func (r *rig) deaf() {
	question := r.named("known").bytes(false)
	for range 40 {
		conn, err := dialOnly("unixpacket", r.dir.Authz())
		if err != nil {
			r.t.Fatal(err)
		}
		defer conn.Close()
		for range 10_000 {
			conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := conn.Write(question); err != nil {
				break
			}
			r.asks.Sent++
		}
	}
	r.hold()
}

// brokenFiles has the daemon read what is broken, over and over.
func (r *rig) brokenFiles() {
	good, err := os.ReadFile(r.dir.ConfigFile())
	if err != nil {
		r.t.Fatal(err)
	}
	reread := func(text []byte, says string) {
		r.t.Helper()
		after := len(r.Log())
		if err := errors.Join(os.WriteFile(r.dir.ConfigFile(), text, 0o644), r.Signal(syscall.SIGHUP)); err != nil {
			r.t.Fatal(err)
		}
		if err := r.WaitLog(r.t.Context(), after, says); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, broken := range [][]byte{
		good[:len(good)/2], []byte("mode = \"off"), []byte("mode = \"nonsense\"\n"), bytes.Repeat([]byte("["), 1<<16),
		[]byte("\x00\xff\xfe"), bytes.ReplaceAll(good, []byte("retry"), []byte("sevrers")),
	} {
		reread(broken, "not reread")
		r.want("with a broken configuration", r.fresh(""), "200 ok")
	}
	reread(good, "configuration reread")
	const noCertificate = "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n"
	if err := os.WriteFile(r.dir.CAFile(), []byte(noCertificate), 0o644); err != nil {
		r.t.Fatal(err)
	}
	reread(good, "configuration reread")
	r.hold()
	if err := os.WriteFile(r.dir.CAFile(), r.server.CAPEM(), 0o644); err != nil {
		r.t.Fatal(err)
	}
	reread(good, "configuration reread")
	r.newKeyComes(lateKey)
}

// Every fault, while three callers ask: no question is answered wrongly, none goes without an answer except while the
// daemon is dead, and of each decision there is a record, or a record that says it is missing.
func TestFaults(t *testing.T) {
	spec.Rules(t, "OPS-2")
	table := make([]string, len(faults))
	t.Run("all", func(t *testing.T) {
		for i, f := range faults {
			t.Run(f.rule+"/"+strings.ReplaceAll(f.name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				table[i] = f.run(t)
			})
		}
	})
	t.Logf("FIGURES %-26s %9s %6s %6s %6s %8s %8s", "fault, under load",
		"questions", "wrong", "denied", "lost", "dropped", "longest")
	for _, line := range table {
		t.Log("FIGURES " + line)
	}
	t.Log("FIGURES * of what allowed a change; counts of repeated denials and reads, up to 10 s, are gone")
}

// run returns a line of the table: questions asked; answered wrongly; without an answer, which is a denial; records
// that are missing, and those that the audit itself says are missing; how long there was no answer.
func (f fault) run(t *testing.T) string {
	r := newRig(t, f)
	r.bear()
	eventually(t, "the load", func() bool { return r.status().Audit.Recorded > 100 })
	f.strike(r)
	all := r.relieve()
	r.asks = outcome{}
	r.want("in the end", r.named("known"), "200 ok")
	all.add(r.asks)
	wrong := 0
	for what, n := range all.Wrong {
		t.Errorf("wrong: %d times %s", n, what)
		wrong += n
	}
	if all.Denied > 0 && !f.ends {
		t.Errorf("got %d questions without an answer, want none", all.Denied)
	}
	recorded := r.status().Audit.Recorded // since the last start
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	kept, dropped, writes := r.tally()
	made, star := int(recorded), ""
	if f.ends {
		made = all.Answered
	}
	lost := max(0, made-int(kept+dropped))
	switch {
	case f.killed: // what is counted together is gone; what allowed a change was in the file, or on its way there
		lost, star = max(0, all.Writes-writes), " *"
		if most := queued * times(); lost > most {
			t.Errorf("got records of %d allowed changes, want those of %d, but for %d at most",
				writes, all.Writes, most)
		}
	case lost > 0:
		t.Errorf("got %d records and %d that are said to be missing, want all %d", kept, dropped, made)
	}
	if n := int(kept + dropped); n > all.Sent || !f.ends && n != made {
		t.Errorf("got %d records and %d that are said to be missing, want %d, of %d questions",
			kept, dropped, made, all.Sent)
	}
	if !f.ends && made < all.Answered {
		t.Errorf("got %d decisions, want the %d answered at least", made, all.Answered)
	}
	longest := "-"
	if all.Longest > 0 {
		longest = all.Longest.Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%-26s %9d %6d %6d %6s %8d %8s",
		f.name, all.Sent, wrong, all.Denied, fmt.Sprint(lost, star), dropped, longest)
}
