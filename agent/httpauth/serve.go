package httpauth

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Bounds of a connection.
const (
	maxHead   = 60 << 10         // bytes of a request's first line and headers; net/http adds 4 KiB
	idleTime  = 2 * time.Minute  // between two requests
	readTime  = 10 * time.Second // for a request to come in
	writeTime = 10 * time.Second // for an answer to be taken, or for a part of one that is streamed

	lastWords = 100 * time.Millisecond // for what is being streamed when the daemon stops
)

// Server serves HTTP/1.1 on connections that somebody else accepts.
type Server struct{ http http.Server }

// NewServer returns a server of h. If bodies is false, h reads no request's body but that of a packet: any other that a
// request announces is not waited for, whether or not it ever comes, and the connection is closed behind the answer. A
// handler that sends for longer than writeTime uses Stream. report is called with what goes wrong beside the answers: a
// handler that panics, say.
func NewServer(h http.Handler, bodies bool, report func(error)) *Server {
	if !bodies {
		h = Bodiless(h)
	}
	return &Server{http.Server{
		Handler:                      h,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is not a question
		ReadHeaderTimeout:            readTime,
		ReadTimeout:                  readTime,
		// it begins with the body, which the handler may read all the while
		WriteTimeout:   readTime + writeTime,
		IdleTimeout:    idleTime,
		MaxHeaderBytes: maxHead,
		ConnState:      tellSlot,
		ConnContext:    withConn,
		ErrorLog:       log.New(reporter(report), "", 0),
	}}
}

// connKey is that of the connection in the context of its requests.
type connKey struct{}

func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn.(*singleConn).Conn)
}

// ConnOf returns the connection that a request came on, by the request's context; nil if it is of no Server.
func ConnOf(ctx context.Context) net.Conn {
	conn, _ := ctx.Value(connKey{}).(net.Conn)
	return conn
}

// ServeConn answers the requests of one connection, in order, until the caller hangs up or is too slow, and closes it.
// The context of a request ends when the caller hangs up meanwhile, or the connection is told to take no more
// (CloseRead).
func (s *Server) ServeConn(conn net.Conn) error {
	one := &single{conn: &singleConn{Conn: conn, closed: make(chan struct{})}}
	if err := s.http.Serve(one); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// single is a listener that accepts one connection, and ends with it.
type single struct {
	conn     *singleConn
	accepted bool
}

// Accept implements net.Listener. Only http.Server.Serve calls it, in one goroutine.
func (s *single) Accept() (net.Conn, error) {
	if !s.accepted {
		s.accepted = true
		return s.conn, nil
	}
	<-s.conn.closed
	return nil, net.ErrClosed
}

// Addr implements net.Listener.
func (s *single) Addr() net.Addr { return s.conn.LocalAddr() }

// Close implements net.Listener: Serve calls it at its end, and the connection has ended by then.
func (s *single) Close() error { return nil }

// singleConn is the connection of a single.
type singleConn struct {
	net.Conn
	closeOnce sync.Once
	closed    chan struct{}
}

// Close implements net.Conn.
func (c *singleConn) Close() error {
	err := c.Conn.Close()
	c.closeOnce.Do(func() { close(c.closed) })
	return err
}

// tellSlot tells a connection that wants to know it (agent.Conn) whether it asks: one that asks nothing gives way to
// those that wait.
func tellSlot(conn net.Conn, state http.ConnState) {
	slot, ok := conn.(*singleConn).Conn.(interface {
		Asked()
		Answered()
	})
	switch {
	case !ok:
	case state == http.StateActive:
		slot.Asked()
	case state == http.StateIdle:
		slot.Answered()
	}
}

// CloseWrite lets http.Server end an answer before it closes: a caller that is still sending would see a reset in its
// place.
func (c *singleConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Bodiless answers without waiting for a body, but for that of a packet. http.Server would read it, up to 256 KiB,
// before it sends the answer and once more behind it: full duplex ends the first, a deadline that has passed the
// second.
func Bodiless(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 && !takesBody(r) {
			set(w, "Connection", "close")
			control := http.NewResponseController(w)
			// Neither fails on a connection of http.Server.
			control.EnableFullDuplex()
			control.SetReadDeadline(time.Unix(1, 0))
		}
		h.ServeHTTP(w, r)
	})
}

// Stream returns a writer of an answer that may take as long as the caller stays: each write is sent immediately, and
// fails if it is not taken in time, or soon after the request's context has ended. The connection ends with the answer.
func Stream(w http.ResponseWriter, r *http.Request) (out io.Writer, stop func()) {
	s := &stream{w, http.NewResponseController(w), r.Context()}
	s.control.SetReadDeadline(time.Time{}) // else the context ends when it passes
	set(w, "Connection", "close")
	cancel := context.AfterFunc(s.ctx, s.bound) // a write that is under way
	return s, func() { cancel() }
}

type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context
}

// bound sets the time in which a write must be taken.
func (s *stream) bound() {
	s.control.SetWriteDeadline(time.Now().Add(writeTime))
	// looked at after the deadline was set: a context that ends in between sets its own after this one
	if s.ctx.Err() != nil {
		s.control.SetWriteDeadline(time.Now().Add(lastWords))
	}
}

// Write implements io.Writer. With nothing to write it sends the head.
func (s *stream) Write(b []byte) (int, error) {
	s.bound()
	n, err := s.w.Write(b)
	if err == nil {
		err = s.control.Flush()
	}
	return n, err
}

// reporter passes on what http.Server logs, its first line: what follows is a stack.
type reporter func(error)

func (r reporter) Write(b []byte) (int, error) {
	line, _, _ := strings.Cut(string(b), "\n")
	r(errors.New(line))
	return len(b), nil
}
