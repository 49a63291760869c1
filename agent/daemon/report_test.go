package daemon

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"nmosauthd/agent"
)

// stuckCore is a log that takes nothing before it is let go.
type stuckCore struct {
	zapcore.Core
	free chan struct{}
}

func (c stuckCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return ce.AddCore(e, c)
}

func (c stuckCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	<-c.free
	return c.Core.Write(e, fields)
}

// A log that is stuck holds up nobody who connects, and what it does not get is counted.
func TestReportToAStuckLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.WarnLevel)
		stuck := stuckCore{core, make(chan struct{})}
		r := &reporter{log: zap.New(stuck), socket: "/run/a.sock"}
		for range 50 {
			r.report(errors.New("a stranger"))
			time.Sleep(time.Second)
		}
		close(stuck.free)
		synctest.Wait()
		r.report(errors.New("a stranger"))
		synctest.Wait()
		all := lines.All()
		if len(all) != 2 {
			t.Fatalf("%d lines, want 2", len(all))
		}
		if got := all[1].ContextMap()["left_out"]; got != int64(49) {
			t.Errorf("the second line left out %v, want 49", got)
		}
	})
}

// A caller that hangs up is named in the log; other errors stay as they are.
func TestGoneCaller(t *testing.T) {
	peer := agent.Peer{PID: 7}
	const want = "a caller (pid 7) went away before its answer"
	for _, cause := range []error{syscall.EPIPE, syscall.ECONNRESET} {
		if got := goneCaller(peer, fmt.Errorf("write: %w", cause)); got == nil || got.Error() != want {
			t.Errorf("%v: got %v, want %s", cause, got, want)
		}
	}
	for _, other := range []error{nil, errors.New("another")} {
		if got := goneCaller(peer, other); got != other {
			t.Errorf("got %v, want %v", got, other)
		}
	}
}
