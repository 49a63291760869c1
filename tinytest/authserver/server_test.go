package authserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/tinytest/mint"
)

// start is Start with the key that all tests share, since a new one takes its time.
func start(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Key == nil {
		o.Key = mint.CachedKey("key-1", 2048)
	}
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

// get fetches a path; the body is nil if it could not be read whole.
func get(t *testing.T, s *Server, path string) (status int, body []byte) {
	t.Helper()
	response, err := s.Client().Get(s.URL() + path)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return response.StatusCode, body
}

// kids are the names in a key set.
func kids(t *testing.T, set []byte) string {
	t.Helper()
	var document struct {
		Keys []struct{ Kid string }
	}
	if err := json.Unmarshal(set, &document); err != nil {
		t.Fatalf("%v in %.100q", err, set)
	}
	var names []string
	for _, k := range document.Keys {
		names = append(names, k.Kid)
	}
	return strings.Join(names, " ")
}

func TestMetadata(t *testing.T) {
	for _, o := range []Options{{}, {IssuerPath: "realms/studio/"}, {IssuerEnd: "/"},
		{Host: "localhost", IssuerPath: "/a", IssuerEnd: "/"}} {
		s := start(t, o)
		_, body := get(t, s, strings.TrimPrefix(s.MetadataURL(), s.URL()))
		var m map[string]any
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatal(err)
		}
		if m["issuer"] != s.Issuer() || m["jwks_uri"] != s.URL()+PathJWKS {
			t.Errorf("issuer %s: %s", s.Issuer(), body)
		}
		if s.Requests(PathMetadata) != 1 {
			t.Errorf("issuer %s: counted %v", s.Issuer(), s.Counts())
		}
		if o.IssuerPath == "" {
			continue
		}
		if status, _ := get(t, s, PathMetadata); status != http.StatusNotFound || s.Requests(PathMetadata+"/") != 1 {
			t.Errorf("issuer %s without its path: %d, %v", s.Issuer(), status, s.Counts())
		}
	}
}

func TestKeysComeAndGo(t *testing.T) {
	s := start(t, Options{})
	expect := func(want, signer string) {
		t.Helper()
		_, body := get(t, s, PathJWKS)
		if got := kids(t, body); got != want || s.Signer().KID != signer {
			t.Errorf("published %q, signing with %s; want %q, %s", got, s.Signer().KID, want, signer)
		}
	}
	expect("key-1", "key-1")
	s.Rotate()
	expect("key-1 key-2", "key-2")
	s.RemoveKey("key-1")
	expect("key-2", "key-2")
	s.AddKey(mint.CachedKey("another", 2048))
	expect("key-2 another", "key-2")
	s.Replace()
	expect("key-3", "key-3")
	if len(s.Keys()) != 1 || s.Keys()[0] != s.Signer() {
		t.Errorf("keys %v", s.Keys())
	}

	s.SetJWKS([]byte("whatever"))
	if _, body := get(t, s, PathJWKS); string(body) != "whatever" {
		t.Errorf("got %q", body)
	}
	s.SetJWKS(nil)
	expect("key-3", "key-3")

	token := s.Token(mint.Options{Issuer: "ignored"})
	if token.Key != s.Signer() || token.Issuer != s.Issuer() {
		t.Errorf("a token of %s by %s", token.Issuer, token.Key.KID)
	}
}

func TestToken(t *testing.T) {
	s := start(t, Options{Clients: map[string]string{"controller 1": "s:cret"}, Audience: []string{"*.example.com"}})
	post := func(id, secret string, form url.Values) (int, map[string]any) {
		t.Helper()
		request, err := http.NewRequest(http.MethodPost, s.URL()+PathToken, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if id != "" {
			request.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
		}
		response, err := s.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var m map[string]any
		if err := json.NewDecoder(response.Body).Decode(&m); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, m
	}
	grant := url.Values{"grant_type": {"client_credentials"}, "scope": {"events"}}
	status, m := post("controller 1", "s:cret", grant)
	if token, _ := m["access_token"].(string); status != 200 || strings.Count(token, ".") != 2 ||
		m["scope"] != "events" {
		t.Errorf("%d %v", status, m)
	}
	if status, m = post("controller 1", "wrong", grant); status != 401 || m["error"] != "invalid_client" {
		t.Errorf("%d %v", status, m)
	}
	if status, m = post("controller 1", "s:cret", url.Values{}); status != 400 ||
		m["error"] != "unsupported_grant_type" {
		t.Errorf("%d %v", status, m)
	}
	inForm := url.Values{"client_id": {"controller 1"}, "client_secret": {"s:cret"},
		"grant_type": {"client_credentials"}}
	if status, m = post("", "", inForm); status != 200 || m["token_type"] != "Bearer" {
		t.Errorf("%d %v", status, m)
	}
	if status, _ := get(t, s, PathToken); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", status)
	}
}

func TestAdmin(t *testing.T) {
	closed := start(t, Options{})
	if status, _ := get(t, closed, "/admin/rotate"); status != http.StatusNotFound {
		t.Errorf("without Admin: %d", status)
	}
	s := start(t, Options{Admin: true})
	for _, step := range []struct {
		path string
		want int
	}{
		{"/admin/misbehave?path=/jwks&fault=not-found", 200}, {"/jwks", 404}, {"/admin/behave", 200}, {"/jwks", 200},
		{"/admin/misbehave?path=/jwks&fault=no-such", 400}, {"/admin/misbehave?path=/token&fault=keys-empty", 400},
		{"/admin/nothing", 404}, {"/admin/rotate", 200},
	} {
		response, err := s.Client().Post(s.URL()+step.path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != step.want {
			t.Errorf("%s: %d, want %d", step.path, response.StatusCode, step.want)
		}
	}
	if s.Signer().KID != "key-2" {
		t.Errorf("signing with %s", s.Signer().KID)
	}
	if status, _ := get(t, s, "/admin/rotate"); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", status)
	}
}

func TestLogAndWait(t *testing.T) {
	s := start(t, Options{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	waited := make(chan error, 2)
	go func() { waited <- s.WaitRequests(ctx, PathJWKS, 2) }()
	go func() { waited <- s.WaitConnections(ctx, 2) }()
	get(t, s, PathJWKS)
	get(t, s, PathJWKS+"?a=b")
	for range 2 {
		if err := <-waited; err != nil {
			t.Error(err)
		}
	}
	log := s.Log()
	if len(log) != 2 || log[1].Query != "a=b" || log[1].Scheme != "https" || log[1].TLS != tls.VersionTLS13 {
		t.Errorf("got %+v", log)
	}
	short, stop := context.WithCancel(ctx)
	stop()
	if s.WaitRequests(short, PathJWKS, 3) == nil {
		t.Error("waited for nothing")
	}
}

func TestPlainHTTPIsSeen(t *testing.T) {
	s := start(t, Options{})
	response, err := http.Get("http" + strings.TrimPrefix(s.URL(), "https") + PathJWKS)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if log := s.Log(); response.StatusCode != 200 || len(log) != 1 || log[0].Scheme != "http" {
		t.Errorf("got %d, %+v", response.StatusCode, log)
	}
}

func TestSharedCA(t *testing.T) {
	a := start(t, Options{})
	b := start(t, Options{CA: a.CA(), Names: []string{"auth.example.com"}})
	if !bytes.Equal(a.CAPEM(), b.CAPEM()) {
		t.Error("two CAs")
	}
	response, err := a.Client().Get(b.URL() + PathJWKS)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if err := response.TLS.PeerCertificates[0].VerifyHostname("auth.example.com"); err != nil {
		t.Error(err)
	}
	c := start(t, Options{})
	if response, err := a.Client().Get(c.URL() + PathJWKS); err == nil {
		response.Body.Close()
		t.Error("another CA is trusted")
	}
}

func TestUseFromManySides(t *testing.T) {
	s := start(t, Options{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				s.Misbehave(PathJWKS, KeysMixed)
				response, err := s.Client().Get(s.URL() + PathJWKS)
				if err != nil {
					t.Error(err)
					return
				}
				response.Body.Close()
				s.AddKey(mint.CachedKey("another", 2048))
				s.RemoveKey("another")
				s.Behave()
				_, _ = s.Log(), s.Keys()
			}
		})
	}
	all.Wait()
}
