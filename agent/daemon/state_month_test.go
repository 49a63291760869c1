package daemon

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"nmosauthd/agent"
	"nmosauthd/agent/keys"
	"nmosauthd/platform"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/powercut"
	"nmosauthd/tinytest/spec"
)

// flash is a disk that counts what wears it, and can refuse.
type flash struct {
	*powercut.Disk
	mu     sync.Mutex
	writes map[string][]time.Time // by file
	fails  error                  // every write does
}

func newFlash(dirs ...string) *flash {
	return &flash{Disk: powercut.New(dirs...), writes: map[string][]time.Time{}}
}

// Edit begins every write of a StateDir; "keys" and "keys.2" are slots of one file.
func (f *flash) Edit(path string) (platform.DiskFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	f.writes[name] = append(f.writes[name], time.Now())
	if f.fails != nil {
		return nil, f.fails
	}
	return f.Disk.Edit(path)
}

func (f *flash) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = err
}

// wrote tells how often each file was written since the last call.
func (f *flash) wrote() map[string][]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	writes := f.writes
	f.writes = map[string][]time.Time{}
	return writes
}

// In a month of hourly fetches that bring the same keys, and of looks that bring the same servers in any order, nothing
// is written but the time, once an hour; from the first minute on, and whatever restarts lie between.
func TestQuietMonth(t *testing.T) {
	spec.Rules(t, "KEY-3", "DIS-6")
	one, two := mint.CachedKey("key-1", 2048), mint.CachedKey("key-2", 2048)
	servers := []string{mint.DefaultIssuer, "https://b.example.com", "https://c.example.com"}
	for _, restarts := range []int{0, 40} {
		t.Run(fmt.Sprint("restarts ", restarts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, disk := newFacts(servers...), newFlash("/var/lib", stateDir)
				for _, s := range servers {
					f.publish(s, one, two)
				}
				stop := f.newDevice(stateDir, disk).start(t)
				pass(day(1))
				first := disk.wrote()
				if n := len(first["time"]); n < 22 || n > 26 { // at first both slots
					t.Errorf("the time is written %d times on the first day: %v", n, first["time"])
				}
				if n := len(first["keys"]); n < 2 || n > 3 { // likewise
					t.Errorf("the keys are written %d times on the first day", n)
				}
				fetches := f.count()
				for range restarts + 1 {
					stop()
					stop = f.newDevice(stateDir, disk).start(t)
					pass(day(30) / time.Duration(restarts+1))
				}
				quiet := disk.wrote()
				if f.count()-fetches < 29*24 && restarts == 0 || f.count()-fetches < 500 {
					t.Errorf("only %d fetches: that was not a month", f.count()-fetches)
				}
				// With restarts another server of the three may be asked for the first time.
				if n := len(quiet["keys"]); n > 0 && restarts == 0 || n > len(servers) {
					t.Errorf("the keys are written %d times in a quiet month", n)
				}
				if n := len(quiet["time"]); n < 29*22 || n > 31*24 {
					t.Errorf("the time is written %d times in a month", n)
				}
				for i, at := range quiet["time"] {
					if i > 0 && at.Sub(quiet["time"][i-1]) < time.Hour {
						t.Errorf("the time is written twice within %v", at.Sub(quiet["time"][i-1]))
					}
				}
				if n := len(quiet); n > 2 {
					t.Errorf("more is written: %v", quiet)
				}

				// What is new is written, once.
				for _, s := range servers {
					f.publish(s, two)
				}
				pass(2 * time.Hour)
				if n := len(disk.wrote()["keys"]); n < 1 || n > len(servers) {
					t.Errorf("the keys are written %d times when one was withdrawn", n)
				}
				stop()
			})
		})
	}
}

// A disk that was full, or not there, when the keys came: they are kept once it takes them, without waiting for the
// next rotation; and within minutes.
func TestKeptLater(t *testing.T) {
	spec.Rules(t, "KEY-3")
	synctest.Test(t, func(t *testing.T) {
		f, disk := newFacts(mint.DefaultIssuer), newFlash("/var/lib", stateDir)
		f.publish(mint.DefaultIssuer, mint.CachedKey("key-1", 2048))
		disk.fail(fmt.Errorf("no space left on device"))
		d := f.newDevice(stateDir, disk)
		stop := d.start(t)
		pass(48 * time.Hour)
		w := d.warnings()
		if len(w) != 1 || !strings.Contains(w[0], "state not written") ||
			!strings.Contains(w[0], "no space left on device") {
			t.Errorf("in two days with a full disk it says %q", w)
		}
		if n := len(disk.wrote()["keys"]); n < 48*60/3 || n > 48*60 {
			t.Errorf("tried %d times in two days, want every few minutes", n)
		}
		disk.fail(nil)
		disk.wrote()
		pass(3 * time.Minute)
		wrote := disk.wrote()
		if d.persisted.trouble.Load() != nil || !d.persisted.safe.Load() {
			t.Errorf("minutes after there is space: got %q, kept %v; want nothing, true",
				deref(d.persisted.trouble.Load()), d.persisted.safe.Load())
		}
		pass(2 * time.Hour)
		stop()
		// Both slots, once; and the time once an hour.
		more := disk.wrote()
		hourly := len(more["time"])
		delete(more, "time")
		if len(wrote["time"]) != 2 || len(wrote["keys"]) != 2 || hourly < 1 || hourly > 2 || len(more) > 0 {
			t.Errorf("when there is space, got %v written, later the time %d times and %v; want each file once, and "+
				"the time twice", wrote, hourly, more)
		}
		f.setDown(true)
		again := f.newDevice(stateDir, disk)
		if got := again.decide(mint.New(mint.Options{Life: day(9)}).Sign()); got != "allow 200 ok" {
			t.Errorf("after a restart: %s", got)
		}
		if w := d.warnings(); len(w) != 1 {
			t.Errorf("got the warnings %q, want one", w)
		}
	})
}

// After a restart it is known when the keys were fetched, at the last hour before an orderly stop, and within a day
// before a power cut. To keep that is not worth more than a write a day.
func TestAgeOfKeptKeys(t *testing.T) {
	spec.Rules(t, "KEY-3")
	for _, orderly := range []bool{true, false} {
		t.Run(fmt.Sprint("KEY-3/orderly=", orderly), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pass(time.Until(platform.BuildTime().AddDate(1, 0, 0))) // so that the clock is believed
				f, disk := newFacts(mint.DefaultIssuer), newFlash("/var/lib", stateDir)
				f.publish(mint.DefaultIssuer, mint.CachedKey("key-1", 2048))
				d := f.newDevice(stateDir, disk)
				if d.persisted.safe.Load() {
					t.Error("the status says that state is kept before any was written")
				}
				stop := d.start(t)
				pass(day(30) + 12*time.Hour)
				if n := len(disk.wrote()["keys"]); n < 29 || n > 33 {
					t.Errorf("the keys are written %d times in a quiet month, want about once a day", n)
				}
				if !d.persisted.safe.Load() {
					t.Error("the status says that state is not kept")
				}
				fetched, most := d.store.Status()[0].Fetched, day(1)+2*time.Hour
				if orderly {
					stop()
					most = time.Second
				}
				f.setDown(true)
				again := f.newDevice(stateDir, disk)
				v := again.store.Status()[0]
				if older := fetched.Sub(v.Fetched); !v.Kept || older < 0 || older > most {
					t.Errorf("after the restart: got kept %v, fetched %v; want %v, or at most %v before",
						v.Kept, v.Fetched, fetched, most)
				}
				if !again.persisted.safe.Load() {
					t.Error("after the restart the status says that state is not kept")
				}
				if !orderly {
					stop()
				}
			})
		})
	}
}

// By a clock that was never set nobody can say when keys were fetched.
func TestAgeByWrongClock(t *testing.T) {
	spec.Rules(t, "KEY-3")
	synctest.Test(t, func(t *testing.T) { // in the year 2000
		f, disk := newFacts(mint.DefaultIssuer), newFlash("/var/lib", stateDir)
		f.publish(mint.DefaultIssuer, mint.CachedKey("key-1", 2048))
		stop := f.newDevice(stateDir, disk).start(t)
		pass(time.Hour)
		stop()
		if v := f.newDevice(stateDir, disk).store.Status()[0]; !v.Kept || !v.Fetched.IsZero() {
			t.Errorf("got kept %v, fetched %v; want kept, and no time", v.Kept, v.Fetched)
		}
	})
}

// What is larger than what is read back is not written, whatever it is, and the file stays what it was.
func TestWrittenIsReadBack(t *testing.T) {
	spec.Rules(t, "KEY-8")
	m := &persisted{dir: platform.StateDir{Path: stateDir, Disk: newFlash("/var/lib")}, log: zap.NewNop()}
	for name, limit := range fileLimits {
		for _, n := range []int{0, limit, limit + 1} {
			err := m.write(name, make([]byte, n))
			if (err != nil) != (n > limit) {
				t.Errorf("%s, %d bytes: %v", name, n, err)
			}
			read := -1
			if m.read(name, func(data []byte) error { read = len(data); return nil }); read != min(n, limit) {
				t.Errorf("%s, %d bytes: got %d read back", name, n, read)
			}
		}
	}
	if err := m.write("other", nil); err != nil {
		t.Error(err)
	} else if err := m.write("other", []byte("x")); err == nil {
		t.Error("a file without a limit is written")
	}
}

// A disk with space for the time and none for the keys is one that keeps nothing.
func TestOneFileOfTwoIsKept(t *testing.T) {
	core, logged := observer.New(zapcore.InfoLevel)
	m := &persisted{dir: platform.StateDir{Path: stateDir}, log: zap.New(core)}
	for i, c := range []struct {
		file    string
		err     error
		trouble string
		lines   int
	}{
		{timeFile, nil, "", 0},
		{keysFile, errors.New("full"), "full", 1},
		{timeFile, nil, "full", 1},
		{timeFile, errors.New("full, too"), "full", 1},
		{keysFile, nil, "full, too", 1},
		{timeFile, nil, "", 2},
	} {
		m.result(c.file, c.err)
		if got := deref(m.trouble.Load()); !strings.HasPrefix(got, c.trouble) || (got == "") != (c.trouble == "") ||
			logged.Len() != c.lines {
			t.Errorf("%d: %s, %v: the status says %q, %d lines are logged", i, c.file, c.err, got, logged.Len())
		}
	}
}

func day(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// Two fetches that end at the same moment may report in either order: what is kept is the later set, with what both
// brought.
func TestReportsOutOfOrder(t *testing.T) {
	spec.Rules(t, "KEY-3")
	disk := newFlash("/var/lib", stateDir)
	m := &persisted{dir: platform.StateDir{Path: stateDir, Disk: disk}, log: zap.NewNop()}
	store := keys.NewStore(nil, nil)
	store.Configure(keys.Policy{Servers: []string{"https://a.example.com", "https://b.example.com"},
		Refresh: time.Hour})
	hold := func(issuer string) *keys.Set {
		set, _, err := keys.Parse(mint.JWKS(mint.CachedKey("key-1", 2048)))
		if err != nil {
			t.Fatal(err)
		}
		store.Hold(keys.Held{Name: issuer, Keys: set})
		return store.Set()
	}
	first, second := hold("https://a.example.com"), hold("https://b.example.com")
	m.keep(second)
	m.keep(first)
	m.keepServers([]agent.FoundServer{{URL: "https://b.example.com", Issuer: "https://b.example.com"}}, first)
	if good := m.load(); len(good.Issuers) != 2 || len(good.Servers) != 1 {
		t.Errorf("kept: %+v", good)
	}
}
