package certs

import (
	"crypto/tls"
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
	Next         time.Time // when anything is done again; zero if nothing is
	Err          error     // of the last failure; nil after a success
	Failed       time.Time
	HandOver     error // why the firmware does not have what is held; nil if it has
}

// RootStatus is a root that came by EST.
type RootStatus struct {
	Subject     string
	Fingerprint string // SHA-256, hex
	NotAfter    time.Time
	Trust       Trust
	Server      string // URL of the one that gave it first
	Since       time.Time
}

// CertificateStatus is a certificate that is wanted or held.
type CertificateStatus struct {
	Kind        KeyKind
	Held        bool // the next eight are known
	Installed   bool // by a person (CERT-47)
	Subject     string
	Names       []string
	Issuer      string
	SerialHex   string
	Fingerprint string // SHA-256, hex
	NotBefore   time.Time
	NotAfter    time.Time

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

// view is what is shown to those who do not wait. It is not written to.
type view struct {
	status Status
	roots  []byte
	pairs  []*tls.Certificate
}

// Status returns what is known now.
func (c *Client) Status() Status {
	s := c.shown.Load().status
	s.Certificates = slices.Clone(s.Certificates)
	if wall, trusted := c.o.Clock(); trusted {
		for i := range s.Certificates {
			held := &s.Certificates[i]
			held.Expired = held.Held && wall.After(held.NotAfter)
		}
	}
	return s
}

// show publishes what is known. Of what is kept it shows what is stored.
func (c *Client) show(p Phase, wait time.Duration) {
	now := time.Now()
	wall, _ := c.o.Clock()
	moment := func(at time.Time) time.Time {
		if at.IsZero() || !c.config.Enabled {
			return time.Time{}
		}
		return wall.Add(at.Sub(now)).Round(0)
	}
	v := &view{status: Status{
		Phase: p, Server: c.server, Maker: c.maker, Err: c.err, Failed: c.failed, HandOver: c.handErr,
	}}
	if wait > 0 {
		v.status.Next = moment(now.Add(wait))
	}
	for _, sl := range c.slots {
		s := CertificateStatus{
			Kind: sl.kind, Tries: sl.tries, Err: sl.err, Failed: sl.failed, Revoked: sl.revoked,
			Renewal: moment(c.dueAt(sl, now)),
		}
		if w := c.kept.wait(sl.kind); w != nil {
			s.Asked = w.Asked
		}
		if held := c.kept.pair(sl.kind); held != nil {
			held.describe(&s)
		}
		v.status.Certificates = append(v.status.Certificates, s)
	}
	switch before := c.shown.Load(); {
	case c.kept != nil && c.unsaved == nil:
		v.roots = c.kept.rootsPEM()
		for _, r := range c.kept.Roots {
			v.status.Roots = append(v.status.Roots, r.describe())
		}
		for _, p := range c.kept.inOrder(c.config.Kinds) {
			v.pairs = append(v.pairs, p.identity)
		}
	default:
		v.roots, v.pairs, v.status.Roots = before.roots, before.pairs, before.status.Roots
	}
	c.shown.Store(v)
}

// describe adds what is known of a pair.
func (p *pair) describe(s *CertificateStatus) {
	s.Held, s.Installed = true, p.Installed
	s.Subject, s.Issuer = shown(p.leaf.Subject.String()), shown(p.leaf.Issuer.String())
	s.Names, s.SerialHex, s.Fingerprint = p.leaf.DNSNames, p.leaf.SerialNumber.Text(16), fingerprint(p.leaf)
	s.NotBefore, s.NotAfter = p.leaf.NotBefore, p.leaf.NotAfter
}

func (r *root) describe() RootStatus {
	return RootStatus{
		Subject: shown(r.cert.Subject.String()), Fingerprint: fingerprint(r.cert),
		NotAfter: r.cert.NotAfter, Trust: r.Trust, Server: r.Server, Since: known(r.Since),
	}
}

// known is a time that is kept; zero if it is not known.
func known(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(at, 0)
}

// phase says where it stands after all that was due was done.
func (c *Client) phase() Phase {
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
	case !c.config.Enabled:
		return Disabled
	case c.unsaved != nil:
		return Unsaved
	case p < Expired && c.server == "":
		return NoServer
	}
	return p
}

// lookAtMaker reads the maker's certificate, which is shown to servers unless it has ended or was revoked (CERT-26).
func (c *Client) lookAtMaker() {
	c.maker, c.makers = MakerStatus{}, nil
	cert, err := c.o.Maker()
	if err != nil || cert == nil {
		c.maker.Err = err
		return
	}
	all := parseChain(cert.Certificate)
	if len(all) < len(cert.Certificate) || len(all) == 0 {
		c.maker.Err = errors.New("the maker's certificate cannot be read")
		return
	}
	leaf := all[0]
	c.maker = MakerStatus{
		Held: true, Subject: shown(leaf.Subject.String()), Issuer: shown(leaf.Issuer.String()), NotAfter: leaf.NotAfter,
	}
	wall, trusted := c.o.Clock()
	switch {
	case trusted && wall.After(leaf.NotAfter):
		c.maker.Err = errors.New("the maker's certificate has ended")
	case c.kept.RevokedMaker == fingerprint(leaf):
		c.maker.Err = errors.New("the maker's certificate was revoked")
	default:
		c.makers = cert
	}
}
