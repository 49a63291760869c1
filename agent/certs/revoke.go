package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const (
	maxList   = 512 << 10 // bytes of a revocation list
	listRest  = 24 * time.Hour
	leastList = time.Hour // between two looks, whatever the list says or however often it fails
)

// lists looks into the revocation lists that the certificates held name (CERT-45). One that was revoked is out of use
// at once, and another is asked for from the beginning. A list that does not come changes nothing: it may be kept from
// the device by anybody between. The root is not looked up, since only its own signature could say that it is revoked.
func (c *Client) lists(ctx context.Context, config Config) {
	now := time.Now()
	if len(c.kept.Pairs) == 0 {
		c.listAt = time.Time{} // or it would be due forever
		return
	}
	if now.Before(c.listAt) {
		return
	}
	wait, gone := listRest, false
	for _, s := range c.slots {
		p := c.kept.pair(s.kind)
		if p == nil {
			continue
		}
		revoked, rest, err := c.revoked(ctx, p)
		wait = min(wait, rest)
		switch {
		case ctx.Err() != nil:
			return
		case revoked:
			gone = true
			c.kept.drop(s.kind)
			*s = slot{kind: s.kind, revoked: true}
			c.o.Report(Event{Kind: EventRevoked, Key: s.kind, Text: describe(p.leaf)})
		case err != nil:
			err = fmt.Errorf("the revocation list of the certificate cannot be used: %w", err)
			c.o.Report(Event{Kind: EventFailure, Key: s.kind, Err: err, Again: wait})
		}
	}
	c.listAt = now.Add(wait + rand.N(wait/8))
	if !gone {
		return
	}
	err := c.save()
	c.publish()
	c.unsaved, c.handed, c.handNext = false, false, time.Time{} // it goes also if that cannot be stored
	c.handOver(config)
	c.unsaved = err != nil
}

// revoked reports whether a pair's certificate, or one above it but the root, is in its issuer's list, and when to look
// again.
func (c *Client) revoked(ctx context.Context, p *pair) (bool, time.Duration, error) {
	wait := listRest
	above := make([]*x509.Certificate, 0, maxCerts)
	for _, der := range p.Chain[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			above = append(above, cert)
		}
	}
	if r := c.rootOf(p); r != nil {
		above = append(above, r)
	}
	cert := p.leaf
	for _, issuer := range above {
		if len(cert.CRLDistributionPoints) > 0 {
			list, err := c.list(ctx, cert.CRLDistributionPoints[0], issuer)
			if err != nil {
				return false, leastList, err
			}
			if slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
				return e.SerialNumber.Cmp(cert.SerialNumber) == 0
			}) {
				return true, leastList, nil
			}
			if wall, trusted := c.o.Clock(); trusted {
				// whoever is between may repeat it forever
				if wall.After(list.NextUpdate) && !list.NextUpdate.IsZero() {
					return false, leastList, fmt.Errorf("its next was due on %s",
						list.NextUpdate.UTC().Format(time.DateTime))
				}
				wait = min(wait, max(list.NextUpdate.Sub(wall), leastList))
			}
		}
		cert = issuer
	}
	return false, wait, nil
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
	body, err := io.ReadAll(io.LimitReader(res.Body, maxList+1))
	switch {
	case res.StatusCode != http.StatusOK:
		return nil, &statusError{status: res.StatusCode}
	case err != nil:
		return nil, fmt.Errorf("the answer breaks off after %d bytes", len(body))
	case len(body) > maxList:
		return nil, fmt.Errorf("an answer of over %d KiB", maxList>>10)
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
