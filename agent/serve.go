package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// ServePackets answers the packets of one connection, in order, until the caller hangs up or an empty packet comes.
func (a *Agent) ServePackets(conn io.ReadWriter) error {
	limit := a.state.Load().packetLimit
	s := a.NewSession()
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

// PacketServer serves authz.sock.
type PacketServer struct {
	Agent  *Agent
	Limit  int                  // connections open at once; one more is closed at once
	Admit  func(net.Conn) error // nil: all; else an error closes the connection
	Report func(error)          // a connection refused, or one that ended with an error

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
	served sync.WaitGroup
}

// errTooMany is reported for connections over the limit.
var errTooMany = errors.New("a connection was refused: as many as the limit allows are open")

// Serve accepts connections until the listener is closed, which is no error.
func (p *PacketServer) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			if isTemporary(err) { // out of file descriptors, say: the connections that are open go on
				p.Report(err)
				time.Sleep(100 * time.Millisecond)
				continue
			}
			return err
		}
		if err := p.admit(conn); err != nil {
			p.Report(err)
			conn.Close()
			continue
		}
		p.served.Go(func() {
			err := p.Agent.ServePackets(conn)
			p.mu.Lock()
			delete(p.open, conn)
			p.mu.Unlock()
			conn.Close()
			if err != nil && !errors.Is(err, net.ErrClosed) {
				p.Report(err)
			}
		})
	}
}

func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// admit takes a connection into the open ones, or says why not.
func (p *PacketServer) admit(conn net.Conn) error {
	if p.Admit != nil {
		if err := p.Admit(conn); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return net.ErrClosed
	case len(p.open) >= p.Limit:
		return errTooMany
	}
	if p.open == nil {
		p.open = make(map[net.Conn]struct{})
	}
	p.open[conn] = struct{}{}
	return nil
}

// Shutdown answers the packets that have arrived and ends the connections; those not done when ctx ends are cut. The listener
// must have been closed.
func (p *PacketServer) Shutdown(ctx context.Context) {
	p.mu.Lock()
	p.closed = true
	for conn := range p.open {
		// Packets sent before this are still read and answered; then the reader sees the end.
		if half, ok := conn.(interface{ CloseRead() error }); ok {
			half.CloseRead()
		} else {
			conn.Close()
		}
	}
	p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		p.served.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		p.mu.Lock()
		for conn := range p.open {
			conn.Close()
		}
		p.mu.Unlock()
		<-done
	}
}
