package certs_test

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/tinytest/spec"
)

// A renewal that an operator wished for and a person has to agree to, of a server that is away when it is to be asked
// again, is tried at the pace of the back-off, and comes once the server is back.
func TestWaitingWishFails(t *testing.T) {
	spec.Rules(t, "CERT-7", "CERT-27")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		r.run(day)
		first := r.must()
		e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
			if a.csr != nil {
				w.Header().Set("Retry-After", "600")
				w.WriteHeader(202)
			}
			return a.csr != nil
		}
		r.Renew()
		r.run(time.Minute)
		if s := r.Status(); s.Certificates[0].Asked != 1 {
			t.Fatalf("got %+v", s)
		}
		e.away, e.answer = true, nil
		before := r.dials
		r.run(2 * time.Hour)
		if n := r.dials - before; n < 5 || n > 60 {
			t.Errorf("got %d connections in two hours, want some 30", n)
		}
		e.away = false
		r.run(time.Hour)
		if r.must() == first {
			t.Errorf("the renewal did not come: %s", r.said())
		}
	})
}

// A certificate that is dated back to before its root began, and outlives it by far, is one of this domain all the
// same.
func TestOutlivesItsRoot(t *testing.T) {
	spec.Rules(t, "CERT-17", "CERT-28")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		e.ca = newCA("Short Root", 30*day)
		e.cert = e.ca.serve(e.host, 365*day)
		e.life = 90 * day
		e.alter = func(c *x509.Certificate, _ *x509.CertificateRequest) { c.NotBefore = time.Now().Add(-2 * time.Hour) }
		r.run(time.Minute)
		r.must()
		if n := len(e.enrolments()); n != 1 {
			t.Errorf("got %d requests in the first minute, want 1", n)
		}
	})
}

// An RSA key may not be so long that checking one signature takes an ARM device minutes.
func TestLongKey(t *testing.T) {
	spec.Rules(t, "CERT-16")
	ca := newCA("ca", day)
	long := &rsa.PublicKey{N: new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 8200), big.NewInt(105)), E: 65537}
	cert := ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "long"}, NotAfter: time.Now().Add(day), IsCA: true, BasicConstraintsValid: true,
	}, long)
	_, err := certs.ParseCerts([]byte(message64(ca.cert, cert)))
	if err == nil || !strings.Contains(err.Error(), "over 8192 bits") {
		t.Errorf("got %v", err)
	}
}

// A host that a redirect leaves out is not any host.
func TestRedirectWithoutHost(t *testing.T) {
	spec.Rules(t, "CERT-7", "CERT-12")
	e, other := newEST("est.example.com"), newEST("")
	other.ca = e.ca
	other.cert = e.ca.serve("another-device.example.com", 365*day)
	e.answer = func(w http.ResponseWriter, r *http.Request, a *asked) bool {
		if a.csr == nil {
			return false
		}
		http.Redirect(w, r, "https://:8085/.well-known/est/simpleenroll", http.StatusTemporaryRedirect)
		return true
	}
	r := newRig(t, e, other)
	r.onlyFirst = true
	r.step()
	if n := len(other.all("")); n != 0 {
		t.Errorf("a server whose name was not checked was sent %d requests", n)
	}
}

// What is not stored is not handed over, also if the next server brings new roots that cannot be stored either.
func TestUnsavedNextServer(t *testing.T) {
	spec.Rules(t, "CERT-29")
	e, other := newEST("est.example.com"), newEST("other.example.com")
	other.ca = e.ca
	other.cert = e.ca.serve(other.host, 365*day)
	extra := newCA("Extra", 365*day)
	other.cacerts = func() []*x509.Certificate { return []*x509.Certificate{e.ca.cert, extra.cert} }
	r := newRig(t, e, other)
	r.config.Kinds = []certs.KeyKind{certs.ECDSA, certs.RSA}
	r.Configure(r.config)
	posts := 0
	e.answer = func(w http.ResponseWriter, _ *http.Request, a *asked) bool {
		if a.csr == nil {
			return false
		}
		if posts++; posts == 1 {
			r.flash.mu.Lock()
			r.flash.cut = 1 // from now on nothing is stored
			r.flash.mu.Unlock()
			return false
		}
		w.WriteHeader(500)
		return true
	}
	r.Hurry()
	r.Step(t.Context())
	if posts < 2 || len(other.all("cacerts")) == 0 {
		t.Fatalf("the test does not test: %s", r.said())
	}
	if r.held() != nil {
		t.Error("a pair that is not stored was handed over")
	}
}

// An old revocation list, which anybody between can go on sending, is not a list, but what it names is revoked.
func TestOldList(t *testing.T) {
	spec.Rules(t, "CERT-45")
	virtual(t, func(t *testing.T, r *rig, e *est) {
		e.alter = func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.CRLDistributionPoints = []string{"http://crl.example.com/list.crl"}
		}
		old := e.ca.list(time.Hour)
		r.serveList(func() []byte { return old })
		r.run(day)
		first := r.must()
		if !strings.Contains(r.said(), "the next was due") {
			t.Errorf("nothing was said of a list of yesterday: %s", r.said())
		}
		old = e.ca.list(time.Hour, first)
		time.Sleep(2 * time.Hour)
		r.run(5 * time.Hour)
		if r.count(certs.EventRevoked) != 1 {
			t.Error("what an old list names is still held")
		}
	})
}

// Where the clocks of all devices are set at once, those whose certificates are due then do not ask at once.
func TestClockSet(t *testing.T) {
	spec.Rules(t, "CERT-40")
	synctest.Test(t, func(t *testing.T) {
		e := newEST("est.example.com")
		early := 0
		for range 20 {
			r := newRig(t, e)
			r.run(time.Hour)
			r.must()
			before := len(e.enrolments())
			r.ahead = 85 * day
			r.ClockChanged()
			r.run(3 * time.Second)
			early += len(e.enrolments()) - before
			r.run(2 * time.Minute)
			if len(e.enrolments()) == before {
				t.Fatal("not renewed")
			}
		}
		if early > 10 {
			t.Errorf("%d of 20 came in the first three seconds", early)
		}
	})
}
