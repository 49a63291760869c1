package system_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	daemonstatus "nmosauthd/agent/status"
	"nmosauthd/agent/wire"
	"nmosauthd/platform"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/spec"
)

// states are those that the service manager was told, without the lines for people.
func states(told []string) []string {
	return slices.DeleteFunc(told, func(t string) bool { return strings.HasPrefix(t, "STATUS=") })
}

// status asks with the command, both ways.
func (b *box) status() (exit int, text string, s *daemonstatus.Status) {
	b.t.Helper()
	inText := command(b.t, "", "status", "--config", b.ConfigFile())
	inJSON := command(b.t, "", "status", "--config", b.ConfigFile(), "--json")
	s = &daemonstatus.Status{}
	if err := json.Unmarshal([]byte(inJSON.out), s); err != nil {
		b.t.Fatalf("%v: %s%s", err, inJSON.out, inJSON.errors)
	}
	if inText.status != inJSON.status || inText.errors != "" || inJSON.errors != "" {
		b.t.Errorf("%+v and %+v", inText, inJSON)
	}
	return inJSON.status, inText.out, s
}

// awaitStatus waits for a status that is right.
func (b *box) awaitStatus(what string, right func(*daemonstatus.Status) bool) {
	b.t.Helper()
	eventually(b.t, "the status has "+what, func() bool {
		_, text := b.admin("GET", "/status", "")
		s, err := daemonstatus.Parse([]byte(text))
		return err == nil && right(s)
	})
}

// counted are the reasons that were given.
func counted(s *daemonstatus.Status) (answered, would map[string]uint64) {
	answered, would = map[string]uint64{}, map[string]uint64{}
	for _, c := range s.Decisions {
		if c.Answered > 0 {
			answered[c.Reason] = c.Answered
		}
		if c.Would > 0 {
			would[c.Reason] = c.Would
		}
	}
	return answered, would
}

// samples reads metrics: each value by its name and labels.
func samples(t *testing.T, text string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if _, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64); err != nil || all[line[:at]] != "" {
			t.Fatalf("got the line %q, want a new name and a number", line)
		}
		all[line[:at]] = strings.TrimSpace(line[at+1:])
	}
	return all
}

// What the daemon says of itself is what it was asked, in each form, and enforce says nothing of observe.
func TestStatus(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin = true
	dir := newDir(t)
	file := dir.File("metrics/nmos.prom")
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	config.More += fmt.Sprintf("[metrics]\nfile = %q\n", file)
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	b.waitLog(0, "keys fetched")
	good := everything(server).Sign()
	for n, q := range []question{get("/x-nmos"), get(senders), get(senders).bearing("x.y.z"),
		get(senders).bearing(good)} {
		for range n + 1 {
			if b.askBoth(q).status == 0 { // twice: a packet and a request
				t.Fatalf("got no answer to %+v", q)
			}
		}
	}
	want := map[string]uint64{"public": 2, "no-token": 4, "token-malformed": 6, "ok": 8}
	b.awaitStatus("the records that are kept", func(s *daemonstatus.Status) bool {
		return s.Audit.Pending == 0 && s.Audit.Sinks[0].Queued == 0
	})
	var exit int
	var text string
	var s *daemonstatus.Status
	eventually(t, "the connections of those who asked before to be gone", func() bool {
		exit, text, s = b.status()
		return len(s.Sockets) == 3 && s.Sockets[0].Open == 1 && s.Sockets[2].Open == 1
	})
	if exit != 0 || !s.Healthy || len(s.Degraded) > 0 ||
		!strings.HasPrefix(text, "healthy: enforce, 1 server, 1 key\n") {
		t.Errorf("exit status %d, %q\n%s", exit, s.Degraded, text)
	}
	answered, would := counted(s)
	if !maps.Equal(answered, want) || len(would) > 0 {
		t.Errorf("%v, would be %v", answered, would)
	}
	v := &s.Servers[0]
	if len(s.Servers) != 1 || v.Issuer != strings.TrimSuffix(server.Issuer(), "/") ||
		v.Origin != daemonstatus.Configured || !v.Used || v.Failing || !slices.Equal(v.KIDs, []string{"key-1"}) ||
		v.Fetched < s.Since || v.Fetched > s.Time || v.Next <= s.Time {
		t.Errorf("got %+v, want one server, used, with key-1", s.Servers)
	}
	sink := s.Audit.Sinks[0]
	if s.Audit.Recorded != 20 || sink.Name != "log" || sink.Kept != 20 || sink.Dropped != 0 || len(sink.Head) != 32 {
		t.Errorf("got %+v, want 20 recorded and kept", s.Audit)
	}
	if s.Tokens.Held != 1 || s.Tokens.Remembered+s.Tokens.Judged != 14 ||
		s.Tokens.Remembered < 7 || s.Tokens.Judged < 2 {
		t.Errorf("got %+v, want one token for 14 questions", s.Tokens)
	}
	if age := time.Since(time.Unix(int64(s.Time), 0)); age < 0 || age > patience || s.Mode != "enforce" ||
		s.Model == "" || !slices.Equal(s.Names, []string{"node-1.example.com"}) || s.State.Dir != "" ||
		s.State.Kept || s.Inventory.Source != "" {
		t.Errorf("got %+v, want what is configured, as of now", s)
	}
	if resident := s.Memory.Resident; resident < 1<<20 || resident > 200<<20 || s.Memory.Heap == 0 ||
		s.Memory.Heap > resident {
		t.Errorf("got %+v, want 1 to 200 MB resident, and a heap within", s.Memory)
	}
	if len(s.Sockets) != 3 || s.Sockets[0].Path != b.Authz() || s.Sockets[0].Open != 1 ||
		s.Sockets[2].Name != "admin" || s.Sockets[2].Open != 1 {
		t.Errorf("got %+v, want three sockets, two with a connection", s.Sockets)
	}
	for _, line := range []string{"mode        enforce", "no-token", "decisions   20, denied 10", "chain " + sink.Head,
		`1 key "key-1", fetched`} {
		if !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}

	logged := struct {
		Landlock  int
		Denied    []string
		NotDenied []string `json:"not_denied"`
	}{}
	if _, line, in := strings.Cut(b.Log(), `"message":"sandbox: in force",`); in {
		line, _, _ = strings.Cut(line, "\n")
		if err := json.Unmarshal([]byte("{"+line), &logged); err != nil {
			t.Fatal(err)
		}
	}
	if x := s.Sandbox; x.Landlock != logged.Landlock || !slices.Equal(x.Denied, logged.Denied) ||
		!slices.Equal(x.NotDenied, logged.NotDenied) ||
		(x.Landlock > 0) != (len(x.Denied) > 0) || (x.Landlock > 0) == (x.Why != "") {
		t.Errorf("%+v, and the log has %+v", x, logged)
	}

	code, metrics := b.admin("GET", "/metrics", "")
	all := samples(t, metrics)
	for r := wire.Reason(0); int(r) < wire.Reasons; r++ {
		name := fmt.Sprintf(`nmos_authd_decisions_total{reason="%s",status="%d"}`, r, r.Info().Status)
		if all[name] != fmt.Sprint(want[r.String()]) {
			t.Errorf("%s is %q, not %d", name, all[name], want[r.String()])
		}
	}
	if code != 200 || all["nmos_authd_healthy"] != "1" || all[`nmos_authd_audit_kept_total{sink="log"}`] != "20" ||
		all[`nmos_authd_server_keys{issuer="`+v.Issuer+`"}`] != "1" {
		t.Errorf("%d\n%s", code, metrics)
	}
	for name, form := range map[string]string{"text": text, "metrics": metrics, "JSON": fmt.Sprintf("%+v", s)} {
		if strings.Contains(form, good) || strings.Contains(form, "x.y.z") {
			t.Errorf("a token is in the %s", name)
		}
	}
	eventually(t, "the metrics are written", func() bool { _, err := os.Stat(file); return err == nil })
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	eventually(t, "the service manager is told", func() bool {
		return slices.Contains(b.Told(), "STATUS=healthy: enforce, 1 server, 1 key")
	})

	// The last ones are written as the daemon ends.
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	written, err := os.ReadFile(file)
	if err != nil || samples(t, string(written))[`nmos_authd_decisions_total{reason="ok",status="200"}`] != "8" {
		t.Errorf("%v\n%s", err, written)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	r := command(t, "", "status", "--config", b.ConfigFile())
	r.check(t, 2, "", "the daemon is not running: nobody answers on "+b.Admin())
}

// Observe mode is no health, and what enforce would have answered is told apart.
func TestStatusObserve(t *testing.T) {
	spec.Rules(t, "OPS-3")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin, config.Mode = true, "observe"
	config.More += "[sandbox]\nlandlock = false\n"
	b := start(t, config)
	b.waitLog(0, "keys fetched")
	b.want(get(senders), 200, "observe")
	b.want(get("/x-nmos"), 200, "public")
	exit, text, s := b.status()
	if exit != 1 || !strings.HasPrefix(text, "degraded: the mode is observe, so nothing is denied\n") ||
		len(s.Degraded) != 1 {
		t.Errorf("%d, %q\n%s", exit, s.Degraded, text)
	}
	if x := s.Sandbox; x.Landlock != 0 || len(x.Denied) > 0 || x.Why != "off, by [sandbox] landlock" {
		t.Errorf("got %+v, want it off, by the configuration", x)
	}
	answered, would := counted(s)
	if answered["observe"] != would["no-token"] || answered["observe"] == 0 || len(would) != 1 || len(answered) != 2 {
		t.Errorf("%v, would be %v", answered, would)
	}
}

// What goes wrong shows on the first line, at the service manager, and is over when it is.
func TestStatusDegraded(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	server.Misbehave(authserver.PathJWKS, authserver.ServerError)
	config := trusting(t, server)
	config.Admin = true
	config.More += "retry = \"1s\"\n"
	dir := newDir(t)
	inventory := dir.File("inventory.json")
	config.More += fmt.Sprintf("[inventory]\nfile = %q\n", inventory)
	if err := os.WriteFile(inventory, []byte(`{"resources":[]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	b.awaitStatus("a failure", func(s *daemonstatus.Status) bool { return len(s.Servers) == 1 && s.Servers[0].Failing })
	exit, text, s := b.status()
	first, _, _ := strings.Cut(text, "\n")
	if exit != 1 || !strings.HasPrefix(first, "degraded: no keys are held") ||
		!strings.Contains(first, server.Issuer()) || !strings.Contains(first, "500") {
		t.Errorf("%d, %q\n%s", exit, s.Degraded, text)
	}
	if v := s.Servers[0]; v.Failed < s.Since || v.Failed > s.Time || v.Fetched != 0 ||
		!strings.Contains(v.Error, "500") {
		t.Errorf("got %+v, want a failure with status 500", v)
	}
	eventually(t, "the service manager is told", func() bool {
		return slices.ContainsFunc(b.Told(), func(told string) bool {
			return strings.HasPrefix(told, "STATUS=degraded: no keys are held")
		})
	})

	server.Behave()
	b.awaitStatus("health", func(s *daemonstatus.Status) bool { return s.Healthy })
	eventually(t, "the service manager is told", func() bool {
		return slices.Contains(b.Told(), "STATUS=healthy: enforce, 1 server, 1 key")
	})

	replaceFile(t, inventory, `{"resources":[{"kind":"\u001b[31m","name":"x"}]}`)
	b.awaitStatus("a refused inventory", func(s *daemonstatus.Status) bool { return s.Inventory.Error != "" })
	exit, text, _ = b.status()
	if exit != 1 || !strings.HasPrefix(text, "degraded: the inventory is refused") || strings.Contains(text, "\x1b") {
		t.Errorf("%d\n%s", exit, text)
	}
	b.waitLog(0, `"degraded"`)
	replaceFile(t, inventory, `{"resources":[{"kind":"meter","name":"x","id":"f0a1b2c3-0000-4000-8000-000000000001"}]}`)
	b.awaitStatus("health", func(s *daemonstatus.Status) bool {
		v := s.Inventory
		return s.Healthy && v.Resources == 1 && v.Source == "file" && v.Since >= s.Since &&
			v.Since <= s.Time && v.Error == ""
	})
	b.waitLog(0, `"healthy again"`)

	if err := b.WriteText("mode = \"off\"\nnonsense"); err != nil {
		t.Fatal(err)
	}
	b.hangUp("configuration not reread")
	_, text = b.admin("GET", "/status", "")
	if s, err := daemonstatus.Parse([]byte(text)); err != nil || s.Healthy || s.Mode != "enforce" ||
		len(s.Degraded) != 1 || !strings.HasPrefix(s.Degraded[0], "the configuration is refused") ||
		!slices.ContainsFunc(s.Errors, func(e daemonstatus.Error) bool {
			return e.Level == "error" && strings.Contains(e.Text, "not reread")
		}) {
		t.Errorf("%v: %s", err, text)
	}
	// The command asks for all that.
	mistaken := config
	mistaken.More += "nonsense = true\n"
	if err := dir.Write(mistaken); err != nil {
		t.Fatal(err)
	}
	r := command(t, "", "status", "--config", b.ConfigFile())
	if r.status != 1 || !strings.HasPrefix(r.out, "degraded: the configuration is refused") ||
		!strings.Contains(r.errors, "nonsense") {
		t.Errorf("got %+v, want degraded by the configuration", r)
	}
	b.reload(config)
	b.awaitStatus("health", func(s *daemonstatus.Status) bool { return s.Healthy })
}

// What becomes of the records is told sink by sink, and the figures add up.
func TestStatusOfTheAudit(t *testing.T) {
	spec.Rules(t, "OPS-2")
	t.Parallel()
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close() // who connects waits for an answer
	config := trusting(t)
	config.Admin = true
	config.More = fmt.Sprintf("[audit]\nsinks = [\"log\", \"syslog\"]\nsyslog = \"tls://%s\"\nqueue_bytes = 4096\n"+
		"repeat = \"0s\"\ndeny_rate = 0\nallow_rate = 0\n", deaf.Addr())
	b := start(t, config)
	const asked = 200
	for range asked {
		b.ask(get(senders))
	}
	b.awaitStatus("all records", func(s *daemonstatus.Status) bool {
		return s.Audit.Pending == 0 && s.Audit.Sinks[0].Queued == 0
	})
	_, text, s := b.status()
	log, syslog := s.Audit.Sinks[0], s.Audit.Sinks[1]
	if s.Audit.Recorded != asked || log.Kept+log.Dropped != asked || log.Kept < 10 || log.QueuedBytes != 0 ||
		len(log.Head) != 32 || log.Error != "" || log.Since != 0 {
		t.Errorf("recorded %d, %+v", s.Audit.Recorded, log)
	}
	if syslog.Kept != 0 || syslog.Queued+syslog.Dropped != asked || syslog.Queued < 5 || syslog.Queued > 50 ||
		syslog.QueuedBytes < 1000 || syslog.QueuedBytes > 4096 || syslog.Head != "" {
		t.Errorf("got %+v, want 5 to 50 queued, and the rest dropped", syslog)
	}
	if at := s.Audit.DroppedAt; at < s.Since || at > s.Time ||
		!slices.Contains(s.Degraded, "audit: decisions of the last 10 minutes were not recorded") ||
		!strings.Contains(text, fmt.Sprintf("syslog, kept 0, dropped %d, queued %d", syslog.Dropped, syslog.Queued)) {
		t.Errorf("dropped at %v, %q\n%s", at, s.Degraded, text)
	}
	_, metrics := b.admin("GET", "/metrics", "")
	all := samples(t, metrics)
	for name, want := range map[string]uint64{
		`audit_decisions_total`: asked, `audit_kept_total{sink="log"}`: log.Kept, `audit_kept_total{sink="syslog"}`: 0,
		`audit_dropped_total{sink="syslog"}`: syslog.Dropped, `audit_queued_decisions{sink="syslog"}`: syslog.Queued,
	} {
		if all["nmos_authd_"+name] != fmt.Sprint(want) {
			t.Errorf("%s is %q, not %d", name, all["nmos_authd_"+name], want)
		}
	}
	deaf.Close()
	b.awaitStatus("the sink's error", func(s *daemonstatus.Status) bool {
		v := s.Audit.Sinks[1]
		return v.Error != "" && v.Since >= s.Since && v.Since <= s.Time &&
			slices.ContainsFunc(s.Degraded, func(why string) bool {
				return strings.HasPrefix(why, "audit: the sink syslog does not take records: ")
			})
	})
}

// A clock that was never set is no health, and the place of the metrics may come later.
func TestStatusClock(t *testing.T) {
	spec.Rules(t, "OPS-1")
	t.Parallel()
	later, err := daemon.Build(t.TempDir(), "-ldflags=-X nmosauthd/platform.buildTime=2099-01-01T00:00:00Z")
	if err != nil {
		t.Fatal(err)
	}
	config := trusting(t)
	config.Admin = true
	dir := newDir(t)
	folder := dir.File("metrics")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "m.prom"), []byte("of before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config.More += fmt.Sprintf("[metrics]\nfile = %q\n", filepath.Join(folder, "m.prom"))
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir)}
	b.Daemon = startCommand(t, exec.Command(later), dir)
	_, text := b.admin("GET", "/status", "")
	s, err := daemonstatus.Parse([]byte(text))
	if err != nil || s.Clock.Trusted || s.Clock.State != platform.ClockUnset.String() || len(s.Degraded) != 2 ||
		!strings.HasPrefix(s.Degraded[0], "the clock is unset, so tokens are answered 503: ") ||
		!strings.HasPrefix(s.Degraded[1], "no authorization server is known") {
		t.Errorf("%v: %s", err, text)
	}
	eventually(t, "metrics are written", func() bool {
		text, err := os.ReadFile(filepath.Join(folder, "m.prom"))
		return err == nil &&
			samples(t, strings.TrimPrefix(string(text), "of before\n"))["nmos_authd_clock_trusted"] == "0"
	})
}

// Who may not ask learns who may.
func TestStatusRights(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can be another user")
	}
	dir := newDir(t)
	config := trusting(t)
	config.Admin = true
	config.Sockets = "admin_group = \"0\"\n"
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir.Path(), 0o755); err != nil {
		t.Fatal(err)
	}
	startIn(t, dir)
	ask := func(complaint string) {
		t.Helper()
		c := exec.Command(program, "status", "--config", dir.ConfigFile())
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		finish(t, c, "").check(t, 2, "",
			dir.Admin()+": permission denied: only root, the daemon's user and "+complaint+" may ask")
	}
	ask("the group \"0\"")
	config.Sockets = ""
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	ask(`the group "root"`)
	if err := os.Chmod(filepath.Dir(dir.Admin()), 0o700); err != nil {
		t.Fatal(err)
	}
	ask("its group")
}

// Connections that ask nothing give way to whoever asks how the daemon is. Whoever finds all taken by those that watch
// learns that.
func TestStatusOfACrowdedSocket(t *testing.T) {
	t.Parallel()
	config := trusting(t)
	config.Admin = true
	config.More = "[limits]\nconnections = 1\n"
	b := start(t, config)
	dial := func() net.Conn {
		conn, err := net.Dial("unix", b.Admin())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	dial()
	if r := command(t, "", "status", "--config", b.ConfigFile()); !strings.Contains(r.out, "connections") {
		t.Errorf("beside a connection that asks nothing: %+v", r)
	}
	watching := dial()
	fmt.Fprint(watching, "GET /watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if _, err := watching.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for _, ask := range []string{"status", "watch"} {
		command(t, "", ask, "--config", b.ConfigFile()).check(t, 2, "",
			"the daemon hung up on "+b.Admin()+": others hold all its connections")
	}
}
