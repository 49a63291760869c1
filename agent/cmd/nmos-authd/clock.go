package main

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/platform"
)

// clock is the system's clock, judged as the configuration has it (OPS-1).
type clock struct {
	*platform.Clock
	unvouched atomic.Bool // tokens are judged by a clock for which nobody vouches, too
}

func newClock() *clock { return &clock{Clock: platform.NewClock()} }

// configure puts [clock] into force.
func (c *clock) configure(config agent.ClockConfig) {
	c.unvouched.Store(config.Unsynchronised == agent.ClockJudge)
}

// now is the agent.Clock.
func (c *clock) now() agent.Time {
	t, state := c.Now()
	return agent.Time{Now: t, Trusted: c.trusts(state), State: audit.Clock(state)}
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

// logEvent reports what happened to the clock. Nothing is left to do about it: no time is remembered with a token.
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
