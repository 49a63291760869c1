package platform

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"
)

// ClockState is what can be said of the system's clock (OPS-1). The zero value is the worst.
type ClockState uint8

const (
	// ClockUnset is a clock that shows a time which has certainly passed: it starts in 1970, or where it stopped, on a device
	// without a battery. By it every token would look wrong, or an expired one good.
	ClockUnset ClockState = iota
	// ClockUnsynchronised is a clock that may well be right, but nobody vouches for it: one set by hand, by a battery, or by a
	// time protocol that does not tell the kernel.
	ClockUnsynchronised
	// ClockSynchronised is a clock that a time service has set and keeps.
	ClockSynchronised
)

// String names the state as the configuration and the log do.
func (s ClockState) String() string {
	switch s {
	case ClockUnset:
		return "unset"
	case ClockUnsynchronised:
		return "unsynchronised"
	case ClockSynchronised:
		return "synchronised"
	}
	return fmt.Sprintf("ClockState(%d)", uint8(s))
}

// ClockStatus is a state with its reason, for people.
type ClockStatus struct {
	State ClockState
	Why   string // such as "the kernel says so"
}

// ClockEvent is something that happened to the clock, for the log.
type ClockEvent struct {
	ClockStatus            // from now on
	Before      ClockState // may be the same
	// Moved is how far the clock was set ahead, negative for back; 0 where it just runs.
	Moved time.Duration
	// Err says why the system does not tell when the clock is set, which is then noticed within a minute.
	Err error
}

// Clock is the system's clock together with a judgement on it. It never sets the clock. It is safe for concurrent use.
//
// The floor below which a clock is unset is the latest of three times: when the program was built; what an earlier run has
// Known, given to Remember; and what an authorization server last gave as the time, given to Witness. Only a time that has
// certainly passed may be given to either: a floor that is in the future makes the device deny until the clock reaches it, or
// a server witnesses against it.
type Clock struct {
	system  clockSystem
	floor   atomic.Int64 // microseconds since 1970
	vouched atomic.Bool  // somebody vouches for the clock

	mu         sync.Mutex
	remembered time.Time
	witnessed  time.Time
	kept       time.Time // the latest time at which somebody vouched and Known was asked
	who        string    // vouches, or why nobody is known to
	tai        time.Duration
	last       reading
	state      ClockState // at the last check
}

// clockSystem is what a Clock asks of the operating system.
type clockSystem interface {
	now() time.Time
	// uptime is the time since some moment, whatever is done to the clock, sleep of the system included.
	uptime() time.Duration
	// voucher tells who keeps the clock right; ok is false where nobody is known to, and text says why. tai is what the kernel
	// holds for TAI − UTC, 0 where nobody told it.
	voucher() (text string, ok bool, tai time.Duration)
	// watch returns what notices that the clock is set.
	watch() (clockWatch, error)
}

// clockWatch notices that the clock is set.
type clockWatch interface {
	// wait returns once the clock was set, or after d of monotonic time. An error means that it was closed or cannot go on.
	wait(d time.Duration) error
	// Close ends a wait.
	Close() error
}

const (
	// movedLeast is what the log hears of: a time service slews less than this between two checks, and tokens count in seconds.
	movedLeast = 500 * time.Millisecond
	// Checks cost some microseconds. Until somebody vouches for the clock, tokens may be waiting for that.
	checkSoon  = 5 * time.Second
	checkLater = time.Minute
	// witnessSlack is how much older than now a server's answer may be: a cache in between may have kept it for hours.
	witnessSlack = 24 * time.Hour
)

// NewClock returns the Clock of this system, judged.
func NewClock() *Clock { return newClock(realClock{}) }

func newClock(s clockSystem) *Clock {
	c := &Clock{system: s}
	c.floor.Store(built.UnixMicro())
	c.check()
	return c
}

// Now returns the time in UTC and what it is worth. It is for every decision: it takes a reading and two loads.
func (c *Clock) Now() (time.Time, ClockState) {
	t := c.system.now().UTC()
	return t, c.judge(t)
}

// judge compares with the floor each time, so that a clock that was set back is not believed for one decision.
func (c *Clock) judge(t time.Time) ClockState {
	switch {
	case t.UnixMicro() < c.floor.Load():
		return ClockUnset
	case c.vouched.Load():
		return ClockSynchronised
	}
	return ClockUnsynchronised
}

// Remember raises the floor to what an earlier run has Known.
func (c *Clock) Remember(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.remembered) {
		c.remembered = t
	}
	c.setFloor()
}

// Witness takes the time that an authorization server gave with its answer, over a connection that was verified (the Date of
// RFC 9110 §6.6.1). Tokens are dated by that clock, and nobody else could have sent the answer, so it becomes the floor. It also
// puts right what an earlier run took for certain and was wrong about, such as the year 2099 of a time server gone astray;
// otherwise a device would deny until somebody removes its state.
//
// The text says how far the two clocks are apart and what that probably comes from; it is "" where they agree as far as such a
// date can tell.
func (c *Clock) Witness(t time.Time) (explanation string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.witnessed = t
	for _, known := range []*time.Time{&c.remembered, &c.kept} {
		if known.Sub(t) > witnessSlack {
			*known = time.Time{}
		}
	}
	c.setFloor()
	return ExplainOffset(c.system.now().Sub(t), c.tai)
}

// setFloor works the floor out. The caller holds mu.
func (c *Clock) setFloor() {
	floor, _ := c.latest()
	c.floor.Store(floor.UnixMicro())
}

// latest returns the floor and what is known of it. The caller holds mu.
func (c *Clock) latest() (floor time.Time, why string) {
	floor, why = built, "when this program was built"
	if c.remembered.After(floor) {
		floor, why = c.remembered, "when an earlier run knew the time"
	}
	if c.witnessed.After(floor) {
		floor, why = c.witnessed, "the time that an authorization server gave"
	}
	return floor, why
}

// Known returns the latest time that has certainly passed, to Remember after a restart: the floor, or a later time at which
// somebody vouched for the clock, now if that is so now. A clock for which nobody does may be ahead, and is not taken for certain.
// It goes back only where a server has witnessed that it was wrong; then what is kept of it should be replaced.
func (c *Clock) Known() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.system.now().Round(0).UTC(); c.judge(t) == ClockSynchronised && t.After(c.kept) {
		c.kept = t
	}
	if floor, _ := c.latest(); floor.After(c.kept) {
		return floor
	}
	return c.kept
}

// Status returns the state and the reason for it.
func (c *Clock) Status() ClockStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status(c.system.now().UTC())
}

// status judges t for people. The caller holds mu.
func (c *Clock) status(t time.Time) ClockStatus {
	s := ClockStatus{c.judge(t), c.who}
	if s.State == ClockUnset {
		floor, why := c.latest()
		s.Why = fmt.Sprintf("it shows %s, but %s was %s", stamp(t), stamp(floor), why)
	}
	return s
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// Run watches the clock until ctx ends, and reports from the calling goroutine when it was set or its state has changed.
func (c *Clock) Run(ctx context.Context, report func(ClockEvent)) {
	w, err := c.system.watch()
	if err == nil {
		err = c.runWatch(ctx, w, report)
	}
	if ctx.Err() == nil {
		s := c.Status()
		report(ClockEvent{ClockStatus: s, Before: s.State, Err: err})
		c.runWatch(ctx, newTimerWatch(), report)
	}
}

// runWatch checks the clock until the watch fails or ctx ends.
func (c *Clock) runWatch(ctx context.Context, w clockWatch, report func(ClockEvent)) error {
	defer w.Close()
	defer context.AfterFunc(ctx, func() { w.Close() })()
	for {
		wait := checkSoon
		if _, state := c.Now(); state == ClockSynchronised {
			wait = checkLater
		}
		if err := w.wait(wait); err != nil {
			return err
		}
		if e, news := c.check(); news {
			report(e)
		}
	}
}

// check looks at the clock anew and tells whether anything happened since the last time.
func (c *Clock) check() (e ClockEvent, news bool) {
	who, vouched, tai := c.system.voucher()
	now := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.who, c.tai = who, tai
	c.vouched.Store(vouched)
	e = ClockEvent{ClockStatus: c.status(now.wall), Before: c.state}
	if moved := now.since(c.last); moved.Abs() >= movedLeast {
		e.Moved = moved
	}
	c.state, c.last = e.State, now
	return e, e.State != e.Before || e.Moved != 0
}

// reading is two clocks at one moment.
type reading struct {
	wall   time.Time
	uptime time.Duration
}

// read reads both clocks. A process that is held up between the two would see a step where there is none, and tries again.
func (c *Clock) read() reading {
	const tries, close = 5, 10 * time.Millisecond
	for i := 1; ; i++ {
		before := c.system.uptime()
		// Without its monotonic part: it is the wall clock that is watched.
		wall := c.system.now().Round(0)
		if after := c.system.uptime(); after-before < close || i == tries {
			return reading{wall, after}
		}
	}
}

// since returns how far the clock was moved since an earlier reading, 0 for none earlier.
func (r reading) since(earlier reading) time.Duration {
	if earlier.wall.IsZero() {
		return 0
	}
	return r.wall.Sub(earlier.wall) - (r.uptime - earlier.uptime)
}

// timerWatch notices nothing and only waits: for systems and sandboxes that have nothing better.
type timerWatch struct {
	closed chan struct{}
	close  func()
}

func newTimerWatch() timerWatch {
	closed := make(chan struct{})
	return timerWatch{closed, sync.OnceFunc(func() { close(closed) })}
}

func (w timerWatch) wait(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-w.closed:
		return fs.ErrClosed
	}
}

func (w timerWatch) Close() error {
	w.close()
	return nil
}
