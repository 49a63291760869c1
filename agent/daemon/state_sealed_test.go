package daemon

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"

	"nmosauthd/agent/certs"
	"nmosauthd/agent/config"
	"nmosauthd/hal"
	"nmosauthd/platform"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/powercut"
	"nmosauthd/tinytest/spec"
)

// sealer returns the sealer of a device whose key is this byte, in hex, all over.
func sealer(t *testing.T, digits string) *hal.Sealer {
	t.Helper()
	s, err := hal.NewSealer(bytes.Repeat([]byte(digits), hal.KeySize/2))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// On a device with a key of its own, keys that it kept decide after a restart, and keys that another device or nobody
// sealed do not: who can write the flash cannot say who is let in.
func TestSealedState(t *testing.T) {
	spec.Rules(t, "KEY-3")
	mine, other := sealer(t, "ab"), sealer(t, "cd")
	for _, c := range []struct {
		name            string
		wrote, reads    *hal.Sealer
		decides, warned string
	}{
		{"its own", mine, mine, "allow 200 ok", ""},
		{"of another device", other, mine, "deny 503 keys-pending", "sealed on another device"},
		{"not sealed", nil, mine, "deny 503 keys-pending", "is not sealed"},
		{"sealed, and the key is gone", mine, nil, "deny 503 keys-pending", "a state file is not used"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, disk := newFacts(mint.DefaultIssuer), powercut.New("/var/lib", stateDir)
				f.publish(mint.DefaultIssuer, mint.CachedKey("key-1", 2048))
				before := f.newDevice(stateDir, disk)
				before.persisted.seal = c.wrote
				stop := before.start(t)
				pass(day(1))
				stop()
				if text, err := before.persisted.dir.ReadFile(keysFile, 1<<20); err != nil ||
					(c.wrote != nil) == bytes.Contains(text, []byte(mint.DefaultIssuer)) {
					t.Errorf("%v, kept %q", err, text)
				}

				f.setDown(true)
				after := f.newDeviceSealed(stateDir, disk, c.reads)
				token := mint.New(mint.Options{Key: mint.CachedKey("key-1", 2048), Life: day(9)}).Sign()
				if got := after.decide(token); got != c.decides {
					t.Errorf("it decides %q", got)
				}
				w := after.warnings()
				if c.warned == "" && len(w) > 0 ||
					c.warned != "" && !slices.ContainsFunc(w,
						func(s string) bool { return strings.Contains(s, c.warned) }) {
					t.Errorf("it says %q", w)
				}
			})
		})
	}
}

// A device whose key cannot be read keeps nothing, and says so for as long as it runs.
func TestKeyCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	d := &Device{Model: hal.Model{Key: func(string) ([]byte, error) {
		return nil, errors.New("hal: /otp: it ends before the key does")
	}}}
	m := newPersisted(dir, d, zap.NewNop())
	m.load()
	m.keepInventory([]byte(`{"resources": []}`))
	if why := deref(m.trouble.Load()); !strings.Contains(why, "/otp") {
		t.Errorf("the status says of the state %q", why)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("kept %v, %v", entries, err)
	}
}

// Where state is kept the device says, and the configuration goes before it.
func TestPlaceOfTheState(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.toml")
	for _, c := range []struct {
		places       hal.Places
		config, want string
	}{
		{hal.Places{}, "", config.Default().State.Dir},
		{hal.Places{State: "/data/nmos-authd"}, "", "/data/nmos-authd"},
		{hal.Places{Stateless: true}, "", ""},
		{hal.Places{State: "/data/nmos-authd"}, "[state]\ndir = \"\"\n", ""},
		{hal.Places{Stateless: true}, "[state]\ndir = \"/flash\"\n", "/flash"},
	} {
		if err := os.WriteFile(file, []byte("[device]\nnames = [\"node-1.example.com\"]\n"+c.config),
			0o600); err != nil {
			t.Fatal(err)
		}
		d := &Device{places: c.places}
		if got, _, err := d.LoadConfig(file); err != nil || got.State.Dir != c.want {
			t.Errorf("%+v, %q: got %+v, %v, want the folder %q", c.places, c.config, got, err, c.want)
		}
	}
}

// Roots, certificates and keys are sealed if the device has a key, gone from both slots once replaced, and never taken
// from another device; without a folder, memory has to do (CERT-48).
func TestCertsAreSealed(t *testing.T) {
	spec.Rules(t, "CERT-48")
	dir := filepath.Join(t.TempDir(), "state")
	mine := &persisted{dir: platform.StateDir{Path: dir}, seal: sealer(t, "ab"), log: zap.NewNop()}
	if data, err := mine.loadCerts(); data != nil || err != nil {
		t.Errorf("at first: got %q, %v", data, err)
	}
	for _, text := range []string{"PRIVATE KEY 1", "PRIVATE KEY 2"} {
		if err := mine.keepCerts([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if data, err := mine.loadCerts(); string(data) != text || err != nil {
			t.Errorf("got %q, %v; want %q", data, err, text)
		}
		files, err := filepath.Glob(filepath.Join(dir, certsFile+"*"))
		if err != nil || len(files) != 2 {
			t.Fatalf("got %v, %v, want two files", files, err)
		}
		for _, file := range files {
			if raw, err := os.ReadFile(file); err != nil || bytes.Contains(raw, []byte("PRIVATE")) {
				t.Errorf("%s: %v, %.80q", file, err, raw)
			}
		}
	}
	other := &persisted{dir: platform.StateDir{Path: dir}, seal: sealer(t, "cd"), log: zap.NewNop()}
	if data, err := other.loadCerts(); data != nil || err == nil || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("on another device: got %q, %v", data, err)
	}
	none := &persisted{log: zap.NewNop()}
	if err := none.keepCerts([]byte("x")); err != nil {
		t.Errorf("without a folder: got %v, want nil", err)
	}
	if err := mine.keepCerts(make([]byte, certs.MaxState+1)); err == nil {
		t.Error("too much: no error")
	}
}
