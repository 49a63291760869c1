package daemon

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// reportInterval is the least time between two lines about the connections of one socket.
const reportInterval = time.Second

// reporter logs the troubles of a socket's connections: those of callers that are turned away or break off. Callers
// make them, in a loop if they are broken, and a device's flash takes only so many lines. So one line an interval is
// written, and the next one says how many were not. Decisions are another matter: none of those is left out.
type reporter struct {
	log    *zap.Logger
	socket string

	mu      sync.Mutex
	logging bool // a line is being written
	last    time.Time
	leftOut int
}

// report never waits for the log: connections are accepted while it is stuck.
func (r *reporter) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.logging || now.Sub(r.last) < reportInterval {
		r.leftOut++
		return
	}
	line := []zap.Field{zap.String("socket", r.socket), zap.Int("left_out", r.leftOut), zap.Error(err)}
	r.logging, r.last, r.leftOut = true, now, 0
	go func() {
		r.log.Warn("connection", line...)
		r.mu.Lock()
		r.logging = false
		r.mu.Unlock()
	}()
}
