// Package estserver is an EST server (RFC 7030, BCP-003-03) for tests: real TLS on a port of the loopback interface,
// the certificate authority of a facility and that of a device's maker, a strict look at everything that a device
// sends, and a table of ways to misbehave on demand.
//
//	s, err := estserver.Start(estserver.Options{Domain: "studio.example"})
//	defer s.Close()
//	maker := s.Maker().Device("SN-0001", from, until)
//	s.MisbehaveTimes(estserver.Enrol, estserver.Deferred, 2)
//	...
//	if v := s.Violations(); len(v) > 0 { ... }
//
// It is written from the rules CERT and knows nothing of the daemon's own client. What a device must not do is refused
// with 400 and kept in [Server.Violations]; what it may do and this server does not like is refused without.
//
// All methods may be called from any number of goroutines. With Options.Listener and Options.Now it runs in a bubble of
// testing/synctest.
//
// Limits: for tests and demonstrations only. It hands out its private keys.
package estserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The operations of EST (RFC 7030 §3.2.2).
const (
	CACerts  = "cacerts"
	CSRAttrs = "csrattrs"
	Enrol    = "simpleenroll"
	Reenrol  = "simplereenroll"
)

// WellKnown is what every path begins with.
const WellKnown = "/.well-known/est"

// What /csrattrs can ask for.
const (
	ECDSA = "ecdsa"
	RSA   = "rsa"
)

// Options are what Start needs to know. The zero value is a good server that wants the maker's certificate.
type Options struct {
	Listener  net.Listener     // nil: a port of 127.0.0.1
	Now       func() time.Time // nil: time.Now
	Host      string           // host name in URL; "" means 127.0.0.1
	OtherHost string           // what RedirectHost leads to; "" means localhost, or 127.0.0.1 if Host is that
	// more names of the server's certificate, beside localhost, 127.0.0.1, Host and OtherHost
	Names []string
	Label string // that the path must have (CERT-3); "" if none

	Facility, Maker *CA           // nil: new ones
	Life            time.Duration // of the certificates issued; 0 means 90 days
	Backdate        time.Duration // how long before now they begin

	Domain       string // that every name asked for must be in (CERT-22); "": any
	AnySerial    bool   // names need no serialNumber beside them: this machine has none
	Open         bool   // issues to devices without a maker's certificate, too
	FirstContact bool   // the first connection is taken for the unchecked one (CERT-11)
	NoAttributes bool   // /csrattrs answers 404
	KeyType      string // that /csrattrs asks for: ECDSA, RSA, or "" for none
	Challenge    bool   // /csrattrs asks for challengePassword, and requests are refused without (CERT-24)
	MaxTLS       uint16 // 0: the newest

	RetryAfter time.Duration // of the faults that say one; 0 means a second
	Drip       time.Duration // of the fault Slow; 0 means 50 ms
	Logf       func(format string, a ...any)
}

// Request is one that came.
type Request struct {
	Connection int // they are counted from 1
	At         time.Time
	Method     string
	Path       string
	Operation  string // "" if the path is not one of EST's
	Where      string // "" for the path itself; elsewhere, moved or plain behind a redirect
	TLS        uint16 // version; 0 for plain HTTP
	Client     *x509.Certificate
	CSR        *x509.CertificateRequest
	Fault      Fault
	Status     int // 0 if the fault gave none
}

// Server is a running server. Close it.
type Server struct {
	opt      Options
	listener net.Listener
	plain    net.Listener
	http     *http.Server
	port     string
	closing  chan struct{}
	once     sync.Once
	running  sync.WaitGroup
	stranger *CA

	mu          sync.Mutex
	facility    *CA
	former      []*CA
	links       []*x509.Certificate // of a roll-over
	cert        tls.Certificate
	faults      map[string]*turns
	handshake   turns
	connections map[net.Conn]*connection
	count       int
	contact     bool // the next connection is the unchecked one
	log         []*Request
	violations  []string
	issued      []*x509.Certificate
	revoked     map[string]bool
	keys        map[string]bool     // every public key that was asked for
	waiting     map[string]*waiting // by device and kind of key
	changed     chan struct{}
}

// connection is what is known of one.
type connection struct {
	id       int
	fault    Fault
	first    bool // the unchecked one
	requests int
	idle     bool
}

// Start listens and serves.
func Start(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.OtherHost == "" {
		o.OtherHost = "localhost"
		if o.Host != "127.0.0.1" {
			o.OtherHost = "127.0.0.1"
		}
	}
	if o.Life == 0 {
		o.Life = 90 * 24 * time.Hour
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = time.Second
	}
	if o.Drip == 0 {
		o.Drip = 50 * time.Millisecond
	}
	if o.Facility == nil {
		o.Facility = NewCA("Facility Example", o.Now())
	}
	if o.Maker == nil {
		o.Maker = NewCA("Maker Example", o.Now())
	}
	s := &Server{
		opt: o, listener: o.Listener, closing: make(chan struct{}), facility: o.Facility,
		stranger: NewCA("an authority that nobody installed", o.Now()),
		faults:   map[string]*turns{}, connections: map[net.Conn]*connection{}, contact: o.FirstContact,
		revoked: map[string]bool{}, keys: map[string]bool{}, waiting: map[string]*waiting{},
		changed: make(chan struct{}), port: "443",
	}
	s.cert = s.serverCertificate(o.Facility)
	if s.listener == nil {
		var err error
		if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("estserver: %w", err)
		}
		if s.plain, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, errors.Join(fmt.Errorf("estserver: %w", err), s.listener.Close())
		}
	}
	if address, ok := s.listener.Addr().(*net.TCPAddr); ok {
		s.port = strconv.Itoa(address.Port)
	}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 10 * time.Second,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 only
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnState:         s.state,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, c)
		},
	}
	s.running.Go(func() { _ = s.http.Serve(&tlsListener{s.listener, s}) })
	if s.plain != nil {
		s.running.Go(func() { _ = s.http.Serve(s.plain) })
	}
	return s, nil
}

// Close stops the server and releases every request that hangs.
func (s *Server) Close() error {
	var err error
	s.once.Do(func() {
		close(s.closing)
		err = s.http.Close()
		s.running.Wait()
	})
	return err
}

func (s *Server) serverCertificate(ca *CA) tls.Certificate {
	now := s.opt.Now()
	return ca.Server(now.Add(-time.Hour), now.Add(caLife-48*time.Hour), s.hosts()...).Certificate
}

func (s *Server) hosts() []string {
	hosts := append([]string{s.opt.Host, s.opt.OtherHost, "localhost", "127.0.0.1"}, s.opt.Names...)
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// URL is where the server is, Base what the operations are appended to, with a slash between.
func (s *Server) URL() string { return "https://" + net.JoinHostPort(s.opt.Host, s.port) }

// Base is the URL of the operations: Base()+"/"+CACerts.
func (s *Server) Base() string {
	if s.opt.Label != "" {
		return s.URL() + WellKnown + "/" + s.opt.Label
	}
	return s.URL() + WellKnown
}

// Host and Port are those of the URL.
func (s *Server) Host() string { return s.opt.Host }

// Port is the port of the URL.
func (s *Server) Port() string { return s.port }

// Facility is the authority that issues now, Maker that of the device's maker.
func (s *Server) Facility() *CA {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.facility
}

// Maker is the authority of the device's maker.
func (s *Server) Maker() *CA { return s.opt.Maker }

// RollOver replaces the facility's authority by one of the same name: /cacerts holds both roots and the three
// certificates of RFC 4210 §4.4 (CERT-14), and new certificates come from the new one. The server still shows the old
// certificate until Retire.
func (s *Server) RollOver() *CA {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.facility
	next, oldWithNew, newWithOld := old.successor(s.opt.Now())
	s.links = []*x509.Certificate{old.Root, oldWithNew, newWithOld}
	s.former, s.facility = append(s.former, old), next
	return next
}

// Retire ends a roll-over: /cacerts is about the new root alone, and the server shows a certificate below it.
func (s *Server) Retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links, s.cert = nil, s.serverCertificate(s.facility)
	s.closeIdle()
}

// Move is a change of facility: another authority, and all that was issued before is strange to it (CERT-17).
func (s *Server) Move(to *CA) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links, s.former, s.facility, s.cert = nil, nil, to, s.serverCertificate(to)
	s.closeIdle()
}

// Revoke has the server refuse a client certificate from now on.
func (s *Server) Revoke(c *x509.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked[string(c.Raw)] = true
}

// SetLife changes how long certificates live that are issued from now on.
func (s *Server) SetLife(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opt.Life = d
}

// Forget forgets which devices have to wait: they were started again, and know nothing of it either.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.waiting)
}

// Issued are the certificates that the server gave out, wrong ones too, oldest first.
func (s *Server) Issued() []*x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}

// Requests are those that came, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Request
	for _, r := range s.log {
		all = append(all, *r)
	}
	return all
}

// Count is how many requests an operation has had, Connections how many connections came.
func (s *Server) Count(operation string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counted(operation)
}

func (s *Server) counted(operation string) (n int) {
	for _, r := range s.log {
		if r.Operation == operation {
			n++
		}
	}
	return n
}

// Connections is how many connections came.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Violations are what devices did that they must not, a line each that begins with the rule.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// WaitRequests returns when the operation has had n requests since the start, or with the context's error.
func (s *Server) WaitRequests(ctx context.Context, operation string, n int) error {
	return s.wait(ctx, func() (string, bool) {
		return fmt.Sprintf("%d of %d requests of %s", s.counted(operation), n, operation), s.counted(operation) >= n
	})
}

// WaitConnections returns when n connections have come since the start, or with the context's error.
func (s *Server) WaitConnections(ctx context.Context, n int) error {
	return s.wait(ctx, func() (string, bool) { return fmt.Sprintf("%d of %d connections", s.count, n), s.count >= n })
}

// WaitIssued returns when n certificates have been issued since the start, or with the context's error.
func (s *Server) WaitIssued(ctx context.Context, n int) error {
	return s.wait(ctx, func() (string, bool) {
		return fmt.Sprintf("%d of %d certificates", len(s.issued), n), len(s.issued) >= n
	})
}

// wait calls enough under the lock after every change.
func (s *Server) wait(ctx context.Context, enough func() (string, bool)) error {
	for {
		s.mu.Lock()
		so, done := enough()
		changed := s.changed
		violations := strings.Join(s.violations, "\n")
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("estserver: %s came: %w\n%s", so, ctx.Err(), violations)
		}
	}
}

// change wakes those who wait; the caller has the lock.
func (s *Server) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}
