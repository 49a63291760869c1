package certs_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// lister serves a revocation list by http.
type lister struct {
	body  func() []byte
	at    string // the only path that there is; any if empty
	asked int
}

func (l *lister) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.at != "" && r.URL.Path != l.at {
		w.WriteHeader(404)
		return
	}
	l.asked++
	w.Write(l.body())
}

// serveList has crl.example.com serve a list.
func (r *rig) serveList(body func() []byte) *lister {
	l := &lister{body: body}
	r.ways["crl.example.com"] = make(pipes)
	serve(r.t, l, r.ways["crl.example.com"])
	r.servers = append(r.servers, &est{host: "crl.example.com"})
	r.onlyFirst = true
	return l
}

// list is a list of a CA.
func (a *authority) list(life time.Duration, revoked ...*x509.Certificate) []byte {
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(life)}
	for _, c := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.cert, a.key)
	if err != nil {
		panic(err)
	}
	return der
}

// A certificate that its issuer's list names is taken from the firmware, and another comes from the beginning. Lists
// that are not the issuer's, or do not come, change nothing.
func TestRevoked(t *testing.T) {
	spec.Rules(t, "CERT-45")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		e.alter = func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.CRLDistributionPoints = []string{"http://crl.example.com/list.crl"}
		}
		l := r.serveList(func() []byte { return e.ca.list(6 * time.Hour) })
		r.run(2 * day)
		first := r.must()
		if l.asked < 6 || l.asked > 9 {
			t.Errorf("asked for the list %d times in two days, want every six hours", l.asked)
		}
		other := newCA(e.ca.cert.Subject.CommonName, day)
		for what, body := range map[string][]byte{
			"another's": other.list(time.Hour, first), "not one": []byte("<html>"),
			"too long": make([]byte, 600<<10), "of another certificate": e.ca.list(time.Hour, e.cert.Leaf),
		} {
			l.body = func() []byte { return body }
			r.run(day)
			if r.held() != first {
				t.Errorf("a list that is %s took it away", what)
			}
		}
		if !strings.Contains(r.said(), "revocation list of the certificate cannot be used") {
			t.Errorf("nothing was said: %s", r.said())
		}
		l.body = func() []byte { return e.ca.list(time.Hour, first) }
		r.flash.fails = errors.New("no space left on device") // it goes all the same
		e.away = true
		r.run(day)
		if r.held() != nil || r.count(certs.EventRevoked) != 1 || len(r.given[len(r.given)-1].Pairs) != 0 ||
			len(r.Certificates()) != 0 {
			t.Errorf("still held: %s", r.said())
		}
		r.flash.fails, e.away = nil, false
		r.run(time.Hour)
		leaf := r.must()
		all := e.enrolments()
		if a := all[len(all)-1]; leaf.Equal(first) || !strings.HasSuffix(a.what, "/simpleenroll") ||
			a.client != "AX-8 SN0012" {
			t.Errorf("got %s by %q", a.what, a.client)
		}
		if s := r.Status(); s.Phase != certs.Held {
			t.Errorf("got %+v", s)
		}
	})
}

// A maker's certificate that its issuer's list names is not shown any more, from the first request on, also after a
// restart without that list; another one is.
func TestMakerRevoked(t *testing.T) {
	spec.Rules(t, "CERT-26", "CERT-45")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		listed := func() *tls.Certificate {
			key := newKey()
			leaf := r.makerCA.sign(&x509.Certificate{
				Subject: pkix.Name{CommonName: "AX-8 SN0012"}, NotAfter: time.Now().Add(30 * 365 * day),
				ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
				CRLDistributionPoints: []string{"http://crl.example.com/list.crl"},
			}, key.Public())
			return &tls.Certificate{Certificate: [][]byte{leaf.Raw, r.makerCA.cert.Raw}, PrivateKey: key, Leaf: leaf}
		}
		r.maker = listed()
		l := r.serveList(func() []byte { return r.makerCA.list(6*time.Hour, r.maker.Leaf) })
		e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
			if a.csr != nil {
				w.WriteHeader(403)
			}
			return a.csr != nil
		}
		none := func(when string, want int) {
			t.Helper()
			if n := len(e.enrolments()); n < want {
				t.Errorf("%s: got %d requests, want %d or more", when, n, want)
			}
			for _, a := range e.all("") {
				if a.client != "" {
					t.Errorf("%s: %s by %q", when, a.what, a.client)
				}
			}
			if s := r.Status(); s.Maker.Err == nil || !strings.Contains(s.Maker.Err.Error(), "revoked") {
				t.Errorf("%s: got %+v", when, s.Maker)
			}
		}
		r.run(time.Hour)
		none("at first", 5)
		if n := strings.Count(r.said(), "maker's certificate was revoked"); l.asked != 1 || n != 1 {
			t.Errorf("asked for the list %d times, said %d times; want 1, 1", l.asked, n)
		}
		l.body = func() []byte { return nil }
		r.power()
		r.run(time.Hour)
		none("after a restart", 10)
		if err := r.Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.run(time.Hour)
		none("after all was forgotten", 15)
		r.maker = listed()
		e.answer = nil
		r.run(time.Hour)
		r.must()
		all := e.enrolments()
		if a := all[len(all)-1]; a.client != "AX-8 SN0012" || r.Status().Maker.Err != nil {
			t.Errorf("another one: %s by %q, %+v", a.what, a.client, r.Status().Maker)
		}
	})
}

// A pair that a person installs is looked up immediately, whenever another look was due.
func TestInstallRevoked(t *testing.T) {
	spec.Rules(t, "CERT-45", "CERT-47")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		hand := newCA("By Hand", 200*day)
		private := newKey()
		leaf := hand.sign(&x509.Certificate{
			DNSNames: []string{name}, NotAfter: time.Now().Add(100 * day),
			CRLDistributionPoints: []string{"http://crl.example.com/list.crl"},
		}, private.Public())
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		for _, cert := range []*x509.Certificate{leaf, hand.cert} {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
		}
		r.serveList(func() []byte { return hand.list(6*time.Hour, leaf) })
		r.run(time.Hour)
		r.must()
		if err := r.Install(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		r.run(time.Minute)
		if got := r.held(); got != nil && got.Equal(leaf) || r.count(certs.EventRevoked) != 1 {
			t.Errorf("still with the firmware: %s", r.said())
		}
	})
}

// A maker's list that does not come keeps nobody from a certificate, and is asked for once a day.
func TestMakerListAway(t *testing.T) {
	spec.Rules(t, "CERT-45")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		l := r.serveList(func() []byte { return []byte("<html>") })
		key := newKey()
		leaf := r.makerCA.sign(&x509.Certificate{
			NotAfter: time.Now().Add(365 * day), CRLDistributionPoints: []string{"http://crl.example.com/list.crl"},
		}, key.Public())
		r.maker = &tls.Certificate{Certificate: [][]byte{leaf.Raw, r.makerCA.cert.Raw}, PrivateKey: key, Leaf: leaf}
		r.run(time.Minute)
		r.must()
		r.run(10 * day)
		if l.asked < 8 || l.asked > 12 {
			t.Errorf("asked for the list %d times in ten days, want about once a day", l.asked)
		}
	})
}
