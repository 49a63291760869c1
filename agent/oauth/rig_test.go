package oauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/agent/discovery"
	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
)

// rig is one device, its server and what it said.
type rig struct {
	t      *testing.T
	server *authserver.Server
	flash  *flash
	config oauth.Config
	*oauth.Client

	mu      sync.Mutex
	events  []oauth.Event
	trusted bool
	ahead   time.Duration
	off     bool // no power: nothing is sent any more
}

// wire is the way to the server, which a power cut ends.
type wire struct {
	inner http.RoundTripper
	r     *rig
}

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.r.mu.Lock()
	off := w.r.off
	w.r.mu.Unlock()
	if off {
		return nil, errPower
	}
	return w.inner.RoundTrip(r)
}

// newRig starts a server, and a device that has never been on.
func newRig(t *testing.T, o authserver.Options) *rig {
	t.Helper()
	if o.Key == nil {
		o.Key = mint.CachedKey("key-1", 2048)
	}
	r := &rig{t: t, flash: &flash{}, trusted: true}
	if o.FetchKeys != nil {
		o.FetchKeys = func(string) ([]byte, error) { return r.JWKS(), nil }
	}
	server, err := authserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	r.server = server
	r.config = oauth.Config{
		Issuer: server.Issuer(), Name: "Acme AX-8 SN0012", SoftwareID: "d4f4b2ae-0000-4000-8000-000000000001",
		Version: "1.0", Scopes: []string{"registration", "events"},
	}
	r.restart()
	return r
}

// restart switches the device off and on.
func (r *rig) restart() {
	r.mu.Lock()
	r.off = false
	r.mu.Unlock()
	roots := func() (*x509.CertPool, error) { return r.server.CA().Pool(), nil }
	found := discovery.New(discovery.Options{Roots: roots})
	r.Client = oauth.New(oauth.Options{
		HTTP: func(issuer string) *http.Client {
			c := found.HTTPClient(issuer)
			c.Transport = wire{c.Transport, r}
			return c
		},
		Metadata: func(ctx context.Context, issuer string) (discovery.Metadata, error) {
			if r.off {
				return discovery.Metadata{}, errPower
			}
			return found.Metadata(ctx, issuer)
		},
		Storage: r.flash,
		Clock: func() (time.Time, bool) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return time.Now().Add(r.ahead), r.trusted
		},
		Report: func(e oauth.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
	})
	r.SetPatience(time.Minute)
	r.configure()
}

func (r *rig) configure() {
	r.Configure(r.config)
	r.Here(r.config.Issuer)
}

// work does what is due, whenever it would be.
func (r *rig) work() {
	r.t.Helper()
	r.Here(r.config.Issuer)
	r.Due()
	r.Step(r.t.Context())
}

// token is the token for a scope after a step.
func (r *rig) token(scope string) oauth.Token {
	r.t.Helper()
	if t := r.Token(scope); t.Err == nil {
		return t
	}
	r.work()
	r.work() // a client that is gone is registered in the second
	return r.Token(scope)
}

// must is token, which must come.
func (r *rig) must(scope string) oauth.Token {
	r.t.Helper()
	t := r.token(scope)
	if t.Err != nil || t.Token == "" {
		r.t.Fatalf("no token for %s: %v; status %+v", scope, t.Err, r.Status())
	}
	return t
}

// said returns all that was reported and can be seen, and takes it away.
func (r *rig) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, e := range r.events {
		fmt.Fprintf(&b, "%d %s %s %s %v\n", e.Kind, e.Issuer, e.Scope, e.Text, e.Err)
	}
	r.events = nil
	return b.String()
}

// strict fails if the server found fault with a message.
func (r *rig) strict() {
	r.t.Helper()
	for _, v := range r.server.Violations() {
		r.t.Errorf("the server met a violation: %s", v)
	}
}

// registrations fails unless so many were made.
func (r *rig) registrations(want int) {
	r.t.Helper()
	if got := r.server.Registrations(); got != want {
		r.t.Errorf("got %d registrations, want %d", got, want)
	}
}

// secrets are all that must not be seen anywhere.
func (r *rig) secrets() []string {
	var all []string
	for _, name := range []string{`"client_secret":"`, `"registration_access_token":"`, `"pkcs8":"`} {
		for rest := string(r.flash.data); ; {
			_, after, ok := strings.Cut(rest, name)
			if !ok {
				break
			}
			value, more, _ := strings.Cut(after, `"`)
			all, rest = append(all, value), more
		}
	}
	for _, s := range []string{"registration", "events"} {
		if t := r.Token(s); t.Token != "" {
			all = append(all, t.Token)
		}
	}
	return all
}

// silent fails if a secret is in a text.
func (r *rig) silent(where, text string) {
	r.t.Helper()
	for _, s := range r.secrets() {
		if len(s) >= 8 && strings.Contains(text, s) {
			r.t.Errorf("%s has the secret %.6s…: %.300s", where, s, strings.ReplaceAll(text, s, "<it>"))
		}
	}
	if strings.Contains(text, "eyJ") {
		r.t.Errorf("%s has a JWT: %.300s", where, text)
	}
}

// startTLS serves a handler with a certificate, and returns its URL.
func startTLS(t *testing.T, cert tls.Certificate, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}
