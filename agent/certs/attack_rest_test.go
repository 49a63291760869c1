package certs_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// Whoever answers the first contact, unchecked, cannot keep the device away from the right server for a day.
func TestFirstContactRetry(t *testing.T) {
	spec.Rules(t, "CERT-7", "CERT-11")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		e.answer = func(w http.ResponseWriter, _ *http.Request, _ *asked) bool {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(503)
			return true
		}
		r.run(time.Minute)
		if n := len(e.all("")); n != 1 {
			t.Fatalf("got %d requests in the first minute, want 1: Retry-After is obeyed for minutes", n)
		}
		e.answer = nil
		r.run(10 * time.Minute)
		r.must()
	})
}

// A chain that would leave no room for what else is kept is refused: it must not stand in the way of all that comes.
func TestLongChain(t *testing.T) {
	spec.Rules(t, "CERT-28", "CERT-29")
	e := newEST("est.example.com")
	padded := func(of *authority, cn string) *authority {
		a := &authority{key: newKey()}
		a.cert = of.sign(&x509.Certificate{
			Subject: pkix.Name{CommonName: cn}, NotAfter: time.Now().Add(365 * day), IsCA: true,
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
			ExtraExtensions: []pkix.Extension{
				{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Value: make([]byte, 80<<10)}},
		}, a.key.Public())
		return a
	}
	root := e.ca
	one := padded(root, "One")
	two := padded(one, "Two")
	e.cacerts = func() []*x509.Certificate { return []*x509.Certificate{root.cert, one.cert, two.cert} }
	e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
		if a.csr == nil {
			return false
		}
		leaf := two.sign(&x509.Certificate{
			RawSubject: a.csr.RawSubject, DNSNames: a.csr.DNSNames, NotAfter: time.Now().Add(30 * day),
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}, a.csr.PublicKey)
		io.WriteString(w, message64(leaf))
		return true
	}
	r := newRig(t, e)
	r.step()
	if s := r.Status(); s.Phase != certs.NoCertificate || len(e.enrolments()) == 0 {
		t.Fatalf("got %+v", s)
	}
	r.refused("32 KiB")
	e.answer = nil // the CA comes to its senses
	r.step()
	r.must()
}

// A device that has lost its certificate and reaches no server rests between its attempts.
func TestRestWithoutPair(t *testing.T) {
	spec.Rules(t, "CERT-7", "CERT-45")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.run(2 * day)
		r.must()
		e.away = true
		if err := r.Remove(t.Context(), certs.ECDSA); err != nil {
			t.Fatal(err)
		}
		r.run(2 * day)
		most := time.Duration(0)
		for range 5 {
			most = max(most, r.Step(t.Context()))
			time.Sleep(time.Second)
		}
		if most < time.Second {
			t.Errorf("looks for work every %v", most)
		}
		if !strings.Contains(r.said(), "connection refused") {
			t.Error("the test does not test")
		}
	})
}
