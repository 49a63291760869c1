package certs_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/agent/certs"
)

const (
	day  = 24 * time.Hour
	name = "ax8-sn0012.example.com"
)

var serials int64

// authority is a CA.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// newCA makes a root with a life that began an hour ago.
func newCA(cn string, life time.Duration) *authority {
	a := &authority{key: newKey()}
	a.cert = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(life - time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, a.key.Public())
	return a
}

// sign issues a certificate.
func (a *authority) sign(t *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	serials++
	t.SerialNumber = big.NewInt(serials)
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Now().Add(-time.Minute)
	}
	parent := a.cert
	if parent == nil {
		parent = t
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key, a.key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

// serve makes a server's certificate.
func (a *authority) serve(host string, life time.Duration) tls.Certificate {
	key := newKey()
	leaf := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotAfter: time.Now().Add(life),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}, key.Public())
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// device makes a client's certificate, such as the maker's.
func (a *authority) device(cn string, life time.Duration) *tls.Certificate {
	key := newKey()
	leaf := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: cn}, NotAfter: time.Now().Add(life),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}, key.Public())
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// message is the DER of a certs-only PKCS #7 message.
func message(all ...*x509.Certificate) []byte {
	var raw []byte
	for _, c := range all {
		raw = append(raw, c.Raw...)
	}
	type content struct{ OID asn1.ObjectIdentifier }
	signed, err := asn1.Marshal(struct {
		Version int
		Digests []int `asn1:"set"`
		Content content
		Certs   asn1.RawValue
		Signers []int `asn1:"set"`
	}{1, nil, content{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}},
		asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: raw}, nil})
	if err != nil {
		panic(err)
	}
	der, err := asn1.Marshal(struct {
		OID    asn1.ObjectIdentifier
		Signed asn1.RawValue
	}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2},
		asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: signed}})
	if err != nil {
		panic(err)
	}
	return der
}

func message64(all ...*x509.Certificate) string {
	return base64.StdEncoding.EncodeToString(message(all...))
}

// asked is what a server saw of a request.
type asked struct {
	at      time.Time
	what    string // method and path
	head    http.Header
	client  string // CN of the client's certificate; empty if none was shown
	version uint16
	csr     *x509.CertificateRequest
	raw     []byte // of it
	unique  []byte
}

// est is an EST server. What it does can be replaced.
type est struct {
	host    string
	ca      *authority
	cert    tls.Certificate
	cacerts func() []*x509.Certificate
	attrs   string // base64 of /csrattrs; none if empty
	life    time.Duration
	alter   func(t *x509.Certificate, csr *x509.CertificateRequest)            // of what is issued
	answer  func(w http.ResponseWriter, r *http.Request, a *asked) (done bool) // in place of the usual one
	accept  tls.ClientAuthType
	version uint16 // the one that it speaks; 0 for any
	away    bool

	mu   sync.Mutex
	seen []asked
}

// newEST makes a server of its own domain.
func newEST(host string) *est {
	e := &est{host: host, ca: newCA("Facility Root "+host, 20*365*day), life: 90 * day, accept: tls.RequestClientCert}
	e.cert = e.ca.serve(host, 10*365*day)
	e.cacerts = func() []*x509.Certificate { return []*x509.Certificate{e.ca.cert} }
	return e
}

// pipes is a listener of connections in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, io.EOF
	}
	return c, nil
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.IPAddr{} }

// start serves until the test ends, and returns the way to the server.
func (e *est) start(t *testing.T) pipes {
	way := make(pipes)
	config := &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &e.cert, nil },
		ClientAuth:     e.accept, MinVersion: e.version, MaxVersion: e.version,
	}
	serve(t, e, tls.NewListener(way, config))
	return way
}

// serve has a handler answer until the test ends.
func serve(t *testing.T, h http.Handler, l net.Listener) {
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		server.Serve(l)
		close(done)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
}

func (e *est) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := asked{
		at: time.Now(), what: r.Method + " " + r.URL.Path, head: r.Header, version: r.TLS.Version,
		unique: r.TLS.TLSUnique,
	}
	if len(r.TLS.PeerCertificates) > 0 {
		a.client = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	if r.Method == "POST" {
		body, _ := io.ReadAll(r.Body)
		der, err := base64.StdEncoding.DecodeString(string(body))
		if err == nil {
			a.raw = der
			a.csr, err = x509.ParseCertificateRequest(der)
		}
		if err == nil {
			err = a.csr.CheckSignature()
		}
		if err != nil || r.Header.Get("Content-Type") != "application/pkcs10" ||
			r.Header.Get("Content-Transfer-Encoding") != "base64" {
			http.Error(w, fmt.Sprint("bad request: ", err), 400)
			return
		}
	}
	e.mu.Lock()
	e.seen = append(e.seen, a)
	e.mu.Unlock()
	if e.answer != nil && e.answer(w, r, &a) {
		return
	}
	switch {
	case strings.HasSuffix(a.what, "/cacerts"):
		io.WriteString(w, message64(e.cacerts()...))
	case strings.HasSuffix(a.what, "/csrattrs") && e.attrs != "":
		io.WriteString(w, e.attrs)
	case a.csr != nil:
		e.issue(w, &a)
	default:
		w.WriteHeader(404)
	}
}

func (e *est) issue(w http.ResponseWriter, a *asked) {
	t := &x509.Certificate{
		RawSubject: a.csr.RawSubject, DNSNames: a.csr.DNSNames, NotAfter: time.Now().Add(e.life),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if e.alter != nil {
		e.alter(t, a.csr)
	}
	w.Header().Set("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
	io.WriteString(w, message64(e.ca.sign(t, a.csr.PublicKey)))
}

// all returns what the server saw whose method and path have a text in them.
func (e *est) all(part string) (all []asked) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range e.seen {
		if strings.Contains(a.what, part) {
			all = append(all, a)
		}
	}
	return all
}

// enrolments are the requests for certificates.
func (e *est) enrolments() []asked { return e.all("POST ") }

var errPower = errors.New("no power")

// flash is a Storage.
type flash struct {
	mu    sync.Mutex
	data  []byte
	fails error
	saves int
	cut   int // the save at which the power fails; 0 for never
}

func (f *flash) Load() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.data, f.fails
}

func (f *flash) Save(data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.saves++; f.fails != nil || f.cut != 0 && f.saves >= f.cut {
		return cmpErr(f.fails, errPower)
	}
	f.data = slices.Clone(data)
	return nil
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// rig is one device and its servers.
type rig struct {
	t       *testing.T
	servers []*est
	ways    map[string]pipes
	flash   *flash
	config  certs.Config
	maker   *tls.Certificate
	makerCA *authority
	label   string
	*certs.Client

	mu        sync.Mutex
	installed []*x509.Certificate
	events    []certs.Event
	given     []certs.Bundle
	refuse    error // of HandOver
	ahead     time.Duration
	unset     bool // the clock
	dials     int
	onlyFirst bool // of the servers is known to the device
}

// newRig makes a device that has never been on, and starts servers.
func newRig(t *testing.T, servers ...*est) *rig {
	t.Helper()
	r := &rig{t: t, servers: servers, flash: &flash{}, ways: map[string]pipes{}, makerCA: newCA("Acme", 40*365*day)}
	r.maker = r.makerCA.device("AX-8 SN0012", 30*365*day)
	for _, e := range servers {
		r.ways[e.host] = e.start(t)
	}
	r.config = certs.Config{Enabled: true, Names: []string{name}, Serial: "SN0012", TrustFirst: true}
	r.power()
	return r
}

// power switches the device on.
func (r *rig) power() {
	r.Client = certs.New(certs.Options{
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(address)
			r.mu.Lock()
			r.dials++
			r.mu.Unlock()
			for _, e := range r.servers {
				if e.host == host && !e.away {
					client, server := connection()
					select {
					case r.ways[host] <- server:
						return client, nil
					case <-ctx.Done():
						client.Close()
						server.Close()
						return nil, ctx.Err()
					}
				}
			}
			return nil, errors.New(address + ": connection refused")
		},
		Servers: func(context.Context) (all []certs.Server, err error) {
			for i, e := range r.servers {
				if i > 0 && r.onlyFirst {
					break
				}
				all = append(all, certs.Server{Host: e.host, Port: 8085, Label: r.label})
			}
			return all, nil
		},
		Maker:     func() (*tls.Certificate, error) { return r.maker, nil },
		Installed: func() ([]*x509.Certificate, error) { return r.installed, nil },
		Storage:   r.flash,
		HandOver: func(b certs.Bundle) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.refuse != nil {
				return r.refuse
			}
			for _, p := range b.Pairs {
				if _, err := tls.X509KeyPair(p.Chain, p.Key); err != nil {
					r.t.Errorf("handed over a pair that is none: %v", err)
				}
			}
			r.given = append(r.given, b)
			return nil
		},
		Clock: func() (time.Time, bool) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return time.Now().Add(r.ahead), !r.unset
		},
		Report: func(e certs.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
	})
	r.Configure(r.config)
}

// step has the device do what is due, as if all waits were over.
func (r *rig) step() {
	r.t.Helper()
	r.Hurry()
	for range 3 {
		if r.Step(r.t.Context()) > 100*time.Millisecond {
			break
		}
	}
}

// held returns the certificate that the firmware has, nil if it has none.
func (r *rig) held() *x509.Certificate {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.given) == 0 {
		return nil
	}
	for _, p := range r.given[len(r.given)-1].Pairs {
		return p.Leaf
	}
	return nil
}

// must fails unless the firmware has a certificate.
func (r *rig) must() *x509.Certificate {
	r.t.Helper()
	leaf := r.held()
	if leaf == nil {
		r.t.Fatalf("no certificate: %+v\n%s", r.Status(), r.said())
	}
	return leaf
}

// said returns all that was reported.
func (r *rig) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, e := range r.events {
		fmt.Fprintf(&b, "%d %s %s %s %v %v\n", e.Kind, e.Server, e.Key, e.Text, e.Err, e.Again)
	}
	return b.String()
}

// count returns how many events there were of a kind.
func (r *rig) count(kind certs.EventKind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// refused fails unless the last step failed with a text.
func (r *rig) refused(want string) {
	r.t.Helper()
	s := r.Status()
	if s.Err == nil || !strings.Contains(s.Err.Error(), want) {
		r.t.Errorf("got the error %v, want one with %q", s.Err, want)
	}
}
