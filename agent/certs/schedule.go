package certs

import (
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"nmosauthd/agent/alarm"
	"nmosauthd/agent/ascii"
)

// moment is the time in a life when this device renews: its own place between 50 % and 80 % (CERT-40), so that devices
// that got certificates together do not renew them together.
func (s *state) moment(life time.Duration) time.Duration {
	return life/2 + life/10*3/(1<<16)*time.Duration(s.Place)
}

// planned returns when a pair is to be renewed, by this process's time; zero if never.
func (c *Client) planned(p *pair, now time.Time) time.Time {
	if c.config.NoRenewal {
		return time.Time{} // CERT-6
	}
	wall, trusted := c.o.Clock()
	since := time.Unix(p.Since, 0)
	if !trusted { // what can be known is how long it has been held at least
		life := p.leaf.NotAfter.Sub(p.leaf.NotBefore)
		return p.held.Add(max(c.kept.moment(life), leastRest))
	}
	begin := p.leaf.NotBefore
	if p.Since != 0 && since.After(begin) && since.Before(p.leaf.NotAfter) {
		begin = since // a server may date a certificate back by far
	}
	at := begin.Add(c.kept.moment(p.leaf.NotAfter.Sub(begin)))
	if p.Since != 0 {
		at = later(at, since.Add(leastRest))
	}
	return now.Add(at.Sub(wall))
}

// dueAt returns when a certificate is asked for, by this process's time; zero if never.
func (c *Client) dueAt(s *slot, now time.Time) time.Time {
	if w := c.kept.wait(s.kind); w != nil {
		return later(s.next, w.until) // CERT-27: also if an operator is impatient
	}
	at := now
	if p := c.kept.pair(s.kind); p != nil && !s.now && !c.foreign(p) && (p.Installed || c.fits(p.leaf) == nil) {
		at = c.planned(p, now)
	}
	if at.IsZero() {
		return at
	}
	return later(s.next, at)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fail notes that a certificate did not come, and when it is asked for again: after half of the time that the one held
// has left, and if that is under a day, none is held, or a person has to agree, by the back-off (CERT-42, CERT-7), or
// once one of the servers may be asked again.
func (c *Client) fail(s *slot, now time.Time, rest time.Duration) {
	s.tries++
	s.failed, s.now, s.begin = now, false, false
	wall, trusted := c.o.Clock()
	p := c.kept.pair(s.kind)
	asked := c.kept.wait(s.kind) != nil // then it is the server's turn, whenever a renewal is planned
	if p != nil && trusted && !asked && !c.foreign(p) && c.fits(p.leaf) == nil {
		if c.planned(p, now).After(now) {
			s.quick, s.next = 0, time.Time{} // it was an operator's wish
			return
		}
		if left := p.leaf.NotAfter.Sub(wall); left > 24*time.Hour {
			s.quick, s.next = 0, now.Add(left/2)
			return
		}
	}
	s.quick++
	s.next = now.Add(max(alarm.BackOff(s.quick, firstBackOff, mostBackOff), rest))
}

// rootsAt returns when roots are asked for again: at the place of this device in the life of each, and after that when
// half of the time left has passed (CERT-43).
func (c *Client) rootsAt(now time.Time) time.Time {
	wall, trusted := c.o.Clock()
	wait := 24 * time.Hour
	if trusted {
		wait = 100 * 365 * 24 * time.Hour
		for _, r := range c.kept.Roots {
			left := r.cert.NotAfter.Sub(wall)
			at := -wall.Sub(r.cert.NotBefore) + c.kept.moment(r.cert.NotAfter.Sub(r.cert.NotBefore))
			if at <= 0 {
				at = max(left/2, mostRest)
			}
			wait = min(wait, at)
		}
	}
	return now.Add(wait)
}

// outdated reports whether a pair is of a root that is past the moment of its renewal, though another has come since
// (CERT-43).
func (c *Client) outdated(p *pair) bool {
	r := c.rootOf(p)
	return r != nil && c.overdue(r) && slices.ContainsFunc(c.kept.Roots, func(r *root) bool {
		return r.Since > p.Since && !c.overdue(r.cert)
	})
}

// overdue reports whether a root is past the moment of its renewal.
func (c *Client) overdue(root *x509.Certificate) bool {
	wall, trusted := c.o.Clock()
	return trusted && wall.Sub(root.NotBefore) >= c.kept.moment(root.NotAfter.Sub(root.NotBefore))
}

// rootOf returns the root that vouches for a pair, nil if none does; dates do not matter.
func (c *Client) rootOf(p *pair) *x509.Certificate {
	if p.by != c.kept { // other roots are another state
		p.root, p.by = c.findRoot(p), c.kept
	}
	return p.root
}

func (c *Client) findRoot(p *pair) *x509.Certificate {
	a := newAnchors(c.kept.certs(), c.kept.links)
	if a == nil {
		return nil
	}
	for _, known := range [...]bool{p.Since != 0, false} { // it led to a root when it came, at any rate
		chain, err := a.check(p.parsed(), "", time.Unix(p.Since, 0), known, x509.ExtKeyUsageAny)
		if err == nil {
			return chain[len(chain)-1]
		}
	}
	return nil
}

// foreign reports whether a pair that came by EST is of another domain than the roots (CERT-17).
func (c *Client) foreign(p *pair) bool {
	return !p.Installed && len(c.kept.Roots) > 0 && c.rootOf(p) == nil
}

// fits returns why a certificate is not for the names that are configured (CERT-28).
func (c *Client) fits(leaf *x509.Certificate) error {
	want, has := c.config.Names, make([]string, 0, len(leaf.DNSNames))
	if len(want) == 0 {
		return errors.New("no name is configured")
	}
	for _, n := range leaf.DNSNames {
		if n = ascii.Host(n); !slices.Contains(want, n) {
			return errors.New("has the name " + shown(n) + ", which was not asked for")
		}
		has = append(has, n)
	}
	for _, n := range want {
		if !slices.Contains(has, n) {
			return errors.New("lacks the name " + n)
		}
	}
	switch cn, serial := leaf.Subject.CommonName, leaf.Subject.SerialNumber; {
	case ascii.Host(cn) != want[0]:
		return errors.New(`the CN is "` + shown(cn) + `", not ` + want[0])
	case len(leaf.IPAddresses)+len(leaf.EmailAddresses)+len(leaf.URIs) > 0:
		return errors.New("has names of another kind than DNS, which were not asked for")
	case serial != "" && serial != c.config.Serial:
		return errors.New(`the serialNumber is "` + shown(serial) + `", not that of the device`)
	}
	return nil
}
