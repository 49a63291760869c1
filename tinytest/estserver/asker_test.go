package estserver

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

const (
	serial = "SN-0001"
	host   = "stagebox-1.studio.example"
)

// asker is a device that does what a test says, right or wrong. Every question has a connection of its own.
type asker struct {
	t      *testing.T
	server *Server
	shows  *tls.Certificate
	roots  *x509.CertPool // nil: the server is not checked
	maxTLS uint16
	moves  bool // follows redirects
	header map[string]string
}

func start(t *testing.T, o Options) *Server {
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func good(t *testing.T, s *Server) *asker {
	now := time.Now()
	maker := s.Maker().Device(serial, now.Add(-time.Hour), now.AddDate(30, 0, 0))
	return &asker{t: t, server: s, shows: &maker.Certificate, roots: s.Facility().Pool()}
}

// ask sends one request. The body is made once the session is there.
func (a *asker) ask(method, url string, body func(tls.ConnectionState) []byte) (*http.Response, []byte, error) {
	config := &tls.Config{RootCAs: a.roots, InsecureSkipVerify: a.roots == nil, MaxVersion: a.maxTLS}
	if a.shows != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return a.shows, nil
		}
	}
	var session tls.ConnectionState
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
			if err == nil {
				session = c.(*tls.Conn).ConnectionState()
			}
			return c, err
		},
	}}
	if !a.moves {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	var content []byte
	if body != nil {
		content = body(session)
	}
	r, err := http.NewRequest(method, url, bytes.NewReader(content))
	if err != nil {
		return nil, nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/pkcs10")
		r.Header.Set("Content-Transfer-Encoding", "base64")
	}
	r.Header.Set("User-Agent", "")
	for name, value := range a.header {
		r.Header.Set(name, value)
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	content, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp, content, err
}

func (a *asker) get(operation string) (*http.Response, []byte, error) {
	return a.ask(http.MethodGet, a.server.Base()+"/"+operation, nil)
}

func template() *x509.CertificateRequest {
	return &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: host, SerialNumber: serial}, DNSNames: []string{host},
	}
}

func (a *asker) enrol(operation string, csr *x509.CertificateRequest, key crypto.Signer) (
	*http.Response, []byte, error,
) {
	der, err := x509.CreateCertificateRequest(rand.Reader, csr, key)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.ask(http.MethodPost, a.server.Base()+"/"+operation, func(tls.ConnectionState) []byte {
		return encode(der)
	})
}

// leaf reads the one certificate of an answer.
func leaf(t *testing.T, body []byte) *x509.Certificate {
	t.Helper()
	all := certificates(t, body)
	if len(all) != 1 {
		t.Fatalf("got %d certificates, want 1", len(all))
	}
	return all[0]
}

// certificates reads a PKCS #7 with encoding/asn1, which knows nothing of how it was written.
func certificates(t *testing.T, body []byte) []*x509.Certificate {
	t.Helper()
	der, err := decode(body)
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		ID     asn1.ObjectIdentifier
		Signed struct {
			Version      int
			Algorithms   asn1.RawValue `asn1:"set"`
			Content      struct{ ID asn1.ObjectIdentifier }
			Certificates asn1.RawValue `asn1:"optional,tag:0"`
			Signers      asn1.RawValue `asn1:"set"`
		} `asn1:"explicit,tag:0"`
	}
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		t.Fatalf("got %v and %d bytes more", err, len(rest))
	}
	all, err := x509.ParseCertificates(info.Signed.Certificates.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantNoViolations(t *testing.T, s *Server) {
	t.Helper()
	for _, v := range s.Violations() {
		t.Errorf("violation: %s", v)
	}
}
