package certs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"nmosauthd/agent/discovery"
)

// anchors are what certificates are checked against: roots, and what may lie between.
type anchors struct{ roots, links *x509.CertPool }

// newAnchors returns nil if there are no roots.
func newAnchors(roots, links []*x509.Certificate) *anchors {
	if len(roots) == 0 {
		return nil
	}
	a := &anchors{x509.NewCertPool(), x509.NewCertPool()}
	for _, r := range roots {
		a.roots.AddCert(r)
	}
	for _, l := range links {
		a.links.AddCert(l)
	}
	return a
}

// server checks what a server showed, and the OCSP response that it has put beside it, if any (CERT-46).
func (a *anchors) server(shown *tls.ConnectionState, host string, wall time.Time, trusted bool) error {
	chain, err := a.check(shown.PeerCertificates, host, wall, trusted, x509.ExtKeyUsageServerAuth)
	if err == nil {
		err = discovery.CheckStaple(shown.OCSPResponse, chain)
	}
	return err
}

// check looks for a chain from the first certificate to a root, and returns one. The clock of a device that was never
// set says nothing: then the chain has to have been valid at some time, be it the begin, the middle or the end of the
// certificate's life (CERT-30).
func (a *anchors) check(
	certs []*x509.Certificate, host string, wall time.Time, trusted bool, use x509.ExtKeyUsage,
) ([]*x509.Certificate, error) {
	if len(certs) == 0 {
		return nil, errors.New("no certificate")
	}
	leaf := certs[0]
	links := a.links
	if len(certs) > 1 {
		links = links.Clone()
		for _, c := range certs[1:min(len(certs), maxCerts)] {
			links.AddCert(c)
		}
	}
	moments := []time.Time{wall}
	if !trusted {
		half := leaf.NotAfter.Sub(leaf.NotBefore) / 2
		moments = []time.Time{leaf.NotBefore, leaf.NotBefore.Add(half), leaf.NotAfter}
	}
	var first error
	for _, at := range moments {
		chains, err := leaf.Verify(x509.VerifyOptions{
			DNSName: host, Roots: a.roots, Intermediates: links, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{use},
		})
		if err == nil {
			return chains[0], nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// fingerprint is the SHA-256 of a certificate, in hex.
func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// sameFingerprint compares one that a person wrote.
func sameFingerprint(written, hex string) bool {
	return strings.EqualFold(strings.ReplaceAll(written, ":", ""), hex)
}

// selfSigned reports whether a certificate is a root: a CA's, signed by its own key. In a roll-over the others have the
// same name, too, but are signed by the other key (CERT-14).
func selfSigned(cert *x509.Certificate) bool {
	return isCA(cert) && bytes.Equal(cert.RawIssuer, cert.RawSubject) && cert.CheckSignatureFrom(cert) == nil
}

func isCA(cert *x509.Certificate) bool { return cert.BasicConstraintsValid && cert.IsCA }

// sortCerts takes the roots and the links from what a server sent. A certificate that is not a CA's is neither
// (CERT-16), nor is a root that has ended.
func sortCerts(all []*x509.Certificate, wall time.Time, trusted bool) (roots, links []*x509.Certificate, err error) {
	for _, cert := range all {
		same := func(c *x509.Certificate) bool { return c.Equal(cert) }
		switch {
		case !isCA(cert), slices.ContainsFunc(roots, same), slices.ContainsFunc(links, same):
		case trusted && wall.After(cert.NotAfter):
			err = errors.New("the certificate of " + shown(cert.Subject.String()) + " ended " + dateTime(cert.NotAfter))
		case selfSigned(cert):
			roots = append(roots, cert)
		default:
			links = append(links, cert)
		}
	}
	if len(roots) > 0 {
		return roots, links, nil
	}
	if err == nil {
		err = errors.New("no root among the certificates: none is a CA's and signed by itself")
	}
	return nil, nil, err
}

// getRoots asks for /cacerts.
func (s *session) getRoots(ctx context.Context) (roots, links []*x509.Certificate, err error) {
	a, err := s.do(ctx, "cacerts", nil)
	if err != nil {
		return nil, nil, err
	}
	if a.status != http.StatusOK {
		return nil, nil, s.failed("cacerts", &statusError{status: a.status})
	}
	all, err := parseCerts(a.body)
	if err == nil {
		roots, links, err = sortCerts(all, s.wall, s.trusted)
	}
	if err != nil {
		return nil, nil, s.failed("cacerts", err)
	}
	return roots, links, nil
}

// errNoRoot is why nothing is asked for.
var errNoRoot = errors.New("no root is held to check the server by: install one, configure its fingerprint, " +
	"or allow trust on first contact")

// firstContact asks a server that cannot be checked for its roots, and returns those to be trusted (CERT-10, CERT-11):
// the one of the fingerprint, or if none is configured all. It leaves nothing behind: only once a checked connection
// was made by these roots are they kept.
func (c *Client) firstContact(ctx context.Context, server Server) (*anchors, error) {
	s := c.open(server, nil, nil)
	defer s.close()
	roots, links, err := s.getRoots(ctx)
	if err != nil {
		return nil, err
	}
	if c.config.Fingerprint != "" {
		if roots = pinned(roots, c.config.Fingerprint); roots == nil {
			return nil, errPin
		}
	}
	return newAnchors(roots, links), nil
}

var errPin = errors.New("none of the server's roots has the fingerprint that is configured")

// pinned returns the root that a fingerprint is of.
func pinned(roots []*x509.Certificate, written string) []*x509.Certificate {
	for _, r := range roots {
		if sameFingerprint(written, fingerprint(r)) {
			return []*x509.Certificate{r}
		}
	}
	return nil
}
