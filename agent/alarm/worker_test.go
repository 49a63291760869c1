package alarm_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/alarm"
)

// Whoever takes the turn has it alone; the work waits for it, and so does whoever comes while the work is being done.
func TestWorkerTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := alarm.NewWorker()
		ctx, end := context.WithCancel(t.Context())
		done := 0 // -race sees who touches it out of turn
		if err := w.Take(ctx); err != nil {
			t.Fatal(err)
		}
		go w.Run(ctx, func(context.Context) time.Duration {
			time.Sleep(time.Minute)
			done++
			return 0
		})
		time.Sleep(time.Hour)
		if done != 0 {
			t.Errorf("the work was done %d times while another had the turn, want 0", done)
		}
		w.Done()
		time.Sleep(time.Second)
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := w.Take(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the turn during the work: got %v, want %v", err, context.DeadlineExceeded)
		}
		if err := w.Take(ctx); err != nil || done != 1 {
			t.Errorf("the turn after the work: got %v, done %d times; want nil, 1", err, done)
		}
		w.Ring() // the work comes to wait for the turn, and gives up at the end
		synctest.Wait()
		end()
		synctest.Wait()
		w.Done()
		synctest.Wait()
		if done != 1 {
			t.Errorf("the work was done %d times, want 1: not after the end", done)
		}
	})
}

// A back-off doubles from its first wait to its longest one, however often it fails, and lies within half of it.
func TestBackOff(t *testing.T) {
	for _, c := range []struct {
		failures          int
		first, most, want time.Duration
	}{
		{0, time.Second, time.Minute, time.Second},
		{1, time.Second, time.Minute, time.Second},
		{2, time.Second, time.Minute, 2 * time.Second},
		{7, time.Second, time.Minute, time.Minute},
		{1 << 30, time.Second, time.Minute, time.Minute},
		{3, time.Hour, 24 * time.Hour, 4 * time.Hour},
		{1, time.Hour, time.Minute, time.Minute},
	} {
		least, most := c.want*3, time.Duration(0)
		for range 1000 {
			got := alarm.BackOff(c.failures, c.first, c.most)
			least, most = min(least, got), max(most, got)
		}
		if least < c.want/2 || most > c.want*3/2 || least == most {
			t.Errorf("%d failures, %v to %v: got %v to %v, want %v and half of it more or less",
				c.failures, c.first, c.most, least, most, c.want)
		}
	}
	if got := alarm.Spread(0); got != 0 {
		t.Errorf("no wait: got %v, want 0", got)
	}
}
