package alarm_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/alarm"
)

// Work is done at its time and when it is asked for, never at the same time twice, and not at all after the end.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := alarm.New()
		ctx, end := context.WithCancel(t.Context())
		begin := time.Now()
		var next atomic.Int64
		next.Store(int64(10 * time.Second))
		var at []int
		go a.Run(ctx, func() time.Duration {
			at = append(at, int(time.Since(begin)/time.Second))
			time.Sleep(time.Second)
			return time.Duration(next.Load())
		})
		time.Sleep(5 * time.Second)
		for range 3 {
			a.Ring() // three count as one
		}
		time.Sleep(500 * time.Millisecond)
		a.Ring() // while the work is being done: once more
		time.Sleep(20 * time.Second)
		next.Store(0)
		time.Sleep(time.Hour) // after one more it waits for a ring
		a.Ring()
		time.Sleep(time.Minute)
		end()
		synctest.Wait()
		a.Ring()
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []int{0, 5, 6, 17, 28, 3625}; !slices.Equal(at, want) {
			t.Errorf("the work was done at %v s, want %v s", at, want)
		}
	})
}
