package certs_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// A certificate names several places for one list (RFC 5280 §4.2.1.13): Active Directory's CA has ldap first. Each that
// can be asked is, until one has the list.
func TestListPlaces(t *testing.T) {
	spec.Rules(t, "CERT-45")
	for name, places := range map[string][]string{
		"CERT-45/ldap":    {"ldap:///CN=Facility,CN=CDP?certificateRevocationList", "http://crl.example.com/list.crl"},
		"CERT-45/away":    {"http://nobody.example.com/list.crl", "http://crl.example.com/list.crl"},
		"CERT-45/missing": {"http://crl.example.com/missing", "http://crl.example.com/list.crl"},
		"CERT-45/https":   {"https://crl.example.com/list.crl", "HTTP://crl.example.com/list.crl"},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, r *rig, e *est) {
				e.alter = func(c *x509.Certificate, _ *x509.CertificateRequest) { c.CRLDistributionPoints = places }
				l := r.serveList(func() []byte { return e.ca.list(time.Hour) })
				l.at = "/list.crl"
				r.run(3 * time.Hour)
				first := r.must()
				if said := r.said(); l.asked == 0 || strings.Contains(said, "revocation list") {
					t.Errorf("asked %d times for the list, and said: %s", l.asked, said)
				}
				l.body = func() []byte { return e.ca.list(time.Hour, first) }
				r.run(3 * time.Hour)
				if r.count(certs.EventRevoked) != 1 || r.must().Equal(first) {
					t.Errorf("a revoked certificate is still held: %s", r.said())
				}
			})
		})
	}
}

// That the list of the certificate itself is out of reach hides nothing of the CA above, whose own list says that it
// was revoked.
func TestListsOfEach(t *testing.T) {
	spec.Rules(t, "CERT-45")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.few(e)
		root := e.ca
		below := &authority{key: newKey()}
		below.cert = root.sign(&x509.Certificate{
			Subject: pkix.Name{CommonName: "Below"}, NotAfter: time.Now().Add(5 * 365 * day), IsCA: true,
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			CRLDistributionPoints: []string{"http://crl.example.com/list.crl"},
		}, below.key.Public())
		e.ca, e.cert = below, root.serve(e.host, 365*day)
		e.cacerts = func() []*x509.Certificate { return []*x509.Certificate{below.cert, root.cert} }
		e.alter = func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.CRLDistributionPoints = []string{"http://crl.example.com/missing"}
		}
		l := r.serveList(func() []byte { return root.list(time.Hour) })
		l.at = "/list.crl"
		r.run(3 * time.Hour)
		first := r.must()
		l.body = func() []byte { return root.list(time.Hour, below.cert) }
		r.run(3 * time.Hour)
		if r.count(certs.EventRevoked) == 0 || r.held().Equal(first) {
			t.Errorf("a certificate of a revoked CA is still held: %s", r.said())
		}
		if !strings.Contains(r.said(), "revocation list of the certificate cannot be used: HTTP "+
			"404 "+http.StatusText(404)) {
			t.Errorf("nothing was said of the missing list: %s", r.said())
		}
	})
}

// few has the server go away once it is asked for more certificates than any device needs, and fails.
func (r *rig) few(e *est) {
	e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
		if n := len(e.enrolments()); a.csr != nil && n > 100 && !e.away {
			r.t.Errorf("asked for %d certificates", n)
			e.away = true
		}
		return false
	}
}

// A server that goes on issuing below a CA that was revoked is not asked again and again without a rest: each time
// wears flash, too.
func TestRevokedAgain(t *testing.T) {
	spec.Rules(t, "CERT-7", "CERT-45")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.few(e)
		good := false
		e.alter = func(c *x509.Certificate, _ *x509.CertificateRequest) {
			if !good {
				c.CRLDistributionPoints = []string{"http://crl.example.com/list.crl"}
			}
		}
		var issued []*x509.Certificate
		r.serveList(func() []byte {
			if leaf := r.held(); leaf != nil {
				issued = append(issued, leaf)
			}
			return e.ca.list(time.Hour, issued...)
		})
		r.run(day)
		all := e.enrolments()
		if n := len(all); n < 10 || n > 40 {
			t.Fatalf("asked for %d certificates in a day, want one now and then", n)
		}
		if first := all[1].at.Sub(all[0].at); first > time.Minute {
			t.Errorf("the first that was revoked was replaced after %v, want at once", first)
		}
		good = true
		r.run(3 * time.Hour)
		leaf := r.must()
		n := len(e.enrolments())
		if r.run(2 * day); len(e.enrolments()) != n || r.held() != leaf {
			t.Errorf("a good one is not kept: %s", r.said())
		}
	})
}
