package discovery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"nmosauthd/agent/keys"
)

const (
	// maxHead is the maximum size of an answer's headers, in bytes.
	maxHead = 32 << 10
	// maxDrained is how many bytes of an unused answer are read to keep the connection for the next
	// request.
	maxDrained = 4 << 10
)

// accept lists the types of metadata and key sets (RFC 8414 §3.2, RFC 7517 §8.5.2). Others are accepted,
// too: a strict server answers 406 to a request that does not name the one it has.
const accept = "application/json, application/jwk-set+json, */*;q=0.1"

var (
	// errPage is reported for a captive portal, a login form or a web server's own error page.
	errPage     = errors.New("an HTML page, not JSON")
	errTooLong  = fmt.Errorf("the document is over %d KiB", maxDocument>>10)
	errLongHead = fmt.Errorf("the answer has headers of over %d KiB", maxHead>>10)
	errNotHTTP  = errors.New("the answer is not HTTP/1.1")
	errClosed   = errors.New("the server closed the connection")
)

// fetch makes the requests of one KeySet. They share a connection if both documents are on one server: a second TLS
// handshake costs a small device some 100 ms. The roots are those of its beginning (DIS-5).
type fetch struct {
	transport http.Transport
	date      time.Time // given by the last answer; zero if none
	whole     bool      // the last request was answered completely
}

// newFetch prepares the requests, which all end with ctx. If server is not nil, the addresses of its host come
// with it.
//
// Not http.DefaultTransport: what this device fetches goes to the server itself, whatever proxy its environment names,
// and keys are small. A compressed document could be long after all.
func (c *Client) newFetch(ctx context.Context, server *Server) (*fetch, error) {
	roots, err := c.options.Roots()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		RootCAs: roots, MinVersion: tls.VersionTLS12, Time: c.options.Now, // DIS-5, OPS-1
		GetClientCertificate: c.certificate, VerifyConnection: checkStaple,
	}
	// The context of a call is not that of the request, and has no deadline: another request may reuse the connection.
	dial := func(scheme string) func(context.Context, string, string) (net.Conn, error) {
		return func(_ context.Context, _, address string) (net.Conn, error) {
			return c.connect(ctx, scheme, address, server, config)
		}
	}
	return &fetch{transport: http.Transport{
		DialContext:            dial("http"),
		DialTLSContext:         dial("https"),
		MaxResponseHeaderBytes: maxHead,
		DisableCompression:     true,
	}}, nil
}

// certificate returns the one of the device that a server takes which asks for one (SEC-45); an empty one if none is.
// One that has ended would be refused by servers that would do without any.
func (c *Client) certificate(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if c.options.Certificates != nil {
		for _, own := range c.options.Certificates() {
			ended := c.options.Now != nil && c.options.Now().After(own.Leaf.NotAfter)
			if !ended && IsClients(own.Leaf) && asked.SupportsCertificate(own) == nil {
				return own, nil
			}
		}
	}
	return &tls.Certificate{}, nil
}

// IsClients reports whether a certificate may be a client's, by its extended key usage: a person may have installed a
// web server's. One that may not is refused also by servers that would do without any.
func IsClients(leaf *x509.Certificate) bool {
	for _, use := range leaf.ExtKeyUsage {
		if use == x509.ExtKeyUsageClientAuth || use == x509.ExtKeyUsageAny {
			return true
		}
	}
	return len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0
}

// connect connects to the server of an address, "host:port", and for https verifies who that is. An error is an
// unreachedError, or that of ctx.
func (c *Client) connect(
	ctx context.Context, scheme, address string, found *Server, config *tls.Config,
) (net.Conn, error) {
	conn, err := c.dial(ctx, "tcp", address, found)
	var known *dialError
	switch {
	case err != nil && (ctx.Err() == nil || errors.As(err, &known)):
		return nil, &unreachedError{serverAt(scheme, address), explainDial(err, address)}
	case err != nil:
		return nil, ctx.Err()
	case scheme != "https":
		return conn, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		config = config.Clone()
		config.ServerName = host
		secure := tls.Client(conn, config)
		if err = secure.HandshakeContext(ctx); err == nil {
			return secure, nil
		}
	}
	conn.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, &unreachedError{serverAt(scheme, address), c.explainTLS(err, port)}
}

// serverAt is the URL of the server at an address, without a path.
func serverAt(scheme, address string) string {
	if own, ok := strings.CutSuffix(address, map[string]string{"https": ":443", "http": ":80"}[scheme]); ok {
		address = own
	}
	return scheme + "://" + address
}

// close ends the connection: a device keeps none that it does not need.
func (f *fetch) close() { f.transport.CloseIdleConnections() }

// document is the metadata of an issuer as it was found.
type document struct {
	metadata
	from *url.URL
	body []byte
}

// first returns the first metadata found of the issuer (KEY-8). The next place is tried only if a server has
// something else at this one: any other failure would recur there.
func (f *fetch) first(ctx context.Context, s source) (d document, err error) {
	missing := ""
	for _, from := range s.places {
		d.from = from
		if d.body, err = f.get(ctx, from); err == nil {
			d.metadata, err = parseMetadata(d.body, s)
		}
		if err == nil {
			return d, nil
		}
		var status statusError
		var unreached *unreachedError
		switch {
		case errors.As(err, &unreached) && missing == "":
			return d, err // which names the server
		case !f.whole || errors.As(err, &status) && !status.nothingThere():
			return d, wrap("metadata "+missing+"from "+plain(from), err)
		}
		missing += "from " + plain(from) + ": " + err.Error() + "; "
	}
	return d, errors.New("metadata " + strings.TrimSuffix(missing, "; "))
}

// statusError is an unexpected HTTP status.
type statusError int

func (s statusError) Error() string {
	return fmt.Sprintf("HTTP %d %s", int(s), http.StatusText(int(s)))
}

// nothingThere reports whether the server has nothing at the place. Proxies in front of a server say so in
// many ways.
func (s statusError) nothingThere() bool {
	return 200 <= s && s < 500 || s == http.StatusNotImplemented
}

// get returns a complete document.
func (f *fetch) get(ctx context.Context, u *url.URL) ([]byte, error) {
	f.whole = false
	res, err := f.request(ctx, u)
	if err != nil {
		return nil, explain(ctx, err)
	}
	defer res.Body.Close()
	f.date = dateOf(res)
	if err := acceptable(res); err != nil {
		// A short answer read to its end leaves the connection for the next place.
		_, _ = io.CopyN(io.Discard, res.Body, maxDrained)
		f.whole = true
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	switch {
	case len(body) > maxDocument:
		f.whole = true
		return nil, errTooLong
	case ctx.Err() != nil:
		// Whatever came: a server may answer with nothing when the connection is closed.
		return nil, explain(ctx, ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("the answer was cut off after %d bytes: %w", len(body), explain(ctx, err))
	}
	f.whole = true
	return body, nil
}

// request asks for a document, and follows one redirect to the same scheme, host and port (KEY-8): where else the
// document may lie, its issuer alone may say.
func (f *fetch) request(ctx context.Context, u *url.URL) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.New("not a URL that can be requested")
	}
	r.Header = http.Header{"User-Agent": {"nmos-authd"}, "Accept": {accept}, "Accept-Encoding": {"identity"}}
	client := http.Client{Transport: &f.transport, CheckRedirect: func(to *http.Request, via []*http.Request) error {
		to.Header.Del("Referer") // it may hold a query
		if len(via) > 1 || origin(to.URL) != origin(u) || to.URL.User != nil {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return client.Do(r)
}

// origin is scheme, host and port of a URL.
func origin(u *url.URL) string {
	return keys.Origin((&url.URL{Scheme: u.Scheme, Host: u.Host}).String())
}

// dateOf returns the server's time by the Date of an answer and, if that comes from a cache, by the Age that it had
// there (RFC 9110 §6.6.1, RFC 9111 §5.1); zero if it has none.
func dateOf(res *http.Response) time.Time {
	date, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	if age, err := strconv.ParseUint(res.Header.Get("Age"), 10, 31); err == nil {
		date = date.Add(time.Duration(age) * time.Second)
	}
	return date
}

// RetryAfter reads that header of an answer (RFC 9110 §10.2.3), as 0 to most. known is false if it is missing or
// malformed. A date counts from that of the answer, since the device's clock may not agree.
func RetryAfter(h http.Header, most time.Duration) (wait time.Duration, known bool) {
	value := h.Get("Retry-After")
	n, err := strconv.ParseUint(value, 10, 31)
	if err == nil || errors.Is(err, strconv.ErrRange) { // then n is the largest that there is
		return min(time.Duration(n)*time.Second, most), true
	}
	at, err := http.ParseTime(value)
	now, errDate := http.ParseTime(h.Get("Date"))
	return min(max(at.Sub(now), 0), most), err == nil && errDate == nil
}

// acceptable checks an answer by its headers.
func acceptable(res *http.Response) error {
	to, locationErr := res.Location()
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400 && locationErr == nil:
		return fmt.Errorf("a redirect to %+.100q (HTTP %d), which is not followed", to.Host, res.StatusCode)
	case res.StatusCode != http.StatusOK:
		return statusError(res.StatusCode)
	case res.Header.Get("Content-Encoding") != "" && res.Header.Get("Content-Encoding") != "identity":
		return errors.New("the document is compressed, which was not asked for")
	case res.ContentLength > maxDocument:
		return errTooLong
	}
	// Other types are accepted: some servers send JSON as text/plain.
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err == nil && kind == "text/html" {
		return errPage
	}
	return nil
}

// unreachedError is for a server that cannot be reached. It names the server, since no document is at fault.
type unreachedError struct {
	server string
	why    error
}

func (e *unreachedError) Error() string { return e.server + ": " + e.why.Error() }
func (e *unreachedError) Unwrap() error { return e.why }

// explainDial says for people why there is no connection to an address, "host:port", without repeating it.
func explainDial(err error, address string) error {
	dial, ok := err.(*dialError)
	switch {
	case !ok: // the host was looked up to no effect, or in several ways
		return err
	case dial.reason() == errRefused && dial.address == address:
		return errors.New(errRefused + ". Is the server running?")
	case dial.reason() == errRefused:
		return fmt.Errorf("%w. Is the server running?", err)
	case dial.address == address:
		return errors.New(dial.reason())
	}
	return err
}

// explainTLS is ExplainTLS, with advice.
func (c *Client) explainTLS(err error, port string) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return errors.New(untrusted + c.adviseRoot(unknown))
	}
	return ExplainTLS(err, port)
}

const untrusted = "the certificate comes from an authority that this device does not trust: "

// ExplainTLS says for people why a TLS handshake with a port failed. It includes nothing that the server sent but
// names in its certificate.
func ExplainTLS(err error, port string) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown) && unknown.Cert != nil:
		return errors.New(untrusted + unknown.Cert.Issuer.String())
	case errors.As(err, &name):
		return wrap("the certificate is for another host", name)
	case errors.As(err, &invalid):
		return wrap("the certificate is not valid", invalid)
	case errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/":
		return errors.New("port " + port + " does not speak TLS (is it the http port?)")
	case errors.As(err, &record):
		return errors.New("port " + port + " does not speak TLS")
	case hungUp(err):
		return fmt.Errorf("%w during the TLS handshake", errClosed)
	}
	return err
}

// adviseRoot says whose root would have to be installed for a certificate to be trusted, and where.
func (c *Client) adviseRoot(unknown x509.UnknownAuthorityError) string {
	if unknown.Cert == nil {
		return unknown.Error()
	}
	issuer := fmt.Sprintf("%+.100q", unknown.Cert.Issuer.String())
	where := c.options.RootsFile
	if where == "" {
		where = "this system's list of roots"
	}
	if strings.Contains(unknown.Error(), "candidate authority") {
		return fmt.Sprintf("issued by %s, and %s has a root of that name with another key", issuer, where)
	}
	return fmt.Sprintf("issued by %s; put that root into %s (or have the server send its whole chain)", issuer, where)
}

// explain turns an error of a request into one for people. It includes nothing that a server sent, which net/http
// would quote.
func explain(ctx context.Context, err error) error {
	var unreached *unreachedError
	var broken *net.OpError
	switch {
	case errors.As(err, &unreached):
		return unreached
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return wrap("no full answer in time", ctx.Err())
	case ctx.Err() != nil:
		return ctx.Err()
	case strings.Contains(err.Error(), "headers exceeded"):
		return errLongHead
	case hungUp(err):
		return errClosed
	case errors.As(err, &broken):
		return innermost(broken)
	}
	return errNotHTTP
}

// hungUp reports whether err says that the server closed the connection. If it closed with something of ours unread,
// its kernel sent a reset, which may come before, after or in place of the end: one cause, one text.
func hungUp(err error) bool {
	var broken *net.OpError
	if errors.As(err, &broken) {
		why := innermost(broken).Error()
		return why == errReset || why == errPipe
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
