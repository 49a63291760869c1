package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent/admin"
	"nmosauthd/platform"
	"nmosauthd/tinytest/spec"
)

// A timed observe mode never lasts longer than was asked, whatever was done to the clock and to the file, and after
// another boot only a clock that a time service vouches for says what is left of it (OPS-3, OPS-1).
func TestObservationLeft(t *testing.T) {
	spec.Rules(t, "OPS-3", "OPS-1")
	const asked = 30 * time.Minute
	wall := time.Unix(1_800_000_000, 0)
	begun := observation{Asked: asked, Boot: "a", End: time.Hour, Until: wall.Add(asked).Unix()}
	for _, c := range []struct {
		name         string
		change       func(o *observation)
		boot         string
		up           time.Duration
		now          time.Time
		synchronised bool
		left         time.Duration
		wait         bool
	}{
		{"just begun", nil, "a", 30 * time.Minute, wall, true, asked, false},
		{"a restart of the daemon", nil, "a", 50 * time.Minute, wall, false, 10 * time.Minute, false},
		{"the clock was set back a year",
			nil, "a", 50 * time.Minute, wall.AddDate(-1, 0, 0), true, 10 * time.Minute, false},
		{"the clock was set ahead a year",
			nil, "a", 50 * time.Minute, wall.AddDate(1, 0, 0), true, 10 * time.Minute, false},
		{"its time is over", nil, "a", time.Hour, wall, true, 0, false},
		{"long ago", nil, "a", 2 * time.Hour, wall, true, 0, false},
		{"a boot, clock synchronised", nil, "b", time.Minute, wall.Add(20 * time.Minute),
			true, 10 * time.Minute, false},
		{"a boot, clock synchronised and over", nil, "b", time.Minute, wall.Add(asked), true, 0, false},
		{"a boot, clock not synchronised", nil, "b", time.Minute, wall.Add(20 * time.Minute), false, 0, true},
		{"a boot, clock unset", nil, "b", time.Minute, time.Unix(5, 0), false, 0, true},
		{"a boot, not synchronised for longer than was asked",
			nil, "b", asked, wall.Add(20 * time.Minute), false, 0, false},
		{"a boot, up for longer than was asked", nil, "b", asked, wall, true, 0, false},
		{"a boot, before it was begun", nil, "b", time.Minute, wall.Add(-time.Second), true, 0, false},
		{"a boot, begun by a clock that nobody vouched for",
			func(o *observation) { o.Until = 0 }, "b", time.Minute, wall, true, 0, false},
		{"the boot is unknown", nil, "", 50 * time.Minute, wall.Add(20 * time.Minute), false, 0, false},
		{"the boot is unknown, then as now", func(o *observation) { o.Boot = "" }, "", time.Minute,
			wall.Add(20 * time.Minute), false, 0, true},
		{"nothing was begun", func(o *observation) { *o = observation{} }, "a", 0, wall, true, 0, false},
		{"a file that asks for too much", func(o *observation) { o.Asked = admin.MostObserve + 1 }, "a",
			50 * time.Minute, wall, true, 0, false},
		{"a file that ends too late", func(o *observation) { o.End = 2 * time.Hour }, "a",
			50 * time.Minute, wall, true, 0, false},
		{"a file of negative time", func(o *observation) { o.Asked = -1 }, "a", 50 * time.Minute, wall, true, 0, false},
	} {
		o := begun
		if c.change != nil {
			c.change(&o)
		}
		if left, wait := o.left(c.boot, c.up, c.now, c.synchronised); left != c.left || wait != c.wait {
			t.Errorf("%s: got %v, %t, want %v, %t", c.name, left, wait, c.left, c.wait)
		}
	}
}

// The time since the boot runs, and the boot has a name.
func TestBoot(t *testing.T) {
	spec.Rules(t, "OPS-3")
	id, up := platform.Boot()
	again, later := platform.Boot()
	if id != again || later < up || up <= 0 {
		t.Errorf("got %q %v, then %q %v", id, up, again, later)
	}
	if now := platform.Uptime(); now < later {
		t.Errorf("got %v, want no less than %v", now, later)
	}
}

// What was ended, or cut short by another start, does not come back if the slot of the file that was written last is
// damaged: no damage opens the device again (OPS-3, KEY-3).
func TestDamageBeginsNothingAgain(t *testing.T) {
	spec.Rules(t, "OPS-3", "KEY-3")
	const begun, ended = `{"asked":86400000000000}`, `{"asked":0}`
	for _, before := range []int{1, 2, 3} { // so that either slot was written last
		for _, damaged := range []string{observeFile, observeFile + ".2"} {
			dir := filepath.Join(t.TempDir(), "state")
			p := newPersisted(dir, &Device{}, zap.NewNop())
			p.load()
			for range before {
				for _, text := range []string{begun, ended} {
					if err := p.keepObserve([]byte(text)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := os.WriteFile(filepath.Join(dir, damaged), []byte("damaged"), 0o600); err != nil {
				t.Fatal(err)
			}
			again := newPersisted(dir, &Device{}, zap.NewNop())
			again.load()
			if got := string(again.loadObserve()); got != ended {
				t.Errorf("%d times, %s damaged: got %q, want %q", before, damaged, got, ended)
			}
		}
	}
}
