package alarm

import (
	"context"
	"math/rand/v2"
	"time"
)

// Worker is an Alarm whose work takes turns with what others do in its place: whoever has the turn may touch what the
// work touches. It is made by NewWorker, and may be copied.
type Worker struct {
	Alarm
	turn chan struct{} // holds one element while nobody has the turn
}

// NewWorker returns a Worker.
func NewWorker() Worker {
	w := Worker{New(), make(chan struct{}, 1)}
	w.Done()
	return w
}

// Take waits for the turn, which Done gives back. Its error is that of ctx; then there is nothing to give back.
func (w Worker) Take(ctx context.Context) error {
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Done gives the turn back.
func (w Worker) Done() { w.turn <- struct{}{} }

// Run does the work as that of an Alarm, each time in its turn.
func (w Worker) Run(ctx context.Context, work func(context.Context) (next time.Duration)) {
	w.Alarm.Run(ctx, func() time.Duration {
		if w.Take(ctx) != nil {
			return 0
		}
		defer w.Done()
		return work(ctx)
	})
}

// BackOff is how long to wait after so many failures in a row: first after one, twice as long after each further one,
// up to most. It varies at random, so that devices which failed together do not come back together.
func BackOff(failures int, first, most time.Duration) time.Duration {
	for ; failures > 1 && first < most; failures-- {
		first *= 2
	}
	return Spread(min(first, most))
}

// Spread varies a wait at random by up to half of it.
func Spread(d time.Duration) time.Duration { return d/2 + rand.N(max(d, 1)) }
