package certs

import (
	"context"
	"crypto"
	"crypto/x509"
	"testing"
	"time"
)

// Step is one step of Run.
func (c *Client) Step(ctx context.Context) time.Duration {
	_ = c.work.Take(context.Background())
	defer c.work.Done()
	return c.step(ctx)
}

// Hurry ends all waits but those that a server asked for.
func (c *Client) Hurry() {
	_ = c.work.Take(context.Background())
	defer c.work.Done()
	c.place = time.Now()
	c.handNext = time.Time{}
	for _, s := range c.slots {
		s.next = time.Time{}
	}
	if c.lookTries > 0 {
		c.lookAt = time.Time{}
	}
}

// Place sets this device's place, of 65536.
func (c *Client) Place(place uint16) {
	_ = c.work.Take(context.Background())
	defer c.work.Done()
	if err := c.load(); err != nil {
		panic(err)
	}
	c.kept.Place = place
}

// MostAsked is how often a server may want time.
const MostAsked = mostAsked

// Attributes is what a server wants of a request.
type Attributes struct {
	Challenge, Keyed, ECDSA bool
	RSABits                 int
}

// ParseAttributes reads /csrattrs.
func ParseAttributes(body []byte) (Attributes, error) {
	a, err := parseAttributes(body)
	return Attributes{a.challenge, a.keyed, a.ecdsa, a.rsaBits}, err
}

// ParseCerts reads /cacerts.
func ParseCerts(body []byte) ([]*x509.Certificate, error) { return parseCerts(body) }

// SortCerts tells roots and links apart.
func SortCerts(all []*x509.Certificate, wall time.Time) (roots, links []*x509.Certificate, err error) {
	return sortCerts(all, wall, true)
}

// MakeRequest makes a request.
func MakeRequest(key crypto.Signer, names []string, serial string, unique []byte) ([]byte, error) {
	return makeRequest(key, wanted{names: names, serial: serial}, unique)
}

// RetryAfter reads that header.
var RetryAfter = retryAfter

// RequestTime shortens what a request may take until the end of a test.
func RequestTime(t *testing.T, d time.Duration) {
	was := requestTime
	requestTime = d
	t.Cleanup(func() { requestTime = was })
}

// Look has the roots asked for at the next step.
func (c *Client) Look() {
	c.Step(context.Background())
	_ = c.work.Take(context.Background())
	defer c.work.Done()
	c.lookAt = time.Time{}
}

// PlaceNow returns this device's place, of 65536.
func (c *Client) PlaceNow() uint16 {
	_ = c.work.Take(context.Background())
	defer c.work.Done()
	return c.kept.Place
}

// StoredLeaf returns the certificate that is stored, nil if none is.
func StoredLeaf(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	s := &state{}
	if data == nil {
		return nil
	}
	if err := s.parse(data); err != nil {
		t.Fatalf("what is stored cannot be read: %v", err)
	}
	if len(s.Pairs) == 0 {
		return nil
	}
	return s.Pairs[0].leaf
}
