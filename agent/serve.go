package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"nmosauthd/agent/wire"
)

// ServePackets answers the packets of one connection, in order, until the caller hangs up or an empty packet comes.
func (s *Session) ServePackets(conn net.Conn) error {
	limit := s.PacketLimit()
	packet := make([]byte, limit+1) // the kernel cuts a longer packet off: one byte more than allowed shows that
	var reply []byte
	c, _ := conn.(*Conn)
	if c != nil {
		s.stand = c.stand
	}
	for {
		n, err := conn.Read(packet)
		if err != nil {
			return hungUp(err)
		}
		c.Asked()
		reply = s.Packet(reply[:0], packet[:n], limit)
		_, err = conn.Write(reply)
		s.wipe(reply)
		if err != nil {
			return err
		}
		if s.request.Verb == wire.WatchToken && s.reply.Reason.Allowed() {
			question := bytes.Clone(packet[:n])
			packet = nil // a standing question holds no room for others
			return s.watch(conn, question)
		}
		c.Answered()
		c.endTurn()
	}
}

// wipe removes one of the device's own tokens from the last reply, and from the packet that it was written as.
func (s *Session) wipe(packet []byte) {
	if s.reply.AccessToken != "" {
		clear(packet)
		s.reply.AccessToken = ""
	}
}

// Server serves the connections of one socket: a limited number concurrently, in slots that callers share fairly
// (slots.go). Connections that find no slot wait. Nothing that accepts connections waits for a log, a caller or a slot.
type Server struct {
	Handle func(*Conn) error // serves one connection until it ends; it is closed then
	// Report is told of a connection that was refused, or ended with an error. It must not wait: it is called while
	// others connect.
	Report func(error)
	Limit  int                          // slots; 0 if there is no limit
	PeerOf func(net.Conn) (Peer, error) // nil if callers are not told apart
	Own    func(Peer) bool              // nil if none; else these peers are served whatever the limit is
	Await  func(net.Conn)               // nil, or waits until there is something to read, be it the end
	Yield  func()                       // nil, or lets other threads have the processor
	// nil if all may ask; else an error refuses a peer. An unknown one has the UID -1
	Admit func(Peer) error

	mu sync.Mutex
	slots
	closed bool
	served sync.WaitGroup // connections, those that wait included
	rested atomic.Int64   // until when, in ns since the server began, turns have no end
}

// Conn is a connection of a Server. Its handler says when a question has come and when it is answered: a connection
// that asks nothing gives way to those that wait.
type Conn struct {
	net.Conn
	Peer Peer

	server  *Server
	caller  *caller // nil for the daemon's own connections, which need no slot
	asks    bool    // its first question has come
	came    int64   // when it came, in ns since the server began
	state   atomic.Int64
	asked   atomic.Bool // at least once
	answers uint8       // by their number its turns are counted
	leaving bool        // told to give way, or cut
	stands  bool        // its question stands (watch-token)
}

// The state of a Conn: idle since a time t > 0, or busy, or writing since -t < 0.
const busy = 0

// Asked says that a question has come, or has begun to.
func (c *Conn) Asked() {
	if c != nil {
		c.state.Store(busy)
	}
}

// Write implements net.Conn. A caller who does not take what is written is cut off if others wait.
func (c *Conn) Write(b []byte) (int, error) {
	c.state.Store(-c.server.now())
	n, err := c.Conn.Write(b)
	c.state.Store(busy)
	return n, err
}

// Answered says that the question is answered, so that the connection asks nothing.
func (c *Conn) Answered() {
	if c == nil {
		return
	}
	c.state.Store(c.server.now())
	if !c.asked.Load() {
		c.asked.Store(true)
	}
	if c.server.pressed.Load() {
		c.server.mu.Lock()
		c.server.share()
		c.server.mu.Unlock()
	}
}

// A turn is so many answers. Then others have the processor: the caller takes its answer, and the next question is
// there when it is read; and who asks over another connection does not wait until this one has nothing to ask. If the
// processor comes back late, others compute and do not ask: yielding to them would give the daemon's share away, so
// turns then have no end for many times as long.
const (
	turn     = 8
	turnLate = int64(500 * time.Microsecond) // the kernel gives a thread that computes 0.7 ms or more
	turnRest = 128
)

// endTurn is called after each answer.
func (c *Conn) endTurn() {
	if c == nil || c.server.Yield == nil {
		return
	}
	if c.answers++; c.answers%turn != 0 {
		return
	}
	s, began := c.server, c.server.now()
	if began < s.rested.Load() {
		return
	}
	s.Yield()
	if took := s.now() - began; took > turnLate {
		s.rested.Store(began + turnRest*took)
	}
}

// NetConn returns the connection itself, for those who need to know its peer.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// CloseWrite tells the caller that nothing more comes, if the connection can do that. An HTTP server does so before it
// closes a connection whose request it did not read to the end: the caller would see a reset in place of the answer.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// CloseRead lets what has arrived be read and nothing more arrive, if the connection can do that.
func (c *Conn) CloseRead() error {
	if half, ok := c.Conn.(interface{ CloseRead() error }); ok {
		return half.CloseRead()
	}
	return errors.ErrUnsupported
}

// finish lets the questions that have arrived be answered and takes no further ones: the caller's next write fails, so
// that it knows that this question was not read.
func (c *Conn) finish() {
	if c.CloseRead() != nil {
		c.Conn.Close()
	}
}

// Serve accepts connections until the listener is closed, which is not an error.
func (s *Server) Serve(l net.Listener) error {
	s.begin()
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			s.take(conn)
		case errors.Is(err, net.ErrClosed):
			return nil
		case isTemporary(err): // out of file descriptors, say: the connections that are open go on
			s.Report(err)
			time.Sleep(100 * time.Millisecond)
		default:
			return err
		}
	}
}

func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// take gives a new connection a slot, or has it wait for one; or refuses it.
func (s *Server) take(conn net.Conn) {
	c := &Conn{Conn: conn, server: s, Peer: Peer{UID: -1}}
	if s.PeerOf != nil {
		if peer, err := s.PeerOf(conn); err == nil {
			c.Peer = peer
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return
	}
	own := s.Own != nil && s.Own(c.Peer)
	if !own && s.Admit != nil {
		// Under the lock, so that Readmit misses nobody whom the previous configuration admitted.
		if err := s.Admit(c.Peer); err != nil {
			conn.Close()
			s.Report(err)
			return
		}
	}
	s.served.Add(1) // under the lock, so that it never meets Shutdown's Wait
	if own {
		s.start(c)
		return
	}
	s.enter(c)
	s.served.Go(func() {
		if s.Await != nil {
			s.Await(conn)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.wait(c) {
			s.share()
		}
	})
}

// start serves c. The caller holds mu.
func (s *Server) start(c *Conn) {
	s.open[c] = struct{}{}
	c.state.Store(s.now())
	go func() {
		defer s.served.Done()
		err := s.Handle(c)
		c.Conn.Close()
		s.mu.Lock()
		s.leave(c)
		cut := c.leaving // the server ended it
		s.share()
		s.mu.Unlock()
		if err != nil && !errors.Is(err, net.ErrClosed) && !cut {
			s.Report(err)
		}
	}()
}

// Readmit closes the connections of those whom Admit no longer admits.
func (s *Server) Readmit() {
	if s.Admit == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := func(c *Conn) bool {
		if c.caller == nil {
			return false
		}
		err := s.Admit(c.Peer)
		if err != nil {
			s.Report(err)
		}
		return err != nil
	}
	s.sift(refused)
	for c := range s.open {
		if refused(c) {
			s.goes(c)
			c.Conn.Close()
		}
	}
}

// Count returns how many connections have a slot, how many wait for one, and how many have not asked anything yet.
func (s *Server) Count() (served, waiting, silent int) {
	s.mu.Lock()
	served, waiting, silent = s.taken, s.waiting, s.silent
	s.mu.Unlock()
	return served, waiting, silent
}

// Shutdown answers the packets that have arrived and ends the connections; those not done when ctx ends are cut. The
// listener must have been closed.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	// Packets sent before this are still read and answered; then the reader sees the end.
	for c := range s.open {
		c.finish()
	}
	s.sift(func(c *Conn) bool { c.finish(); return false })
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.served.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.mu.Lock()
		for c := range s.open {
			c.Conn.Close()
		}
		s.sift(func(*Conn) bool { return true })
		s.mu.Unlock()
		<-done
	}
}

// The errors of connections that the Server refuses, or cuts off for those that wait.
var (
	errTooMany = fmt.Errorf("connection refused: %d others wait or ask nothing ([limits] connections)", maxOutside)
	errTooLate = fmt.Errorf("connection refused: no slot became free within %v ([limits] connections)", maxWait)
	errDeaf    = fmt.Errorf("connection cut off: its answer was not taken within %v while others waited", quiet)
)
