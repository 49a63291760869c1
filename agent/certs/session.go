package certs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/discovery"
)

// requestTime is that of one request at most, connection included. Tests shorten it.
var requestTime = 20 * time.Second

const (
	maxHead       = 32 << 10
	mostRedirects = 3 // CERT-7
	maxText       = 300
)

// address is "host:port".
func (s Server) address() string {
	return net.JoinHostPort(s.Host, strconv.Itoa(int(cmp.Or(s.Port, 443))))
}

// base is the URL of a server, without a path.
func (s Server) base() string { return "https://" + strings.TrimSuffix(s.address(), ":443") }

// url is where an operation is (CERT-4).
func (s Server) url(operation string) string {
	path := "/.well-known/est/"
	if s.Label != "" {
		path += url.PathEscape(s.Label) + "/"
	}
	return s.base() + path + operation
}

// session is what is asked of one server by one identity, over connections that it keeps. Each is checked against the
// anchors; without any, nothing is checked, and nothing but GET /cacerts is sent (CERT-11).
type session struct {
	c        *Client
	server   Server
	anchors  *anchors         // nil for the first contact
	identity *tls.Certificate // shown in the handshake; nil for none (CERT-26)
	wall     time.Time        // by which certificates are checked
	trusted  bool
	most     uint16 // version of TLS; 0 for the newest

	transport *http.Transport
	tied      *tls.Conn            // used for the first request, if there is one
	patient   context.Context      // of the present request; that of a dial has no end
	shown     *tls.ConnectionState // of the last connection
	host      string               // of the same
}

// open makes a session. It has to be closed.
func (c *Client) open(server Server, a *anchors, identity *tls.Certificate) *session {
	s := &session{c: c, server: server, anchors: a, identity: identity, shown: &tls.ConnectionState{}}
	s.wall, s.trusted = c.o.Clock()
	s.transport = &http.Transport{
		DialTLSContext: func(_ context.Context, _, address string) (net.Conn, error) {
			if conn := s.tied; conn != nil {
				s.tied = nil
				return conn, nil
			}
			conn, err := s.connect(s.patient, address)
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
		MaxResponseHeaderBytes: maxHead, DisableCompression: true, MaxConnsPerHost: 1,
	}
	return s
}

// since is the time of what came, as it is kept.
func (s *session) since() int64 {
	if !s.trusted {
		return 0
	}
	return s.wall.Unix()
}

// failed says of an error which operation it was of, and where.
func (s *session) failed(operation string, err error) error {
	return wrap(operation+" at "+s.server.base(), err)
}

func (s *session) close() {
	if s.tied != nil {
		s.tied.Close()
	}
	s.transport.CloseIdleConnections()
}

// connectError is for a server that cannot be reached, or is not the right one.
type connectError struct{ why error }

func (e *connectError) Error() string { return e.why.Error() }
func (e *connectError) Unwrap() error { return e.why }

// connect connects and makes the TLS handshake: 1.2 or later (CERT-60).
func (s *session) connect(ctx context.Context, address string) (*tls.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil && host == "" { // as which package x509 takes any
		err = errors.New("a URL without a host")
	}
	var conn net.Conn
	if err == nil {
		conn, err = s.c.o.Dial(ctx, "tcp", address)
	}
	if err != nil {
		return nil, &connectError{err}
	}
	config := &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS12, MaxVersion: s.most,
		// What package tls would check is checked below, since it knows neither a clock that is not set (CERT-30) nor
		// the links of a roll-over (CERT-14).
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			s.shown, s.host = &state, host
			if s.anchors == nil {
				return nil // CERT-10
			}
			return s.anchors.server(&state, host, s.wall, s.trusted)
		},
	}
	if s.identity != nil && s.anchors != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return s.identity, nil
		}
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, &connectError{explainTLS(err, port)}
	}
	return secure, nil
}

// explainTLS says for people why a handshake failed. It quotes nothing that the server sent but names, bounded.
func explainTLS(err error, port string) error {
	return errors.New(shown(discovery.ExplainTLS(err, port).Error()))
}

// shown makes a text that others wrote safe to print: one line of bounded length.
func shown(s string) string { return ascii.Quote(s, maxText) }

// answer is what came, whole.
type answer struct {
	status int
	body   []byte
	retry  time.Duration // Retry-After; 0 if there is none
}

// statusError is a status that was not hoped for.
type statusError struct {
	status int
	text   string // of the server
	retry  time.Duration
}

func (e *statusError) Error() string {
	s := "HTTP " + strconv.Itoa(e.status)
	if text := http.StatusText(e.status); text != "" {
		s += " " + text
	}
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// do makes a request, a POST if there is a body, follows redirects (CERT-7), and returns an answer of 200, 202, 204 or
// 404. The error names the operation.
func (s *session) do(ctx context.Context, operation string, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	s.patient = ctx
	at := s.server.url(operation)
	tied := s.tied != nil
	if s.anchors == nil && (operation != "cacerts" || body != nil) { // CERT-11
		return answer{}, errNoRoot
	}
	for hop := 0; ; hop++ {
		a, to, err := s.once(ctx, at, body)
		switch {
		case ctx.Err() == context.DeadlineExceeded:
			err = fmt.Errorf("no full answer within %v", requestTime)
		case ctx.Err() != nil:
			err = ctx.Err()
		case err == nil && to == nil:
			return a, nil
		case err == nil && tied:
			err = errors.New("a redirect, though the request is tied to its connection")
		case err == nil && hop == mostRedirects:
			err = fmt.Errorf("over %d redirects", mostRedirects)
		case err == nil && (to.Scheme != "https" || to.User != nil):
			err = errors.New("a redirect to something else than https")
		case err == nil && s.anchors == nil && !strings.EqualFold(to.Hostname(), s.server.Host):
			err = errors.New("a redirect to another host before any root is held")
		case err == nil:
			at = to.String()
			continue
		}
		return answer{status: a.status}, s.failed(operation, err)
	}
}

// once makes one request. It returns where to go instead, if the server says so.
func (s *session) once(ctx context.Context, at string, body []byte) (a answer, to *url.URL, err error) {
	method, head := http.MethodGet, http.Header{"User-Agent": {""}} // none
	if body != nil {
		method = http.MethodPost
		head.Set("Content-Type", "application/pkcs10")
		head.Set("Content-Transfer-Encoding", "base64") // CERT-15: some servers insist
	}
	r, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return a, nil, errors.New("not a URL that can be requested")
	}
	r.Header = head
	res, err := s.transport.RoundTrip(r)
	if err != nil {
		return a, nil, plain(err)
	}
	defer res.Body.Close()
	a = answer{status: res.StatusCode, retry: retryAfter(res.Header)}
	if s.anchors == nil { // anybody can have sent it
		a.retry = min(a.retry, mostBackOff)
	}
	if a.body, err = readAll(res.Body, maxAnswer); err != nil {
		return a, nil, err
	}
	switch a.status {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent, http.StatusNotFound:
		return a, nil, nil
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if to, err := res.Location(); err == nil {
			return a, to, nil
		}
	}
	return a, nil, refusal(a, res.Header)
}

// readAll reads an answer of bounded length.
func readAll(r io.Reader, most int) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	switch {
	case len(body) > most:
		return nil, fmt.Errorf("an answer of over %d KiB", most>>10)
	case err != nil:
		return nil, fmt.Errorf("the answer breaks off after %d bytes", len(body))
	}
	return body, nil
}

// refusal makes an error of an answer.
func refusal(a answer, h http.Header) error {
	e := &statusError{status: a.status, retry: a.retry}
	kind := h.Get("Content-Type")
	if strings.HasPrefix(kind, "text/plain") { // RFC 7030 §4.2.3
		e.text = shown(strings.TrimSpace(string(a.body)))
	}
	if a.status == http.StatusUnauthorized && h.Get("Www-Authenticate") != "" { // CERT-26
		e.text = "the server wants a password, which this device never sends; it has to accept the maker's certificate"
	}
	return e
}

// plain turns an error of package http into one for people.
func plain(err error) error {
	var known *connectError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the server closed the connection without an answer")
	}
	return errors.New(shown(err.Error()))
}

const (
	leastWait = time.Second
	mostWait  = 24 * time.Hour // the longest Retry-After that is obeyed
)

// retryAfter reads that header, 0 if it is missing or malformed.
func retryAfter(h http.Header) time.Duration {
	wait, known := discovery.RetryAfter(h, mostWait)
	if !known {
		return 0
	}
	return max(wait, leastWait)
}

// wrap says what an error is about.
func wrap(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }
