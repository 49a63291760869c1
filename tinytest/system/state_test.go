package system_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nmosauthd/platform"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// startKeeping is start for a daemon that keeps its state in the folder "state" beside its configuration.
func startKeeping(t *testing.T, c daemon.Config) *box {
	t.Helper()
	dir := newDir(t)
	c.State = dir.File("state")
	if err := dir.Write(c); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: c, caller: newCaller(t, dir)}
	b.Daemon = startIn(t, dir)
	return b
}

// stateFile is the path of a file of the state.
func (b *box) stateFile(name string) string { return filepath.Join(b.config.State, name) }

// waitKept waits until the file of keys holds a text, such as an issuer or a kid.
func (b *box) waitKept(text string) {
	b.t.Helper()
	eventually(b.t, "the state, to hold "+text, func() bool {
		data, err := (&platform.StateDir{Path: b.config.State}).ReadFile("keys", 1<<20)
		_, begun := os.Stat(b.stateFile("keys")) // the slot that is written last at first
		return err == nil && begun == nil && bytes.Contains(data, []byte(text))
	})
}

// again cuts the power and starts a new daemon, with another configuration where change makes one.
func (b *box) again(change func(*daemon.Config)) {
	b.t.Helper()
	b.Kill()
	if change != nil {
		change(&b.config)
		if err := b.Write(b.config); err != nil {
			b.t.Fatal(err)
		}
	}
	b.Daemon = startIn(b.t, b.Dir)
	b.caller = newCaller(b.t, b.Dir)
}

// With its network dead from the start and a state from before, the first decision is right and immediate, on both
// sockets.
func TestRestartWithoutNetwork(t *testing.T) {
	spec.Rules(t, "KEY-3")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "retry = \"1s\""
	b := startKeeping(t, config)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	b.waitKept(server.Issuer())
	b.Kill()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}

	for range 2 { // the second time by a state that was read and not written
		b.again(nil)
		begin := time.Now()
		b.want(get(senders).bearing(another(server).Sign()), 200, "ok")
		t.Logf("the first decision took %v", time.Since(begin))
		if a := b.askBoth(get(senders).bearing(another(server).Sign())); a.status != 200 ||
			a.client != mint.DefaultClient {
			t.Errorf("got %+v, want 200 for %s", a, mint.DefaultClient)
		}

		forged := another(server)
		forged.Key = mint.CachedKey("attacker", 2048)
		b.want(get(senders).bearing(forged.Sign()), 401, "signature")
		old := another(server)
		old.Claims.Set("exp", time.Now().Add(-time.Minute).Unix())
		b.want(get(senders).bearing(old.Sign()), 401, "token-expired")

		// A key that the server may have made meanwhile: it cannot be asked.
		rotated := another(server)
		rotated.Key = mint.CachedKey("key-2", 2048)
		rotated.Header.Set("kid", rotated.Key.KID)
		unknown := get(senders).bearing(rotated.Sign())
		if a := b.ask(unknown); a.status != 503 || a.reason != "keys-pending" || a.retry < 1 {
			t.Errorf("a key that is not held: %+v", a)
		}
		b.waitLog(0, "keys not fetched; those held stay valid")
		if a := b.ask(unknown); a.status != 503 || a.reason != "keys-pending" || a.retry < 1 {
			t.Errorf("a key that is not held, with the server down: %+v", a)
		}
		b.want(get(senders).bearing(another(server).Sign()), 200, "ok")
	}
	b.waitLog(0, "keys from before the restart are held")
}

// Whatever lies where the state should be, the daemon starts, says so, and keeps a good one from then on.
func TestDamagedState(t *testing.T) {
	spec.Rules(t, "KEY-3")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := startKeeping(t, trusting(t, server))
	good := func() question { return get(senders).bearing(another(server).Sign()) }
	b.await(good(), 200, "ok")
	b.waitKept(server.Issuer())
	whole, err := os.ReadFile(b.stateFile("keys"))
	if err != nil {
		t.Fatal(err)
	}
	whole = bytes.TrimRight(whole, "\x00") // what fills the slot
	for name, c := range map[string]struct{ keys, time []byte }{
		"garbage":   {[]byte("\x00\x01garbage\xff"), []byte("soon")},
		"truncated": {whole[:len(whole)/2], []byte("2026-")},
		"empty":     {[]byte{}, []byte{}},
		"flipped":   {bytes.Replace(whole, []byte(`"n":"`), []byte(`"n":"A`), 1), bytes.Repeat([]byte{0}, 21)},
	} {
		b.Kill()
		for file, content := range map[string][]byte{"keys": c.keys, "time": c.time} {
			for _, slot := range []string{"", ".2"} {
				if err := os.WriteFile(b.stateFile(file)+slot, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		b.again(nil)
		for file, content := range map[string][]byte{"keys": c.keys, "time": c.time} {
			aside := b.stateFile(file) + ".damaged"
			if got, err := os.ReadFile(aside); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s: %s holds %q, %v", name, aside, got, err)
			}
			b.waitLog(0, fmt.Sprintf(`"message":"a state file is not used","file":%q`, file))
			b.waitLog(0, aside)
		}
		b.await(good(), 200, "ok")
		b.waitKept(server.Issuer())
		after := len(server.Log())
		b.again(nil)
		b.want(good(), 200, "ok")
		if strings.Contains(b.Log(), "a state file is not used") || len(server.Log()) != after {
			t.Errorf("%s: the next start does not go by what was kept", name)
		}
	}
}

// A key that was rotated while the device was off replaces the one that was kept, in what it decides and in what it
// keeps.
func TestRotatedWhileOff(t *testing.T) {
	spec.Rules(t, "KEY-3", "KEY-7")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "retry = \"1s\"\nrefresh = \"5s\""
	b := startKeeping(t, config)
	old := get(senders).bearing(everything(server).Sign())
	b.await(old, 200, "ok")
	b.waitKept("key-1")
	b.Kill()
	server.Replace()
	rotated := get(senders).bearing(everything(server).Sign())
	server.Misbehave("", authserver.ResetConnect)
	b.again(nil)
	b.want(old, 200, "ok")
	b.want(rotated, 503, "keys-pending")
	server.Behave()
	b.await(rotated, 200, "ok")
	b.want(old, 401, "key-unknown")
	b.waitKept("key-2")

	server.Misbehave("", authserver.ResetConnect)
	b.again(nil)
	b.want(rotated, 200, "ok")
	b.want(old, 401, "key-unknown")
}

// Keys of an issuer that was taken out of the configuration are not used after a restart, though they were kept; nor is
// it asked.
func TestIssuerNoLongerConfigured(t *testing.T) {
	spec.Rules(t, "KEY-3", "KEY-5")
	t.Parallel()
	stays, goes := newServer(t, authserver.Options{}), newServer(t, authserver.Options{})
	b := startKeeping(t, trusting(t, stays, goes))
	of := func(s *authserver.Server) question { return get(senders).bearing(another(s).Sign()) }
	b.await(of(stays), 200, "ok")
	b.await(of(goes), 200, "ok")
	b.waitKept(stays.Issuer())
	b.waitKept(goes.Issuer())
	b.again(nil)
	b.want(of(goes), 200, "ok")
	b.want(of(stays), 200, "ok")

	before := goes.Connections()
	b.again(func(c *daemon.Config) { c.Servers = []string{stays.Issuer()} })
	b.want(of(goes), 401, "issuer-untrusted")
	b.want(of(stays), 200, "ok")
	// The same without a restart: what is dropped is dropped immediately.
	b.reload(b.config)
	b.want(of(goes), 401, "issuer-untrusted")
	if n := goes.Connections() - before; n != 0 {
		t.Errorf("%d connections to an issuer that is no longer trusted", n)
	}
}

// A time that was kept and is in the future makes a device answer 503 while its clock is not synchronised; no server
// can be verified by it either. A clock that is synchronised is believed all the same.
func TestKeptTimeWasWrong(t *testing.T) {
	spec.Rules(t, "OPS-1")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	mark := filepath.Join(t.TempDir(), "synchronised")
	config.More = fmt.Sprintf("refresh = \"5s\"\n[clock]\nsynchronised_file = %q\n", mark)
	b := startKeeping(t, config)
	good := get(senders).bearing(everything(server).Sign())
	b.await(good, 200, "ok")
	b.waitKept(server.Issuer())
	b.Kill()
	if err := (&platform.StateDir{Path: b.config.State}).WriteFile("time",
		[]byte("2099-01-01T00:00:00Z\n")); err != nil {
		t.Fatal(err)
	}
	b.again(nil)
	if platform.NewClock().Status().State != platform.ClockSynchronised {
		if a := b.askBoth(good); a.status != 503 || a.reason != "clock-untrusted" || a.retry < 1 {
			t.Errorf("got %+v, want 503 clock-untrusted", a)
		}
		b.waitLog(0, "2099-01-01T00:00:00Z was a time that an earlier run knew")
	}
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	fetches := server.Requests(authserver.PathJWKS)
	eventually(t, "the synchronised clock to count", func() bool { return b.ask(good).status == 200 })
	eventually(t, "keys to be fetched again", func() bool { return server.Requests(authserver.PathJWKS) > fetches })
}
