package discovery

import (
	"crypto/x509"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"nmosauthd/tinytest/spec"
)

// staple is an OCSP response of an authority about a certificate of that number.
func (a *authority) staple(number *big.Int, status int) []byte {
	a.t.Helper()
	der, err := ocsp.CreateResponse(a.cert, a.cert, ocsp.Response{
		Status: status, SerialNumber: number, ThisUpdate: time.Now().Add(-time.Hour),
		NextUpdate: time.Now().Add(time.Hour),
		RevokedAt:  time.Now().Add(-time.Hour),
	}, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

// A server that shows in the handshake that its certificate was revoked gets no request. A staple that its CA did not
// sign says nothing.
func TestServersStaple(t *testing.T) {
	spec.Rules(t, "CERT-46", "DIS-5")
	ca, other := newAuthority(t), newAuthority(t, "another root")
	good := ca.leaf(time.Now().Add(time.Hour), "127.0.0.1")
	leaf, err := x509.ParseCertificate(good.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	number := leaf.SerialNumber
	revoked := ca.staple(number, ocsp.Revoked)
	for _, c := range []struct {
		name   string
		staple []byte
		refuse bool
	}{
		{"none", nil, false},
		{"good", ca.staple(number, ocsp.Good), false},
		{"unknown", ca.staple(number, ocsp.Unknown), false},
		{"revoked", revoked, true},
		{"revoked, by another CA", other.staple(number, ocsp.Revoked), false},
		{"another certificate's", ca.staple(big.NewInt(7), ocsp.Revoked), false},
		{"cut off", revoked[:len(revoked)-1], false},
		{"not one", []byte("revoked"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			mux := http.NewServeMux()
			with := good
			with.OCSPStaple = c.staple
			s := serve(t, with, mux)
			publish(mux, s.URL, "")
			_, err := New(Options{Roots: ca.roots}).KeySet(t.Context(), s.URL)
			if c.refuse != (err != nil) || err != nil && !strings.Contains(err.Error(), "was revoked by its CA") {
				t.Errorf("got error %v, want one: %v", err, c.refuse)
			}
		})
	}
}
