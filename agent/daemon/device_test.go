package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/hal"
	"nmosauthd/tinytest/spec"
)

// renaming is a model of device whose names, or the error in their place, can be changed.
type renaming struct {
	names atomic.Pointer[[]string]
	err   atomic.Pointer[error]
}

func (r *renaming) set(names ...string) { r.names.Store(&names) }

func (r *renaming) device() *Device {
	return &Device{Model: hal.Model{Name: "renaming", Identify: func(string) (hal.Identity, error) {
		if err := r.err.Load(); err != nil {
			return hal.Identity{}, *err
		}
		return hal.Identity{Names: *r.names.Load()}, nil
	}}}
}

// A name that DHCP brings long after the start is found; one that cannot be read changes nothing.
func TestNamesAreLookedAtAgain(t *testing.T) {
	spec.Rules(t, "CLM-4")
	synctest.Test(t, func(t *testing.T) {
		var r renaming
		r.set()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		changed := make(chan []string)
		go r.device().watchNames(ctx, nil, changed)
		want := func(when string, want []string) {
			t.Helper()
			select {
			case got := <-changed:
				if !slices.Equal(got, want) {
					t.Errorf("%s: got %q, want %q", when, got, want)
				}
			case <-time.After(2 * namesEvery):
				if want != nil {
					t.Errorf("%s: got nothing, want %q", when, want)
				}
			}
		}
		want("no name", nil)
		r.set("node-2.example.com", "node-2.local")
		want("a name has come", []string{"node-2.example.com", "node-2.local"})
		want("the same", nil)
		err := errors.New("a torn file")
		r.err.Store(&err)
		want("an error", nil)
		r.err.Store(nil)
		r.set()
		want("localhost again", []string{})
	})
}

// Names of the configuration win, and those of the device then count for nothing; a device without a name starts, and
// says so.
func TestWhichNamesCount(t *testing.T) {
	spec.Rules(t, "CLM-4")
	file := filepath.Join(t.TempDir(), "nmos-authd.toml")
	for _, c := range []struct {
		what, config            string
		device, renamed         []string
		want, after             []string
		warnsFirst, warnsSecond bool
	}{
		{"configured", "names = [\"a.example.com\"]", []string{"b"}, []string{"c"}, []string{"a.example.com"},
			[]string{"a.example.com"}, false, false},
		{"of the device", "", []string{"b"}, []string{"c", "c.local"}, []string{"b"},
			[]string{"c", "c.local"}, false, false},
		{"no name yet", "", nil, []string{"c"}, nil, []string{"c"}, true, false},
		{"no name any more", "", []string{"b"}, nil, []string{"b"}, nil, false, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			text := "[device]\n" + c.config + "\n[discovery]\nmode = \"off\"\n[audit]\nsinks = []\n" +
				"[state]\ndir = \"\"\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var r renaming
			r.set(c.device...)
			dev := r.device()
			config, names, err := dev.LoadConfig(file)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(names, c.want) {
				t.Fatalf("got names %q, want %q", names, c.want)
			}
			d, err := newDaemon(file, "test", NewLogQueue(io.Discard), nil)
			if err != nil {
				t.Fatal(err)
			}
			d.startAudit()
			defer d.closeAudit()
			if err := d.apply(config, names); err != nil {
				t.Fatal(err)
			}
			wrong := fmt.Sprint(d.snapshot().Degraded)
			if got := strings.Contains(wrong, "no host name"); got != c.warnsFirst {
				t.Errorf("got degraded for want of a name: %v, want %v: %s", got, c.warnsFirst, wrong)
			}
			d.rename(c.renamed)
			if got := d.inForce.Load().names; !slices.Equal(got, c.after) {
				t.Errorf("renamed: got %q, want %q", got, c.after)
			}
			if got := strings.Contains(fmt.Sprint(d.snapshot().Degraded), "no host name"); got != c.warnsSecond {
				t.Errorf("renamed: got degraded for want of a name: %v, want %v", got, c.warnsSecond)
			}
		})
	}
}
