package discovery

import (
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"nmosauthd/tinytest/spec"
)

// Whatever a server staples to its handshake, it does no harm to the device, and to the server only if its CA has said
// that the certificate was revoked, which the answers here never do.
func FuzzStaple(f *testing.F) {
	spec.Rules(f, "CERT-46")
	ca, other := newAuthority(f), newAuthority(f, "another root")
	leaf, err := x509.ParseCertificate(ca.leaf(time.Now().Add(time.Hour), "127.0.0.1").Certificate[0])
	if err != nil {
		f.Fatal(err)
	}
	chain := []*x509.Certificate{leaf, ca.cert}
	if CheckStaple(ca.staple(leaf.SerialNumber, ocsp.Revoked), chain) == nil {
		f.Fatal("a revoked certificate is trusted")
	}
	f.Add(ca.staple(leaf.SerialNumber, ocsp.Good))
	f.Add(ca.staple(leaf.SerialNumber, ocsp.Unknown))
	f.Add(ca.staple(big.NewInt(7), ocsp.Revoked))
	f.Add(other.staple(leaf.SerialNumber, ocsp.Revoked))
	f.Add([]byte{0x30, 3, 0x0a, 1, 6})
	f.Fuzz(func(t *testing.T, staple []byte) {
		if err := CheckStaple(staple, chain); err != nil {
			t.Error(err)
		}
	})
}
