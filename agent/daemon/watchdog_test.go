package daemon

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// decider stands for the decision socket and for the service manager.
type decider struct {
	reply   atomic.Pointer[string] // nil: questions are taken and not answered
	refuses atomic.Bool            // connections
	dials   atomic.Int32
	fed     atomic.Int32
}

func (d *decider) dial() (net.Conn, error) {
	d.dials.Add(1)
	if d.refuses.Load() {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		b := make([]byte, 4096)
		for {
			n, err := theirs.Read(b)
			if err != nil {
				return
			}
			if string(b[:n]) != "decide 1\nmethod=GET\ntarget=/x-nmos\n" {
				theirs.Write([]byte("error 400\nreason=packet-form\n"))
			} else if reply := d.reply.Load(); reply != nil {
				theirs.Write([]byte(*reply))
			}
		}
	}()
	return ours, nil
}

func (d *decider) well() error {
	d.fed.Add(1)
	return nil
}

// The watchdog is fed in half its time, as long as decisions are answered and no longer, and again once they are.
func TestWatchdog(t *testing.T) {
	const within = 20 * time.Second
	good, wrong := "allow 200\nreason=public\npath=/x-nmos\n", "deny 503\nreason=undecided\n"
	for name, c := range map[string]struct {
		stall   func(*decider)
		recover func(*decider)
		dials   int32 // in all
	}{
		"not answered":     {func(d *decider) { d.reply.Store(nil) }, func(d *decider) { d.reply.Store(&good) }, 5},
		"answered wrongly": {func(d *decider) { d.reply.Store(&wrong) }, func(d *decider) { d.reply.Store(&good) }, 1},
		"not connected": {func(d *decider) { d.reply.Store(nil); d.refuses.Store(true) },
			func(d *decider) { d.reply.Store(&good); d.refuses.Store(false) }, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &decider{}
				d.reply.Store(&good)
				core, logged := observer.New(zapcore.InfoLevel)
				ctx, cancel := context.WithCancel(t.Context())
				w := &watchdog{within: within, dial: d.dial, well: d.well, log: zap.New(core)}
				ended := make(chan struct{})
				go func() {
					w.run(ctx)
					close(ended)
				}()
				fed := func(want int32) {
					t.Helper()
					synctest.Wait()
					if n := d.fed.Load(); n != want {
						t.Errorf("fed %d times, want %d", n, want)
					}
				}
				fed(1) // immediately
				time.Sleep(within/2*6 + time.Second)
				fed(7)
				if n := d.dials.Load(); n != 1 {
					t.Errorf("%d connections", n)
				}
				c.stall(d)
				time.Sleep(within / 2 * 4)
				fed(7)
				if n := logged.Len(); n != 1 || logged.All()[0].Level != zapcore.ErrorLevel {
					t.Errorf("logged while it is not fed: %v", logged.All())
				}
				c.recover(d)
				time.Sleep(within / 2 * 3)
				fed(10)
				if n := logged.Len(); n != 2 || logged.All()[1].Message != "the service manager is notified again" {
					t.Errorf("logged: %v", logged.All())
				}
				if n := d.dials.Load(); n != c.dials {
					t.Errorf("%d connections, want %d", n, c.dials)
				}
				cancel()
				<-ended
			})
		})
	}
}

// An answer that comes late is not taken for that to the next question: a daemon that is always late is not fed.
func TestWatchdogLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &decider{}
		dial := func() (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				b := make([]byte, 4096)
				for {
					if _, err := theirs.Read(b); err != nil {
						return
					}
					time.Sleep(8 * time.Second)
					theirs.Write([]byte("allow 200\n"))
				}
			}()
			return ours, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		w := &watchdog{within: 20 * time.Second, dial: dial, well: d.well, log: zap.NewNop()}
		go w.run(ctx)
		time.Sleep(2 * time.Minute)
		if n := d.fed.Load(); n != 0 {
			t.Errorf("fed %d times", n)
		}
		cancel()
		time.Sleep(time.Minute)
	})
}

// A service manager that cannot be told is not told, and the log says so once.
func TestWatchdogManagerGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &decider{}
		good := "allow 200\n"
		d.reply.Store(&good)
		core, logged := observer.New(zapcore.InfoLevel)
		ctx, cancel := context.WithCancel(t.Context())
		w := &watchdog{within: 20 * time.Second, dial: d.dial, log: zap.New(core),
			well: func() error { return errors.New("telling the service manager: gone") }}
		go w.run(ctx)
		time.Sleep(2 * time.Minute)
		if n := logged.Len(); n != 1 {
			t.Errorf("logged: %v", logged.All())
		}
		cancel()
		synctest.Wait()
	})
}
