package system_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	daemonstatus "nmosauthd/agent/status"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// awaitReason asks until a reason is given.
func (b *box) awaitReason(q question, want string) {
	b.t.Helper()
	eventually(b.t, want, func() bool { return b.ask(q).reason == want })
}

// snapshot returns the daemon's status.
func (b *box) snapshot() *daemonstatus.Status {
	b.t.Helper()
	code, text := b.admin("GET", "/status", "")
	s, err := daemonstatus.Parse([]byte(text))
	if code != 200 || err != nil {
		b.t.Fatalf("got %d %s, %v", code, text, err)
	}
	return s
}

// Somebody has everything observed for some time: it is allowed, said everywhere, survives a restart and a crash for
// what is left of its time, ends by itself, and when told (OPS-3, OPS-2).
func TestTimedObserve(t *testing.T) {
	spec.Rules(t, "OPS-3", "OPS-2")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	dir := newDir(t)
	config.Admin, config.State = true, filepath.Join(dir.Path(), "state")
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	b.waitLog(0, "keys fetched")
	write := question{method: "PATCH", target: receiver}
	b.awaitReason(write, "no-token")
	for path, want := range map[string]int{
		"/observe/mode": 400, "/observe/mode?for=x": 400, "/observe/mode?for=25h": 400, "/observe/mode?for=999ms": 400,
		"/observe/mode?for=-1h": 400,
	} {
		if code, text := b.admin("POST", path, ""); code != want {
			t.Errorf("POST %s: got %d %s, want %d", path, code, text, want)
		}
	}
	if code, _ := b.admin("DELETE", "/observe/mode", ""); code != 404 {
		t.Errorf("nothing to stop: got %d, want 404", code)
	}
	b.awaitReason(write, "no-token")

	code, text := b.admin("POST", "/observe/mode?for=1h", "")
	var begun daemonstatus.Begun
	if err := json.Unmarshal([]byte(text), &begun); code != 200 || err != nil || begun.Left < 3500 ||
		begun.Left > 3600 || begun.Unkept != "" {
		t.Fatalf("got %d %s, %v", code, text, err)
	}
	b.awaitReason(write, "observe")
	shown := func(most int64) {
		t.Helper()
		s := b.snapshot()
		if o := s.Observe; s.Mode != "observe" || s.Healthy || o == nil || o.Left <= 0 || o.Left > most ||
			o.UID != int64(os.Getuid()) ||
			!strings.HasPrefix(s.Line(), "degraded: the mode is observe, so nothing is denied: until 2") {
			t.Fatalf("got %q, %+v; want an observe mode that ends in at most %d s, of user %d",
				s.Line(), o, most, os.Getuid())
		}
		if _, metrics := b.admin("GET", "/metrics", ""); !strings.Contains(metrics,
			"\nnmos_authd_observe_ends_timestamp_seconds{uid=") || !strings.Contains(metrics, `mode="observe"`) {
			t.Errorf("metrics: got %s", metrics)
		}
	}
	shown(3600)
	b.waitLog(0, `"question":"observe","method":"start","name":"1h0m0s"`)
	b.waitLog(0, "observe mode: nothing is denied for some time")

	// A restart, and a crash.
	for _, end := range []func(){func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	}, func() { b.Kill() }} {
		end()
		b.Daemon = startIn(t, dir)
		b.caller = newCaller(t, dir)
		b.awaitReason(write, "observe")
		shown(3600)
	}

	// By another configuration it is as that says, and the timer goes on.
	config.Mode = "off"
	b.reload(config)
	b.awaitReason(write, "off")
	if code, _ := b.admin("POST", "/observe/mode?for=1h", ""); code != 409 {
		t.Errorf("mode off: got %d, want 409", code)
	}
	// Then nothing says that it ends.
	for _, mode := range []string{"off", "observe"} {
		config.Mode = mode
		b.reload(config)
		eventually(t, "mode "+mode+" without an end", func() bool {
			s := b.snapshot()
			return s.Mode == mode && s.Observe == nil && !strings.Contains(s.Line(), "until")
		})
	}
	config.Mode = "enforce"
	b.reload(config)
	eventually(t, "the timer, again", func() bool { return b.snapshot().Observe != nil })
	b.awaitReason(write, "observe")

	if code, text := b.admin("DELETE", "/observe/mode", ""); code != 204 {
		t.Fatalf("got %d %s", code, text)
	}
	b.awaitReason(write, "no-token")
	b.waitLog(0, `"question":"observe","method":"end","name":"as asked on the admin socket"`)
	if s := b.snapshot(); s.Observe != nil || s.Mode != "enforce" {
		t.Errorf("got %q, %+v, want enforce", s.Mode, s.Observe)
	}
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	b.Daemon, b.caller = startIn(t, dir), newCaller(t, dir)
	b.waitLog(0, "keys from before the restart are held")
	b.awaitReason(write, "no-token")

	// By itself.
	if code, text := b.admin("POST", "/observe/mode?for=1s", ""); code != 200 {
		t.Fatalf("got %d %s", code, text)
	}
	b.awaitReason(write, "no-token")
	b.waitLog(0, "its time is over")
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
}

// A root that cannot be written to, or no folder for state, keeps nobody from it: it then ends with the daemon (OPS-3).
func TestTimedObserveWithoutState(t *testing.T) {
	spec.Rules(t, "OPS-3")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin = true
	b := start(t, config)
	out, err := exec.Command(program, "observe", "start", "--config", b.ConfigFile(), "--for", "30m").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "A restart ends it, too") {
		t.Errorf("got %s, %v", out, err)
	}
	write := question{method: "PATCH", target: receiver}
	b.awaitReason(write, "observe")
	if out, err = exec.Command(program, "observe", "stop", "--config", b.ConfigFile()).CombinedOutput(); err != nil {
		t.Errorf("got %s, %v", out, err)
	}
	if a := b.askBoth(write); a.reason == "observe" {
		t.Errorf("got %v, want a denial", a)
	}
}

// What the folder of the state holds that is mounted after the start does not come back once somebody has said stop,
// though nothing is going on by then (OPS-3).
func TestStopEndsWhatIsMountedLate(t *testing.T) {
	spec.Rules(t, "OPS-3")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	dir := newDir(t)
	disk, away := filepath.Join(dir.Path(), "disk"), filepath.Join(dir.Path(), "away")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	config.Admin, config.State, config.More = true, filepath.Join(disk, "state"), "[sandbox]\nlandlock = false\n"
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	b.waitLog(0, "keys fetched")
	if code, text := b.admin("POST", "/observe/mode?for=1h", ""); code != 200 {
		t.Fatalf("got %d %s", code, text)
	}
	again := func() {
		t.Helper()
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
		if err := os.Rename(disk, away); err != nil {
			t.Fatal(err)
		}
		b.Daemon, b.caller = startIn(t, dir), newCaller(t, dir)
		b.waitLog(0, "keys fetched")
		if err := os.Rename(away, disk); err != nil {
			t.Fatal(err)
		}
	}
	again()
	write := question{method: "PATCH", target: receiver}
	b.awaitReason(write, "no-token")
	if code, text := b.admin("DELETE", "/observe/mode", ""); code != 404 {
		t.Errorf("stop: got %d %s, want 404", code, text)
	}
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	b.Daemon, b.caller = startIn(t, dir), newCaller(t, dir)
	b.waitLog(0, "keys from before the restart are held")
	b.awaitReason(write, "no-token")
}

// After a key has left the server's set, a refresh says so, and how many tokens are refused by it; however often it is
// asked for, the server is not asked for each (KEY-6, KEY-7).
func TestRefresh(t *testing.T) {
	spec.Rules(t, "KEY-6", "KEY-7")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin = true
	b := start(t, config)
	b.waitLog(0, "keys fetched")
	stolen := everything(server).Sign()
	b.await(get(senders).bearing(stolen), 200, "ok")
	other := everything(server)
	other.Claims.Set("client_id", "another")
	b.await(get(senders).bearing(other.Sign()), 200, "ok")
	server.AddKey(mint.CachedKey("key-2", 2048))
	server.RemoveKey("key-1")
	before := server.Requests(authserver.PathJWKS)
	var all sync.WaitGroup
	answers := make([]string, 4)
	for i := range answers {
		all.Go(func() {
			out, err := exec.Command(program, "refresh", "--json", "--config", b.ConfigFile()).CombinedOutput()
			if answers[i] = string(out); err != nil {
				t.Errorf("got %s, %v", out, err)
			}
		})
	}
	all.Wait()
	refused := 0
	for _, text := range answers {
		var r daemonstatus.Refresh
		if err := json.Unmarshal([]byte(text), &r); err != nil || len(r.Issuers) != 1 {
			t.Fatalf("got %s, %v", text, err)
		}
		if v := r.Issuers[0]; len(v.Removed) == 1 {
			if v.Removed[0] != "key-1" || len(v.Added) != 1 || v.Added[0] != "key-2" ||
				r.Refused != 2 || v.Refused != 2 {
				t.Errorf("got %s, want key-2 for key-1, and 2 tokens refused", text)
			}
			refused++
		}
	}
	if n := server.Requests(authserver.PathJWKS) - before; n > 2 || refused == 0 {
		t.Errorf("got %d fetches for %d refreshes, of which %d say what changed; want 1 or 2, and 1 at least",
			n, len(answers), refused)
	}
	b.await(get(senders).bearing(stolen), 401, "key-unknown")
	b.waitLog(0, `"question":"refresh","method":"refresh"`)
	if code, text := b.admin("POST", "/refresh?issuer=https://elsewhere.example.com", ""); code != 404 {
		t.Errorf("another issuer: got %d %s, want 404", code, text)
	}
}

// may goes through all replies, and knows the device's own names (ANS-8).
func TestMayCommand(t *testing.T) {
	spec.Rules(t, "ANS-8")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin = true
	b := start(t, config)
	b.waitLog(0, "keys fetched")
	var document strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&document,
			`,{"kind": "sender", "name": %d, "read": "/x-nmos/connection/v1.1/x", "write": "/ui"}`, i)
	}
	if code, text := b.admin("PUT", "/inventory", `{"resources": [`+document.String()[1:]+`]}`); code != 204 {
		t.Fatalf("got %d %s", code, text)
	}
	tok := everything(server).Sign()
	b.await(get(senders).bearing(tok), 200, "ok")
	command := exec.Command(program, "may", "--config", b.ConfigFile(), "--token", "-")
	command.Stdin = strings.NewReader(tok)
	out, err := command.CombinedOutput()
	if err != nil || strings.Count(string(out), "\n read       \"") != 3000 ||
		!strings.Contains(string(out), "\nresources   \"sender\"\n") {
		t.Errorf("got %.2000s, %v; want 3000 senders", out, err)
	}
	command = exec.Command(program, "may", "--config", b.ConfigFile(), "--token", "-")
	command.Stdin = strings.NewReader("nonsense")
	if out, err := command.CombinedOutput(); command.ProcessState.ExitCode() != 1 ||
		!strings.Contains(string(out), "token-malformed") {
		t.Errorf("got %s, %v; want a denial", out, err)
	}
}
