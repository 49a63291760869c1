package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4/json"
	"go.uber.org/zap"

	"nmosauthd/agent"
	"nmosauthd/agent/admin"
	"nmosauthd/agent/alarm"
	"nmosauthd/agent/config"
	"nmosauthd/agent/httpauth"
	"nmosauthd/agent/status"
	"nmosauthd/agent/wire"
	"nmosauthd/platform"
)

// observation is what observeFile holds. The zero value, which "{}" is, observes nothing.
type observation struct {
	UID   int64         `json:"uid"`           // who began it
	For   string        `json:"for,omitempty"` // for whom, if that was a web server
	Asked time.Duration `json:"asked"`         // for how long
	Boot  string        `json:"boot"`          // in which boot of the system that was; "" if unknown
	End   time.Duration `json:"end"`           // when it ends, as time since that boot
	// Until is when it ends by a synchronised clock, in seconds since 1970; 0 if it was never known.
	Until int64 `json:"until"`
}

// left returns how long it still goes on: never longer than was asked, whatever was done to the clock. In the boot in
// which it began that is certain. After another only a clock that a time service vouches for says how long the device
// was off: until there is one, nothing is observed, and wait is true. Once the time that was asked for has passed since
// this boot, it has ended in any case.
func (o *observation) left(boot string, up time.Duration, now time.Time, synchronised bool) (left time.Duration,
	wait bool) {
	switch {
	case o.Asked <= 0 || o.Asked > admin.MostObserve:
		return 0, false
	case boot != "" && o.Boot == boot:
		left = o.End - up
	case o.Until == 0 || up >= o.Asked:
		return 0, false
	case !synchronised:
		return 0, true
	default:
		left = time.Unix(o.Until, 0).Sub(now)
	}
	if left > o.Asked {
		return 0, false // it would begin after it was begun: the clock, or the file, is wrong
	}
	return max(left, 0), false
}

// observing is the timed observe mode (OPS-3).
type observing struct {
	alarm alarm.Alarm
	boot  string
	shown atomic.Pointer[observation] // while it is on. Not under mu, which a hanging flash holds

	mu   sync.Mutex
	kept observation // on flash, or to be
	end  time.Duration
	on   bool // everything is observed until then, in time since the boot
}

// recallObserve reads what was observed before the restart, which runObserve goes on with.
func (d *daemon) recallObserve() {
	o := &d.observing
	o.alarm = alarm.New()
	o.boot, _ = platform.Boot() // the sandbox hides it
	if data := d.persisted.loadObserve(); data != nil && json.Unmarshal(data, &o.kept) != nil {
		o.kept = observation{}
	}
}

// runObserve ends it in time.
func (d *daemon) runObserve(ctx context.Context) { d.observing.alarm.Run(ctx, d.lookAtObserve) }

// lookAtObserve does what is due, and returns when more is.
func (d *daemon) lookAtObserve() (next time.Duration) {
	o := &d.observing
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kept.Asked == 0 {
		return 0
	}
	now, state := d.clock.Now()
	up := platform.Uptime()
	synchronised := state == platform.ClockSynchronised
	if o.on {
		if o.end > up {
			if until := now.Add(o.end - up).Unix(); synchronised && max(until-o.kept.Until, o.kept.Until-until) > 1 {
				o.kept.Until = until // the clock was set
				d.keepObservation()
			}
			return o.end - up
		}
		d.endObserve(agent.Peer{UID: -1}, "its time is over")
		return 0
	}
	left, wait := o.kept.left(o.boot, up, now, synchronised)
	switch {
	case wait:
		d.logObserve("observe mode was begun before the restart; until the clock is synchronised, it is not known "+
			"whether it has ended, so the mode is enforce", o.kept.UID)
		return max(o.kept.Asked-up, time.Second) // clockEvent rings before
	case left <= 0:
		d.endObserve(agent.Peer{UID: -1}, "its time was over at the restart")
		return 0
	}
	o.kept.Boot, o.kept.End = o.boot, up+left
	d.beginObserve()
	d.keepObservation()
	d.logObserve("observe mode goes on after a restart: nothing is denied", o.kept.UID,
		"left", left.Round(time.Second).String())
	return left
}

// beginObserve observes until kept.End. The caller holds mu.
func (d *daemon) beginObserve() {
	o := &d.observing
	o.on, o.end = true, o.kept.End
	end, shown := o.end, o.kept
	o.shown.Store(&shown)
	d.agent.Observe(func() bool { return platform.Uptime() < end }) // whatever becomes of the alarm
	d.healthChanged()
}

// endObserve enforces again. The caller holds mu.
func (d *daemon) endObserve(who agent.Peer, why string) error {
	o := &d.observing
	o.on, o.kept = false, observation{}
	o.shown.Store(nil)
	d.agent.Observe(nil)
	d.logObserve("observe mode has ended", who.UID, "why", why)
	d.agent.Act(who, wire.Observe, "end", why)
	d.healthChanged()
	return d.keepObservation()
}

// logObserve logs what becomes of an observe mode, and of whose.
func (d *daemon) logObserve(text string, uid int64, about ...string) {
	d.log.Warn(text, append(fields(nil, about...), zap.Int64("uid", uid))...)
}

// keepObservation writes kept. The caller holds mu.
func (d *daemon) keepObservation() error {
	data, err := json.Marshal(&d.observing.kept)
	if err != nil {
		return err
	}
	return d.persisted.keepObserve(data)
}

// asked says on which socket something was asked for, and for whom if that is the view socket.
func asked(ctx context.Context) string {
	if who := admin.AskedBy(ctx); who != "" {
		return "as asked on the page by " + who
	}
	return "as asked on the admin socket"
}

// told adds that to the words of a record, if it was the view socket.
func told(ctx context.Context, words string) string {
	if admin.AskedBy(ctx) == "" {
		return words
	}
	return strings.TrimPrefix(words+", "+asked(ctx), ", ")
}

// askedBy returns who sent a request on the admin or view socket.
func askedBy(ctx context.Context) agent.Peer {
	if conn, ok := httpauth.ConnOf(ctx).(*agent.Conn); ok {
		return conn.Peer
	}
	return agent.Peer{UID: -1}
}

// StartObserve is POST /observe/mode: everything is observed for some time, which ends by itself.
func (d *daemon) StartObserve(ctx context.Context, span time.Duration) ([]byte, error) {
	if mode := d.inForce.Load().Mode; mode != config.ModeEnforce {
		return nil, fmt.Errorf("the configuration says mode = %q, so nothing is denied: %w", mode, admin.ErrFixed)
	}
	o := &d.observing
	o.mu.Lock()
	defer o.mu.Unlock()
	who := askedBy(ctx)
	now, state := d.clock.Now()
	o.kept = observation{UID: who.UID, For: admin.AskedBy(ctx), Asked: span, Boot: o.boot, End: platform.Uptime() +
		span}
	if state == platform.ClockSynchronised {
		o.kept.Until = now.Add(span).Unix()
	}
	d.beginObserve()
	d.logObserve("observe mode: nothing is denied for some time, "+asked(ctx), who.UID, "for", span.String())
	d.agent.Act(who, wire.Observe, "start", told(ctx, span.String()))
	begun := status.Begun{Unkept: textOf(d.keepObservation())}
	if shown := d.observation(); shown != nil {
		begun.Observe = *shown
	}
	o.alarm.Ring()
	return json.Marshal(&begun)
}

// StopObserve is DELETE /observe/mode.
func (d *daemon) StopObserve(ctx context.Context) error {
	o := &d.observing
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kept.Asked == 0 {
		// A folder that was mounted after the start may hold one all the same, with which the next start would go on.
		if err := d.keepObservation(); err != nil && !errors.Is(err, errNoState) {
			return fmt.Errorf("none is going on, but that cannot be written down yet: %w", err)
		}
		return fmt.Errorf("no \"observe start\" is going on: %w", admin.ErrUnknown)
	}
	err := d.endObserve(askedBy(ctx), asked(ctx))
	o.alarm.Ring()
	if err != nil && !errors.Is(err, errNoState) {
		return fmt.Errorf("it has ended, but that cannot be written down yet, so a restart before its time is over "+
			"would begin it again: %w", err)
	}
	return nil
}

// observation returns what status shows, nil if nothing is observed by it: not if the configuration says that nothing
// is denied, which does not end then.
func (d *daemon) observation() *status.Observe {
	o, up := d.observing.shown.Load(), platform.Uptime()
	if o == nil || o.End <= up || d.inForce.Load().Mode != config.ModeEnforce {
		return nil
	}
	now := time.Now()
	return &status.Observe{
		UID: o.UID, For: o.For, Since: status.At(now.Add(o.End-o.Asked-up), now),
		Until: status.At(now.Add(o.End-up), now), Left: int64((o.End - up + time.Second - 1) / time.Second),
	}
}
