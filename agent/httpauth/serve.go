package httpauth

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a connection.
const (
	maxHead   = 64 << 10         // bytes of a request's first line and headers
	idleTime  = 2 * time.Minute  // between two requests
	readTime  = 10 * time.Second // for a request to come in
	writeTime = 10 * time.Second // for an answer to be taken
	maxLinger = 1 << 20          // bytes that are read of a request which is not wanted, so that its answer is
)

// ServeConn answers the requests of one connection, in order, until the caller hangs up or is too slow. Requests are read by
// net/http; its Server is left out, since it would cost 0.15 MB of flash, and what writes a Response, 46 kB. maxBody is in bytes:
// so much may come of a body besides what fits into the head's bound; then it breaks off, and the connection with it.
//
// An answer is held until the handler is done, unless that flushes it (http.Flusher): then it is sent as it is written, and the
// connection ends with it. The body must have been read by then. The request's context ends when the caller hangs up meanwhile,
// or the connection is told to take no more (CloseRead).
func ServeConn(conn net.Conn, h http.Handler, maxBody int64) error {
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
		w := recorder{header: http.Header{}, conn: conn, out: out}
		last := true
		switch {
		case err == nil && !tokenNames(r.Header):
			unread(&w)
		case err == nil:
			limited.N += maxBody
			body := &body{ReadCloser: r.Body, conn: conn, out: out, waits: r.Header.Get("Expect") != ""}
			r.Body = body
			ctx, cancel := context.WithCancel(r.Context())
			w.hungUp = cancel
			h.ServeHTTP(&w, r.WithContext(ctx))
			cancel()
			if w.streams {
				return nil // a caller who has heard enough is no trouble
			}
			w.WriteHeader(http.StatusOK) // where the handler had nothing to say
			// What the handler has no use for says nothing. A body that the caller waits to be asked for is not asked for.
			if !body.waits {
				_, err := io.Copy(io.Discard, body)
				last = err != nil || limited.N == 0 || r.Close
			}
		case limited.N == 0:
			Fail(&w, http.StatusRequestHeaderFieldsTooLarge, "the request is longer than this socket takes", "64 KiB at most")
		case errors.Is(err, io.ErrUnexpectedEOF), isTimeout(err):
			return hangUp(err)
		default:
			unread(&w)
		}
		conn.SetWriteDeadline(time.Now().Add(writeTime))
		if err := w.answer(r != nil && r.Method == http.MethodHead, last); err != nil {
			return err
		}
		if last {
			return linger(conn)
		}
	}
}

// unread answers a request that net/http cannot read. What it says of it would quote it, and it may hold a token.
func unread(w http.ResponseWriter) {
	Fail(w, http.StatusBadRequest, "the request cannot be read as HTTP/1.1", "its first line, a header or its length")
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

// body is a request's body. One that the caller waits to be asked for is asked for when it is first read (RFC 9110 §10.1.1).
type body struct {
	io.ReadCloser
	conn  net.Conn
	out   *bufio.Writer
	waits bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.waits {
		b.waits = false
		b.conn.SetWriteDeadline(time.Now().Add(writeTime))
		b.out.WriteString("HTTP/1.1 100 Continue\r\n\r\n")
		if err := b.out.Flush(); err != nil {
			return 0, err
		}
	}
	return b.ReadCloser.Read(p)
}

// recorder holds an answer until it is written, or sends it while it is.
type recorder struct {
	status int
	header http.Header
	body   bytes.Buffer

	conn    net.Conn
	out     *bufio.Writer
	hungUp  func() // called when the caller does, while the answer is sent
	streams bool   // it is sent while it is written
	err     error  // of sending
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.streams {
		return w.send(b)
	}
	return w.body.Write(b)
}

// Flush sends what was written, and has the rest sent as it is written.
func (w *recorder) Flush() {
	if w.streams {
		return
	}
	w.streams = true
	w.WriteHeader(http.StatusOK)
	w.conn.SetReadDeadline(time.Time{})
	go func() {
		io.Copy(io.Discard, w.conn) // until the caller hangs up
		w.hungUp()
	}()
	w.header.Set("Connection", "close")
	w.head()
	w.send(w.body.Bytes())
}

// answer sends what was held; headOnly says that nothing follows the head (RFC 9110 §9.3.2).
func (w *recorder) answer(headOnly, last bool) error {
	if w.status != http.StatusNoContent { // RFC 9110 §8.6
		w.header.Set("Content-Length", strconv.Itoa(w.body.Len()))
	}
	if last {
		w.header.Set("Connection", "close")
	}
	w.head()
	if !headOnly {
		w.out.Write(w.body.Bytes())
	}
	return w.out.Flush()
}

// lineBreaks would begin a header that nobody has set.
var lineBreaks = strings.NewReplacer("\r", " ", "\n", " ")

// head writes the first line and the headers. Its errors come back from out when that is flushed.
func (w *recorder) head() {
	fmt.Fprintf(w.out, "HTTP/1.1 %d %s\r\n", w.status, http.StatusText(w.status))
	for _, name := range slices.Sorted(maps.Keys(w.header)) {
		for _, value := range w.header[name] {
			w.out.WriteString(name + ": " + lineBreaks.Replace(value) + "\r\n")
		}
	}
	w.out.WriteString("\r\n")
}

// send sends b now. After an error nothing is sent any more.
func (w *recorder) send(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.conn.SetWriteDeadline(time.Now().Add(writeTime))
	n, err := w.out.Write(b)
	if err == nil {
		err = w.out.Flush()
	}
	w.err = err
	return n, err
}
