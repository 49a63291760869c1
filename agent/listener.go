package agent

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// BoundedListener accepts so many connections at once and no more, from those who may ask. A connection that it turns away is
// closed at once, so that its caller need not wait to learn it.
type BoundedListener struct {
	net.Listener
	Limit  int                  // connections open at once
	Own    func(net.Conn) bool  // nil: none; else those for which it is true are let in, uncounted
	Admit  func(net.Conn) error // nil: all; else an error turns the connection away
	Report func(error)          // a connection turned away

	open atomic.Int64
}

// errTooMany is reported for connections over the limit.
var errTooMany = errors.New("a connection was turned away: as many as the limit allows are open")

// Accept returns the next connection that is let in.
func (b *BoundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			if isTemporary(err) { // out of file descriptors, say: the connections that are open go on
				b.Report(err)
				time.Sleep(100 * time.Millisecond)
				continue
			}
			return nil, err
		}
		if b.Own != nil && b.Own(conn) {
			return conn, nil
		}
		if b.Admit != nil {
			err = b.Admit(conn)
		}
		if err == nil && b.open.Load() >= int64(b.Limit) {
			err = errTooMany
		}
		if err != nil {
			b.Report(err)
			conn.Close()
			continue
		}
		b.open.Add(1)
		return &boundedConn{Conn: conn, release: sync.OnceFunc(func() { b.open.Add(-1) })}, nil
	}
}

// Open is how many connections are open that count.
func (b *BoundedListener) Open() int { return int(b.open.Load()) }

func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// boundedConn gives its place back when it is closed.
type boundedConn struct {
	net.Conn
	release func()
}

func (c *boundedConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// NetConn returns the connection itself, for those who need to know its peer.
func (c *boundedConn) NetConn() net.Conn { return c.Conn }

// CloseWrite tells the caller that nothing more comes, where the connection can do that. An HTTP server does so before it closes
// a connection whose request it did not read to the end: the caller would see a reset in place of the answer.
func (c *boundedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// CloseRead lets what has arrived be read and nothing more arrive, where the connection can do that.
func (c *boundedConn) CloseRead() error {
	if half, ok := c.Conn.(interface{ CloseRead() error }); ok {
		return half.CloseRead()
	}
	return errors.ErrUnsupported
}
