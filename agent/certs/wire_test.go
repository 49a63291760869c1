package certs_test

import (
	"net"
	"sync"
	"time"
)

// buffered is an end of a net.Pipe whose writes do not wait for the other end, as those of a kernel do not: two ends
// that both write, as a TLS handshake that fails has them do, would wait for each other.
type buffered struct {
	net.Conn
	mu     sync.Mutex
	queue  chan []byte
	closed bool
}

// connection returns both ends of a connection in memory.
func connection() (net.Conn, net.Conn) {
	a, b := net.Pipe()
	return buffer(a), buffer(b)
}

func buffer(c net.Conn) net.Conn {
	b := &buffered{Conn: c, queue: make(chan []byte, 1024)}
	go func() {
		for data := range b.queue {
			c.Write(data)
		}
		c.Close()
	}()
	return b
}

func (b *buffered) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, net.ErrClosed
	}
	select {
	case b.queue <- append([]byte(nil), data...):
		return len(data), nil
	default:
		return 0, net.ErrClosed // nobody reads
	}
}

func (b *buffered) SetWriteDeadline(time.Time) error { return nil }

func (b *buffered) SetDeadline(t time.Time) error { return b.Conn.SetReadDeadline(t) }

// Close has what was written arrive, if anybody reads.
func (b *buffered) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.queue)
		b.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		b.Conn.SetReadDeadline(time.Unix(1, 0))
	}
	return nil
}
