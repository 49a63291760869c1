// Package discovery finds Authorization Servers by DNS-SD (RFC 6763), unicast and multicast, and fetches what they
// publish: their metadata (RFC 8414) and their keys (RFC 7517). Requests of other
// packages use its HTTPClient. It remembers which servers were found last.
//
// What it returns is checked for form alone. Whether an issuer may be asked at all is the caller's to decide beforehand
// (KEY-5): this package contacts whatever issuer it is given. Everything read from the network is bounded, in size and
// time.
package discovery

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/keys"
)

const (
	// maxDocument is the longest document accepted, in bytes (KEY-8).
	maxDocument = 256 << 10
	// defaultTimeout is for one KeySet. The device needs its keys soon or not at all: the schedule tries again.
	defaultTimeout = 10 * time.Second
)

// Options say how servers are reached and trusted. The zero value is for production: the system's roots, https alone.
type Options struct {
	// Roots returns the certificates that servers must chain to (DIS-5); a nil pool stands for the system's. It is
	// called for every KeySet, before it connects, so that roots installed meanwhile count. Nil: the system's roots.
	Roots func() (*x509.CertPool, error)
	// AllowHTTP lets issuers be http URLs, for development.
	AllowHTTP bool
	// Certificates returns the device's own, with their keys, for servers that ask for one (SEC-45). It is called at
	// each handshake. Nil if there are none.
	Certificates func() []*tls.Certificate
	// RootsFile is where roots are installed, for messages. Empty stands for the system's.
	RootsFile string
	// Now is the clock by which certificates are judged (OPS-1). Nil stands for time.Now.
	Now func() time.Time
	// Timeout is the most that one KeySet takes, name look-ups and both documents included. Zero: 10 s.
	Timeout time.Duration
	// DNSServers are name servers, "address:port", asked in this order for every name, in place of those of ResolvConf.
	// Host names in /etc/hosts count before them.
	DNSServers []string
	// ResolvConf returns the contents of resolv.conf(5). It is called for every look-up, since a device's network
	// changes while it runs. Nil if there is none.
	ResolvConf func() ([]byte, error)
}

// Client discovers and fetches. It is safe for concurrent use and holds no connection between two calls.
type Client struct {
	options  Options
	dialer   net.Dialer
	found    atomic.Pointer[[]Server]                            // by the last Discover that found any
	patience time.Duration                                       // with one packet to a name server; tests shorten it
	browse   func(context.Context, BrowseOptions) (Found, error) // Browse, but in tests
	askLink  func(context.Context, string) (resolved, error)     // multicastAddresses, but in tests
	plain    sync.Map                                            // name servers that were found not to know EDNS0
}

// New returns a Client.
func New(o Options) *Client {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Roots == nil {
		o.Roots = func() (*x509.CertPool, error) { return nil, nil }
	}
	return &Client{options: o, patience: serverPatience, browse: Browse, askLink: multicastAddresses}
}

// Document is what one Authorization Server publishes.
type Document struct {
	Issuer      string // as its metadata has it, and so as its tokens should
	MetadataURL string // where that was
	JWKSURI     string
	JWKS        []byte // JSON, an object or an array; which keys are in it nobody has looked at
	// Date is the server's time, to the second, by the answer that brought the keys; zero if that had none.
	Date time.Time
}

// KeySet returns the key set of an issuer, found as RFC 8414 §3 says: metadata at a place that follows from the
// issuer's URL, the keys where the metadata says. The issuer that the metadata names must be the one asked for (KEY-8).
// If the server has other things at that place, those of older servers are tried; a failure to answer is final.
//
// A server that this Client's Discover found by this URL is reached at the addresses that were found with it.
//
// Errors are for people: they say which document could not be had and why, and never hold a query or what a server
// sent.
func (c *Client) KeySet(ctx context.Context, issuer string) (Document, error) {
	s, err := c.issuerSource(issuer)
	if err != nil {
		return Document{}, err
	}
	return c.keySet(ctx, s)
}

// issuerSource is where an issuer's documents come from.
func (c *Client) issuerSource(issuer string) (source, error) {
	iss, err := c.parseIssuer(issuer)
	if err != nil {
		return source{}, wrap("discovery: issuer "+shown(issuer), err)
	}
	return source{
		issuer:    iss,
		places:    metadataPlaces(metadataURL(iss), iss),
		speaksFor: func(named string) bool { return keys.TrimIssuer(named) == keys.TrimIssuer(issuer) }, // CLM-1
		server:    c.foundServer(issuer),
	}, nil
}

// FoundKeySet returns the key set of the server that discovery found at this URL, by this Client or another one before,
// as ServerKeySet does.
func (c *Client) FoundKeySet(ctx context.Context, at string) (Document, error) {
	s, err := c.foundSource(at)
	if err != nil {
		return Document{}, err
	}
	return c.keySet(ctx, s)
}

// foundSource is where the documents come from of the server that discovery found at a URL.
func (c *Client) foundSource(at string) (source, error) {
	s, err := c.serverAt(at)
	if err != nil {
		return source{}, err
	}
	return c.serverSource(s)
}

// serverAt returns the server that discovery found at this URL, by this Client or another one before.
func (c *Client) serverAt(at string) (*Server, error) {
	if s := c.foundServer(at); s != nil {
		return s, nil
	}
	u, err := c.parseIssuer(at)
	if err != nil {
		return nil, wrap("discovery: server "+shown(at), err)
	}
	selector := strings.Trim(u.EscapedPath(), "/")
	s := &Server{Scheme: u.Scheme, Host: strings.ToLower(u.Hostname()), Port: 443, Selector: selector}
	if u.Scheme == "http" {
		s.Port = 80
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		s.Port = uint16(port)
	}
	return s, nil
}

// ServerKeySet returns the key set of a server that Discover found, as KeySet does, from the addresses that were found
// with it. Its certificate must be for its host name all the same (DIS-5). The issuer that its metadata names must be
// one that it may name (keys.MayName, KEY-8). Since tokens are compared with what the metadata says, the caller goes by
// Document.Issuer from then on, which is set as soon as the metadata was read, even if the keys could not be.
func (c *Client) ServerKeySet(ctx context.Context, s Server) (Document, error) {
	from, err := c.serverSource(&s)
	if err != nil {
		return Document{}, err
	}
	return c.keySet(ctx, from)
}

// serverSource is where the documents of a server come from that Discover found.
func (c *Client) serverSource(s *Server) (source, error) {
	iss, err := c.parseIssuer(s.IssuerURL())
	var first *url.URL
	if err == nil {
		first, err = parseURL(s.MetadataURL()) // DIS-4
	}
	if err != nil {
		return source{}, wrap("discovery: server "+shown(s.IssuerURL()), err)
	}
	return source{
		issuer: iss,
		places: metadataPlaces(first, iss),
		speaksFor: func(named string) bool {
			_, err := c.parseIssuer(named)
			return err == nil && keys.MayName(s.IssuerURL(), named)
		},
		server: s,
		found:  true,
	}, nil
}

// foundServer returns the server that was found last with this issuer; nil if none.
func (c *Client) foundServer(issuer string) *Server {
	found := c.found.Load()
	if found == nil {
		return nil
	}
	for i := range *found {
		if s := &(*found)[i]; s.IssuerURL() == strings.TrimSuffix(issuer, "/") {
			return s
		}
	}
	return nil
}

// source is where a key set comes from.
type source struct {
	issuer    *url.URL
	places    []*url.URL               // of the metadata, in the order in which to try them
	speaksFor func(issuer string) bool // whether metadata that names this issuer is that of the source
	server    *Server                  // if nil, its host is looked up
	found     bool                     // by discovery; else it is asked because its issuer was named
}

// read reads the metadata of a source and hands them to use, with what fetches the documents that they name.
func (c *Client) read(
	ctx context.Context, s source, use func(ctx context.Context, f *fetch, found document) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	f, err := c.newFetch(ctx, s.server)
	if err != nil {
		return wrap("discovery: the root certificates", err)
	}
	defer f.close()
	found, err := f.first(ctx, s)
	var unreached *unreachedError
	switch {
	case errors.As(err, &unreached): // which is not about discovery
		return unreached
	case err != nil:
		return wrap("discovery", err)
	}
	return use(ctx, f, found)
}

func (c *Client) keySet(ctx context.Context, s source) (doc Document, err error) {
	err = c.read(ctx, s, func(ctx context.Context, f *fetch, found document) error {
		doc = Document{Issuer: found.Issuer, MetadataURL: plain(found.from), JWKSURI: found.JWKSURI}
		at, err := found.keysURL(s)
		if err != nil {
			return wrap("discovery: metadata from "+plain(found.from), err)
		}
		jwks, err := f.get(ctx, at)
		if err == nil {
			err = objectOrArray(jwks)
		}
		var unreached *unreachedError
		if errors.As(err, &unreached) {
			err = unreached.why // the document names the server
		}
		if err != nil {
			return wrap("discovery: keys from "+plain(at), err)
		}
		doc.JWKS, doc.Date = jwks, f.date
		return nil
	})
	return doc, err
}

// wrap says what an error is about; nil if there is none.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// objectOrArray judges the outer form of a key set (RFC 7517 §5; a bare array is INFO-002's example).
func objectOrArray(body []byte) error {
	var outer json.RawMessage
	if err := parseJSON(body, &outer); err != nil {
		return err
	}
	if outer = bytes.TrimSpace(outer); outer[0] != '{' && outer[0] != '[' {
		return errors.New("neither a JSON object nor an array")
	}
	return nil
}
