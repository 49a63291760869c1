package discovery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"nmosauthd/agent/keys"
)

// errPage is what a captive portal, a login form or a web server's own error page comes to.
var errPage = errors.New("an HTML page, not JSON")

// maxDrained is how much is read of an answer that is of no use, in bytes.
const maxDrained = 4 << 10

// fetch is the requests of one KeySet. They share a connection where both documents lie on one server: a second TLS
// handshake costs a small device some 100 ms.
type fetch struct {
	connection
	client *Client
	server *Server // nil: hosts are looked up
	roots  *x509.CertPool
	date   time.Time // that the last answer over https gave; zero: none has
	whole  bool      // the last request was answered, and to its end
}

// newFetch prepares the requests; server, where it is not nil, brings the addresses of its host with it.
func (c *Client) newFetch(server *Server) (*fetch, error) {
	roots, err := c.options.Roots()
	if err != nil {
		return nil, err
	}
	return &fetch{client: c, server: server, roots: roots}, nil
}

// first returns the first metadata of the issuer that there is (KEY-8). The next place is tried only if a server has other things at
// this one: whatever else goes wrong would go wrong there, too.
func (f *fetch) first(ctx context.Context, s source) (from *url.URL, m metadata, err error) {
	missing := ""
	for _, from = range s.places {
		body, err := f.get(ctx, from)
		if err == nil {
			m, err = parseMetadata(body, s)
		}
		if err == nil {
			return from, m, nil
		}
		var status statusError
		if !f.whole || errors.As(err, &status) && !status.nothingThere() {
			return nil, m, fmt.Errorf("%sfrom %s: %w", missing, plain(from), err)
		}
		missing += fmt.Sprintf("from %s: %v; ", plain(from), err)
	}
	return nil, m, errors.New(strings.TrimSuffix(missing, "; "))
}

// statusError is an HTTP status that is not the one hoped for.
type statusError int

func (s statusError) Error() string {
	return fmt.Sprintf("HTTP %d %s", int(s), http.StatusText(int(s)))
}

// nothingThere reports whether the server has nothing to be got at the place. Proxies in front of a server say so in many ways.
func (s statusError) nothingThere() bool {
	return 200 <= s && s < 500 || s == http.StatusNotImplemented
}

// redirectError is an answer that leads elsewhere.
type redirectError struct {
	status int
	to     *url.URL
}

func (r *redirectError) Error() string {
	return fmt.Sprintf("a redirect to %+.100q (HTTP %d), which is not followed", r.to.Host, r.status)
}

// get returns a document, whole. It follows one redirect, to the same scheme, host and port (KEY-8): where else the keys lie, the
// issuer alone may say.
func (f *fetch) get(ctx context.Context, u *url.URL) ([]byte, error) {
	body, err := f.getOnce(ctx, u)
	var redirect *redirectError
	if errors.As(err, &redirect) {
		to := &url.URL{Scheme: redirect.to.Scheme, Host: redirect.to.Host}
		if origin := keys.Origin(to.String()); redirect.to.User == nil && origin != "" &&
			origin == keys.Origin((&url.URL{Scheme: u.Scheme, Host: u.Host}).String()) {
			to = redirect.to
			to.Fragment, to.RawFragment = "", ""
			return f.getOnce(ctx, to)
		}
	}
	return body, err
}

func (f *fetch) getOnce(ctx context.Context, u *url.URL) ([]byte, error) {
	f.whole = false
	res, err := f.request(ctx, u)
	if err != nil {
		f.close()
		return nil, explain(ctx, err)
	}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil && u.Scheme == "https" {
		f.date = date
	}
	if err := acceptable(res); err != nil {
		_, end := io.CopyN(io.Discard, res.Body, maxDrained) // a short answer read to its end leaves the connection for the next place
		f.done(res, end == io.EOF)
		f.whole = true
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	f.done(res, err == nil && len(body) <= maxDocument)
	switch {
	case len(body) > maxDocument:
		f.whole = true
		return nil, errTooLong
	case ctx.Err() != nil:
		// Whatever came: a server may answer with nothing when it sees us hang up.
		return nil, explain(ctx, ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("the answer breaks off after %d bytes: %w", len(body), err)
	}
	f.whole = true
	return body, nil
}

var errTooLong = fmt.Errorf("the document is over %d KiB", maxDocument>>10)

// acceptable judges an answer by its head.
func acceptable(res *http.Response) error {
	to, locationErr := res.Location()
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400 && locationErr == nil:
		return &redirectError{res.StatusCode, to}
	case res.StatusCode != http.StatusOK:
		return statusError(res.StatusCode)
	case res.Header.Get("Content-Encoding") != "" && res.Header.Get("Content-Encoding") != "identity":
		return errors.New("the document is compressed, which was not asked for")
	case res.ContentLength > maxDocument:
		return errTooLong
	}
	// Other types are not judged: servers are known to send JSON as text/plain.
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err == nil && kind == "text/html" {
		return errPage
	}
	return nil
}

// explain turns an error of a request into one for people.
func explain(ctx context.Context, err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("no full answer in time: %w", ctx.Err())
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &unknown):
		return fmt.Errorf("its certificate comes from no authority that this device trusts: %w", unknown)
	case errors.As(err, &name):
		return fmt.Errorf("its certificate is for another host: %w", name)
	case errors.As(err, &invalid):
		return fmt.Errorf("its certificate is not good: %w", invalid)
	case errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/":
		return http.ErrSchemeMismatch
	}
	return err
}
