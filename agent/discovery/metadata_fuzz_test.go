package discovery

import (
	"net/http"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// Whatever a server publishes as its metadata, what is taken from them is of this server and can be asked for safely;
// an error is short, and plain text.
func FuzzMetadata(f *testing.F) {
	spec.Rules(f, "KEY-8", "CLI-21")
	for _, seed := range []string{
		`{"issuer":"https://auth.example.com","jwks_uri":"https://keys.example.com/jwks?a=b#c","token_endpoint":"https://x/t"}`,
		`{"issuer":"https://auth.example.com:443/","jwks_uri":"http://auth.example.com/"}`,
		`{"issuer":"https://AUTH.example.com/realms/nmos","jwks_uri":"https://user:secret@x/"}`,
		`{"issuer":"https://auth.example.com","jwks_uri":"https://[fe80::1%25eth0]/","grant_types_supported":[null]}`,
		`{"issuer":"https://auth.example.com/%2e%2e/\u0000","jwks_uri":"https://x:99999/"}`,
		"\ufeff{\"issuer\":1e400}", `{"issuer":"a","Issuer":"b"}`, "<html>", " ", `[`, `{"jwks_uri":"https:///x"}`,
		`{"issuer":"https://auth.example.com","registration_endpoint":"https://x/#"}`, `{"issuer":"\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	c := New(Options{})
	named, err := c.issuerSource("https://auth.example.com")
	if err != nil {
		f.Fatal(err)
	}
	found, err := c.serverSource(&Server{Scheme: "https", Host: "auth.example.com", Port: 443})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		check := func(err error) bool {
			if err == nil {
				return true
			}
			s := err.Error()
			if len(s) > 2000 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("got an error of %d bytes, %.300q", len(s), s)
			}
			return false
		}
		for _, from := range []source{named, found} {
			m, err := parseMetadata(body, from)
			if !check(err) {
				continue
			}
			if u, err := parseURL(m.Issuer); err != nil || !strings.EqualFold(u.Hostname(), "auth.example.com") {
				t.Errorf("took the issuer %q", m.Issuer)
			}
			at, err := m.keysURL(from)
			if !check(err) {
				continue
			}
			r, err := http.NewRequest(http.MethodGet, at.String(), nil)
			if err != nil || r.URL.Scheme != "https" || r.URL.Hostname() == "" || r.URL.User != nil ||
				at.Fragment != "" {
				t.Errorf("took the jwks_uri %q, %v", at, err)
			}
		}
		var m Metadata
		if check(parseJSON(body, &m)) && check(m.checkEndpoints(named.issuer)) {
			for _, e := range []string{m.TokenEndpoint, m.RegistrationEndpoint, m.RevocationEndpoint} {
				r, err := http.NewRequest(http.MethodPost, e, nil)
				if e != "" && (err != nil || r.URL.Scheme != "https" || r.URL.Hostname() == "" || r.URL.User != nil) {
					t.Errorf("took the endpoint %q, %v", e, err)
				}
			}
		}
	})
}
