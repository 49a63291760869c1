package daemon

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/platform"
)

// clock is the system's clock, judged as the configuration has it (OPS-1).
type clock struct {
	*platform.Clock
	unvouched atomic.Bool // tokens are judged by a clock for which nobody vouches, too

	mu   sync.Mutex
	said map[string]time.Duration // by issuer: how far the log says that this clock is ahead of its server's
}

// started is when the process was.
var started = time.Now()

func newClock() *clock { return &clock{Clock: platform.NewClock()} }

// configure puts [clock] into force.
func (c *clock) configure(set config.Clock) {
	c.unvouched.Store(set.Unsynchronised == config.ClockJudge)
	c.UseMark(set.SynchronisedFile)
}

// now is the agent.Clock.
func (c *clock) now() agent.Time {
	t, state := c.Now()
	// Sub goes by the monotonic clock, as both times have a reading of it.
	return agent.Time{Now: t, Trusted: c.trusts(state), State: audit.Clock(state), Run: t.Sub(started)}
}

// worthSaying reports whether the log is to say that the clock differs from an issuer's server, which showed date just
// now: not what it said at the fetch before.
func (c *clock) worthSaying(issuer string, differs bool, date time.Time) bool {
	const same, most = 5 * time.Second, 64
	now, _ := c.Now()
	ahead := now.Sub(date)
	c.mu.Lock()
	defer c.mu.Unlock()
	before, known := c.said[issuer]
	if !differs {
		delete(c.said, issuer)
		return false
	}
	if known && (ahead-before).Abs() < same {
		return false
	}
	if c.said == nil || len(c.said) >= most { // issuers come and go
		c.said = map[string]time.Duration{}
	}
	c.said[issuer] = ahead
	return true
}

// trusts tells whether tokens are judged by a clock in this state.
func (c *clock) trusts(state platform.ClockState) bool {
	return state == platform.ClockSynchronised || state == platform.ClockUnsynchronised && c.unvouched.Load()
}

// logStatus says what the clock is worth as the daemon starts to serve.
func (c *clock) logStatus(log *zap.Logger) {
	s := c.Status()
	c.logEvent(log, platform.ClockEvent{ClockStatus: s, Before: s.State})
}

// logEvent reports what happened to the clock. Tokens need nothing done about it: no time is remembered with one.
func (c *clock) logEvent(log *zap.Logger, e platform.ClockEvent) {
	level, message := zapcore.InfoLevel, "clock"
	fields := []zap.Field{zap.String("state", e.State.String()), zap.String("why", e.Why)}
	if e.State != e.Before {
		fields = append(fields, zap.String("before", e.Before.String()))
	}
	if e.Moved != 0 {
		message = "the clock was set"
		fields = append(fields, zap.Duration("moved", e.Moved.Round(time.Millisecond)))
	}
	if e.Err != nil {
		message = "the system does not tell when the clock is set, which is now noticed within a minute"
		fields = append(fields, zap.Error(e.Err))
	}
	if !c.trusts(e.State) {
		level, message = zapcore.WarnLevel, message+"; tokens are answered 503"
	}
	log.Log(level, message, fields...)
}
