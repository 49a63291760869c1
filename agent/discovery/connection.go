package discovery

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// maxHead is the most of an answer that comes before its document, in bytes.
	maxHead = 32 << 10
	// maxInterim is how many interim answers are passed over (RFC 9110 §15.2).
	maxInterim = 5
)

var (
	errLongHead = fmt.Errorf("the answer has headers of over %d KiB", maxHead>>10)
	errNotHTTP  = errors.New("the answer is not HTTP/1.1")
	errInterim  = fmt.Errorf("%d interim answers and no final one", maxInterim)
)

// connection takes requests to one server, one after the other. net/http reads the answers; its Transport is left out, since pools
// and proxies would cost 0.19 MB of flash.
type connection struct {
	conn   net.Conn // nil: there is none
	origin string   // scheme://host:port
	in     *bufio.Reader
	bound  *io.LimitedReader // of what the server sends next
	stop   func() bool       // the watch over the context
}

// open connects to the server of a URL, until ctx is done.
func (f *fetch) open(ctx context.Context, u *url.URL) error {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	conn, err := f.client.dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port), f.server)
	if err != nil {
		return err
	}
	// Whoever waits on it is woken when ctx is done.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	f.connection = connection{conn: conn, origin: origin(u), stop: stop}
	if u.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{RootCAs: f.roots, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}) // DIS-5
		if err := secure.HandshakeContext(ctx); err != nil {
			f.close()
			return err
		}
		f.conn = secure
	}
	f.bound = &io.LimitedReader{R: f.conn}
	f.in = bufio.NewReader(f.bound)
	return nil
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// close ends the connection: a device holds none that it does not need.
func (c *connection) close() {
	if c.conn != nil {
		c.stop()
		c.conn.Close()
		c.conn = nil
	}
}

// request asks for a document and returns the answer; its body is still to be read, and not to be closed: that would read the
// rest of it, however long.
func (f *fetch) request(ctx context.Context, u *url.URL) (*http.Response, error) {
	for {
		again := f.conn != nil && f.origin == origin(u)
		if !again {
			f.close()
			if err := f.open(ctx, u); err != nil {
				return nil, err
			}
		}
		err := f.send(u)
		if err == nil {
			return f.read(u)
		}
		f.close()
		// A server may hang up after any answer, and so just when the next request is on its way.
		if !again || ctx.Err() != nil {
			return nil, err
		}
	}
}

// accept are the types that metadata and key sets are served as (RFC 8414 §3.2, RFC 7517 §8.5.2). Others are taken, too: a strict
// server answers 406 to a request that does not name the one it has.
const accept = "application/json, application/jwk-set+json, */*;q=0.1"

// send writes a request and waits for the first byte of its answer. Neither line nor header can be broken: parseURL lets no control
// character through, and in the host nothing but visible ASCII.
func (c *connection) send(u *url.URL) error {
	_, err := io.WriteString(c.conn, "GET "+u.RequestURI()+" HTTP/1.1\r\nHost: "+strings.TrimSuffix(u.Host, ":")+
		"\r\nUser-Agent: nmos-authd\r\nAccept: "+accept+"\r\nAccept-Encoding: identity\r\n\r\n")
	if err != nil {
		return err
	}
	c.bound.N = maxHead
	_, err = c.in.Peek(1)
	return err
}

// read reads the answer up to its document. What a server sent is in no error.
func (c *connection) read(u *url.URL) (*http.Response, error) {
	for range maxInterim {
		c.bound.N = maxHead
		res, err := http.ReadResponse(c.in, &http.Request{Method: http.MethodGet, URL: u})
		var broken net.Error
		switch {
		case err == nil && (res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols):
			c.bound.N = math.MaxInt64
			return res, nil
		case err == nil:
		case c.bound.N <= 0:
			return nil, errLongHead
		case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &broken):
			return nil, err
		default:
			return nil, errNotHTTP
		}
	}
	return nil, errInterim
}

// done tells that an answer was dealt with; whole says whether it was read to its end. Only then, and with nothing behind it that
// was not asked for, does the connection take another request.
func (c *connection) done(res *http.Response, whole bool) {
	if !whole || res.Close || c.in.Buffered() > 0 {
		c.close()
	}
}
