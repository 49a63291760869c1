package certs

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/alarm"
)

// state is what Storage keeps. Times are Unix seconds, 0 if unknown.
type state struct {
	Version int        `json:"version"`
	Place   uint16     `json:"place"`         // of this device, in the time when renewals are due (CERT-40)
	Pin     string     `json:"pin,omitempty"` // the configured fingerprint that the roots go back to
	Roots   []*root    `json:"roots,omitempty"`
	Links   [][]byte   `json:"links,omitempty"` // what lies between, from /cacerts
	Pairs   []*pair    `json:"pairs,omitempty"`
	Waiting []*waiting `json:"waiting,omitempty"`
	// RevokedMaker is the fingerprint of a maker's certificate that is known to be revoked (CERT-26, CERT-45).
	RevokedMaker string `json:"revoked_maker,omitempty"`

	links []*x509.Certificate // of Links
}

const stateVersion = 1

// root is one that came by EST.
type root struct {
	DER    []byte `json:"der"`
	Trust  Trust  `json:"trust"`
	Server string `json:"server"`
	Since  int64  `json:"since,omitempty"`

	cert *x509.Certificate
}

// pair is a key and its certificate.
type pair struct {
	Kind      KeyKind  `json:"kind"`
	Key       []byte   `json:"pkcs8"`
	Chain     [][]byte `json:"chain"` // the certificate first
	Since     int64    `json:"since,omitempty"`
	Installed bool     `json:"installed,omitempty"`

	leaf     *x509.Certificate
	identity *tls.Certificate  // the same, as package tls takes it
	held     time.Time         // since when, in this process
	expired  bool              // as reported
	root     *x509.Certificate // as rootOf found it
	by       *state            // among the roots of this
}

// waiting is a request that a person has to agree to (CERT-27).
type waiting struct {
	Kind   KeyKind `json:"kind"`
	Key    []byte  `json:"pkcs8"`
	Server string  `json:"server"`
	Asked  int     `json:"asked"`
	Until  int64   `json:"until,omitempty"`

	until time.Time // by this process's time
}

// pair returns the one of a kind, nil if there is none.
//
//go:noinline // for flash
func (s *state) pair(kind KeyKind) *pair {
	for _, p := range s.Pairs {
		if p.Kind == kind {
			return p
		}
	}
	return nil
}

// wait returns the request of a kind that waits, nil if none does.
func (s *state) wait(kind KeyKind) *waiting {
	for _, w := range s.Waiting {
		if w.Kind == kind {
			return w
		}
	}
	return nil
}

// put takes a pair in place of another, and ends what waited for it.
func (s *state) put(p *pair) {
	s.drop(p.Kind)
	s.Pairs = append(s.Pairs, p)
}

// drop takes the pair of a kind away.
func (s *state) drop(kind KeyKind) {
	s.Pairs = slices.DeleteFunc(s.Pairs, func(p *pair) bool { return p.Kind == kind })
	s.forgetWait(kind)
}

func (s *state) forgetWait(kind KeyKind) {
	s.Waiting = slices.DeleteFunc(s.Waiting, func(w *waiting) bool { return w.Kind == kind })
}

// certs returns the roots.
func (s *state) certs() (all []*x509.Certificate) {
	for _, r := range s.Roots {
		all = append(all, r.cert)
	}
	return all
}

// open reads what a pair consists of, and checks that it is one.
func (p *pair) open() error {
	signer, kind, err := openKey(p.Key)
	switch {
	case err != nil:
		return err
	case len(p.Chain) == 0:
		return errors.New("a key without a certificate")
	}
	leaf, err := x509.ParseCertificate(p.Chain[0])
	if err != nil {
		return wrap("the certificate cannot be read", err)
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return errors.New("the certificate is for another key")
	}
	p.Kind, p.leaf, p.held = kind, leaf, time.Now()
	p.identity = &tls.Certificate{Certificate: p.Chain, PrivateKey: signer, Leaf: leaf}
	return nil
}

// parsed returns the certificates of a pair, the one itself first.
func (p *pair) parsed() []*x509.Certificate { return parseChain(p.Chain) }

// parseChain leaves out what cannot be read.
func parseChain(ders [][]byte) (all []*x509.Certificate) {
	for _, der := range ders[:min(len(ders), maxCerts)] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			all = append(all, cert)
		}
	}
	return all
}

// newState is that of a device that holds nothing.
func newState() *state { return &state{Version: stateVersion, Place: uint16(rand.N(1 << 16))} }

// load reads what is kept, once.
func (c *Client) load() error {
	if c.kept != nil {
		return nil
	}
	data, err := c.o.Storage.Load()
	s := newState()
	if err == nil && data != nil {
		err = s.parse(data)
	}
	if err != nil {
		return fmt.Errorf("the stored certificates cannot be read: %w; nothing is asked for until then: "+
			"restore the file, or forget it", err)
	}
	c.kept = s
	wall, trusted := c.o.Clock()
	for _, w := range s.Waiting { // how long was left, if that can be known
		left := time.Duration(0)
		if trusted && w.Until != 0 {
			left = min(max(time.Unix(w.Until, 0).Sub(wall), 0), mostWait)
		}
		w.until = time.Now().Add(left)
	}
	return nil
}

var errEmpty = errors.New("an entry with nothing in it")

// parse reads what save wrote. Errors do not quote it.
func (s *state) parse(data []byte) error {
	*s = state{}
	if err := json.Unmarshal(data, s); err != nil {
		return errors.New("not valid JSON")
	}
	if s.Version != stateVersion {
		return fmt.Errorf("version %d, this program writes %d", s.Version, stateVersion)
	}
	for _, r := range s.Roots {
		if r == nil {
			return errEmpty
		}
		cert, err := x509.ParseCertificate(r.DER)
		if err != nil {
			return errors.New("a root that cannot be read")
		}
		r.cert = cert
	}
	if s.links = parseChain(s.Links); len(s.links) < len(s.Links) {
		return errors.New("an intermediate certificate that cannot be read")
	}
	for _, p := range s.Pairs {
		if p == nil {
			return errEmpty
		}
		if err := p.open(); err != nil {
			return err
		}
	}
	for _, w := range s.Waiting {
		if w == nil {
			return errEmpty
		}
		if _, _, err := openKey(w.Key); err != nil {
			return err
		}
	}
	return nil
}

// save keeps what is known. After an error nothing new is handed over until it has succeeded.
func (c *Client) save() error {
	data, err := json.Marshal(c.kept)
	if err == nil && len(data) > MaxState {
		err = fmt.Errorf("over %d KiB", MaxState>>10)
	}
	if err == nil {
		err = c.o.Storage.Save(data)
	}
	if c.unsaved = err; err != nil {
		c.unsaved = wrap("the certificates cannot be stored", err)
	}
	return c.unsaved
}

// replace keeps another state in place of this one, and has it handed over. After an error all is as it was.
func (c *Client) replace(after *state) error {
	before, was := c.kept, c.unsaved
	c.kept = after
	if err := c.save(); err != nil {
		c.kept, c.unsaved = before, was
		return err
	}
	c.handed = false
	return nil
}

// pemOf writes certificates as PEM.
func pemOf(ders [][]byte) []byte {
	var b bytes.Buffer
	for _, der := range ders {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a Buffer takes all
	}
	return b.Bytes()
}

// rootsPEM are the roots as the firmware gets them.
func (s *state) rootsPEM() []byte {
	var ders [][]byte
	for _, r := range s.Roots {
		ders = append(ders, r.DER)
	}
	return pemOf(ders)
}

// inOrder returns the pairs, one of a kind, in the order of the configured kinds; others come last.
func (s *state) inOrder(kinds []KeyKind) (all []*pair) {
	for _, k := range kinds {
		if p := s.pair(k); p != nil {
			all = append(all, p)
		}
	}
	for _, p := range s.Pairs {
		if !slices.Contains(kinds, p.Kind) && s.pair(p.Kind) == p {
			all = append(all, p)
		}
	}
	return all
}

// early returns how long it is until the time of a certificate comes, 0 if that is over, or further off than by a CA's
// clock that is a little ahead: then the device's is wrong.
func (c *Client) early(leaf *x509.Certificate) time.Duration {
	wall, trusted := c.o.Clock()
	if left := leaf.NotBefore.Sub(wall); trusted && left < mostAhead {
		return max(left, 0)
	}
	return 0
}

// handOver gives the firmware what is held and stored (CERT-29), once the time of each certificate has come: until then
// it has what was held before. It returns how long to wait, 0 if all was given.
func (c *Client) handOver() time.Duration {
	now := time.Now()
	switch {
	case c.handed || c.unsaved != nil:
		return 0
	case now.Before(c.handNext):
		return c.handNext.Sub(now)
	}
	var b Bundle
	if c.pinKept() { // else they are another's, by what the configuration says
		b.Roots = c.kept.rootsPEM()
	}
	for _, p := range c.kept.inOrder(c.config.Kinds) {
		if wait := c.early(p.leaf); wait > 0 {
			return wait
		}
		b.Pairs = append(b.Pairs, Pair{
			Kind: p.Kind, Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: p.Key}),
			Chain: pemOf(p.Chain), Leaf: p.leaf,
		})
	}
	if c.handErr = c.o.HandOver(b); c.handErr != nil {
		c.handTries++
		wait := alarm.BackOff(c.handTries, firstBackOff, mostBackOff)
		c.handNext = now.Add(wait)
		c.o.Report(Event{
			Kind: EventFailure, Err: wrap("the certificates cannot be handed over", c.handErr), Again: wait,
		})
		return wait
	}
	c.handed, c.handTries = true, 0
	if len(b.Pairs) > 0 || len(b.Roots) > 0 {
		c.o.Report(Event{Kind: EventHandedOver})
	}
	return 0
}
