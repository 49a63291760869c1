package platform

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/tinytest/spec"
)

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

// A clock that is set is judged again immediately, and its step reported with its size.
func TestClockSet(t *testing.T) {
	spec.Rules(t, "OPS-1")
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
			f.move(c.move)
			f.vouch(c.vouch)
			if _, state := r.Now(); state != ClockUnset && c.after == ClockUnset {
				t.Errorf("%s: one decision by a clock that is not set: %v", c.name, state)
			}
			set <- nil
			e := r.take()
			if len(e) != 1 || e[0].Moved != c.move || e[0].Before != c.before ||
				e[0].State != c.after || e[0].Err != nil {
				t.Errorf("%s: %+v", c.name, e)
			}
			if _, state := r.Now(); state != c.after {
				t.Errorf("%s: %v", c.name, state)
			}
		}
	})
}

// A time service that begins to vouch is noticed within seconds; that it ceases to is nothing, and what it slews is no
// step.
func TestClockLooksAgain(t *testing.T) {
	spec.Rules(t, "OPS-1")
	synctest.Test(t, func(t *testing.T) {
		f := newFakeClock(BuildTime().Add(time.Hour))
		r := run(t, f)
		f.vouch(true)
		time.Sleep(checkSoon)
		if e := r.take(); len(e) != 1 || e[0].Before != ClockUnsynchronised ||
			e[0].State != ClockSynchronised || e[0].Moved != 0 {
			t.Errorf("got %+v", e)
		}
		time.Sleep(time.Second) // not at the moment of a check
		for range 10 {
			f.slew(-movedLeast + time.Millisecond)
			time.Sleep(checkLater)
		}
		if e := r.take(); len(e) != 0 {
			t.Errorf("slewed: %+v", e)
		}
		f.vouch(false)
		time.Sleep(checkLater)
		if e := r.take(); len(e) != 0 {
			t.Errorf("it ceases to vouch: got %+v, want nothing", e)
		}
	})
}

// Where the system does not tell that the clock was set, that is said once, and found by looking.
func TestClockWithoutWatch(t *testing.T) {
	spec.Rules(t, "OPS-1")
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
			if e := r.take(); len(e) != 1 || e[0].Err != refused || e[0].State != ClockSynchronised ||
				e[0].Before != e[0].State {
				t.Errorf("got %+v", e)
			}
			f.move(time.Hour)
			time.Sleep(checkLater)
			if e := r.take(); len(e) != 1 || e[0].Moved != time.Hour || e[0].Err != nil {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// A process that is held up while it reads the two clocks sees no step.
func TestClockHeldUp(t *testing.T) {
	spec.Rules(t, "OPS-1")
	synctest.Test(t, func(t *testing.T) {
		f := newFakeClock(BuildTime().Add(time.Hour))
		clock := newClock(f)
		f.jitter = 3
		if e, news := clock.check(); news {
			t.Errorf("got %+v", e)
		}
	})
}
