package agent

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// watchRetry is how long a caller should wait for a place among the standing questions.
const watchRetry = 30 // seconds

// watches are the connections on which a question stands (watch-token). While nothing changes they cost nothing but
// memory: each waits in one read, until its permission ends or Rejudge interrupts it.
type watches struct {
	changes atomic.Uint64 // calls of Rejudge
	mu      sync.Mutex
	conns   map[net.Conn]struct{}
}

// Rejudge has every standing question judged again: something that an answer follows from has changed. It does not
// wait.
func (a *Agent) Rejudge() {
	w := &a.watches
	w.changes.Add(1) // first: watch compares it after it has set its own deadline
	w.mu.Lock()
	for conn := range w.conns {
		conn.SetReadDeadline(time.Unix(1, 0))
	}
	w.mu.Unlock()
}

func (w *watches) add(conn net.Conn) {
	w.mu.Lock()
	if w.conns == nil {
		w.conns = make(map[net.Conn]struct{})
	}
	w.conns[conn] = struct{}{}
	w.mu.Unlock()
}

func (w *watches) remove(conn net.Conn) {
	w.mu.Lock()
	delete(w.conns, conn)
	w.mu.Unlock()
}

// watch keeps the question of a packet standing, which has been answered with allow, until the answer is another: it
// then sends that one, and the connection has served its purpose. It also ends when the caller hangs up, or sends
// anything. In observe mode the answer never turns, but what enforce would answer is recorded when that does.
func (s *Session) watch(conn net.Conn, packet []byte) error {
	s.request.Parse(packet, len(packet)) // once more, since it borrows
	would := s.reply.Enforced
	w := &s.agent.watches
	w.add(conn)
	defer w.remove(conn)
	var one [1]byte
	for {
		changes := w.changes.Load()
		reply := s.judge(&s.request)
		if !reply.Reason.Allowed() {
			s.record(&s.request)
			_, err := conn.Write(reply.Append(nil))
			return err
		}
		if reply.Enforced != would {
			would = reply.Enforced
			s.record(&s.request)
		}
		var end time.Time // never, if it does not end by itself
		if s.left > 0 {
			// the clock by which tokens are judged may run a little slower
			end = time.Now().Add(s.left + time.Millisecond)
		}
		if err := conn.SetReadDeadline(end); err != nil {
			return err
		}
		if w.changes.Load() != changes {
			continue // Rejudge may have interrupted before the deadline above was set
		}
		_, err := conn.Read(one[:])
		if timeout := net.Error(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
			return hungUp(err)
		}
	}
}

// hungUp returns the error of a read from a caller, who may hang up any time.
func hungUp(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
