package authserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// CA is a certificate authority for one test: an ECDSA P-256 root that signs server certificates. It may be used by
// any number of goroutines.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA returns a root of that common name, valid from yesterday for ten years.
func NewCA(name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("authserver: key of the CA: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{"nmos-authd tests"}},
		NotBefore:             time.Now().Add(-24 * time.Hour),
		NotAfter:              time.Now().AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := create(template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("authserver: certificate of the CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("authserver: certificate of the CA: %w", err)
	}
	return &CA{cert: cert, key: key}, nil
}

// PEM returns the root certificate.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// Pool returns a pool that holds only this root.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Root returns the root and its key, for another server that issues below it.
func (ca *CA) Root() (*x509.Certificate, *ecdsa.PrivateKey) { return ca.cert, ca.key }

// Issue returns a server certificate for host names and IP addresses, with a new P-256 key.
func (ca *CA) Issue(notBefore, notAfter time.Time, hosts ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("authserver: key of the server: %w", err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "authorization server", Organization: []string{"nmos-authd tests"}},
		NotBefore:   notBefore,
		NotAfter:    notAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := create(template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("authserver: certificate for %v: %w", hosts, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func create(template, parent *x509.Certificate, public *ecdsa.PublicKey, signer *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	return x509.CreateCertificate(rand.Reader, template, parent, public, signer)
}

// certificates are what the server can show in a handshake.
type certificates struct {
	good, otherCA, otherHost, expired tls.Certificate
}

func newCertificates(ca *CA, hosts []string) (*certificates, error) {
	stranger, err := NewCA("a CA that nobody installed")
	if err != nil {
		return nil, err
	}
	now := time.Now()
	from, until := now.Add(-time.Hour), now.AddDate(1, 0, 0)
	var c certificates
	for _, one := range []struct {
		into        *tls.Certificate
		ca          *CA
		from, until time.Time
		hosts       []string
	}{
		{&c.good, ca, from, until, hosts},
		{&c.otherCA, stranger, from, until, hosts},
		{&c.otherHost, ca, from, until, []string{"other.example.com"}},
		{&c.expired, ca, now.Add(-48 * time.Hour), now.Add(-24 * time.Hour), hosts},
	} {
		if *one.into, err = one.ca.Issue(one.from, one.until, one.hosts...); err != nil {
			return nil, err
		}
	}
	return &c, nil
}
