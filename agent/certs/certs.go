// Package certs is the device as an EST client (RFC 7030, BCP-003-03): it takes the facility's roots, has certificates
// issued for keys that it makes, and renews both.
//
// What the daemon hands in (Options): connections by agent/discovery, the servers in order, the maker's certificate, a
// Storage whose Save is durable when it returns and seals what it keeps, a clock that says whether it can be trusted
// (OPS-1), a HandOver that puts the pairs where the firmware reads them, and where events go. It calls Load once,
// before the sandbox or after, Configure, then Run; NetworkChanged and ClockChanged when that is so. Nobody waits for
// the network: Roots, Certificates and Status answer from memory, Run does the work, one request at a time.
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
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nmosauthd/agent/alarm"
	"nmosauthd/agent/ascii"
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
	// It is called before each attempt, and may look them up. None is not an error.
	Servers func(ctx context.Context) ([]Server, error)
	// Maker returns the maker's certificate with its chain, and a crypto.Signer as its key; nil if the device has none.
	// One that was revoked must not be returned. It is called before each use, so it may have been replaced (CERT-47).
	Maker func() (*tls.Certificate, error)
	// Installed returns the roots that a person installed, which EST never replaces (CERT-13); nil if there are none.
	Installed func() ([]*x509.Certificate, error)
	Storage   Storage
	// HandOver gives the firmware all that is held, in place of what it was given before (CERT-29). It is called after
	// each change and once after Load, and must do nothing if there is no difference; after an error it is called
	// again. A Bundle without pairs takes them away.
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
	// Fingerprint is the SHA-256 of the root's DER, in hex with or without colons; empty for none. It decides which
	// root is trusted, with or without TrustFirst: one that came by EST and is another is not used any more (CERT-11).
	Fingerprint string
	NoRenewal   bool // CERT-6
	Files       any  // what HandOver goes by, comparable: another has it called again
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

const (
	firstSpread  = 5 * time.Second // of the start of a device that holds nothing
	startSpread  = 5 * time.Minute // of one that holds a certificate: nothing is urgent
	netSpread    = time.Minute     // of devices whose network changed, as when a switch was started
	firstBackOff = time.Second     // CERT-7
	mostBackOff  = 5 * time.Minute
	mostRest     = time.Hour   // between two looks for roots that fail, while certificates are held
	leastRest    = time.Minute // between two certificates of a kind
	leastLife    = 30 * time.Second
	mostServers  = 8
	mostAsked    = 200             // times that a server may want time for a request (CERT-27)
	mostAhead    = 5 * time.Minute // of a CA's clock
)

// Client is the device's side of EST. Its methods may be called from any number of goroutines.
type Client struct {
	o          Options
	configured atomic.Pointer[Config] // not written to
	shown      atomic.Pointer[view]   // to those who do not wait

	work      alarm.Worker // whoever has its turn owns what follows
	config    *Config      // of this turn
	kept      *state       // nil if not loaded
	unsaved   error        // why what is kept is not stored; nil if it is
	saveTries int
	handed    bool  // the firmware has what is held
	handErr   error // why it did not take it
	handTries int
	handNext  time.Time
	slots     []*slot
	place     time.Time // before which nothing is sent after the start; zero if not chosen yet
	lookAt    time.Time // when the roots are asked for
	lookTries int
	listAt    time.Time            // when revocation lists are asked for
	server    string               // asked last
	rests     map[string]time.Time // until when servers asked to be left alone
	maker     MakerStatus
	makers    *tls.Certificate // nil if there is none that can be shown
	err       error
	failed    time.Time

	mu     sync.Mutex // guards the rest, for moments only
	wishes wishes
}

// wishes are what happened since the worker looked.
type wishes struct {
	changed, retry, enrol, renew, network, clock bool

	told []chan<- error // who wants to know what came of it
}

// New returns a Client that does nothing before Configure and Run.
func New(o Options) *Client {
	c := &Client{o: o, work: alarm.NewWorker(), rests: map[string]time.Time{}}
	c.configured.Store(&Config{})
	c.shown.Store(&view{})
	return c
}

// Load reads what is kept, so that Roots and Certificates answer. Run does so, too, and tries again.
func (c *Client) Load() error {
	if err := c.work.Take(context.Background()); err != nil {
		return err
	}
	defer c.work.Done()
	c.config = c.configured.Load()
	if err := c.load(); err != nil {
		return err
	}
	c.tidy(wishes{})
	c.show(Starting, 0)
	return nil
}

// Configure replaces the configuration. What waits after a failure is tried now, if that changes anything.
func (c *Client) Configure(config Config) {
	config.Kinds = slices.Clone(config.Kinds)
	if len(config.Kinds) == 0 {
		config.Kinds = []KeyKind{ECDSA}
	}
	names := make([]string, 0, len(config.Names))
	for _, n := range config.Names {
		if n = ascii.Host(n); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	config.Names = names
	if !reflect.DeepEqual(c.configured.Load(), &config) {
		c.configured.Store(&config)
		c.wish(func(w *wishes) { w.changed = true })
	}
}

// check returns why nothing can be asked for (CERT-22).
func (config *Config) check() error {
	if len(config.Names) == 0 {
		return errors.New("no name is configured or known that the certificate could be for")
	}
	for i, n := range config.Names {
		why := ""
		switch _, err := netip.ParseAddr(n); {
		case err == nil:
			why = "is an address"
		case strings.Contains(n, "*"):
			why = "has a wildcard"
		case !hostName(n):
			why = "is not a host name"
		case i == 0 && len(n) > 64: // RFC 5280 appendix A.1, ub-common-name
			why = "has over 64 characters, which a CN cannot have"
		default:
			continue
		}
		return errors.New("a certificate is for names of this device: " + shown(n) + " " + why)
	}
	return nil
}

func hostName(n string) bool {
	if n == "" || len(n) > 253 {
		return false
	}
	for label := range strings.SplitSeq(n, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if b := label[i]; (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' {
				return false
			}
		}
	}
	return true
}

// wish notes what the worker has to do, and wakes it.
func (c *Client) wish(note func(*wishes)) {
	c.mu.Lock()
	note(&c.wishes)
	c.mu.Unlock()
	c.work.Ring()
}

// NetworkChanged has the servers looked up and the roots asked for again, after a random while: another domain's have
// the device enrol from the beginning (CERT-17).
func (c *Client) NetworkChanged() { c.wish(func(w *wishes) { w.network = true }) }

// ClockChanged says that the clock was set, or became trusted. As that may be so for all devices at once, one that
// holds a certificate which has not ended sends nothing for a random while.
func (c *Client) ClockChanged() { c.wish(func(w *wishes) { w.clock = true }) }

// Retry has what waits tried now: a place in the start, a failure. It does not hurry a server that asked for time.
func (c *Client) Retry() { c.wish(func(w *wishes) { w.retry = true }) }

// Enrol has each certificate asked for from the beginning, now, with the maker's certificate. The channel says what
// came of it: nil if all that is wanted is held and handed over.
func (c *Client) Enrol() <-chan error { return c.ask(true) }

// Renew has each certificate that is held renewed now; it enrols for those that are not.
func (c *Client) Renew() <-chan error { return c.ask(false) }

func (c *Client) ask(enrol bool) <-chan error {
	told := make(chan error, 1)
	c.wish(func(w *wishes) {
		w.retry, w.renew, w.enrol, w.told = true, true, w.enrol || enrol, append(w.told, told)
	})
	return told
}

// Install takes a pair that a person has, key and chain in one PEM text, in place of one of its kind (CERT-47). It is
// used, and renewed when its time comes, as if it had been issued by EST. The chain need not lead to a root that is
// known. When Install returns nil the firmware has it; if it does not take it, it is kept, and given again.
func (c *Client) Install(ctx context.Context, text []byte) error {
	read, err := tls.X509KeyPair(text, text)
	if err != nil {
		return errors.New(shown(err.Error())) // it may quote what the file calls its parts
	}
	p := &pair{Installed: true, Chain: read.Certificate}
	if p.Key, err = x509.MarshalPKCS8PrivateKey(read.PrivateKey); err == nil {
		err = p.open()
	}
	if err != nil {
		return err
	}
	if len(p.parsed()) < len(p.Chain) {
		return errors.New("a certificate of the chain cannot be read")
	}
	if err := p.bounded(); err != nil {
		return err
	}
	return c.change(ctx, func(s *state) error {
		if wall, trusted := c.o.Clock(); trusted {
			switch p.Since = wall.Unix(); {
			case wall.After(p.leaf.NotAfter):
				return errors.New("the certificate has ended")
			case p.leaf.NotBefore.Sub(wall) >= mostAhead:
				return errors.New("the certificate is not valid before " + dateTime(p.leaf.NotBefore))
			}
		}
		s.put(p)
		return nil
	})
}

// Remove takes the pair of a kind away.
func (c *Client) Remove(ctx context.Context, kind KeyKind) error {
	return c.change(ctx, func(s *state) error {
		if s.pair(kind) == nil {
			return fmt.Errorf("no certificate for a key of kind %s is held", shown(string(kind)))
		}
		s.drop(kind)
		return nil
	})
}

// Forget takes away all that is held and was kept: roots, pairs, and requests that wait. The device is as it came from
// its maker, and a first root may be taken again if the configuration allows it. What cannot be read is forgotten, too.
func (c *Client) Forget(ctx context.Context) error { return c.change(ctx, nil) }

// change has the worker's turn for a change by an operator, nil to forget all. It is stored, or not made.
func (c *Client) change(ctx context.Context, what func(*state) error) error {
	if err := c.work.Take(ctx); err != nil {
		return err
	}
	defer c.work.Done()
	c.config = c.configured.Load()
	after := newState()
	if c.kept != nil { // whoever forgets all does not make a revoked certificate good (CERT-26)
		after.RevokedMaker = c.kept.RevokedMaker
	}
	if what != nil {
		if err := c.load(); err != nil {
			return err
		}
		*after = *c.kept
		after.Pairs, after.Waiting = slices.Clone(after.Pairs), slices.Clone(after.Waiting)
		if err := what(after); err != nil {
			return err
		}
	}
	if err := c.replace(after); err != nil {
		return err
	}
	if what == nil {
		c.o.Report(Event{Kind: EventForgotten})
	}
	c.slots, c.handNext, c.listAt = nil, time.Time{}, time.Time{} // what was installed may be revoked
	c.tidy(wishes{retry: what == nil})
	c.handOver()
	c.show(c.phase(), 0)
	c.work.Ring()
	if c.handErr != nil {
		return wrap("stored, but not handed over yet", c.handErr)
	}
	return nil
}

// Roots returns the roots that came by EST, as PEM; empty if there are none. Those that a person installed are not
// among them. It is not to be written to.
func (c *Client) Roots() []byte { return c.shown.Load().roots }

// Certificates returns the pairs held, for connections that the daemon makes itself, in the order of the configuration.
// They are not to be written to.
func (c *Client) Certificates() []*tls.Certificate { return c.shown.Load().pairs }

// Run does the work until ctx ends.
func (c *Client) Run(ctx context.Context) { c.work.Run(ctx, c.step) }
