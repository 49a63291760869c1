package daemon

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent"
	"nmosauthd/platform"
)

// watchdogQuestion needs no token in any mode, so the answer is the same whatever keys and clock there are.
const watchdogQuestion = "decide 1\nmethod=GET\ntarget=/x-nmos\n"

// watchdogPatience is how long an answer is waited for at most; less where the service manager wants to hear more often.
const watchdogPatience = 5 * time.Second

// watchdog tells the service manager that all is well, for as long as decisions are answered: it asks for one itself, as a caller
// does, on a connection that it keeps.
type watchdog struct {
	within time.Duration // in which the service manager wants to hear of it
	dial   func() (net.Conn, error)
	well   func() error // tells the service manager
	log    *zap.Logger

	conn   net.Conn // nil: not connected
	failed bool     // the last time, and that was logged
}

// newWatchdog returns a watchdog that asks on the decision socket at path, nil where the service manager wants none.
func newWatchdog(path string, log *zap.Logger) *watchdog {
	within, err := platform.Watchdog()
	if err != nil {
		log.Warn("no watchdog", zap.Error(err))
	}
	if within <= 0 {
		return nil
	}
	return &watchdog{
		within: within,
		dial:   func() (net.Conn, error) { return net.Dial("unixpacket", path) },
		well:   platform.Well,
		log:    log,
	}
}

// run goes on until ctx ends.
func (w *watchdog) run(ctx context.Context) {
	beat := time.NewTicker(w.within / 2) // as sd_watchdog_enabled(3) advises
	defer beat.Stop()
	defer w.hangUp()
	for {
		err := w.ask()
		if err == nil {
			err = w.well()
		}
		if ctx.Err() != nil {
			return // the connection ends when the daemon stops
		}
		switch {
		case err != nil && !w.failed:
			w.log.Error("the service manager is not told that all is well, and may start the daemon anew", zap.Error(err))
		case err == nil && w.failed:
			w.log.Info("all is well again")
		}
		w.failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
	}
}

// ask puts the question and returns nil if it is answered right and in time.
func (w *watchdog) ask() (err error) {
	if w.conn == nil {
		if w.conn, err = w.dial(); err != nil {
			return fmt.Errorf("no decision: %w", err)
		}
	}
	var reply [256]byte
	n := 0
	if err = w.conn.SetDeadline(time.Now().Add(min(w.within/4, watchdogPatience))); err == nil {
		_, err = w.conn.Write([]byte(watchdogQuestion))
	}
	if err == nil {
		n, err = w.conn.Read(reply[:])
	}
	if err != nil {
		w.hangUp() // or the late answer would be taken for that to the next question
		return fmt.Errorf("no decision: %w", err)
	}
	if !bytes.HasPrefix(reply[:n], []byte("allow 200\n")) {
		return fmt.Errorf("a wrong decision about a public path: %q", reply[:n])
	}
	return nil
}

func (w *watchdog) hangUp() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}

// own reports whether a connection is the daemon's own, the watchdog's. It is served whatever the limit is, and what is asked on
// it is nobody's request.
func own(peer agent.Peer) bool { return peer.PID == int32(os.Getpid()) }
