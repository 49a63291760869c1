// Package authserver is an authorization server for tests: real TLS on a port of the loopback interface, a CA of its
// own, RFC 8414 metadata, a JSON Web Key Set that rotates, and a table of ways to misbehave on demand.
//
//	s, err := authserver.Start(authserver.Options{})
//	defer s.Close()
//	token := s.Token(mint.Options{Device: "node-1.example.com"}).Sign()
//	s.Misbehave(authserver.PathJWKS, authserver.Hang)
//	s.Rotate()
//	err = s.WaitRequests(ctx, authserver.PathJWKS, 2)
//
// The port answers plain HTTP too, so that a client that follows a downgrade is caught in [Server.Log] rather than
// failing by chance. Every answer ends its connection: a fault that is set counts from the next request on, and no
// connection of before lives on. All methods may be called from any number of goroutines.
//
// Clients may register (RFC 7591, 7592), and get tokens by a secret or an assertion, or on behalf of a person who signs
// in (authorization code with PKCE, RFC 7636), and refresh and revoke them. Their messages are checked strictly, and
// what is wrong with them is kept in [Server.Violations]; Options.Kind chooses the habits of a real server.
//
// Limits: for tests and demonstrations only. It hands out its private keys.
package authserver

import (
	"context"
	"crypto/tls"
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

	"nmosauthd/tinytest/mint"
)

// The paths of the server, as Misbehave and Requests name them.
const (
	// PathMetadata stands for the metadata of this server's issuer (RFC 8414 §3.1), also where the issuer has a path
	// that is appended to it. Where it has, requests without it are counted as PathMetadata + "/".
	PathMetadata  = "/.well-known/oauth-authorization-server"
	PathJWKS      = "/jwks"
	PathToken     = "/token"
	PathRegister  = "/register"         // RFC 7591
	PathClient    = "/register/client/" // RFC 7592, of whichever client
	PathRevoke    = "/revoke"           // RFC 7009
	PathAuthorize = "/authorize"        // RFC 6749 §3.1
	PathSignIn    = "/sign-in"          // what the form of PathAuthorize is sent to
	PathElsewhere = "/elsewhere"        // what redirect-other and metadata-jwks-elsewhere lead to, under another host
)

// Options are what Start needs to know. The zero value is a good server with one key.
type Options struct {
	Addr string // where to listen; "" means 127.0.0.1:0
	// host name in the issuer; "" means 127.0.0.1. Names must lead to Addr, which is the caller's affair
	Host       string
	IssuerPath string // path of the issuer, such as "/realms/studio"; "" if none
	IssuerEnd  string // what the issuer ends with: "" or "/"
	AtRoot     bool   // its metadata is at the host's root, too, whatever its path (INFO-002's Keycloak)
	// more host names and addresses for the certificate, beside localhost, 127.0.0.1, ::1 and Host
	Names []string
	CA    *CA           // who signs the certificate; nil means a new CA
	Key   *mint.Key     // the first key; nil means a new one of 2048 bits, called key-1
	Date  time.Duration // how far the server's clock is ahead, by the Date that it sends
	Drip  time.Duration // between two bytes of the fault drip; 0 means 50 ms

	Clients  map[string]string // client id to secret, for PathToken; nil: nobody gets a token
	Audience []string          // aud of the tokens from PathToken; nil means "*"
	Life     time.Duration     // of the tokens from PathToken; 0 means mint.DefaultLife

	// Users are the people who may sign in, by name, and their passwords. Owner is one who has signed in and agreed
	// already, so that nobody is asked; "" means that a form asks.
	Users map[string]string
	Owner string
	// Policy says what a client may do in an API, for the person named, or of itself if that is "". If it reports
	// false the API is left out of the token. Nil: everything in each API of the token's scope.
	Policy func(client RegisteredClient, user, api string) (p mint.Permission, ok bool)

	Kind         Kind          // of server whose habits this one has
	InitialToken string        // that a registration must bring; "": anybody may register
	Scopes       []string      // that a client may have; nil means those of IS-10
	Algs         []string      // of assertions, by the metadata; nil means RS256 and ES256
	Clock        time.Duration // how far the server's clock is ahead, for assertions
	// FetchKeys gets the document at a client's jwks_uri; nil: the server cannot reach it.
	FetchKeys func(uri string) ([]byte, error)

	// Rotated is called with every key that the server makes, the first one included. It may be called at any time, and
	// must not call the server back.
	Rotated func(*mint.Key)

	Admin bool                          // POST /admin/rotate, /admin/misbehave and /admin/behave work
	Logf  func(format string, a ...any) // one line a request; nil if none
}

// Server is a running server. Close it.
type Server struct {
	opt      Options
	ca       *CA
	certs    *certificates
	listener *listener
	http     *http.Server
	port     string
	attacker func() *mint.Key

	serving  sync.WaitGroup // Serve, and the requests being answered
	closing  chan struct{}  // closed by Close; releases whoever hangs
	closeErr error
	once     sync.Once

	mu          sync.Mutex
	closed      bool
	keys        []*mint.Key // published
	signer      *mint.Key
	made        int    // keys that were named here
	rawJWKS     []byte // served instead of keys; nil means keys
	faults      map[string]*turns
	connFault   turns
	held        map[string]chan struct{} // by path: requests wait until it is closed
	counts      map[string]int
	connections int
	log         []Request
	clients     clients
	changed     chan struct{} // closed and replaced whenever counts or connections change
}

// Start listens and serves. The error is that of the listener or of the certificates.
func Start(o Options) (*Server, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Drip == 0 {
		o.Drip = 50 * time.Millisecond
	}
	if p := strings.Trim(o.IssuerPath, "/"); p != "" {
		o.IssuerPath = "/" + p
	} else {
		o.IssuerPath = ""
	}
	s := &Server{
		opt: o, ca: o.CA, closing: make(chan struct{}), changed: make(chan struct{}), held: map[string]chan struct{}{},
		faults: map[string]*turns{}, counts: map[string]int{},
		attacker: sync.OnceValue(func() *mint.Key { return mint.CachedKey("attacker", 2048) }),
	}
	var err error
	if s.ca == nil {
		if s.ca, err = NewCA("nmos-authd test CA"); err != nil {
			return nil, err
		}
	}
	hosts := append([]string{"localhost", "127.0.0.1", "::1", o.Host}, o.Names...)
	slices.Sort(hosts)
	if s.certs, err = newCertificates(s.ca, slices.Compact(hosts)); err != nil {
		return nil, err
	}
	inner, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("authserver: %w", err)
	}
	if o.Key != nil {
		s.made = 1
		s.keys, s.signer = []*mint.Key{o.Key}, o.Key
	} else {
		s.Rotate()
	}
	s.port = strconv.Itoa(inner.Addr().(*net.TCPAddr).Port)
	s.listener = listen(inner, s)
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: patience,
		// HTTP/1.1 only, which can be hijacked
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	s.http.SetKeepAlivesEnabled(false)
	s.serving.Go(func() {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.logf("authserver: %v", err)
		}
	})
	return s, nil
}

// Close stops the server, releases every request that hangs, and returns when all of them have ended.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		close(s.closing)
		s.closeErr = s.http.Close()
		s.serving.Wait()
	})
	return s.closeErr
}

// Issuer is the issuer's identifier: what goes into iss, and into the configuration of a device.
func (s *Server) Issuer() string { return s.URL() + s.opt.IssuerPath + s.opt.IssuerEnd }

// URL is the server's origin, such as "https://127.0.0.1:40123".
func (s *Server) URL() string { return "https://" + net.JoinHostPort(s.opt.Host, s.port) }

// Port is the port that the server listens on.
func (s *Server) Port() string { return s.port }

// MetadataURL is where the issuer's metadata is (RFC 8414 §3.1).
func (s *Server) MetadataURL() string { return s.URL() + s.metadataPath() }

func (s *Server) metadataPath() string { return PathMetadata + s.opt.IssuerPath }

// otherURL is the same port under another origin, which the certificate covers too.
func (s *Server) otherURL() string {
	host := "localhost"
	if s.opt.Host == host {
		host = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(host, s.port)
}

// CA is who signed the server's certificate.
func (s *Server) CA() *CA { return s.ca }

// CAPEM is the root certificate that a client must install.
func (s *Server) CAPEM() []byte { return s.ca.PEM() }

// Client returns a client that trusts this server only. It follows no redirect, and gives up after 5 s.
func (s *Server) Client() *http.Client {
	return &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: s.ca.Pool()},
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Signer is the key that signs at present.
func (s *Server) Signer() *mint.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signer
}

// Keys are the published keys, oldest first.
func (s *Server) Keys() []*mint.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys)
}

// Rotate makes a new key, publishes it beside the old ones and signs with it from now on.
func (s *Server) Rotate() *mint.Key { return s.rotate(true) }

// Replace is Rotate for a key that was lost: the old ones are withdrawn immediately.
func (s *Server) Replace() *mint.Key { return s.rotate(false) }

func (s *Server) rotate(keep bool) *mint.Key {
	s.mu.Lock()
	s.made++
	kid := "key-" + strconv.Itoa(s.made)
	s.mu.Unlock()
	key := mint.GenerateKey(kid, 2048) // slow, so not under the lock
	if s.opt.Rotated != nil {
		s.opt.Rotated(key) // before the first token of this key
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !keep {
		s.keys = nil
	}
	s.keys = append(s.keys, key)
	s.signer = key
	return key
}

// AddKey publishes a key; the signer stays.
func (s *Server) AddKey(key *mint.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, key)
}

// RemoveKey withdraws the keys of that name. The signer may be among them: it goes on signing.
func (s *Server) RemoveKey(kid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = slices.DeleteFunc(s.keys, func(k *mint.Key) bool { return k.KID == kid })
}

// SetJWKS serves this document at PathJWKS, whatever it is; nil: the keys again. The server keeps no copy.
func (s *Server) SetJWKS(raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rawJWKS = raw
}

// Token returns a template of this issuer, for its signer. Key and Issuer in o are overwritten.
func (s *Server) Token(o mint.Options) *mint.Token {
	o.Key, o.Issuer = s.Signer(), s.Issuer()
	return mint.New(o)
}

func (s *Server) logf(format string, a ...any) {
	if s.opt.Logf != nil {
		s.opt.Logf(format, a...)
	}
}

// WaitRequests returns when the path has had n requests since the start, or with the context's error.
func (s *Server) WaitRequests(ctx context.Context, path string, n int) error {
	return s.wait(ctx, func() bool { return s.counts[path] >= n })
}

// WaitConnections returns when n connections have come since the start, or with the context's error.
func (s *Server) WaitConnections(ctx context.Context, n int) error {
	return s.wait(ctx, func() bool { return s.connections >= n })
}

// wait calls enough under the lock after every change.
func (s *Server) wait(ctx context.Context, enough func() bool) error {
	for {
		s.mu.Lock()
		done, changed := enough(), s.changed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("authserver: waiting for requests: %w", ctx.Err())
		}
	}
}
