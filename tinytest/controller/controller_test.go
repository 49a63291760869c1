package controller

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/dnssd"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

const password = "open sesame"

func start(t *testing.T, o authserver.Options, selector string) (*authserver.Server, Options) {
	t.Helper()
	o.Host, o.Users, o.Key = "auth.example.com", map[string]string{"anna": password}, mint.CachedKey("key-1", 2048)
	s, err := authserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	dns, err := dnsserver.Start(dnsserver.Options{Zone: fmt.Sprintf(`
		$ORIGIN example.com.
		_nmos-auth._tcp       PTR auth._nmos-auth._tcp
		auth._nmos-auth._tcp  SRV 0 0 %s auth
		auth._nmos-auth._tcp  TXT "api_proto=https" "api_ver=v1.0" "pri=0" "api_selector=%s"
		auth                  A 127.0.0.1`, s.Port(), selector)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), dns.Close()); err != nil {
			t.Error(err)
		}
	})
	return s, Options{
		Resolver: dnssd.Resolver{Server: dns.Addr()}, Domain: "example.com", Roots: s.CA().Pool(), Name: "Panel 1",
		Scope: "connection query", Person: Person{Name: "anna", Password: password},
	}
}

func open(t *testing.T, o Options) *Controller {
	t.Helper()
	c := New(o)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Every message of the controller is as a strict server wants it, from discovery to signing out.
func TestSignIn(t *testing.T) {
	for _, realm := range []string{"", "realms/studio"} {
		s, o := start(t, authserver.Options{IssuerPath: realm}, realm)
		c := open(t, o)
		if _, err := c.Token(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Errorf("before: got %v, want ErrSignedOut", err)
		}
		if err := c.SignIn(t.Context()); err != nil {
			t.Fatal(err)
		}
		first, err := c.Token(t.Context())
		if err != nil || first == "" || c.Scope() != "connection query" {
			t.Fatalf("got %v, scope %q, want a token", err, c.Scope())
		}
		if issuer, err := c.Find(t.Context()); err != nil || issuer != s.Issuer() {
			t.Errorf("got %s, %v, want %s", issuer, err, s.Issuer())
		}
		c.mu.Lock()
		c.token.half = time.Now().Add(-time.Second)
		c.mu.Unlock()
		second, err := c.Token(t.Context())
		if err != nil || second == first {
			t.Errorf("after half of its life: got %v, want another token", err)
		}
		if err := c.SignIn(t.Context()); err != nil { // again, as the same client
			t.Error(err)
		}
		if n := s.Registrations(); n != 1 {
			t.Errorf("got %d registrations, want 1", n)
		}
		if err := c.SignOut(t.Context()); err != nil || len(s.Revoked()) != 1 {
			t.Errorf("signing out: got %v, revoked %d tokens, want 1", err, len(s.Revoked()))
		}
		if _, err := c.Token(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Errorf("after: got %v, want ErrSignedOut", err)
		}
		if v := s.Violations(); len(v) != 0 {
			t.Errorf("the server notes: %q", v)
		}
	}
}

// An answer that is not the server's, or not to this request, gives no token.
func TestSignInIsRefused(t *testing.T) {
	s, o := start(t, authserver.Options{}, "")
	for fault, want := range map[authserver.Fault]string{
		authserver.AuthorizeNoState: "another state", authserver.AuthorizeOtherState: "another state",
		authserver.AuthorizeOtherIssuer: "another server", authserver.AuthorizeDenied: "access_denied",
		authserver.HTML: "200", authserver.ServerError: "500",
	} {
		c := open(t, o)
		s.MisbehaveTimes(authserver.PathAuthorize, fault, 1)
		if err := c.SignIn(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", fault, err, want)
		}
		if _, err := c.Token(t.Context()); !errors.Is(err, ErrSignedOut) {
			t.Errorf("%s: got %v, want no token", fault, err)
		}
		if err := c.SignIn(t.Context()); err != nil {
			t.Errorf("%s: the next time: %v", fault, err)
		}
	}
	for name, person := range map[string]Person{
		"wrong password": {Name: "anna", Password: "guess"}, "access_denied": {Deny: true},
	} {
		o.Person = person
		if err := open(t, o).SignIn(t.Context()); err == nil ||
			!strings.Contains(err.Error(), map[bool]string{true: "access_denied", false: "wrong"}[person.Deny]) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A server that is not the one announced, or has no PKCE, is not used.
func TestMetadataAreChecked(t *testing.T) {
	for fault, want := range map[authserver.Fault]string{
		authserver.MetadataOtherIssuer: "of the issuer", authserver.MetadataNoIssuer: "of the issuer",
		authserver.MetadataNoRegistration: "registration_endpoint", authserver.HTML: "invalid character",
		authserver.NotFound: "404", authserver.CertOtherHost: "certificate", authserver.CertOtherCA: "certificate",
	} {
		s, o := start(t, authserver.Options{}, "")
		s.Misbehave(authserver.PathMetadata, fault)
		c := open(t, o)
		if err := c.SignIn(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", fault, err, want)
		}
		if s.Registrations() != 0 {
			t.Errorf("%s: registered all the same", fault)
		}
	}
	_, o := start(t, authserver.Options{}, "realms/other")
	if err := open(t, o).SignIn(t.Context()); err == nil {
		t.Error("another realm: want an error")
	}
	_, o = start(t, authserver.Options{Kind: authserver.BBC}, "")
	if err := open(t, o).SignIn(t.Context()); err == nil || !strings.Contains(err.Error(), "public clients") {
		t.Errorf("no public clients: got %v", err)
	}
}

// What is wrong with a refresh leaves the old token in use; one that was withdrawn is not asked for again.
func TestRefreshFaults(t *testing.T) {
	s, o := start(t, authserver.Options{}, "")
	c := open(t, o)
	if err := c.SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	var held string
	for _, fault := range []authserver.Fault{
		authserver.HTML, authserver.ServerError, authserver.TokenMAC, authserver.TokenNoExpiry,
		authserver.TokenExpiryZero, authserver.TokenMissing, authserver.TooMany,
	} {
		if err := c.SignIn(t.Context()); err != nil { // the server has used the refresh token up
			t.Fatal(err)
		}
		held, _ = c.Token(t.Context())
		s.MisbehaveTimes(authserver.PathToken, fault, 1)
		if err := c.Refresh(t.Context()); err == nil {
			t.Errorf("%s: want an error", fault)
		}
		if got, err := c.Token(t.Context()); got != held || err != nil {
			t.Errorf("%s: got another token or %v, want the old one", fault, err)
		}
	}
	if err := c.SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	held, _ = c.Token(t.Context())
	s.Withdraw(s.Registered()[0].ID)
	if _, why := Refused(c.Refresh(t.Context())); why != "invalid_grant" {
		t.Errorf("withdrawn: got %q, want invalid_grant", why)
	}
	n := s.Requests(authserver.PathToken)
	if err := c.Refresh(t.Context()); !errors.Is(err, ErrSignedOut) || s.Requests(authserver.PathToken) != n {
		t.Errorf("withdrawn, again: got %v, want ErrSignedOut and no request", err)
	}
	if got, err := c.Token(t.Context()); got != held || err != nil {
		t.Errorf("withdrawn: got another token or %v, want the old one until it ends", err)
	}
}

// At 401 the token is refreshed once, at 403 it is not, and 503 is waited for.
func TestAnswersOfDevices(t *testing.T) {
	spec.Rules(t, "CLI-13", "CLI-14")
	s, o := start(t, authserver.Options{}, "")
	var answers []int
	var tokens []string
	device := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, r.Header.Get("Authorization"))
		status := answers[0]
		answers = answers[1:]
		if status == 503 {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%d,"error":"x","debug":"reason-%d"}`, status, status)
	}))
	device.StartTLS()
	t.Cleanup(device.Close)
	roots := s.CA().Pool()
	roots.AddCert(device.Certificate())
	o.Roots = roots
	for _, c := range []struct {
		answers []int
		want    int // of the error; 0: none
		tokens  int // different ones
	}{
		{[]int{200}, 0, 1}, {[]int{401, 200}, 0, 2}, {[]int{401, 401}, 401, 2}, {[]int{403}, 403, 1},
		{[]int{503, 503, 200}, 0, 1},
		{[]int{503, 401, 403}, 403, 2}, {[]int{404}, 404, 1},
	} {
		panel := open(t, o)
		if err := panel.SignIn(t.Context()); err != nil {
			t.Fatal(err)
		}
		answers, tokens = c.answers, nil
		_, err := panel.Get(t.Context(), device.URL)
		status, reason := Refused(err)
		if status != c.want || c.want != 0 && reason != fmt.Sprintf("reason-%d", c.want) ||
			c.want == 0 && err != nil || len(answers) != 0 {
			t.Errorf("%v: got %v, %d answers left, want %d", c.answers, err, len(answers), c.want)
		}
		different := map[string]bool{}
		for _, token := range tokens {
			if !strings.HasPrefix(token, "Bearer eyJ") {
				t.Errorf("%v: Authorization %.20q", c.answers, token)
			}
			different[token] = true
		}
		if len(different) != c.tokens {
			t.Errorf("%v: got %d tokens, want %d", c.answers, len(different), c.tokens)
		}
	}
	o.NoTokens = true
	answers, tokens = []int{200}, nil
	if _, err := open(t, o).Get(t.Context(), device.URL); err != nil || tokens[0] != "" {
		t.Errorf("without tokens: got %v, Authorization %q", err, tokens[0])
	}
}
