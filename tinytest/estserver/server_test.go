package estserver

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A device that does all that it must gets a certificate, and renews it.
func TestEnrolAndRenew(t *testing.T) {
	s := start(t, Options{Domain: "studio.example", Label: "studio", FirstContact: true})
	a := good(t, s)
	a.roots = nil
	maker := a.shows
	a.shows = nil
	resp, body, err := a.get(CACerts)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %v %v", resp, err)
	}
	all := certificates(t, body)
	if len(all) != 2 || !all[0].Equal(s.Facility().Root) || !all[1].Equal(s.Facility().Intermediate) {
		t.Errorf("got %d certificates, want root and intermediate", len(all))
	}
	a.roots, a.shows = s.Facility().Pool(), maker
	if resp, _, err = a.get(CSRAttrs); err != nil || resp.StatusCode != http.StatusNoContent {
		t.Errorf("attributes: got %v %v, want 204", resp, err)
	}
	key := newKey()
	resp, body, err = a.enrol(Enrol, template(), key)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %v %v %s", resp, err, body)
	}
	one := leaf(t, body)
	between := x509.NewCertPool()
	between.AddCert(all[1])
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := one.Verify(x509.VerifyOptions{
			DNSName: host, Roots: a.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage},
		})
		if err != nil {
			t.Error(err)
		}
	}
	if !key.PublicKey.Equal(one.PublicKey) || one.Subject.SerialNumber != serial {
		t.Errorf("got a certificate for %v", one.Subject)
	}
	a.shows = &tls.Certificate{Certificate: [][]byte{one.Raw, all[1].Raw}, PrivateKey: key}
	resp, body, err = a.enrol(Reenrol, template(), newKey())
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %v %v %s", resp, err, body)
	}
	wantNoViolations(t, s)
	if n := len(s.Issued()); n != 2 || s.Count(Enrol) != 1 || s.Count(Reenrol) != 1 || s.Connections() != 4 {
		t.Errorf("got %d certificates, %d connections", n, s.Connections())
	}
}

// The server sees everything that a device must not do. Each row is a device that does all else right.
func TestViolationsAreSeen(t *testing.T) {
	enrol := func(a *asker) (*http.Response, []byte, error) { return a.enrol(Enrol, template(), newKey()) }
	with := func(change func(*x509.CertificateRequest)) func(*asker) (*http.Response, []byte, error) {
		return func(a *asker) (*http.Response, []byte, error) {
			csr := template()
			change(csr)
			return a.enrol(Enrol, csr, newKey())
		}
	}
	// renew enrols, and has the device renew with what it then holds.
	renew := func(change func(*asker, *x509.CertificateRequest, crypto.Signer) crypto.Signer) func(*asker) (
		*http.Response, []byte, error,
	) {
		return func(a *asker) (*http.Response, []byte, error) {
			key := newKey()
			resp, body, err := a.enrol(Enrol, template(), key)
			if err != nil || resp.StatusCode != http.StatusOK {
				return resp, body, errors.Join(err, errors.New("not even enrolled"))
			}
			a.shows = &tls.Certificate{Certificate: [][]byte{leaf(a.t, body).Raw}, PrivateKey: key}
			csr := template()
			return a.enrol(Reenrol, csr, change(a, csr, key))
		}
	}
	for _, c := range []struct {
		name string
		opt  Options
		does func(*asker) (*http.Response, []byte, error)
		want string
	}{
		{"basic", Options{}, func(a *asker) (*http.Response, []byte, error) {
			a.header = map[string]string{"Authorization": "Basic YTpi"}
			return enrol(a)
		}, "CERT-26: header Authorization"},
		{"query", Options{}, func(a *asker) (*http.Response, []byte, error) {
			return a.ask(http.MethodGet, a.server.Base()+"/cacerts?a=b", nil)
		}, "CERT-4: the path has a query"},
		{"other label", Options{Label: "a"}, func(a *asker) (*http.Response, []byte, error) {
			return a.ask(http.MethodGet, a.server.URL()+WellKnown+"/cacerts", nil)
		}, "CERT-4: the path is not one"},
		{"post", Options{}, func(a *asker) (*http.Response, []byte, error) {
			return a.ask(http.MethodPost, a.server.Base()+"/cacerts", nil)
		}, "CERT-4: the method is POST"},
		{"content type", Options{}, func(a *asker) (*http.Response, []byte, error) {
			a.header = map[string]string{"Content-Type": "application/octet-stream"}
			return enrol(a)
		}, "CERT-26: Content-Type"},
		{"transfer encoding", Options{}, func(a *asker) (*http.Response, []byte, error) {
			a.header = map[string]string{"Content-Transfer-Encoding": ""}
			return enrol(a)
		}, "CERT-15"},
		{"DER", Options{}, func(a *asker) (*http.Response, []byte, error) {
			return a.ask(http.MethodPost, a.server.Base()+"/simpleenroll", func(tls.ConnectionState) []byte {
				return []byte{0x30, 0}
			})
		}, "CERT-26: the body is not base64"},
		{"CN apart", Options{}, with(func(r *x509.CertificateRequest) { r.Subject.CommonName = "b.studio.example" }),
			"CERT-22: CN"},
		{"wildcard", Options{}, with(func(r *x509.CertificateRequest) {
			r.DNSNames = append(r.DNSNames, "*.studio.example")
		}),
			"CERT-22: a wildcard"},
		{"address", Options{}, with(func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{{10, 0, 0, 1}} }),
			"CERT-22: IP addresses"},
		{"address as name", Options{}, with(func(r *x509.CertificateRequest) {
			r.DNSNames = append(r.DNSNames, "10.0.0.1")
		}),
			"CERT-22: an address"},
		{"other domain", Options{Domain: "other.example"}, enrol, "CERT-22: \"" + host + "\" is not in"},
		{"no serial number", Options{},
			with(func(r *x509.CertificateRequest) { r.Subject.SerialNumber = "" }), "CERT-23"},
		{"other serial number", Options{}, with(func(r *x509.CertificateRequest) { r.Subject.SerialNumber = "SN-2" }),
			"CERT-23"},
		{"challenge unasked", Options{}, func(a *asker) (*http.Response, []byte, error) {
			a.maxTLS = tls.VersionTLS12
			return a.tied()
		}, "CERT-24: a challengePassword that was not asked for"},
		{"same key", Options{Open: true}, func(a *asker) (*http.Response, []byte, error) {
			key := newKey()
			if _, _, err := a.enrol(Enrol, template(), key); err != nil {
				return nil, nil, err
			}
			return a.enrol(Enrol, template(), key)
		}, "CERT-20"},
		{"renewed key", Options{}, renew(func(_ *asker, _ *x509.CertificateRequest, key crypto.Signer) crypto.Signer {
			return key
		}), "CERT-20"},
		{"renewed without", Options{}, renew(func(a *asker, _ *x509.CertificateRequest, _ crypto.Signer) crypto.Signer {
			a.shows = nil
			return newKey()
		}), "CERT-41: the certificate being renewed"},
		{"renewed with maker", Options{},
			renew(func(a *asker, _ *x509.CertificateRequest, _ crypto.Signer) crypto.Signer {
				a.shows = good(a.t, a.server).shows
				return newKey()
			}), "CERT-41: renewed with the maker's"},
		{"renewed other name", Options{},
			renew(func(_ *asker, r *x509.CertificateRequest, _ crypto.Signer) crypto.Signer {
				r.DNSNames = append(r.DNSNames, "b.studio.example")
				return newKey()
			}), "CERT-41: names"},
		{"renewed other subject", Options{}, renew(func(_ *asker, r *x509.CertificateRequest, _ crypto.Signer,
		) crypto.Signer {
			r.Subject.Organization = []string{"another"}
			return newKey()
		}), "CERT-41: subject"},
		{"expired shown", Options{}, func(a *asker) (*http.Response, []byte, error) {
			p := a.server.Maker().Device(serial, time.Now().AddDate(-2, 0, 0), time.Now().AddDate(-1, 0, 0))
			a.shows = &p.Certificate
			return enrol(a)
		}, "CERT-26: an expired client certificate"},
		{"first with certificate", Options{FirstContact: true}, func(a *asker) (*http.Response, []byte, error) {
			a.roots = nil
			return a.get(CACerts)
		}, "CERT-11: a client certificate"},
		{"first with name", Options{FirstContact: true}, func(a *asker) (*http.Response, []byte, error) {
			a.roots, a.shows, a.header = nil, nil, map[string]string{"User-Agent": "device 1.0"}
			return a.get(CACerts)
		}, "CERT-11: header User-Agent"},
		{"first is enrolment", Options{FirstContact: true, Open: true}, func(a *asker) (*http.Response, []byte, error) {
			a.roots, a.shows = nil, nil
			return enrol(a)
		}, "CERT-11: simpleenroll was asked unchecked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, c.opt)
			resp, body, err := c.does(good(t, s))
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode < 400 {
				t.Errorf("got status %d, want a refusal", resp.StatusCode)
			}
			v := s.Violations()
			if len(v) == 0 || !slices.ContainsFunc(v, func(one string) bool { return strings.HasPrefix(one, c.want) }) {
				t.Errorf("got violations %q, want %q (%s)", v, c.want, body)
			}
		})
	}
}

// tied enrols with a challengePassword.
func (a *asker) tied() (*http.Response, []byte, error) {
	key := newKey()
	return a.ask(http.MethodPost, a.server.Base()+"/"+Enrol, func(tls.ConnectionState) []byte {
		// The session is not there yet, so it cannot be that of this one.
		return encode(withChallenge(a.t, template(), key, "bm90IHRoaXMgc2Vzc2lvbg=="))
	})
}

// withChallenge makes a request with a challengePassword, which crypto/x509 cannot.
func withChallenge(t *testing.T, r *x509.CertificateRequest, key crypto.Signer, password string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	if err != nil {
		t.Fatal(err)
	}
	var tbs struct {
		Version         int
		Subject, Public asn1.RawValue
		Attributes      []asn1.RawValue `asn1:"tag:0"`
	}
	parsed, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := asn1.Unmarshal(parsed.RawTBSCertificateRequest, &tbs); err != nil {
		t.Fatal(err)
	}
	attributes := [][]byte{tlv(0x30, oidChallenge, tlv(0x31, tlv(0x0c, []byte(password))))}
	for _, a := range tbs.Attributes {
		attributes = append(attributes, a.FullBytes)
	}
	inner := tlv(0x30, []byte{2, 1, 0}, tbs.Subject.FullBytes, tbs.Public.FullBytes, tlv(0xa0, attributes...))
	sum := sha256.Sum256(inner)
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	ecdsaWithSHA256 := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}
	return tlv(0x30, inner, tlv(0x30, ecdsaWithSHA256), tlv(0x03, []byte{0}, signature))
}

// A request that is tied to its session is taken; without, or in TLS 1.3, it is not.
func TestChallenge(t *testing.T) {
	s := start(t, Options{Challenge: true, KeyType: ECDSA})
	a := good(t, s)
	resp, body, err := a.get(CSRAttrs)
	der, decoded := decode(body)
	if err != nil || decoded != nil || resp.Header.Get("Content-Type") != "application/csrattrs" ||
		!bytes.Contains(der, oidChallenge) || !bytes.Contains(der, oidP256) {
		t.Errorf("attributes: got %x %v %v", der, err, decoded)
	}
	resp, body, err = a.enrol(Enrol, template(), newKey())
	if err != nil || resp.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "challengePassword") {
		t.Errorf("without: got %v %s %v, want 403", resp, body, err)
	}
	wantNoViolations(t, s)

	c, err := tls.Dial("tcp", strings.TrimPrefix(s.URL(), "https://"), &tls.Config{
		RootCAs: a.roots, Certificates: []tls.Certificate{*a.shows}, MaxVersion: tls.VersionTLS12,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	unique := base64.StdEncoding.EncodeToString(c.ConnectionState().TLSUnique)
	content := encode(withChallenge(t, template(), newKey(), unique))
	fmt.Fprintf(c, "POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: a\r\nContent-Type: application/pkcs10\r\n"+
		"Content-Transfer-Encoding: base64\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(content), content)
	if text, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 ") {
		t.Errorf("tied: got %s %v, want 200", text, err)
	}
	wantNoViolations(t, s)
	if resp, _, err := a.tied(); err != nil || resp.StatusCode != http.StatusBadRequest || len(s.Violations()) != 1 {
		t.Errorf("TLS 1.3: got %v %v, %q", resp, err, s.Violations())
	}
}

// Who has to wait is held to it, and to its key.
func TestRetryAfter(t *testing.T) {
	began, passed := time.Now(), atomic.Int64{}
	s := start(t, Options{RetryAfter: time.Hour,
		Now: func() time.Time { return began.Add(time.Duration(passed.Load())) }})
	a := good(t, s)
	s.MisbehaveTimes(Enrol, Deferred, 2)
	key := newKey()
	ask := func(key crypto.Signer, status, violations int) {
		t.Helper()
		resp, body, err := a.enrol(Enrol, template(), key)
		if err != nil || resp.StatusCode != status || len(s.Violations()) != violations {
			t.Errorf("got %v %s %v, violations %q; want %d and %d of them",
				resp, body, err, s.Violations(), status, violations)
		}
		if status == http.StatusAccepted && resp.Header.Get("Retry-After") != "3600" {
			t.Errorf("got Retry-After %q", resp.Header.Get("Retry-After"))
		}
	}
	ask(key, http.StatusAccepted, 0)
	ask(key, http.StatusBadRequest, 1) // too early; the fault is used up by it
	passed.Add(int64(time.Hour))
	ask(key, http.StatusOK, 1)
	s.MisbehaveTimes(Enrol, UnavailableUntil, 1)
	ask(newKey(), http.StatusServiceUnavailable, 1)
	passed.Add(int64(time.Hour))
	ask(newKey(), http.StatusBadRequest, 2) // another key
}

// Every fault of the table spoils what it is about, and nothing after it.
func TestFaults(t *testing.T) {
	for _, operation := range []string{CACerts, Enrol} {
		faults := slices.Concat(AnyFaults, CACertsFaults)
		if operation == Enrol {
			faults = slices.Concat(AnyFaults, EnrolFaults)
		}
		s := start(t, Options{Drip: time.Microsecond})
		a := good(t, s)
		ask := func() string {
			var resp *http.Response
			var body []byte
			var err error
			if operation == Enrol {
				resp, body, err = a.enrol(Enrol, template(), newKey())
			} else {
				resp, body, err = a.get(operation)
			}
			switch {
			case err != nil:
				return "error"
			case resp.StatusCode != http.StatusOK:
				return resp.Status
			case operation == Enrol && len(body) > 500:
				return "200 " + resp.Header.Get("Content-Type")
			}
			return "200 " + resp.Header.Get("Content-Type") + " " + string(body)
		}
		right := ask()
		for _, f := range faults {
			if f == Hang {
				continue // waited for below
			}
			s.MisbehaveTimes(operation, f, 1)
			issued := len(s.Issued())
			got := ask()
			switch f {
			case Slow:
				if got != right {
					t.Errorf("%s %s: got %.80s, want %.80s", operation, f, got, right)
				}
			default:
				wrongLeaf := operation == Enrol && len(s.Issued()) > issued
				if got == right && !wrongLeaf {
					t.Errorf("%s: %s changes nothing", operation, f)
				}
			}
			s.Forget() // a device told to wait would come again with its key
			if got := ask(); got != right {
				t.Errorf("%s after %s: got %.80s, want %.80s", operation, f, got, right)
			}
		}
		wantNoViolations(t, s)
	}
}

// Every fault of the handshake is noticed by who checks, and what is then sent by who does not is seen.
func TestHandshakeFaults(t *testing.T) {
	for _, f := range HandshakeFaults {
		s := start(t, Options{})
		a := good(t, s)
		s.MisbehaveTimes("", f, 1)
		if f == HangConnect {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			_, err := (&tls.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(s.URL(), "https://"))
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %v", f, err)
			}
			continue
		}
		if _, _, err := a.get(CACerts); err == nil {
			t.Errorf("%s: no error", f)
		}
		wantNoViolations(t, s)
		switch f {
		case CertOtherCA, CertOtherHost, CertEnded, CertNotForServer:
			s.MisbehaveTimes("", f, 1)
			a.roots = nil
			resp, _, err := a.get(CACerts)
			if err != nil || resp.StatusCode != http.StatusBadRequest || len(s.Violations()) != 1 {
				t.Errorf("%s unchecked: got %v %v, %q", f, resp, err, s.Violations())
			}
		}
	}
}

// What redirects lead to answers, and a device that follows one too far is seen.
func TestRedirects(t *testing.T) {
	for _, c := range []struct {
		fault      Fault
		where      string
		violations int
	}{{Redirect, moved, 0}, {RedirectHost, elsewhere, 0}, {RedirectHTTP, plain, 1}} {
		s := start(t, Options{})
		a := good(t, s)
		a.moves = true
		s.Misbehave(CACerts, c.fault)
		_, _, err := a.get(CACerts)
		all := s.Requests()
		if last := all[len(all)-1]; err != nil || len(all) != 2 || last.Where != c.where {
			t.Errorf("%s: got %v, the last at %q", c.fault, err, last.Where)
		}
		if v := s.Violations(); len(v) != c.violations {
			t.Errorf("%s: got %q, want %d", c.fault, v, c.violations)
		}
	}
}

// The three certificates of a roll-over lead from one root to the other.
func TestRollOver(t *testing.T) {
	s := start(t, Options{})
	a := good(t, s)
	old := s.Facility()
	next := s.RollOver()
	_, body, err := a.get(CACerts)
	if err != nil {
		t.Fatal(err)
	}
	all := certificates(t, body)
	if len(all) != 5 || !all[0].Equal(next.Root) || !all[1].Equal(old.Root) {
		t.Fatalf("got %d certificates", len(all))
	}
	for i, c := range []struct{ signer, subject *x509.Certificate }{{next.Root, old.Root}, {old.Root, next.Root}} {
		link := all[2+i]
		err := link.CheckSignatureFrom(c.signer)
		if err != nil || !bytes.Equal(link.RawSubjectPublicKeyInfo, c.subject.RawSubjectPublicKeyInfo) {
			t.Errorf("link %d: %v", i, err)
		}
	}
	s.Retire()
	if _, _, err := a.get(CACerts); err == nil {
		t.Error("the server still shows a certificate of the old root")
	}
	a.roots = next.Pool()
	if _, body, err = a.get(CACerts); err != nil || len(certificates(t, body)) != 2 {
		t.Errorf("got %v", err)
	}
}

// A revoked client certificate, and one that nobody knows, are refused, which does not count as a violation.
func TestRefused(t *testing.T) {
	s := start(t, Options{})
	a := good(t, s)
	s.Revoke(a.shows.Leaf)
	stranger := NewCA("a stranger", time.Now()).Device(serial, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	for _, shows := range []*tls.Certificate{a.shows, &stranger.Certificate, nil} {
		a.shows = shows
		if resp, _, err := a.enrol(Enrol, template(), newKey()); err != nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("got %v %v, want 403", resp, err)
		}
	}
	wantNoViolations(t, s)
}
