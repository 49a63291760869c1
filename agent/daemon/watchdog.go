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

// watchdogQuestion needs no token in any mode, so the answer depends on neither keys nor clock.
const watchdogQuestion = "decide 1\nmethod=GET\ntarget=/x-nmos\n"

// watchdogTimeout is the longest wait for an answer; it is less if the service manager's interval is short.
const watchdogTimeout = 5 * time.Second

// watchdog notifies the service manager for as long as decisions are answered: it asks for one itself, as a caller
// does, on a connection that it keeps.
type watchdog struct {
	within time.Duration // the service manager's interval
	dial   func() (net.Conn, error)
	well   func() error // notifies the service manager
	log    *zap.Logger

	conn   net.Conn // nil if not connected
	failed bool     // the last attempt failed, and that was logged
}

// newWatchdog returns a watchdog that asks on the decision socket at path, nil if the service manager wants none.
func newWatchdog(path string, log *zap.Logger) *watchdog {
	within, err := platform.Watchdog()
	warn(log, "no watchdog", err)
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

// run asks and notifies until ctx ends.
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
			return // not a failure: stopping closes the connection
		}
		switch {
		case err != nil && !w.failed:
			w.log.Error("the service manager is not notified, and may restart the daemon", fields(err)...)
		case err == nil && w.failed:
			w.log.Info("the service manager is notified again")
		}
		w.failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
	}
}

// ask asks the question and returns nil if the right answer comes in time.
func (w *watchdog) ask() (err error) {
	if w.conn == nil {
		if w.conn, err = w.dial(); err != nil {
			return fmt.Errorf("no decision: %w", err)
		}
	}
	var reply [256]byte
	n := 0
	if err = w.conn.SetDeadline(time.Now().Add(min(w.within/4, watchdogTimeout))); err == nil {
		_, err = w.conn.Write([]byte(watchdogQuestion))
	}
	if err == nil {
		n, err = w.conn.Read(reply[:])
	}
	if err != nil {
		w.hangUp() // or a late answer would be taken for that to the next question
		return fmt.Errorf("no decision: %w", err)
	}
	if !bytes.HasPrefix(reply[:n], []byte("allow 200\n")) {
		return fmt.Errorf("wrong decision about a public path: %q", reply[:n])
	}
	return nil
}

func (w *watchdog) hangUp() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}

// own reports whether a connection is that of the daemon's own watchdog. It is served regardless of the limit, and its
// questions are not recorded.
func own(peer agent.Peer) bool { return peer.PID == int32(os.Getpid()) }
