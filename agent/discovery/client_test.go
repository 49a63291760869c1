package discovery

import (
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/spec"
)

// A client's metadata are read whole; endpoints that are not https, or no URL, are not handed on.
func TestMetadata(t *testing.T) {
	spec.Rules(t, "CLI-20", "CLI-21", "CLI-22")
	ca := newAuthority(t)
	for _, c := range []struct {
		rule, name, members, want string
	}{
		{"CLI-20", "none", `"a":1`, "{Issuer:ISS TokenEndpoint: RegistrationEndpoint: RevocationEndpoint: " +
			"TokenAuthMethods:[] TokenAuthSigningAlgs:[] GrantTypes:[] RevocationAuthMethods:[]}"},
		{"CLI-20", "all", `"token_endpoint":"ISS/t","registration_endpoint":"ISS/r","revocation_endpoint":"ISS/v",` +
			`"token_endpoint_auth_methods_supported":["a"],"token_endpoint_auth_signing_alg_values_supported":["b"],` +
			`"grant_types_supported":["c"],"revocation_endpoint_auth_methods_supported":["d"]`,
			"{Issuer:ISS TokenEndpoint:ISS/t RegistrationEndpoint:ISS/r RevocationEndpoint:ISS/v " +
				"TokenAuthMethods:[a] TokenAuthSigningAlgs:[b] GrantTypes:[c] RevocationAuthMethods:[d]}"},
		{"CLI-22", "null", `"token_endpoint":null,"token_endpoint_auth_methods_supported":null`, "TokenAuthMethods:[]"},
		{"CLI-21", "other-host", `"token_endpoint":"https://other.example.com/t"`,
			"TokenEndpoint:https://other.example.com/t"},
		{"CLI-21", "http", `"token_endpoint":"http://a.example.com/t?secret"`,
			`token_endpoint "http://a.example.com/t": not https`},
		{"CLI-21", "user", `"registration_endpoint":"https://a:b@example.com/t"`, "registration_endpoint"},
		{"CLI-21", "relative", `"revocation_endpoint":"/revoke"`, "revocation_endpoint"},
		{"CLI-21", "fragment", `"token_endpoint":"https://a.example.com/t#x"`, "a fragment is not allowed"},
		{"CLI-21", "number", `"token_endpoint":42`, "unexpected JSON number"},
		{"CLI-21", "methods", `"token_endpoint_auth_methods_supported":"client_secret_basic"`,
			"unexpected JSON string"},
		{"CLI-21", "issuer", `"issuer":"https://another.example.com"`, "names another issuer"},
	} {
		t.Run(c.rule+"/"+c.name, func(t *testing.T) {
			mux := http.NewServeMux()
			s := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1"), mux)
			mux.HandleFunc("GET "+wellKnown, func(w http.ResponseWriter, _ *http.Request) {
				issuer := fmt.Sprintf(`"issuer":%q,"jwks_uri":"ISS/jwks",`, s.URL)
				if strings.Contains(c.members, `"issuer"`) {
					issuer = ""
				}
				io.WriteString(w, strings.ReplaceAll("{"+issuer+c.members+"}", "ISS", s.URL))
			})
			mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, someKeys) })
			client := New(Options{Roots: ca.roots})
			m, err := client.Metadata(t.Context(), s.URL)
			got := fmt.Sprintf("%+v", m)
			if err != nil {
				got = err.Error()
			}
			if got = strings.ReplaceAll(got, s.URL, "ISS"); !strings.Contains(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
			// Whatever is wrong there does not lose the keys.
			if _, err := client.KeySet(t.Context(), s.URL); err != nil && c.name != "issuer" {
				t.Errorf("the keys: %v", err)
			}
		})
	}
}

// The client for requests trusts what fetches trust, at the time of the request, and follows nothing.
func TestHTTPClient(t *testing.T) {
	spec.Rules(t, "DIS-5", "CLI-21")
	ca, stranger := newAuthority(t), newAuthority(t, "stranger")
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1"), handler)
	roots := stranger.roots
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	client := New(Options{Roots: func() (*x509.CertPool, error) { return roots() }}).HTTPClient(s.URL)
	post := func() (int, error) {
		res, err := client.Post(s.URL+"/token", "application/json", strings.NewReader("{}"))
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		return res.StatusCode, nil
	}
	if _, err := post(); err == nil || !strings.Contains(err.Error(), "an authority that this device does not trust") {
		t.Errorf("with another root: %v", err)
	}
	roots = ca.roots
	if status, err := post(); status != http.StatusTemporaryRedirect {
		t.Errorf("got %d, %v, want the redirect itself", status, err)
	}
	roots = func() (*x509.CertPool, error) { return nil, fmt.Errorf("no file") }
	if _, err := post(); err == nil || !strings.Contains(err.Error(), "the root certificates: no file") {
		t.Errorf("without roots: %v", err)
	}
}

// A server that was found may name an issuer of its own origin; one that was asked for by name may not (KEY-8).
func TestFoundMetadata(t *testing.T) {
	spec.Rules(t, "KEY-8", "CLI-21")
	ca := newAuthority(t)
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1"), mux)
	mux.HandleFunc("GET "+wellKnown, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":%q}`, s.URL+"/realms/studio", s.URL+"/token")
	})
	client := New(Options{Roots: ca.roots})
	m, err := client.FoundMetadata(t.Context(), s.URL)
	if err != nil || m.Issuer != s.URL+"/realms/studio" || m.TokenEndpoint != s.URL+"/token" {
		t.Errorf("got %+v, %v", m, err)
	}
	if m, err := client.Metadata(t.Context(), s.URL); err == nil {
		t.Errorf("asked for by name: got %+v, want an error", m)
	}
	for _, bad := range []string{"", "ftp://a", "http://127.0.0.1", s.URL + "?a=b"} {
		if m, err := client.FoundMetadata(t.Context(), bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, m)
		}
	}
}
