package platform

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ClockState is the state of the system's clock (OPS-1). The zero value is the worst.
type ClockState uint8

const (
	// ClockUnset is a clock that shows a time which has certainly passed: it starts in 1970, or where it stopped, on a
	// device without a battery. By it every token would look wrong, or an expired one good.
	ClockUnset ClockState = iota
	// ClockUnsynchronised is a clock that may well be right, but no time service confirms it: one set by hand, by a
	// battery, or by a time protocol that does not tell the kernel.
	ClockUnsynchronised
	// ClockSynchronised is a clock that a time service has set and keeps.
	ClockSynchronised
)

// String names the state as the configuration and the log do.
//
//go:noinline // for flash
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
	// Moved is how far the clock was set ahead, negative for back; 0 if it just runs.
	Moved time.Duration
	// Err says why the system does not report when the clock is set, which is then noticed within a minute.
	Err error
}

// Renewed reports whether what depended on the time should be tried again immediately: the clock has become
// synchronised, or was set by more than a minute (OPS-1).
func (e *ClockEvent) Renewed() bool {
	return e.State == ClockSynchronised && e.Before != ClockSynchronised || e.Moved.Abs() > movedFar
}

// Clock is the system's clock together with a judgement on it. It never sets the clock. It is safe for concurrent use.
//
// A synchronised clock is believed whatever else says, unless it shows a time before the build. One that is not
// synchronised is unset below the floor, the latest of: when the program was built; what an earlier run has Known,
// given to Remember; what was known in this run while the clock was synchronised or, for an hour, as somebody had set
// it. Neither a server's Date nor a file's modification time is ever a floor: the one may be wrong or a lie, and the
// other is what the clock was restored from.
type Clock struct {
	system      clockSystem
	floor       atomic.Int64 // microseconds since 1970, for a clock that is not synchronised
	trustworthy atomic.Bool  // a time service has vouched for the clock, and it was not set since

	mu         sync.Mutex
	mark       string    // "" if none is configured
	remembered time.Time // known by an earlier run
	known      time.Time // the latest time shown while synchronised
	// operator is the latest time shown since somebody set the clock, once that has stood for long; zero if none.
	operator time.Time
	set      reading              // of the last step; zero if none
	setBy    bool                 // that was by somebody for whom no time service vouched
	since    time.Duration        // uptime at which the clock became synchronised, or was last set
	seen     map[string]time.Time // when each voucher last looked at the clock, at the last check
	stale    map[string]time.Time // the same at the last check before the clock was set
	who      string               // vouches, or why nobody is known to
	tai      time.Duration
	last     reading
	moved    time.Duration // since the last check
	state    ClockState    // at the last check
	running  bool

	looking sync.Mutex
}

// clockSystem is what a Clock needs from the operating system.
type clockSystem interface {
	now() time.Time
	// uptime is the time since the boot, whatever is done to the clock, sleep of the system included.
	uptime() time.Duration
	// vouchers asks who keeps the clock right, best first; mark is a file that says so beside those that are known, ""
	// if none. tai is the kernel's value of TAI − UTC, 0 if it was never set.
	vouchers(mark string) (all []voucher, tai time.Duration)
	// watch returns a watch that notices when the clock is set.
	watch() (clockWatch, error)
}

// voucher is a source that may say that the clock is synchronised.
type voucher struct {
	name string
	text string // who it is and what it says
	ok   bool   // it vouches for the clock
	// at is when, by the clock, it last saw that the clock is right. Its word then ends when the clock is set: it must
	// have looked again since. Zero for one that withdraws its word itself.
	at time.Time
}

// clockWatch notices that the clock is set.
type clockWatch interface {
	// wait returns once the clock was set, or after d of monotonic time. An error means that it was closed or cannot go
	// on.
	wait(d time.Duration) error
	// Close ends a wait.
	Close() error
}

const (
	// movedLeast is the smallest step that is logged: a time service slews less than this between two checks, and
	// tokens count in seconds.
	movedLeast = 500 * time.Millisecond
	// movedFar is a step after which servers and certificates are worth another look.
	movedFar = time.Minute
	// Checks cost some microseconds. Until somebody vouches for the clock, tokens may be waiting for that.
	checkSoon  = 5 * time.Second
	checkLater = time.Minute
	// standing is how long a clock must have run unbroken before what it shows counts against an earlier run's time,
	// and before one that an operator has set counts at all: a mistake is put right before it is kept.
	standing = time.Hour
	// markSlack is how far the time of a file may be off: FAT counts in two seconds.
	markSlack = 2 * time.Second
)

// Uptime is the time since the boot, whatever is done to the clock, sleep of the system included.
func Uptime() time.Duration { return realClock{}.uptime() }

// NewClock returns the Clock of this system, judged.
func NewClock() *Clock { return newClock(realClock{}) }

func newClock(s clockSystem) *Clock {
	c := &Clock{system: s}
	c.setFloor()
	c.check()
	return c
}

// Now returns the time in UTC and the clock's state.
func (c *Clock) Now() (time.Time, ClockState) {
	t, state := c.Read()
	return t.UTC(), state
}

// Read is Now with the reading of the monotonic clock that UTC takes away. It is called for every decision: it costs a
// reading and two loads.
func (c *Clock) Read() (time.Time, ClockState) {
	t := c.system.now()
	return t, c.judge(t)
}

// judge compares with the floor each time, so that a clock that was set back is not believed for one decision.
func (c *Clock) judge(t time.Time) ClockState {
	at := t.UnixMicro()
	switch {
	case at < builtMicro:
		return ClockUnset
	case c.trustworthy.Load():
		return ClockSynchronised // whatever was kept
	case at < c.floor.Load():
		return ClockUnset
	}
	return ClockUnsynchronised
}

// NotBefore returns the later of the clock and its floor, by which certificates are judged: a clock that starts in 1970
// must not keep the device from its servers.
func (c *Clock) NotBefore() time.Time {
	t, state := c.Now()
	if state != ClockUnset {
		return t
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if floor, _ := c.latest(); !c.trustworthy.Load() {
		return floor
	}
	return built
}

// UseMark has a file vouch for the clock for as long as it is there, in addition to the other sources; "" for none. It
// takes effect immediately.
func (c *Clock) UseMark(path string) {
	c.mu.Lock()
	changed := c.mark != path
	c.mark = path
	c.mu.Unlock()
	if !changed {
		return
	}
	now := c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.running { // the clock is first reported as it is then
		c.state, c.moved = c.judge(now.wall), 0
	}
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

// Explain says how far this clock is from another now, and the probable cause; "" if they agree as
// far as an HTTP date can show.
func (c *Clock) Explain(other time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ExplainOffset(c.system.now().Sub(other), c.tai)
}

// setFloor works the floor out. The caller holds mu, or is the only one.
func (c *Clock) setFloor() {
	floor, _ := c.latest()
	c.floor.Store(floor.UnixMicro())
}

// latest returns the floor and its origin. The caller holds mu.
func (c *Clock) latest() (floor time.Time, why string) {
	floor, why = built, "when this program was built"
	for _, f := range []struct {
		at  time.Time
		why string
	}{
		{c.remembered, "a time that an earlier run knew"},
		{c.known, "a time at which the clock was synchronised"},
		{c.operator, "a time to which the clock had been set"},
	} {
		if f.at.After(floor) {
			floor, why = f.at, f.why
		}
	}
	return floor, why
}

// learn updates the known times by a reading. The caller holds mu.
func (c *Clock) learn(r reading) {
	stood := r.uptime-c.since >= standing
	switch state := c.judge(r.wall); {
	case state == ClockSynchronised && stood:
		// It has been right for so long that whatever was kept against it was wrong, such as the year 2099 of a time
		// server gone astray.
		c.remembered, c.operator, c.known = time.Time{}, time.Time{}, r.wall
	case state == ClockSynchronised:
		if r.wall.After(c.known) {
			c.known = r.wall
		}
	case state == ClockUnsynchronised && c.setBy && stood:
		c.operator = r.wall
	}
	c.setFloor()
}

// Known returns the latest time that has certainly passed, to Remember after a restart: the floor as of now. It is
// earlier than before only if the clock has been synchronised for an hour, or was set again; then what is kept of it
// should be replaced.
func (c *Clock) Known() time.Time {
	c.look() // the clock may have been set a moment ago
	c.mu.Lock()
	defer c.mu.Unlock()
	floor, _ := c.latest()
	return floor.UTC()
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
		if c.trustworthy.Load() {
			floor, why = built, "when this program was built"
		}
		s.Why = fmt.Sprintf("it shows %s, but %s was %s", stamp(t), stamp(floor), why)
	}
	return s
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// Run watches the clock until ctx ends, and reports from the calling goroutine when it was set or its state has
// changed.
func (c *Clock) Run(ctx context.Context, report func(ClockEvent)) {
	c.mu.Lock()
	c.running = true
	c.mu.Unlock()
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

// check looks at the clock again and reports whether anything happened since the last time.
func (c *Clock) check() (e ClockEvent, news bool) {
	now := c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	e = ClockEvent{ClockStatus: c.status(now.wall), Before: c.state, Moved: c.moved}
	c.state, c.moved = e.State, 0
	return e, e.State != e.Before || e.Moved != 0
}

// look reads the clock and asks who vouches for it.
func (c *Clock) look() reading {
	c.looking.Lock() // so that of two looks the later one counts
	defer c.looking.Unlock()
	now := c.read()
	c.mu.Lock()
	mark := c.mark
	c.mu.Unlock()
	all, tai := c.system.vouchers(mark)

	c.mu.Lock()
	defer c.mu.Unlock()
	if moved := now.since(c.last); moved.Abs() >= movedLeast {
		c.moved += moved
		c.wasSet(now, moved)
	}
	c.last, c.tai = now, tai
	c.ask(all, now)
	c.learn(now)
	return now
}

// wasSet notes a step, after which no earlier voucher counts. The caller holds mu.
func (c *Clock) wasSet(now reading, moved time.Duration) {
	// By a time service, it is vouched for within moments, and then nothing is made of this.
	c.set, c.since, c.stale = now, now.uptime, c.seen
	switch {
	case moved.Abs() > movedFar:
		c.setBy, c.operator = true, time.Time{}
	case now.wall.Before(c.operator): // a little correction
		c.operator = now.wall
	}
	c.trustworthy.Store(false)
}

// ask evaluates the vouchers. Once one has vouched for the clock since it was last set, the clock is
// synchronised until it is set again: a time service that ends leaves a good clock. The caller holds mu.
func (c *Clock) ask(all []voucher, now reading) {
	c.seen = make(map[string]time.Time, len(all))
	var against []string
	for _, v := range all {
		c.seen[v.name] = v.at
	}
	for _, v := range all {
		switch {
		case !v.ok:
			against = append(against, v.text)
		case !c.holds(v, now):
			against = append(against, v.text+", but not since the clock was set")
		default:
			if !c.trustworthy.Swap(true) {
				c.since = now.uptime
			}
			c.who, c.setBy = v.text, false
			return
		}
	}
	c.who = strings.Join(against, "; ")
	if c.trustworthy.Load() {
		c.who = "it was not set since a time service kept it; now " + c.who
	}
}

// holds reports whether the word of a voucher is about the clock as it runs now: from this boot, and not from before it
// was last set. The caller holds mu.
func (c *Clock) holds(v voucher, now reading) bool {
	if v.at.IsZero() {
		return true
	}
	earliest := now.wall.Add(-now.uptime)
	if !c.set.wall.IsZero() {
		if v.at.Equal(c.stale[v.name]) {
			return false
		}
		earliest = c.set.wall
	}
	return !v.at.Before(earliest.Add(-markSlack)) && !v.at.After(now.wall.Add(markSlack))
}

// reading is two clocks at one moment.
type reading struct {
	wall   time.Time
	uptime time.Duration
}

// read reads both clocks. A process that is held up between the two would see a step that never happened, and tries
// again.
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
	open  context.Context
	close func()
}

func newTimerWatch() timerWatch {
	open, end := context.WithCancel(context.Background())
	return timerWatch{open, end}
}

func (w timerWatch) wait(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-w.open.Done():
		return fs.ErrClosed
	}
}

func (w timerWatch) Close() error {
	w.close()
	return nil
}
