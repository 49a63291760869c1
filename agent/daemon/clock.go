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

// clock is the system's clock, trusted as far as the configuration says (OPS-1).
type clock struct {
	*platform.Clock
	unvouched atomic.Bool // an unsynchronised clock is trusted, too

	mu   sync.Mutex
	said map[string]time.Duration // by issuer: how far ahead of its server's clock the log last said this one is
}

// started is when the process started.
var started = time.Now()

func newClock() *clock { return &clock{Clock: platform.NewClock()} }

// configure applies [clock].
func (c *clock) configure(set config.Clock) {
	c.unvouched.Store(set.Unsynchronised == config.ClockJudge)
	c.UseMark(set.SynchronisedFile)
}

// now is the agent.Clock.
func (c *clock) now() agent.Time {
	t, state := c.Read()
	// Sub goes by the monotonic clock, as both times have a reading of it. UTC takes it away.
	return agent.Time{Now: t.UTC(), Trusted: c.trusts(state), State: audit.Clock(state), Run: t.Sub(started)}
}

// worthSaying reports whether the log should say that the clock differs from an issuer's server, which just sent date:
// not if it said the same at the previous fetch.
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

// trusts reports whether tokens are judged by a clock in this state.
func (c *clock) trusts(state platform.ClockState) bool {
	return state == platform.ClockSynchronised || state == platform.ClockUnsynchronised && c.unvouched.Load()
}

// logStatus logs the state of the clock as the daemon starts to serve.
func (c *clock) logStatus(log *zap.Logger) {
	s := c.Status()
	c.logEvent(log, platform.ClockEvent{ClockStatus: s, Before: s.State})
}

// logEvent logs what happened to the clock. The token cache needs no change: it holds no verdict that depends on the
// time.
func (c *clock) logEvent(log *zap.Logger, e platform.ClockEvent) {
	level, message := zapcore.InfoLevel, "clock"
	before := ""
	if e.State != e.Before {
		before = e.Before.String()
	}
	about := zap.Skip()
	if e.Moved != 0 {
		// No text, which would make another trouble of each time.
		message, about = "the clock was set", zap.Duration("moved", e.Moved.Round(time.Millisecond))
	}
	if e.Err != nil {
		message = "the kernel does not report when the clock is set; the daemon notices within a minute"
	}
	if !c.trusts(e.State) {
		level, message = zapcore.WarnLevel, message+"; tokens are answered 503"
	}
	log.Log(level, message, append(fields(e.Err, "state", e.State.String(), "why", e.Why, "before", before), about)...)
}
