package httpauth

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Bounds of a connection.
const (
	maxHead   = 64 << 10         // bytes of a request's first line and headers; its body counts in too
	idleTime  = 2 * time.Minute  // between two requests
	readTime  = 10 * time.Second // for a request to come in
	writeTime = 10 * time.Second // for an answer to be taken
	maxLinger = 1 << 20          // bytes that are read of a request which is not wanted, so that its answer is
)

// ServeConn answers the requests of one connection, in order, until the caller hangs up or is too slow. Requests are read and
// answers written by net/http; its Server is left out, since it would cost 0.15 MB of flash for a question without a body.
func ServeConn(conn net.Conn, h http.Handler) error {
	limited := &io.LimitedReader{R: conn}
	in, out := bufio.NewReader(limited), bufio.NewWriter(conn)
	for {
		limited.N = maxHead
		conn.SetReadDeadline(time.Now().Add(idleTime))
		if _, err := in.Peek(1); err != nil {
			return hangUp(err)
		}
		conn.SetReadDeadline(time.Now().Add(readTime))
		r, err := http.ReadRequest(in)
		w := recorder{header: http.Header{}}
		last := true
		switch {
		case err == nil && !tokenNames(r.Header):
			w.WriteHeader(http.StatusBadRequest)
		case err == nil:
			h.ServeHTTP(&w, r)
			// A body says nothing. One that the caller waits to be asked for is not asked for.
			if r.Header.Get("Expect") == "" {
				_, err := io.Copy(io.Discard, r.Body)
				last = err != nil || limited.N == 0 || r.Close
			}
		case limited.N == 0:
			w.WriteHeader(http.StatusRequestHeaderFieldsTooLarge)
		case errors.Is(err, io.ErrUnexpectedEOF), isTimeout(err):
			return hangUp(err)
		default:
			w.WriteHeader(http.StatusBadRequest)
		}
		conn.SetWriteDeadline(time.Now().Add(writeTime))
		answer := http.Response{
			StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Request: r, Close: last,
			Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
		}
		if err := answer.Write(out); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if last {
			return linger(conn)
		}
	}
}

// hangUp returns the error of a connection that ended between two requests, or in one: none where the caller hung up or did not
// go on.
func hangUp(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isTimeout(err) {
		return nil
	}
	return err
}

// tokenNames tells whether no field has a space before its colon (RFC 9112 §5.1): ReadRequest lets that through as another name,
// so that with "Content-Length : 5" a body would be taken for the next request. net/http's Server refuses it likewise.
func tokenNames(h http.Header) bool {
	for name := range h {
		if strings.Contains(name, " ") {
			return false
		}
	}
	return true
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// linger reads on for a while before the connection is closed: with something unread the caller would see a reset in place of
// its answer.
func linger(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return nil
	}
	conn.SetReadDeadline(time.Now().Add(time.Second))
	_, err := io.Copy(io.Discard, io.LimitReader(conn, maxLinger))
	return hangUp(err)
}

// recorder holds an answer until it is written.
type recorder struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}
