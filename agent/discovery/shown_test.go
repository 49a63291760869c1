package discovery

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"nmosauthd/tinytest/spec"
)

// A server that would do without a certificate of the device refuses one that has ended, or is for servers alone: such
// a one is not shown, and the next is.
func TestCertificateShown(t *testing.T) {
	spec.Rules(t, "CERT-44")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	own := func(end time.Duration, unknown asn1.ObjectIdentifier, uses ...x509.ExtKeyUsage) *tls.Certificate {
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(end), ExtKeyUsage: uses,
		}
		if unknown != nil {
			leaf.UnknownExtKeyUsage = []asn1.ObjectIdentifier{unknown}
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		if leaf, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	}
	good := own(time.Hour, nil, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	asked := &tls.CertificateRequestInfo{
		Version: tls.VersionTLS13, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
	}
	for what, c := range map[string]struct {
		own   *tls.Certificate
		shown bool
	}{
		"both":         {good, true},
		"any":          {own(time.Hour, nil, x509.ExtKeyUsageAny), true},
		"no use named": {own(time.Hour, nil), true},
		"servers":      {own(time.Hour, nil, x509.ExtKeyUsageServerAuth), false},
		"another use":  {own(time.Hour, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 99}), false},
		"ended":        {own(-time.Hour, nil, x509.ExtKeyUsageClientAuth), false},
	} {
		client := New(Options{
			Now:          func() time.Time { return now },
			Certificates: func() []*tls.Certificate { return []*tls.Certificate{c.own, good} },
		})
		want := good
		if c.shown {
			want = c.own
		}
		if got, err := client.certificate(asked); err != nil || got != want {
			t.Errorf("%s: shown: %v, want %v; %v", what, got == c.own, c.shown, err)
		}
	}
}
