package discovery

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// authority is a certificate authority of one test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority returns an authority, called "test root" or by the name given.
func newAuthority(t testing.TB, name ...string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.issue(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cmp.Or(strings.Join(name, ""), "test root")},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) issue(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// roots returns the pool that trusts the authority, as Options wants it.
func (a *authority) roots() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool, nil
}

// leaf returns a server certificate for these hosts, which ends at the given time.
func (a *authority) leaf(until time.Time, hosts ...string) tls.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test server"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	cert, key := a.issue(template)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// serve starts a TLS server with the certificate; conf may change it before that.
func serve(t *testing.T, cert tls.Certificate, h http.Handler, conf ...func(*httptest.Server)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, c := range conf {
		c(s)
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

const someKeys = `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`

// publish serves metadata for the issuer and keys at /jwks.
func publish(mux *http.ServeMux, issuer, path string) {
	mux.HandleFunc("GET "+wellKnown+path, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"other":[1,{"a":null}]}`,
			issuer, schemeOf(r)+"://"+r.Host+"/jwks?set=1")
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, someKeys) })
}

func schemeOf(r *http.Request) string {
	if r.TLS == nil {
		return "http"
	}
	return "https"
}
