package platform

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeClock is a system whose clock and time services do what a test says. Its time passes as that of the test does.
type fakeClock struct {
	mu       sync.Mutex
	start    time.Time     // of the test
	wall     time.Time     // the clock at the start
	text     string        // see voucher
	vouched  bool          // see voucher
	tai      time.Duration // see voucher
	jitter   int           // readings during which the process is held up
	watchErr error
	watches  chan fakeWatch // opened
}

func newFakeClock(wall time.Time) *fakeClock {
	return &fakeClock{start: time.Now(), wall: wall, watches: make(chan fakeWatch, 1), text: "nobody vouches for it"}
}

func (f *fakeClock) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wall.Add(time.Since(f.start))
}

func (f *fakeClock) uptime() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.jitter > 0 {
		f.jitter--
		f.start = f.start.Add(-time.Second) // it is a second later by both clocks
	}
	return time.Since(f.start)
}

func (f *fakeClock) voucher() (string, bool, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text, f.vouched, f.tai
}

func (f *fakeClock) watch() (clockWatch, error) {
	if f.watchErr != nil {
		return nil, f.watchErr
	}
	w := fakeWatch{newTimerWatch(), make(chan error)}
	f.watches <- w
	return w, nil
}

// move sets the clock ahead by d, and nobody is told.
func (f *fakeClock) move(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wall = f.wall.Add(d)
}

func (f *fakeClock) vouch(ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.vouched = ok
}

// fakeWatch is told that the clock was set, by nil, or that it fails.
type fakeWatch struct {
	timerWatch
	tell chan error
}

func (w fakeWatch) wait(d time.Duration) error {
	select {
	case err := <-w.tell:
		return err
	case <-time.After(d):
		return nil
	case <-w.closed:
		return fs.ErrClosed
	}
}

func TestClockStates_OPS1(t *testing.T) {
	for _, c := range []struct {
		name    string
		wall    time.Time
		vouched bool
		want    ClockState
		why     string
	}{
		{"1970", time.Unix(62, 0), false, ClockUnset,
			"it shows 1970-01-01T00:01:02Z, but " + stamp(BuildTime()) + " was when this program was built"},
		{"1970, and a service that says it is right", time.Unix(0, 0), true, ClockUnset, "was when this program was built"},
		{"just before the build", BuildTime().Add(-time.Microsecond), true, ClockUnset, "was when this program was built"},
		{"at the build", BuildTime(), false, ClockUnsynchronised, "nobody vouches for it"},
		{"later", BuildTime().Add(time.Hour), false, ClockUnsynchronised, "nobody vouches for it"},
		{"later, kept right", BuildTime().Add(time.Hour), true, ClockSynchronised, "timed says so"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeClock(c.wall)
			if f.vouched = c.vouched; c.vouched {
				f.text = "timed says so"
			}
			clock := newClock(f)
			if now, state := clock.Now(); !now.Equal(c.wall) || now.Location() != time.UTC || state != c.want {
				t.Errorf("%s: %v at %v, want %v", c.name, state, now, c.want)
			}
			if s := clock.Status(); s.State != c.want || !strings.HasSuffix(s.Why, c.why) {
				t.Errorf("%s: %v", c.name, s)
			}
		})
	}
}

func TestClockStateNames_OPS1(t *testing.T) {
	for state, want := range map[ClockState]string{
		ClockUnset: "unset", ClockUnsynchronised: "unsynchronised", ClockSynchronised: "synchronised", 7: "ClockState(7)",
	} {
		if got := state.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if ClockState(0) != ClockUnset {
		t.Error("the zero value is believed")
	}
}

// Each source raises the floor, none lowers it but a server that witnesses against what was remembered.
func TestClockFloor_OPS1(t *testing.T) {
	day := func(n int) time.Time { return BuildTime().Add(time.Duration(n) * 24 * time.Hour) }
	far := BuildTime().AddDate(73, 0, 0)
	remember := func(t time.Time) func(*Clock) { return func(c *Clock) { c.Remember(t) } }
	witness := func(t time.Time) func(*Clock) { return func(c *Clock) { c.Witness(t) } }
	for _, c := range []struct {
		name string
		do   []func(*Clock)
		want time.Time
		why  string
	}{
		{"the build", nil, day(0), "when this program was built"},
		{"remembered", []func(*Clock){remember(day(3))}, day(3), "when an earlier run knew the time"},
		{"remembered, the later", []func(*Clock){remember(day(3)), remember(day(2))}, day(3), "when an earlier run knew the time"},
		{"remembered from before an update", []func(*Clock){remember(day(-3))}, day(0), "when this program was built"},
		{"a server", []func(*Clock){witness(day(4))}, day(4), "the time that an authorization server gave"},
		{"a server, later than remembered", []func(*Clock){remember(day(3)), witness(day(4))}, day(4), "the time that an authorization server gave"},
		{"a server, from a cache", []func(*Clock){remember(day(3)), witness(day(2))}, day(3), "when an earlier run knew the time"},
		{"a server against what was remembered", []func(*Clock){remember(far), witness(day(4))}, day(4), "the time that an authorization server gave"},
		{"a server whose own clock is not set", []func(*Clock){remember(day(3)), witness(time.Unix(0, 0))}, day(0), "when this program was built"},
		{"a server that was wrong and is right again", []func(*Clock){witness(far), witness(day(4))}, day(4), "the time that an authorization server gave"},
	} {
		synctest.Test(t, func(t *testing.T) {
			clock := newClock(newFakeClock(time.Unix(0, 0)))
			for _, do := range c.do {
				do(clock)
			}
			if s := clock.Status(); !strings.Contains(s.Why, "but "+stamp(c.want)+" was "+c.why) {
				t.Errorf("%s: %s", c.name, s.Why)
			}
			if got := clock.Known(); !got.Equal(c.want) {
				t.Errorf("%s: known is %v", c.name, got)
			}
			at := newClock(newFakeClock(c.want))
			before := newClock(newFakeClock(c.want.Add(-time.Microsecond)))
			for _, do := range c.do {
				do(at)
				do(before)
			}
			if _, state := at.Now(); state == ClockUnset {
				t.Errorf("%s: unset at the floor", c.name)
			}
			if _, state := before.Now(); state != ClockUnset {
				t.Errorf("%s: %v before the floor", c.name, state)
			}
		})
	}
}

// What is known for certain is now, where somebody vouches for the clock, and else no more than the floor.
func TestClockKnown_OPS1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remembered, now := BuildTime().Add(time.Hour), BuildTime().Add(2*time.Hour)
		f := newFakeClock(now)
		clock := newClock(f)
		clock.Remember(remembered)
		if got := clock.Known(); !got.Equal(remembered) {
			t.Errorf("unsynchronised: %v", got)
		}
		f.vouch(true)
		clock.check()
		if got := clock.Known(); !got.Equal(now) || got.Location() != time.UTC {
			t.Errorf("synchronised: %v", got)
		}
		f.vouch(false)
		clock.check()
		f.move(-90 * time.Minute)
		if got := clock.Known(); !got.Equal(now) {
			t.Errorf("unset: %v", got)
		}
		clock.Witness(now.Add(time.Minute))
		if got := clock.Known(); !got.Equal(now.Add(time.Minute)) {
			t.Errorf("witnessed: %v", got)
		}
	})
}

// A time server that went astray leaves nothing behind once an authorization server has said what the time is.
func TestClockKnownWrongly_OPS1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now, wrong := BuildTime().Add(time.Hour), BuildTime().AddDate(73, 0, 0)
		f := newFakeClock(wrong)
		f.vouched = true
		clock := newClock(f)
		if got := clock.Known(); !got.Equal(wrong) {
			t.Errorf("%v", got)
		}
		f.move(now.Sub(wrong))
		clock.check()
		if got := clock.Known(); !got.Equal(wrong) {
			t.Errorf("forgotten without a witness: %v", got)
		}
		clock.Witness(now)
		if got := clock.Known(); !got.Equal(now) {
			t.Errorf("%v", got)
		}
	})
}

func TestClockWitnessExplains_OPS1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeClock(BuildTime().Add(time.Hour))
		f.tai = 38 * time.Second
		clock := newClock(f)
		if got := clock.Witness(f.now().Add(-time.Second)); got != "" {
			t.Error(got)
		}
		if got := clock.Witness(f.now().Add(-38 * time.Second)); !strings.Contains(got, "38s ahead; it probably runs on TAI") {
			t.Error(got)
		}
	})
}

// running is a Clock that runs in a synctest bubble.
type running struct {
	*Clock
	events []ClockEvent
}

func run(t *testing.T, f *fakeClock) *running {
	r := &running{Clock: newClock(f)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx, func(e ClockEvent) { r.events = append(r.events, e) })
	}()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	return r
}

// take waits until everything stands still and returns what was reported.
func (r *running) take() []ClockEvent {
	synctest.Wait()
	defer func() { r.events = nil }()
	return r.events
}

// A clock that is set is judged anew at once, and its step reported with its size.
func TestClockSet_OPS1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeClock(time.Unix(100, 0))
		r := run(t, f)
		set := (<-f.watches).tell
		if e := r.take(); len(e) != 0 {
			t.Errorf("nothing happened: %+v", e)
		}
		ahead := BuildTime().Add(time.Hour).Sub(time.Unix(100, 0))
		for _, c := range []struct {
			name          string
			move          time.Duration
			vouch         bool
			before, after ClockState
		}{
			{"set", ahead, false, ClockUnset, ClockUnsynchronised},
			{"set by a time service", 37 * time.Second, true, ClockUnsynchronised, ClockSynchronised},
			{"set back a little", -time.Second, true, ClockSynchronised, ClockSynchronised},
			{"set back before the build", -ahead, true, ClockSynchronised, ClockUnset},
		} {
			time.Sleep(time.Second)
			f.vouch(c.vouch)
			f.move(c.move)
			if _, state := r.Now(); state != ClockUnset && c.after == ClockUnset {
				t.Errorf("%s: one decision by a clock that is not set: %v", c.name, state)
			}
			set <- nil
			e := r.take()
			if len(e) != 1 || e[0].Moved != c.move || e[0].Before != c.before || e[0].State != c.after || e[0].Err != nil {
				t.Errorf("%s: %+v", c.name, e)
			}
			if _, state := r.Now(); state != c.after {
				t.Errorf("%s: %v", c.name, state)
			}
		}
	})
}

// A time service that begins or ceases to vouch is noticed within seconds or a minute; what a service slews is no step.
func TestClockLooksAgain_OPS1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeClock(BuildTime().Add(time.Hour))
		r := run(t, f)
		f.vouch(true)
		time.Sleep(checkSoon)
		if e := r.take(); len(e) != 1 || e[0].Before != ClockUnsynchronised || e[0].State != ClockSynchronised || e[0].Moved != 0 {
			t.Errorf("%+v", e)
		}
		time.Sleep(time.Second) // not at the moment of a check
		for range 10 {
			f.move(-movedLeast + time.Millisecond)
			time.Sleep(checkLater)
		}
		if e := r.take(); len(e) != 0 {
			t.Errorf("slewed: %+v", e)
		}
		f.vouch(false)
		time.Sleep(checkLater)
		if e := r.take(); len(e) != 1 || e[0].Before != ClockSynchronised || e[0].State != ClockUnsynchronised {
			t.Errorf("%+v", e)
		}
	})
}

// Where the system does not tell that the clock was set, that is said once, and found by looking.
func TestClockWithoutWatch_OPS1(t *testing.T) {
	refused := errors.New("operation not permitted")
	for _, opens := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeClock(BuildTime().Add(time.Hour))
			f.vouched = true
			if !opens {
				f.watchErr = refused
			}
			r := run(t, f)
			if opens {
				(<-f.watches).tell <- refused
			}
			if e := r.take(); len(e) != 1 || e[0].Err != refused || e[0].State != ClockSynchronised || e[0].Before != e[0].State {
				t.Errorf("%+v", e)
			}
			f.move(time.Hour)
			time.Sleep(checkLater)
			if e := r.take(); len(e) != 1 || e[0].Moved != time.Hour || e[0].Err != nil {
				t.Errorf("%+v", e)
			}
		})
	}
}

// A process that is held up while it reads the two clocks sees no step.
func TestClockHeldUp_OPS1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeClock(BuildTime().Add(time.Hour))
		clock := newClock(f)
		f.jitter = 3
		if e, news := clock.check(); news {
			t.Errorf("%+v", e)
		}
	})
}

// Every decision asks.
func TestClockNowAllocates_OPS1(t *testing.T) {
	clock := NewClock()
	if n := testing.AllocsPerRun(100, func() {
		if now, _ := clock.Now(); now.IsZero() {
			t.Fatal("no time")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkClockNow(b *testing.B) {
	clock := NewClock()
	for b.Loop() {
		clock.Now()
	}
}

func TestExplainOffset_OPS1(t *testing.T) {
	const tai, gps, twice, zone = "on TAI", "on the time of GPS", "taken off twice", "local time"
	for _, c := range []struct {
		d, tai    time.Duration
		want, say string // what it starts with, and what it names
	}{
		{0, 0, "", ""},
		{4 * time.Second, 0, "", ""},
		{-1900 * time.Millisecond, 0, "", ""},
		{6 * time.Second, 0, "this device's clock is 6s ahead", ""},
		{-3 * time.Second, 0, "this device's clock is 3s behind", ""},
		{37 * time.Second, 0, "this device's clock is 37s ahead", tai},
		{39500 * time.Millisecond, 0, "this device's clock is 40s ahead", tai},
		{34 * time.Second, 0, "this device's clock is 34s ahead", tai},
		{41 * time.Second, 0, "this device's clock is 41s ahead", ""},
		{37 * time.Second, 45 * time.Second, "this device's clock is 37s ahead", ""},
		{45 * time.Second, 45 * time.Second, "this device's clock is 45s ahead", tai},
		{-37 * time.Second, 0, "this device's clock is 37s behind", twice},
		{18 * time.Second, 0, "this device's clock is 18s ahead", gps},
		{time.Hour, 0, "this device's clock is 1h0m0s ahead", zone},
		{time.Hour + time.Second, 0, "this device's clock is 1h0m1s ahead", zone},
		{-7*time.Hour - 1*time.Second, 0, "this device's clock is 7h0m1s behind", zone},
		{5*time.Hour + 45*time.Minute, 0, "this device's clock is 5h45m0s ahead", zone},
		{5*time.Hour + 40*time.Minute, 0, "this device's clock is 5h40m0s ahead", ""},
		{15 * time.Hour, 0, "this device's clock is 15h0m0s ahead", ""},
		{-13 * time.Hour, 0, "this device's clock is 13h0m0s behind", ""},
		{-50 * 365 * 24 * time.Hour, 0, "this device's clock is 438000h0m0s behind", ""},
	} {
		got := ExplainOffset(c.d, c.tai)
		start, named, _ := strings.Cut(got, ";")
		if start != c.want || (c.say == "") != (named == "") || !strings.Contains(named, c.say) {
			t.Errorf("%v: %q", c.d, got)
		}
	}
}
