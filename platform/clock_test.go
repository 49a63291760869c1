package platform

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/tinytest/spec"
)

func TestClockStates(t *testing.T) {
	spec.Rules(t, "OPS-1")
	for _, c := range []struct {
		name    string
		wall    time.Time
		vouched bool
		want    ClockState
		why     string
	}{
		{"1970", time.Unix(62, 0), false, ClockUnset,
			"it shows 1970-01-01T00:01:02Z, but " + stamp(BuildTime()) + " was when this program was built"},
		{"1970, and a service that says it is right", time.Unix(0, 0), true, ClockUnset,
			"was when this program was built"},
		{"just before the build", BuildTime().Add(-time.Microsecond), true, ClockUnset,
			"was when this program was built"},
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

func TestClockStateNames(t *testing.T) {
	spec.Rules(t, "OPS-1")
	for state, want := range map[ClockState]string{
		ClockUnset: "unset", ClockUnsynchronised: "unsynchronised", ClockSynchronised: "synchronised",
		7: "ClockState(7)",
	} {
		if got := state.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if ClockState(0) != ClockUnset {
		t.Error("the zero value is believed")
	}
}

// A clock that is not synchronised is unset below the latest time that was known; a synchronised one below the build
// alone, whatever was kept.
func TestClockFloor(t *testing.T) {
	spec.Rules(t, "OPS-1")
	day := func(n int) time.Time { return BuildTime().Add(time.Duration(n) * 24 * time.Hour) }
	for _, c := range []struct {
		name     string
		remember []time.Time
		want     time.Time
		why      string
	}{
		{"the build", nil, day(0), "when this program was built"},
		{"remembered", []time.Time{day(3)}, day(3), "a time that an earlier run knew"},
		{"remembered, the later", []time.Time{day(3), day(2)}, day(3), "a time that an earlier run knew"},
		{"remembered from before an update", []time.Time{day(-3)}, day(0), "when this program was built"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at := func(wall time.Time, vouched bool) *Clock {
					f := newFakeClock(wall)
					f.vouched = vouched
					clock := newClock(f)
					for _, r := range c.remember {
						clock.Remember(r)
					}
					return clock
				}
				clock := at(time.Unix(0, 0), false)
				if s := clock.Status(); !strings.Contains(s.Why, "but "+stamp(c.want)+" was "+c.why) {
					t.Errorf("got %q, want the floor %s and %q", s.Why, stamp(c.want), c.why)
				}
				if got := clock.Known(); !got.Equal(c.want) {
					t.Errorf("known: got %v, want %v", got, c.want)
				}
				if got := clock.NotBefore(); !got.Equal(c.want) {
					t.Errorf("for certificates: got %v, want %v", got, c.want)
				}
				for _, s := range []struct {
					wall    time.Time
					vouched bool
					want    ClockState
				}{
					{c.want, false, ClockUnsynchronised},
					{c.want.Add(-time.Microsecond), false, ClockUnset},
					{BuildTime(), true, ClockSynchronised},
					{BuildTime().Add(-time.Microsecond), true, ClockUnset},
				} {
					clock := at(s.wall, s.vouched)
					if _, got := clock.Now(); got != s.want {
						t.Errorf("at %v, vouched for %v: got %v, want %v", s.wall, s.vouched, got, s.want)
					}
					want := s.wall
					switch {
					case s.vouched && want.Before(BuildTime()):
						want = BuildTime()
					case !s.vouched && want.Before(c.want):
						want = c.want
					}
					if got := clock.NotBefore(); !got.Equal(want) {
						t.Errorf("at %v, vouched for %v, certificates: got %v, want %v", s.wall, s.vouched, got, want)
					}
				}
			})
		})
	}
}

// What is known for certain is now while the clock is synchronised, and else the floor. That holds after a restart,
// too.
func TestClockKnown(t *testing.T) {
	spec.Rules(t, "OPS-1")
	synctest.Test(t, func(t *testing.T) {
		remembered, now := BuildTime().Add(time.Hour), BuildTime().Add(2*time.Hour)
		f := newFakeClock(now)
		clock := newClock(f)
		clock.Remember(remembered)
		check := func(step string, want time.Time, state ClockState) {
			t.Helper()
			if got := clock.Known(); !got.Equal(want) || got.Location() != time.UTC {
				t.Errorf("%s: known: got %v, want %v", step, got, want)
			}
			if _, got := clock.Now(); got != state {
				t.Errorf("%s: got %v, want %v", step, got, state)
			}
		}
		check("not synchronised", remembered, ClockUnsynchronised)
		time.Sleep(2 * standing)
		clock.check()
		check("not synchronised for long", remembered, ClockUnsynchronised)
		f.vouch(true)
		clock.check()
		now = f.now()
		check("synchronised", now, ClockSynchronised)
		f.vouch(false)
		clock.check()
		check("the time service has ended", now, ClockSynchronised)
		f.move(-time.Minute)
		clock.check()
		check("set back", now, ClockUnset)
		f.move(2 * time.Minute)
		clock.check()
		check("set ahead", now, ClockUnsynchronised)
	})
}

// One bad reading of a time service cannot last: neither in this run nor in the next does it count against a clock that
// is synchronised, and an hour of that makes it forgotten.
func TestClockKnownWrongly(t *testing.T) {
	spec.Rules(t, "OPS-1")
	synctest.Test(t, func(t *testing.T) {
		now, wrong := BuildTime().Add(time.Hour), BuildTime().AddDate(73, 0, 0)
		f := newFakeClock(wrong)
		f.vouched = true
		clock := newClock(f)
		if got := clock.Known(); !got.Equal(wrong) {
			t.Errorf("got %v, want %v", got, wrong)
		}
		f.move(now.Sub(wrong))
		clock.check()
		if _, state := clock.Now(); state != ClockUnset {
			t.Errorf("set back, and nobody vouches: got %v, want %v", state, ClockUnset)
		}
		f.vouch(true)
		clock.check()
		again := newClock(f)
		again.Remember(wrong)
		for name, c := range map[string]*Clock{"this run": clock, "the next run": again} {
			if _, state := c.Now(); state != ClockSynchronised || !c.Known().Equal(wrong) {
				t.Errorf("%s: got %v, known %v; want %v, known %v", name, state, c.Known(), ClockSynchronised, wrong)
			}
		}
		time.Sleep(standing - time.Second)
		if got := clock.Known(); !got.Equal(wrong) {
			t.Errorf("after less than an hour: got %v, want %v", got, wrong)
		}
		// Not the hour counts, but that it is unbroken.
		f.move(time.Second)
		f.vouch(true)
		clock.check()
		again.check()
		time.Sleep(standing - time.Second)
		if got := clock.Known(); !got.Equal(wrong) {
			t.Errorf("set in between: got %v, want %v", got, wrong)
		}
		time.Sleep(time.Second)
		for name, c := range map[string]*Clock{"this run": clock, "the next run": again} {
			if got := c.Known(); !got.Equal(f.now()) {
				t.Errorf("%s, after an hour: got %v, want %v", name, got, f.now())
			}
		}
		f.move(-time.Second)
		f.move(-time.Second)
		clock.check()
		if _, state := clock.Now(); state != ClockUnset {
			t.Errorf("set back: got %v, want %v", state, ClockUnset)
		}
	})
}

// A clock that somebody sets counts once it has run for an hour so: a mistake is put right before it is kept, and not
// against who puts it right. A little step is a time program's that tells nobody.
func TestClockSetByOperator(t *testing.T) {
	spec.Rules(t, "OPS-1")
	for _, c := range []struct {
		name string
		move time.Duration
		kept bool
	}{
		{"set", 48 * time.Hour, true}, {"set to 2099", 73 * 365 * 24 * time.Hour, true},
		{"moved a little", time.Minute, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeClock(BuildTime().Add(time.Hour))
				clock := newClock(f)
				f.move(c.move)
				clock.check()
				time.Sleep(standing - time.Second)
				if got := clock.Known(); !got.Equal(BuildTime()) {
					t.Errorf("kept after less than an hour: got %v, want %v", got, BuildTime())
				}
				time.Sleep(time.Second)
				want := BuildTime()
				if c.kept {
					want = f.now()
				}
				if got := clock.Known(); !got.Equal(want) {
					t.Errorf("after an hour: got %v, want %v", got, want)
				}
				if _, state := clock.Now(); state != ClockUnsynchronised {
					t.Errorf("got %v, want %v", state, ClockUnsynchronised)
				}
				f.move(-10 * time.Second)
				if got := clock.Known(); c.kept && !got.Equal(f.now()) || !c.kept && !got.Equal(BuildTime()) {
					t.Errorf("moved back a little: got %v, want %v, or the build if not kept", got, f.now())
				}
				f.move(-c.move)
				clock.check()
				_, state := clock.Now()
				if known := clock.Known(); state != ClockUnsynchronised || !known.Equal(BuildTime()) {
					t.Errorf("set back: got %v, known %v; want %v, %v", state, known, ClockUnsynchronised, BuildTime())
				}
			})
		})
	}
}

// Who has vouched for the clock since the boot is believed until the clock is set, though it says no more; then it must
// have looked at the clock again.
func TestClockStaysSynchronised(t *testing.T) {
	spec.Rules(t, "OPS-1")
	synctest.Test(t, func(t *testing.T) {
		f := newFakeClock(BuildTime().Add(24 * time.Hour))
		time.Sleep(time.Hour) // since the boot
		clock := newClock(f)
		clock.UseMark("/run/ptp-locked")
		steps := 0
		check := func(step string, want ClockState, why string) {
			t.Helper()
			steps++
			clock.check()
			if s := clock.Status(); s.State != want || !strings.Contains(s.Why, why) {
				t.Errorf("%s: got %v, %q; want %v, %q", step, s.State, s.Why, want, why)
			}
		}
		check("no mark", ClockUnsynchronised, "nobody vouches for it; /run/ptp-locked says so")
		f.touch(2 * time.Hour)
		check("a mark from before the boot", ClockUnsynchronised, "not since the clock was set")
		f.touch(-time.Hour)
		check("a mark from the future", ClockUnsynchronised, "not since the clock was set")
		f.touch(30 * time.Minute)
		check("a mark", ClockSynchronised, "/run/ptp-locked says so")
		f.mark = nil
		check("the mark is gone", ClockSynchronised, "not set since a time service kept it; now nobody vouches for it")
		time.Sleep(24 * time.Hour)
		check("a day later", ClockSynchronised, "it was not set since a time service kept it")
		f.touch(0)
		check("the mark is back", ClockSynchronised, "/run/ptp-locked says so")
		for _, c := range []struct {
			by   time.Duration
			want ClockState
			why  string
		}{
			{time.Second, ClockUnsynchronised, "not since the clock was set"},
			{time.Hour, ClockUnsynchronised, "not since the clock was set"},
			{-10 * time.Minute, ClockUnset, "a time at which the clock was synchronised"},
			{37 * time.Second, ClockUnset, "a time at which the clock was synchronised"},
		} {
			time.Sleep(time.Minute)
			f.move(c.by)
			check("set by "+c.by.String(), c.want, c.why)
			time.Sleep(time.Second)
			check("a second later", c.want, c.why)
			f.touch(0)
			check("looked at since", ClockSynchronised, "/run/ptp-locked says so")
		}
		// The kernel takes its word back itself, so that it counts as soon as it gives it again.
		f.mark = nil
		f.move(time.Hour)
		f.vouch(true)
		check("set by a time service", ClockSynchronised, "nobody vouches for it") // the fake's text
		if steps < 10 {
			t.Error("the steps were not taken")
		}
	})
}

// The kernel's TAI offset names the difference.
func TestClockExplains(t *testing.T) {
	spec.Rules(t, "OPS-1")
	synctest.Test(t, func(t *testing.T) {
		f := newFakeClock(BuildTime().Add(time.Hour))
		f.tai = 38 * time.Second
		clock := newClock(f)
		if got := clock.Explain(f.now().Add(-time.Second)); got != "" {
			t.Errorf("got %q, want nothing", got)
		}
		got, want := clock.Explain(f.now().Add(-38*time.Second)), "38s ahead; it probably runs on TAI"
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// What depends on the time is tried again once the clock is synchronised, and after a step of more than a minute.
func TestClockRenewed(t *testing.T) {
	spec.Rules(t, "OPS-1")
	unset, doubtful, good := ClockUnset, ClockUnsynchronised, ClockSynchronised
	for _, c := range []struct {
		before, after ClockState
		moved         time.Duration
		want          bool
	}{
		{doubtful, good, 0, true}, {unset, good, 0, true}, {good, good, 0, false}, {good, doubtful, 0, false},
		{unset, doubtful, 0, false}, {good, good, time.Minute, false}, {good, good, time.Minute + time.Second, true},
		{good, unset, -time.Minute - time.Second, true}, {doubtful, doubtful, -time.Minute, false},
	} {
		e := ClockEvent{ClockStatus: ClockStatus{State: c.after}, Before: c.before, Moved: c.moved}
		if got := e.Renewed(); got != c.want {
			t.Errorf("%v to %v, moved %v: got %v, want %v", c.before, c.after, c.moved, got, c.want)
		}
	}
}

// Every decision asks.
func TestClockNowAllocates(t *testing.T) {
	spec.Rules(t, "OPS-1")
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

func TestExplainOffset(t *testing.T) {
	spec.Rules(t, "OPS-1")
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

// All that uses the clock does so concurrently, and a clock that is set meanwhile is never called synchronised for
// good.
func TestClockConcurrently(t *testing.T) {
	spec.Rules(t, "OPS-1")
	f := newFakeClock(BuildTime().Add(time.Hour))
	clock := newClock(f)
	var using sync.WaitGroup
	for i := range 4 {
		using.Go(func() {
			for j := range 200 {
				switch (i + j) % 5 {
				case 0:
					f.move(time.Duration(j%3-1) * time.Minute)
				case 1:
					f.vouch(j%2 == 0)
				case 2:
					clock.UseMark([]string{"", "/a", "/b"}[j%3])
				case 3:
					clock.check()
				}
				clock.Now()
				clock.Known()
				clock.Status()
				clock.NotBefore()
				clock.Explain(f.now())
			}
		})
	}
	using.Wait()
	f.move(time.Hour)
	clock.check()
	if _, state := clock.Now(); state == ClockSynchronised {
		t.Errorf("set, and nobody vouches: got %v", state)
	}
}
