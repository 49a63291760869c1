package certs_test

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/certs"
)

// lister serves a revocation list by http.
type lister struct {
	body  func() []byte
	asked int
}

func (l *lister) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.asked++
	w.Write(l.body())
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
func TestRevoked_CERT45(t *testing.T) {
	virtual(t, func(t *testing.T, r *rig, e *est) {
		e.alter = func(c *x509.Certificate, _ *x509.CertificateRequest) {
			c.CRLDistributionPoints = []string{"http://crl.example.com/list.crl"}
		}
		l := &lister{body: func() []byte { return e.ca.list(6 * time.Hour) }}
		way := make(pipes)
		server := &http.Server{Handler: l, ErrorLog: log.New(io.Discard, "", 0)}
		done := make(chan struct{})
		go func() {
			server.Serve(way)
			close(done)
		}()
		t.Cleanup(func() {
			close(way)
			server.Close()
			<-done
		})
		r.ways["crl.example.com"] = way
		r.servers = append(r.servers, &est{host: "crl.example.com"})
		r.onlyFirst = true
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
