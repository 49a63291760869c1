package certs_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// A certificate that is not what was asked for is not used, and the next server is asked.
func TestChecks(t *testing.T) {
	spec.Rules(t, "CERT-7", "CERT-28")
	other := newCA("Other", day)
	for _, c := range []struct {
		name  string
		alter func(*x509.Certificate, *x509.CertificateRequest)
		want  string
	}{
		{"cn", func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.RawSubject, c.Subject = nil, pkix.Name{CommonName: "other"}
		}, `the CN is "other"`},
		{"serial", func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.RawSubject, c.Subject = nil, pkix.Name{CommonName: name, SerialNumber: "SN9"}
		}, `the serialNumber is "SN9"`},
		{"no-san", func(c *x509.Certificate, _ *x509.CertificateRequest) { c.DNSNames = nil }, "lacks the name"},
		{"more-san", func(c *x509.Certificate, _ *x509.CertificateRequest) { c.DNSNames = append(c.DNSNames, "x") },
			"was not asked for"},
		{"wildcard", func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.DNSNames = append(c.DNSNames, "*.example.com")
		}, "was not asked for"},
		{"address", func(c *x509.Certificate, _ *x509.CertificateRequest) { c.IPAddresses = []net.IP{{192, 0, 2, 1}} },
			"names of another kind"},
		{"future", func(c *x509.Certificate, _ *x509.CertificateRequest) { c.NotBefore = time.Now().Add(time.Hour) },
			"not valid before"},
		{"past", func(c *x509.Certificate, _ *x509.CertificateRequest) { c.NotAfter = time.Now().Add(-time.Second) },
			"past or too soon"},
		{"short", func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.NotAfter = time.Now().Add(20 * time.Second)
		}, "past or too soon"},
		{"client-only", func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}, "server and client both"},
		{"server-only", func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, "server and client both"},
		{"no-use", func(c *x509.Certificate, _ *x509.CertificateRequest) { c.ExtKeyUsage = nil },
			"server and client both"},
		{"no-signatures", func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.KeyUsage = x509.KeyUsageKeyEncipherment
		}, "TLS cannot use it"},
		{"ca", func(c *x509.Certificate, _ *x509.CertificateRequest) { c.IsCA, c.BasicConstraintsValid = true, true },
			"not used: a CA's"},
		{"key", func(_ *x509.Certificate, csr *x509.CertificateRequest) { csr.PublicKey = newKey().Public() },
			"another key"},
	} {
		t.Run("CERT-28/"+c.name, func(t *testing.T) {
			e := newEST("est.example.com")
			e.alter = c.alter
			good := newEST("good.example.com")
			good.ca, good.cert = e.ca, e.ca.serve("good.example.com", day)
			good.cacerts = e.cacerts
			good.away = true
			r := newRig(t, e, good)
			r.step()
			if r.held() != nil || !strings.Contains(r.said(), c.want) {
				t.Errorf("held %v, said %s, want %q", r.held() != nil, r.said(), c.want)
			}
			good.away = false
			r.step()
			r.must()
		})
	}
	t.Run("CERT-28/chain", func(t *testing.T) {
		e := newEST("est.example.com")
		cert := e.ca
		e.answer = func(_ http.ResponseWriter, _ *http.Request, a *asked) bool {
			if e.ca = cert; a.csr != nil {
				e.ca = other
			}
			return false
		}
		r := newRig(t, e)
		r.step()
		r.refused("does not lead to a root from cacerts")
		if r.held() != nil {
			t.Error("it was used")
		}
	})
	for name, body := range map[string]string{
		"html": "<html>", "empty": "", "half": message64(other.cert)[:100], "root": message64(other.cert),
	} {
		t.Run("CERT-28/body-"+name, func(t *testing.T) {
			e := newEST("est.example.com")
			e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
				if a.csr != nil {
					io.WriteString(w, body)
				}
				return a.csr != nil
			}
			r := newRig(t, e)
			r.step()
			r.refused("the certificate is not used")
			if r.held() != nil {
				t.Error("it was used")
			}
		})
	}
}

// A certificate may come from below the root; what lies between goes to the firmware with it.
func TestIntermediate(t *testing.T) {
	spec.Rules(t, "CERT-13", "CERT-28")
	e := newEST("est.example.com")
	root := e.ca
	below := &authority{key: newKey()}
	below.cert = root.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "Below"}, NotAfter: time.Now().Add(day), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}, below.key.Public())
	e.ca, e.cert = below, below.serve(e.host, day)
	e.cacerts = func() []*x509.Certificate { return []*x509.Certificate{below.cert, root.cert} }
	r := newRig(t, e)
	r.step()
	r.must()
	b := r.given[len(r.given)-1]
	first, rest := pem.Decode(b.Pairs[0].Chain)
	second, rest := pem.Decode(rest)
	if first == nil || second == nil || len(rest) > 0 || !bytes.Equal(second.Bytes, below.cert.Raw) {
		t.Errorf("got the chain %s", b.Pairs[0].Chain)
	}
	if block, rest := pem.Decode(b.Roots); block == nil || len(rest) > 0 || !bytes.Equal(block.Bytes, root.cert.Raw) {
		t.Errorf("got the roots %s", b.Roots)
	}
}

// A certificate of a CA whose clock is a little ahead is the firmware's once its time has come: until then that serves
// with the one before, which is still good.
func TestAhead(t *testing.T) {
	spec.Rules(t, "CERT-28", "CERT-44")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.Place(0)
		r.run(44 * day)
		first := r.must()
		e.alter = func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.NotBefore = time.Now().Add(4 * time.Minute)
		}
		r.Renew()
		r.run(3 * time.Minute)
		if got := r.must(); len(e.enrolments()) != 2 || !got.Equal(first) {
			t.Fatalf("got %d requests, another certificate before its time: %v", len(e.enrolments()), !got.Equal(first))
		}
		r.run(2 * time.Minute)
		got := r.must()
		if got.Equal(first) {
			t.Errorf("not used when its time had come: %s", r.said())
		}
		// A clock that was set back by more than a CA's may differ withholds nothing from a web server that starts.
		r.ahead = -40 * 24 * time.Hour
		given := len(r.given)
		r.power()
		r.run(time.Minute)
		if len(r.given) != given+1 || !r.must().Equal(got) {
			t.Errorf("after a start: given %d times", len(r.given)-given)
		}
	})
}

// How long a server wants to be left alone is its own affair: the next one is asked as usual, and it is not asked again
// meanwhile, but by an operator.
func TestRestOfOneServer(t *testing.T) {
	spec.Rules(t, "CERT-7")
	synctest.Test(t, func(t *testing.T) {
		busy, e := newEST("busy.example.com"), newEST("est.example.com")
		busy.ca, busy.cert, busy.cacerts = e.ca, e.ca.serve("busy.example.com", 365*day), e.cacerts
		busy.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(429)
			return true
		}
		e.away = true
		r := newRig(t, busy, e)
		r.installed = []*x509.Certificate{e.ca.cert}
		r.run(time.Hour)
		if n := len(busy.all("")); n != 1 {
			t.Errorf("the busy server got %d requests in an hour, want 1", n)
		}
		e.away = false
		r.run(10 * time.Minute)
		r.must()
		r.Retry()
		r.run(time.Minute)
		if n := len(busy.all("")); n != 2 {
			t.Errorf("the busy server got %d requests after an operator's wish, want 2", n)
		}
		e.away = true
		if err := r.Remove(t.Context(), certs.ECDSA); err != nil {
			t.Fatal(err)
		}
		dials := r.dials
		r.run(time.Hour)
		if n := len(busy.all("")); n != 2 || r.dials-dials > 40 {
			t.Errorf("the busy server got %d requests, want 2; %d connections in an hour", n, r.dials-dials)
		}
		r.run(24 * time.Hour)
		if n := len(busy.all("")); n != 3 {
			t.Errorf("the busy server got %d requests once its time was over, want 3", n)
		}
	})
}
