package discovery

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nmosauthd/tinytest/spec"
)

// Failed validation: no interaction. The server must not see a request.
func TestKeySetCertificate(t *testing.T) {
	spec.Rules(t, "DIS-5")
	ca, other, namesake := newAuthority(t), newAuthority(t, "another root"), newAuthority(t)
	good := ca.leaf(time.Now().Add(time.Hour), "127.0.0.1")
	for _, c := range []struct {
		name string
		cert tls.Certificate
		conf func(*httptest.Server)
		want string
	}{
		{"unknown authority", other.leaf(time.Now().Add(time.Hour), "127.0.0.1"), nil,
			"the certificate comes from an authority that this device does not trust: issued by \"CN=another root\"; " +
				"put that root into /etc/ca.pem (or have the server send its whole chain)"},
		{"authority of the same name", namesake.leaf(time.Now().Add(time.Hour), "127.0.0.1"), nil,
			"the certificate comes from an authority that this device does not trust: issued by \"CN=test root\", " +
				"and /etc/ca.pem has a root of that name with another key"},
		{"another host", ca.leaf(time.Now().Add(time.Hour), "other.example.com"), nil,
			"the certificate is for another host: "},
		{"expired", ca.leaf(time.Now().Add(-time.Hour), "127.0.0.1"), nil,
			"the certificate is not valid: x509: certificate has expired"},
		{"TLS 1.1", good, versions(tls.VersionTLS10, tls.VersionTLS11),
			"remote error: tls: protocol version not supported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var requests atomic.Int32
			conf := c.conf
			if conf == nil {
				conf = versions(tls.VersionTLS12, tls.VersionTLS13)
			}
			s := serve(t, c.cert, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }), conf)
			_, err := New(Options{Roots: ca.roots, RootsFile: "/etc/ca.pem"}).KeySet(t.Context(), s.URL)
			if want := s.URL + ": " + c.want; err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got  %v\nwant %s…", err, want)
			}
			if requests.Load() != 0 {
				t.Error("a request was sent")
			}
		})
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		mux := http.NewServeMux()
		s := serve(t, good, mux, versions(version, version))
		publish(mux, s.URL, "")
		if _, err := New(Options{Roots: ca.roots}).KeySet(t.Context(), s.URL); err != nil {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

// The certificate is judged by the time that the caller says it is: a device whose clock is in 1970 reaches its server
// (OPS-1).
func TestKeySetTime(t *testing.T) {
	spec.Rules(t, "OPS-1", "DIS-5")
	ca := newAuthority(t)
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1"), mux)
	publish(mux, s.URL, "")
	for _, c := range []struct {
		name string
		now  func() time.Time
		want bool
	}{
		{"the system's", nil, true},
		{"now", time.Now, true},
		{"1970", func() time.Time { return time.Unix(0, 0) }, false},
		{"after its end", func() time.Time { return time.Now().Add(24 * time.Hour) }, false},
	} {
		if _, err := New(Options{Roots: ca.roots, Now: c.now}).KeySet(t.Context(), s.URL); (err == nil) != c.want {
			t.Errorf("%s: got error %v, want success %v", c.name, err, c.want)
		}
	}
}

// versions limits the TLS versions that a server speaks.
func versions(least, most uint16) func(*httptest.Server) {
	return func(s *httptest.Server) { s.TLS.MinVersion, s.TLS.MaxVersion = least, most }
}

// Roots that are installed or removed count from the next fetch on.
func TestKeySetRootsChange(t *testing.T) {
	spec.Rules(t, "DIS-5")
	ca := newAuthority(t)
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1"), mux)
	publish(mux, s.URL, "")
	roots := func() (*x509.CertPool, error) { return nil, errors.New("ca.pem: no such file") }
	c := New(Options{Roots: func() (*x509.CertPool, error) { return roots() }})
	_, err := c.KeySet(t.Context(), s.URL)
	if want := "discovery: the root certificates: ca.pem: no such file"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	roots = ca.roots
	if _, err := c.KeySet(t.Context(), s.URL); err != nil {
		t.Error("installed:", err)
	}
	roots = newAuthority(t).roots
	if _, err := c.KeySet(t.Context(), s.URL); err == nil {
		t.Error("removed: still trusted")
	}
	roots = func() (*x509.CertPool, error) { return nil, nil } // the system's, where no test root is
	if _, err := c.KeySet(t.Context(), s.URL); err == nil {
		t.Error("system roots: trusted")
	}
}

// Certificates are judged by the clock that is handed in (OPS-1).
func TestKeySetClock(t *testing.T) {
	spec.Rules(t, "DIS-5")
	ca := newAuthority(t)
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(-30*time.Minute), "127.0.0.1"), mux)
	publish(mux, s.URL, "")
	now := time.Now
	c := New(Options{Roots: ca.roots, Now: func() time.Time { return now() }})
	if _, err := c.KeySet(t.Context(), s.URL); err == nil || !strings.Contains(err.Error(), "has expired") {
		t.Errorf("expired: got %v", err)
	}
	now = func() time.Time { return time.Now().Add(-45 * time.Minute) }
	if _, err := c.KeySet(t.Context(), s.URL); err != nil {
		t.Errorf("by a clock that says it is valid: got %v", err)
	}
}
