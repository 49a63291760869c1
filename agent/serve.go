package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
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
	Report func(error) // a connection that ended with an error

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
	served sync.WaitGroup
}

// Serve accepts connections until the listener is closed, which is no error.
func (p *PacketServer) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if !p.add(conn) {
			conn.Close()
			return nil
		}
		go func() {
			defer p.served.Done()
			err := p.Agent.ServePackets(conn)
			p.remove(conn)
			if err != nil && !errors.Is(err, net.ErrClosed) {
				p.Report(err)
			}
		}()
	}
}

// add takes a connection into the open ones, so that Shutdown waits for it; not after Shutdown.
func (p *PacketServer) add(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if p.open == nil {
		p.open = make(map[net.Conn]struct{})
	}
	p.open[conn] = struct{}{}
	p.served.Add(1) // under the lock, so that it never meets Shutdown's Wait
	return true
}

func (p *PacketServer) remove(conn net.Conn) {
	p.mu.Lock()
	delete(p.open, conn)
	p.mu.Unlock()
	conn.Close()
}

// each calls f for every open connection.
func (p *PacketServer) each(f func(net.Conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		f(conn)
	}
}

// Shutdown answers the packets that have arrived and ends the connections; those not done when ctx ends are cut. The listener
// must have been closed.
func (p *PacketServer) Shutdown(ctx context.Context) {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.each(func(conn net.Conn) {
		// Packets sent before this are still read and answered; then the reader sees the end.
		half, ok := conn.(interface{ CloseRead() error })
		if !ok || half.CloseRead() != nil {
			conn.Close()
		}
	})
	done := make(chan struct{})
	go func() {
		p.served.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		p.each(func(conn net.Conn) { conn.Close() })
		<-done
	}
}
