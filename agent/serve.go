package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// ServePackets answers the packets of one connection, in order, until the caller hangs up or an empty packet comes.
func (s *Session) ServePackets(conn net.Conn) error {
	limit := s.agent.state.Load().packetLimit
	packet := make([]byte, limit+1) // the kernel cuts a longer packet off: one byte more than allowed shows that
	var reply []byte
	for {
		n, err := conn.Read(packet)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		reply = s.Packet(reply[:0], packet[:n], limit)
		if _, err = conn.Write(reply); err != nil {
			return err
		}
	}
}

// Server serves the connections of one socket.
type Server struct {
	Handle func(net.Conn) error // serves one connection until it ends; it is closed then
	Report func(error)          // a connection that ended with an error

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
	served sync.WaitGroup
}

// Serve accepts connections until the listener is closed, which is no error.
func (s *Server) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if !s.add(conn) {
			conn.Close()
			return nil
		}
		go func() {
			defer s.served.Done()
			err := s.Handle(conn)
			s.remove(conn)
			if err != nil && !errors.Is(err, net.ErrClosed) {
				s.Report(err)
			}
		}()
	}
}

// add takes a connection into the open ones, so that Shutdown waits for it; not after Shutdown.
func (s *Server) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = make(map[net.Conn]struct{})
	}
	s.open[conn] = struct{}{}
	s.served.Add(1) // under the lock, so that it never meets Shutdown's Wait
	return true
}

func (s *Server) remove(conn net.Conn) {
	s.mu.Lock()
	delete(s.open, conn)
	s.mu.Unlock()
	conn.Close()
}

// each calls f for every open connection.
func (s *Server) each(f func(net.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		f(conn)
	}
}

// Shutdown answers the packets that have arrived and ends the connections; those not done when ctx ends are cut. The listener
// must have been closed.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.each(func(conn net.Conn) {
		// Packets sent before this are still read and answered; then the reader sees the end.
		half, ok := conn.(interface{ CloseRead() error })
		if !ok || half.CloseRead() != nil {
			conn.Close()
		}
	})
	done := make(chan struct{})
	go func() {
		s.served.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.each(func(conn net.Conn) { conn.Close() })
		<-done
	}
}
