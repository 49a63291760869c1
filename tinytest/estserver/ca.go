package estserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// CA is a root and an intermediate below it that signs, ECDSA P-256 both. It may be used by any number of goroutines.
type CA struct {
	Root, Intermediate *x509.Certificate

	rootKey, key *ecdsa.PrivateKey
}

// caLife is how long the certificates of a CA are good for.
const caLife = 10 * 365 * 24 * time.Hour

// NewCA returns a CA of that name, good from a day before now on. It panics if no key can be made.
func NewCA(name string, now time.Time) *CA {
	ca := &CA{rootKey: newKey(), key: newKey()}
	root := caTemplate(name+" root", now)
	ca.Root = sign(root, root, &ca.rootKey.PublicKey, ca.rootKey)
	ca.Intermediate = sign(caTemplate(name+" intermediate", now), ca.Root, &ca.key.PublicKey, ca.rootKey)
	return ca
}

// CAOf returns a CA below a root that there is already.
func CAOf(root *x509.Certificate, key *ecdsa.PrivateKey, name string, now time.Time) *CA {
	ca := &CA{Root: root, rootKey: key, key: newKey()}
	ca.Intermediate = sign(caTemplate(name+" intermediate", now), root, &ca.key.PublicKey, key)
	return ca
}

// successor is a CA under the same name with new keys, and the certificates that lead from one root to the other: the
// old with new and the new with old (RFC 4210 §4.4). The old with old is the old root.
func (ca *CA) successor(now time.Time) (next *CA, oldWithNew, newWithOld *x509.Certificate) {
	next = &CA{rootKey: newKey(), key: newKey()}
	template := func() *x509.Certificate {
		t := caTemplate("", now)
		t.Subject = ca.Root.Subject
		return t
	}
	root := template()
	next.Root = sign(root, root, &next.rootKey.PublicKey, next.rootKey)
	middle := caTemplate("", now)
	middle.Subject = ca.Intermediate.Subject
	next.Intermediate = sign(middle, next.Root, &next.key.PublicKey, next.rootKey)
	return next, sign(template(), next.Root, &ca.rootKey.PublicKey, next.rootKey),
		sign(template(), ca.Root, &next.rootKey.PublicKey, ca.rootKey)
}

// Pool holds only the root.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Root)
	return pool
}

// PEM is the root.
func (ca *CA) PEM() []byte { return PEM(ca.Root) }

// IssuerKeyPEM is the key that signs, that of the intermediate.
func (ca *CA) IssuerKeyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(ca.key)
	must(err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Fingerprint is the SHA-256 of the root, in hexadecimal.
func (ca *CA) Fingerprint() string { return Fingerprint(ca.Root) }

// Fingerprint is the SHA-256 of a certificate, in hexadecimal.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// PEM writes certificates one after the other.
func PEM(all ...*x509.Certificate) (text []byte) {
	for _, c := range all {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// Pair is a certificate with what is below its root, and its key, as PEM and as crypto/tls wants it.
type Pair struct {
	tls.Certificate
	ChainPEM, KeyPEM []byte
}

// Device issues a certificate that a maker puts into a device: client authentication, with the serial number of the
// device in its subject (CERT-48).
func (ca *CA) Device(serial string, from, until time.Time) Pair {
	return ca.issue(&x509.Certificate{
		Subject: pkix.Name{Organization: []string{"Maker Example"}, CommonName: "device " + serial,
			SerialNumber: serial},
		NotBefore: from, NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// Server issues a certificate for servers under these host names and addresses.
func (ca *CA) Server(from, until time.Time, hosts ...string) Pair {
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: hosts[0]},
		NotBefore: from, NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return ca.issue(template)
}

func (ca *CA) issue(template *x509.Certificate) Pair {
	key := newKey()
	template.KeyUsage = x509.KeyUsageDigitalSignature
	leaf := sign(template, ca.Intermediate, &key.PublicKey, ca.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	return Pair{
		Certificate: tls.Certificate{
			Certificate: [][]byte{leaf.Raw, ca.Intermediate.Raw}, PrivateKey: key, Leaf: leaf,
		},
		ChainPEM: PEM(leaf, ca.Intermediate),
		KeyPEM:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}
}

func caTemplate(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: []string{"nmos-authd tests"}},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(caLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
}

func newKey() *ecdsa.PrivateKey { return newKeyOn(elliptic.P256()) }

func newKeyOn(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(err)
	return key
}

// sign completes a template, which it changes.
func sign(template, parent *x509.Certificate, public any, signer crypto.Signer) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	must(err)
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	must(err)
	c, err := x509.ParseCertificate(der)
	must(err)
	return c
}

// must stops a test whose own materials are wrong.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("estserver: %v", err))
	}
}
