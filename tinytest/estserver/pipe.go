package estserver

import (
	"context"
	"errors"
	"net"
	"sync"
)

// Pipe is a listener without a network, for a bubble of testing/synctest: Options.Listener, and the client's way to it.
type Pipe struct {
	coming chan net.Conn
	done   chan struct{}
	once   sync.Once

	mu   sync.Mutex
	down bool
}

// NewPipe returns a Pipe. Close it, or the server that has it.
func NewPipe() *Pipe { return &Pipe{coming: make(chan net.Conn), done: make(chan struct{})} }

var errRefused = errors.New("connection refused")

// SetDown has connections refused, or not any more.
func (p *Pipe) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// Dial connects, whatever the address is.
func (p *Pipe) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	down := p.down
	p.mu.Unlock()
	if down {
		return nil, errRefused
	}
	ours, theirs := net.Pipe()
	select {
	case p.coming <- theirs:
		return ours, nil
	case <-p.done:
		return nil, errRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept waits for the next connection.
func (p *Pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.coming:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close ends it.
func (p *Pipe) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Addr is not an address.
func (p *Pipe) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
