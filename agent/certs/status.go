package certs

import (
	"crypto/x509"
	"errors"
	"slices"
	"time"
)

// Trust says why a root is trusted.
type Trust string

// The kinds of trust.
const (
	TrustFirst   Trust = "first contact" // unchecked, by the configuration (CERT-10)
	TrustPinned  Trust = "fingerprint"   // it is the one that the configuration names (CERT-11)
	TrustChecked Trust = "checked"       // by a root that was held or installed before
)

// Status is what is known, for people and metrics. It holds no secret.
type Status struct {
	Phase        Phase
	Server       string       // URL of the last that was asked, without a path; empty if none was
	Roots        []RootStatus // that came by EST
	Certificates []CertificateStatus
	Maker        MakerStatus
	Looked       time.Time // when the roots were asked for last and came; zero if they did not since the start
	NextRoots    time.Time // when they are asked for again
	Next         time.Time // when anything is done again; zero if nothing is
	Err          error     // of the last failure; nil after a success
	Failed       time.Time
	HandOver     error // why the firmware does not have what is held; nil if it has
}

// RootStatus is a root that came by EST.
type RootStatus struct {
	Subject     string
	Fingerprint string // SHA-256, hex
	NotBefore   time.Time
	NotAfter    time.Time
	Trust       Trust
	Server      string // URL of the one that gave it first
	Since       time.Time
}

// CertificateStatus is a certificate that is wanted or held.
type CertificateStatus struct {
	Kind        KeyKind
	Held        bool // the next seven are known
	Installed   bool // by a person (CERT-47)
	Subject     string
	Names       []string
	Issuer      string
	SerialHex   string
	Fingerprint string // SHA-256, hex
	NotBefore   time.Time
	NotAfter    time.Time

	Since   time.Time // when it came
	Expired bool
	Revoked bool      // one that was held; it was taken away (CERT-45)
	Renewal time.Time // when the next is asked for; zero if not
	Asked   int       // times that the server wanted time for a request that waits; 0 if none does (CERT-27)
	Tries   int       // failures in a row
	Err     error     // of the last attempt; nil after a success
	Failed  time.Time
}

// MakerStatus is the maker's certificate.
type MakerStatus struct {
	Held     bool
	Subject  string
	Issuer   string
	NotAfter time.Time
	Err      error // why it cannot be used; nil if it can
}

// Status returns what is known now.
func (c *Client) Status() Status {
	wall, trusted := c.o.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.Roots, s.Certificates = slices.Clone(s.Roots), slices.Clone(s.Certificates)
	for i := range s.Certificates {
		held := &s.Certificates[i]
		held.Expired = held.Held && trusted && wall.After(held.NotAfter)
	}
	return s
}

// show publishes where it stands.
func (c *Client) show(config Config, p Phase, wait time.Duration) {
	now := time.Now()
	wall, _ := c.o.Clock()
	moment := func(at time.Time) time.Time {
		if at.IsZero() || !config.Enabled {
			return time.Time{}
		}
		return wall.Add(at.Sub(now)).Round(0)
	}
	s := Status{Phase: p, Server: c.server, Maker: c.maker, Looked: c.looked, Err: c.err, Failed: c.failed}
	if !c.lookAt.IsZero() {
		s.NextRoots = moment(c.lookAt)
	}
	if wait > 0 {
		s.Next = moment(now.Add(wait))
	}
	for _, sl := range c.slots {
		cs := CertificateStatus{
			Kind: sl.kind, Tries: sl.tries, Err: sl.err, Failed: sl.failed, Revoked: sl.revoked,
			Renewal: moment(c.dueAt(config, sl, now)),
		}
		if w := c.kept.wait(sl.kind); w != nil {
			cs.Asked = w.Asked
		}
		if held := c.kept.pair(sl.kind); held != nil {
			held.describe(&cs)
		}
		s.Certificates = append(s.Certificates, cs)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Roots, s.HandOver = c.status.Roots, c.status.HandOver
	c.status = s
}

// describe adds what is known of a pair.
func (p *pair) describe(s *CertificateStatus) {
	s.Held, s.Installed = true, p.Installed
	s.Subject, s.Issuer = shown(p.leaf.Subject.String()), shown(p.leaf.Issuer.String())
	s.Names, s.SerialHex, s.Fingerprint = p.leaf.DNSNames, p.leaf.SerialNumber.Text(16), fingerprint(p.leaf)
	s.NotBefore, s.NotAfter = p.leaf.NotBefore, p.leaf.NotAfter
	if p.Since != 0 {
		s.Since = time.Unix(p.Since, 0)
	}
}

// publish shows what is kept to those who do not wait.
func (c *Client) publish() {
	roots := c.kept.rootsPEM()
	var all []RootStatus
	for _, r := range c.kept.Roots {
		s := RootStatus{
			Subject: shown(r.cert.Subject.String()), Fingerprint: fingerprint(r.cert), NotBefore: r.cert.NotBefore,
			NotAfter: r.cert.NotAfter, Trust: r.Trust, Server: r.Server,
		}
		if r.Since != 0 {
			s.Since = time.Unix(r.Since, 0)
		}
		all = append(all, s)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roots, c.status.Roots, c.holding = roots, all, nil
	for _, p := range c.kept.inOrder(c.config.Kinds) {
		c.holding = append(c.holding, *p.identity)
	}
}

// phase says where it stands after all that was due was done.
func (c *Client) phase(config Config) Phase {
	p := Held
	worse := func(q Phase) { p = min(p, q) }
	for _, s := range c.slots {
		held := c.kept.pair(s.kind)
		switch {
		case held != nil && c.ended(held):
			worse(Expired)
		case held != nil:
		case c.kept.wait(s.kind) != nil:
			worse(Waiting)
		case len(c.kept.Roots) == 0:
			worse(NoRoot)
		default:
			worse(NoCertificate)
		}
	}
	switch {
	case c.unsaved:
		return Unsaved
	case p < Expired && c.server == "":
		return NoServer
	}
	return p
}

// lookAtMaker reads the maker's certificate, which is shown unless it has ended (CERT-26).
func (c *Client) lookAtMaker() {
	c.maker, c.makers = MakerStatus{}, nil
	cert, err := c.o.Maker()
	if err != nil || cert == nil {
		c.maker.Err = err
		return
	}
	leaf := cert.Leaf
	if leaf == nil && len(cert.Certificate) > 0 {
		leaf, err = x509.ParseCertificate(cert.Certificate[0])
	}
	if err != nil || leaf == nil {
		c.maker.Err = errors.New("the maker's certificate cannot be read")
		return
	}
	c.maker = MakerStatus{
		Held: true, Subject: shown(leaf.Subject.String()), Issuer: shown(leaf.Issuer.String()), NotAfter: leaf.NotAfter,
	}
	if wall, trusted := c.o.Clock(); trusted && wall.After(leaf.NotAfter) {
		c.maker.Err = errors.New("the maker's certificate has ended")
		return
	}
	c.makers = cert
}
