// Package certs is the device as an EST client (RFC 7030, BCP-003-03): it takes the facility's roots, has certificates
// issued for keys that it makes, and renews both.
//
// What the daemon hands in (Options): connections by agent/discovery, the servers in order, the maker's certificate, a
// Storage whose Save is durable when it returns and seals what it keeps, a clock that says whether it can be trusted
// (OPS-1), a HandOver that puts the pairs where the firmware reads them, and where events go. It calls Load once, before
// the sandbox or after, Configure, then Run; NetworkChanged and ClockChanged when that is so. Nobody waits for the
// network: Roots, Certificates and Status answer from memory, Run does the work, one request at a time.
//
// What is held stays in use until there is something better: neither a server that is away nor the end of a certificate
// takes it from the firmware, only its revocation does, or an operator. A new pair is stored before it is handed over.
//
// Every connection is checked against the roots held, but for one kind: that which fetches the first root of a device
// that holds none, if the configuration allows it or gives the root's fingerprint (CERT-10, CERT-11).
//
// No private key is in any error, event or status.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"nmosauthd/agent/alarm"
)

// Storage keeps roots, certificates and private keys as one piece. Save has replaced what was kept, durably, when it
// returns nil, and must leave the one or the other after a power cut. Load returns nil if nothing was ever kept; an
// error stops all requests, since what cannot be read may well be in use.
type Storage interface {
	Load() ([]byte, error)
	Save([]byte) error
}

// Options are what a Client works with. All are needed.
type Options struct {
	// Dial connects to "host:port": discovery.Client.Dial.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Servers returns the EST servers, best first: the configured one, or those that discovery found (CERT-1 to 3, 5).
	// It is called before each attempt, and may look them up. None is no error.
	Servers func(ctx context.Context) ([]Server, error)
	// Maker returns the maker's certificate with its chain, and a crypto.Signer as its key; nil if the device has none.
	// One that was revoked must not be returned. It is called before each use, so it may have been replaced (CERT-47).
	Maker func() (*tls.Certificate, error)
	// Installed returns the roots that a person installed, which EST never replaces (CERT-13); nil if there are none.
	Installed func() ([]*x509.Certificate, error)
	Storage   Storage
	// HandOver gives the firmware all that is held, in place of what it was given before (CERT-29). It is called after
	// each change and once after Load, and must do nothing if there is no difference; after an error it is called again.
	// A Bundle without pairs takes them away.
	HandOver func(Bundle) error
	Clock    func() (now time.Time, trusted bool) // OPS-1
	Report   func(Event)                          // called from Run and what an operator calls; it must not call back
}

// Server is an EST server.
type Server struct {
	Host  string // name or address
	Port  uint16 // 0 for 443
	Label string // of the path; empty for none (CERT-3, CERT-4)
}

// Config says what is wanted. The zero value disables the client: what is held stays with the firmware.
type Config struct {
	Enabled bool
	Names   []string  // DNS names of the device in this domain; the first is the CN, too (CERT-22)
	Serial  string    // of the device, for the subject (CERT-23); not sent if empty
	Kinds   []KeyKind // a certificate for each (CERT-21); ECDSA if empty
	// TrustFirst has a device without any root take the first that a server gives, unchecked (CERT-10).
	TrustFirst bool
	// Fingerprint is the SHA-256 of the root's DER, in hex with or without colons; empty for none. It decides which root
	// is trusted, with or without TrustFirst: one that came by EST and is another is not used any more (CERT-11).
	Fingerprint string
	NoRenewal   bool // CERT-6
}

// KeyKind is a kind of keys.
type KeyKind string

// The kinds of keys: P-256, and RSA of 2048 bits. A server's /csrattrs may ask for longer ones.
const (
	ECDSA KeyKind = "ecdsa"
	RSA   KeyKind = "rsa"
)

// Bundle is what is held, for the firmware. It holds private keys.
type Bundle struct {
	Pairs []Pair // at most one of each kind, in the order of the configuration
	Roots []byte // that came by EST, PEM; empty if there are none
}

// Pair is a key and its certificate. It holds a private key.
type Pair struct {
	Kind  KeyKind
	Key   []byte // PEM, PKCS #8
	Chain []byte // PEM: the certificate, then its intermediates, without the root
	Leaf  *x509.Certificate
}

// String keeps the key out of logs.
func (p Pair) String() string { return "Pair(" + string(p.Kind) + ")" }

// GoString does so, too.
func (p Pair) GoString() string { return p.String() }

// Phase is where it stands.
type Phase int

// The phases.
const (
	Disabled      Phase = iota // by the configuration
	Unreadable                 // what is stored cannot be read, and must not be replaced
	Misconfigured              // nothing can be asked for
	Starting                   // waits a random time, so that a fleet does not come all together
	NoServer                   // none is configured or found
	NoRoot                     // no root is held, and none came that may be trusted
	NoCertificate              // a certificate is due, or failed and will be tried again
	Waiting                    // a person has to agree (CERT-27)
	Unsaved                    // issued, but not stored yet, so not used
	Expired                    // the certificate has ended, and is still with the firmware
	Held                       // every certificate that is wanted is held
)

func (p Phase) String() string {
	return [...]string{
		"disabled", "unreadable", "misconfigured", "starting", "no server", "no root", "no certificate",
		"waiting for approval", "unsaved", "expired", "held",
	}[p]
}

// EventKind is what an Event is about.
type EventKind int

// The kinds of events.
const (
	EventFirstTrust EventKind = iota + 1 // a root was taken unchecked, or by its fingerprint; Text says so and names it
	EventRoots                           // the roots changed; Text has the fingerprints
	EventIssued                          // a certificate came; Text has names, issuer and end
	EventWaiting                         // a person has to agree; Again is when it is asked again
	EventHandedOver                      // the firmware has what is held
	EventExpired                         // a certificate has ended
	EventRevoked                         // a certificate was revoked, and was taken from the firmware
	EventForgotten                       // by an operator
	EventFailure                         // Err; what was held stays in use
)

// Event is something for the log.
type Event struct {
	Kind   EventKind
	Server string  // URL, without a path; empty if none is concerned
	Key    KeyKind // empty if none is concerned
	Text   string
	Err    error
	Again  time.Duration // when it is tried or looked at again; 0 if it is not
}

// MaxState is more than what is kept ever has, in bytes.
const MaxState = 384 << 10

// Client is the device's side of EST. Its methods may be called from any number of goroutines.
type Client struct {
	o     Options
	alarm alarm.Alarm
	turn  chan struct{} // holds one element while nobody works; what follows is the worker's

	mu     sync.Mutex // guards the rest, for moments only
	config Config
	status Status
}

// New returns a Client that does nothing before Configure and Run.
func New(o Options) *Client {
	c := &Client{o: o, alarm: alarm.New(), turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

var errNotYet = errors.New("certificates by EST: not built yet")

// Load reads what is kept, so that Roots and Certificates answer. Run does so, too, and tries again.
func (c *Client) Load() error { return errNotYet }

// Configure replaces the configuration. What waits after a failure is tried now, if that changes anything.
func (c *Client) Configure(config Config) {
	config.Names, config.Kinds = slices.Clone(config.Names), slices.Clone(config.Kinds)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.config = config
	c.alarm.Ring()
}

// NetworkChanged has the servers looked up and the roots asked for again, after a random while: another domain's have
// the device enrol from the beginning (CERT-17).
func (c *Client) NetworkChanged() {}

// ClockChanged says that the clock was set, or became trusted.
func (c *Client) ClockChanged() {}

// Retry has what waits tried now: a place in the start, a failure. It does not hurry a server that asked for time.
func (c *Client) Retry() {}

// Enrol has each certificate asked for from the beginning, now, with the maker's certificate.
func (c *Client) Enrol() {}

// Renew has each certificate that is held renewed now; it enrols for those that are not.
func (c *Client) Renew() {}

// Install takes a pair that a person installed, as PEM, in place of one of its kind (CERT-47). It is used, and renewed
// when its time comes, as if it had been issued by EST. The chain need not lead to a root that is known.
func (c *Client) Install(ctx context.Context, key, chain []byte) error { return errNotYet }

// Remove takes the pair of a kind away.
func (c *Client) Remove(ctx context.Context, kind KeyKind) error { return errNotYet }

// Forget takes away all that is held and was kept: roots, pairs, and requests that wait. The device is as it came from
// its maker, and a first root may be taken again if the configuration allows it.
func (c *Client) Forget(ctx context.Context) error { return errNotYet }

// Roots returns the roots that came by EST, as PEM; empty if there are none. Those that a person installed are not
// among them.
func (c *Client) Roots() []byte { return nil }

// Certificates returns the pairs held, for connections that the daemon makes itself, in the order of the configuration.
func (c *Client) Certificates() []tls.Certificate { return nil }

// Run does the work until ctx ends.
func (c *Client) Run(ctx context.Context) {
	c.alarm.Run(ctx, func() time.Duration {
		c.o.Report(Event{Kind: EventFailure, Err: errNotYet})
		return 0
	})
}
