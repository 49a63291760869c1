package daemon

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// reportInterval is the minimum time between two lines about connections of one socket.
const reportInterval = time.Second

// reporter logs errors of a socket's connections, such as refused callers. A broken caller can cause them in a loop,
// and flash wears out, so it writes one line per interval; the next line says how many were left out. Decisions are
// recorded elsewhere, every one.
type reporter struct {
	log    *zap.Logger
	socket string

	mu      sync.Mutex
	logging bool // a line is being written
	last    time.Time
	leftOut int
}

// report never waits for the log: connections must be accepted while it is stuck.
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
