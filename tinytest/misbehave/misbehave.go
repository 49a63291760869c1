// Package misbehave is how the facility's servers that pretend misbehave, whatever it is that they serve: how often a
// fault has its turn, and answers and connections that hang, drip, never end or are reset.
package misbehave

import (
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// EveryTime is a number of turns that is not used up.
const EveryTime = -1

// Turns is a fault and for how many requests it is still good. The zero value is none.
type Turns[F ~string] struct {
	Fault F
	Left  int
}

// Take returns the fault for the next request, "" if none, and counts it.
func (t *Turns[F]) Take() F {
	if t.Left == 0 {
		return ""
	}
	if t.Left > 0 {
		t.Left--
	}
	return t.Fault
}

// Hang waits until the client gives up or closing is closed.
func Hang(r *http.Request, closing <-chan struct{}) {
	_, _ = io.Copy(io.Discard, r.Body) // net/http watches the connection only once the body is read
	select {
	case <-r.Context().Done():
	case <-closing:
	}
}

// Drip sends a body one byte at a time.
func Drip(w http.ResponseWriter, r *http.Request, body []byte, pause time.Duration, closing <-chan struct{}) {
	control := http.NewResponseController(w)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for i := range body {
		if _, err := w.Write(body[i : i+1]); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-closing:
			return
		}
	}
}

// Endless sends the same again and again until the client gives up or closing is closed.
func Endless(w http.ResponseWriter, r *http.Request, chunk []byte, closing <-chan struct{}) {
	control := http.NewResponseController(w)
	for r.Context().Err() == nil {
		select {
		case <-closing:
			return
		default:
		}
		if _, err := w.Write(chunk); err != nil || control.Flush() != nil {
			return
		}
	}
}

// Reset ends a connection with RST, as a machine that lost its state does.
func Reset(c net.Conn) {
	for {
		wrapped, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = wrapped.NetConn()
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// Swallow reads what comes over a connection and never answers, until the client gives up or closing is closed.
func Swallow(c net.Conn, closing <-chan struct{}) {
	stop := CloseOn(c, closing)
	_, _ = io.Copy(io.Discard, c)
	stop()
	_ = c.Close()
}

// CloseOn closes c once closing is closed, unless stop is called before.
func CloseOn(c io.Closer, closing <-chan struct{}) (stop func()) {
	stopped := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		select {
		case <-closing:
			_ = c.Close()
		case <-stopped:
		}
	})
	return func() {
		close(stopped)
		running.Wait()
	}
}
