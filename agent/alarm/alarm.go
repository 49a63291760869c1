// Package alarm does work when it is due: at a time that the work itself names, or as soon as anybody asks for it; and
// says how long to wait after a failure.
package alarm

import (
	"context"
	"time"
)

// Alarm has work done in one goroutine, that of Run. It is made by New, and may be copied.
type Alarm struct{ ring chan struct{} }

// New returns an Alarm.
func New() Alarm { return Alarm{make(chan struct{}, 1)} }

// Ring has the work done as soon as that can be, once more if it is being done. It does not wait.
//
//go:noinline // for flash
func (a Alarm) Ring() {
	select {
	case a.ring <- struct{}{}:
	default:
	}
}

// Run does the work now, whenever the time that the work returned has passed since it did, and whenever the alarm
// rings, until ctx ends. A time of 0 means only when it rings.
func (a Alarm) Run(ctx context.Context, work func() (next time.Duration)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.ring:
		case <-timer.C:
		}
		if next := work(); next > 0 {
			timer.Reset(next)
		} else {
			timer.Stop()
		}
	}
}
