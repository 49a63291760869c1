package certs

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"nmosauthd/agent/alarm"
)

const (
	maxList    = 512 << 10 // bytes of a revocation list
	mostPlaces = 4         // of one list
	listRest   = 24 * time.Hour
	leastList  = time.Hour // between two looks, whatever the list says or however often it fails
)

// lists looks into the revocation lists that the certificates held and the maker's name (CERT-45). One that was revoked
// is not used from then on, and another is asked for from the beginning; the maker's is not shown any more (CERT-26).
// A list that does not come changes nothing: it may be kept from the device by anybody between, and a maker's is often
// out of a facility's reach. The root is not looked up, since only its own signature could say that it is revoked.
func (c *Client) lists(ctx context.Context) {
	if time.Now().Before(c.listAt) {
		return
	}
	next, gone := listRest, false
	for _, s := range c.slots {
		p := c.kept.pair(s.kind)
		if p == nil {
			continue
		}
		chain := p.parsed()
		if r := c.rootOf(p); r != nil {
			chain = append(chain, r)
		}
		revoked, rest, err := c.revoked(ctx, chain)
		next = min(next, rest)
		switch {
		case revoked:
			gone = true
			c.kept.drop(s.kind)
			s.taken(p)
			c.o.Report(Event{Kind: EventRevoked, Key: s.kind, Text: describe(p.leaf)})
		case err != nil && ctx.Err() == nil:
			err = wrap("the revocation list of the certificate cannot be used", err)
			c.o.Report(Event{Kind: EventFailure, Key: s.kind, Err: err, Again: rest})
		}
	}
	if c.lookAtMaker(); c.makers != nil {
		chain := parseChain(c.makers.Certificate)
		switch revoked, rest, err := c.revoked(ctx, chain); {
		case revoked:
			gone = true
			c.kept.RevokedMaker = fingerprint(chain[0])
			c.lookAtMaker()
			err = errors.New("the maker's certificate was revoked, and is not used any more")
			c.o.Report(Event{Kind: EventFailure, Err: err})
		case err == nil:
			next = min(next, rest)
		}
	}
	if ctx.Err() != nil {
		return
	}
	c.listAt = time.Now().Add(next + rand.N(next/8))
	if gone {
		err := c.save()
		c.unsaved, c.handed, c.handNext = nil, false, time.Time{} // it goes also if that cannot be stored
		c.handOver()
		c.show(c.phase(), 0)
		c.unsaved = err
	}
}

// taken notes that a pair was revoked. Another is asked for now, unless this one had only just come: a server that goes
// on issuing what is revoked, as below a CA that is, is asked with a back-off (CERT-7).
func (s *slot) taken(p *pair) {
	short := 0
	if time.Since(p.held) < listRest {
		short = s.short + 1
	}
	*s = slot{kind: s.kind, revoked: true, short: short}
	if short > 1 {
		s.next = time.Now().Add(alarm.BackOff(short, leastRest, mostRest))
	}
}

// revoked reports whether a certificate, or one above it but the root, is in the list of the next of the chain, and
// when to look again. The error is one with the list of one of them; the others are looked up all the same.
func (c *Client) revoked(ctx context.Context, chain []*x509.Certificate) (is bool, wait time.Duration, err error) {
	wait = listRest
	for i, issuer := range chain[min(1, len(chain)):] {
		listed, rest, bad := c.listed(ctx, chain[i], issuer)
		if listed {
			return true, leastList, nil
		}
		wait, err = min(wait, rest), cmp.Or(err, bad)
	}
	return false, wait, err
}

// listed is revoked for one certificate. It may name several places of one list, of which the first may be LDAP's.
func (c *Client) listed(ctx context.Context, cert, issuer *x509.Certificate) (bool, time.Duration, error) {
	places := cert.CRLDistributionPoints
	wait, bad := listRest, error(nil)
	for _, at := range places[:min(len(places), mostPlaces)] {
		list, err := c.list(ctx, at, issuer)
		wait, bad = leastList, cmp.Or(bad, err)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
			return e.SerialNumber.Cmp(cert.SerialNumber) == 0
		}) {
			return true, leastList, nil
		}
		wall, trusted := c.o.Clock()
		switch {
		case !trusted:
			return false, listRest, nil
		case list.NextUpdate.IsZero() || wall.Before(list.NextUpdate):
			return false, min(listRest, max(list.NextUpdate.Sub(wall), leastList)), nil
		}
		// Whoever is between may repeat it forever.
		bad = cmp.Or(bad, errors.New("the next was due "+dateTime(list.NextUpdate)))
	}
	return false, wait, bad
}

// list fetches a revocation list and checks its signature, which is why it may come by http.
func (c *Client) list(ctx context.Context, at string, issuer *x509.Certificate) (*x509.RevocationList, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%s is not an http URL", shown(at))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, errors.New("not a URL that can be requested")
	}
	transport := &http.Transport{
		DialContext:            func(_ context.Context, n, a string) (net.Conn, error) { return c.o.Dial(ctx, n, a) },
		MaxResponseHeaderBytes: maxHead, DisableCompression: true, DisableKeepAlives: true,
	}
	res, err := transport.RoundTrip(r)
	if err != nil {
		return nil, plain(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, &statusError{status: res.StatusCode}
	}
	body, err := readAll(res.Body, maxList)
	if err != nil {
		return nil, err
	}
	list, err := x509.ParseRevocationList(body)
	if err == nil {
		err = list.CheckSignatureFrom(issuer)
	}
	if err != nil {
		return nil, errors.New(shown(err.Error()))
	}
	return list, nil
}
