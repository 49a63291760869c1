package oauth_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"nmosauthd/agent/discovery"
	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/spec"
)

// How a device authenticates follows from the server's metadata, unless the configuration says it.
func TestChooseAuth(t *testing.T) {
	spec.Rules(t, "CLI-22", "CLI-23")
	const jwt, basic = oauth.PrivateKeyJWT, oauth.SecretBasic
	for _, c := range []struct {
		name              string
		methods, algs     []string
		configured, held  string
		method, alg, fail string
	}{
		{name: "CLI-22/nothing-said", method: basic},
		{name: "CLI-22/empty", methods: []string{}, fail: "offers nothing"},
		{name: "CLI-22/jwt-without-algorithms", methods: []string{jwt}, method: jwt, alg: "RS256"},
		{name: "CLI-23/jwt-first", methods: []string{basic, jwt},
			algs: []string{"ES256", "RS256"}, method: jwt, alg: "RS256"},
		{name: "CLI-23/ec", methods: []string{jwt}, algs: []string{"ES512", "ES256"}, method: jwt, alg: "ES256"},
		{name: "CLI-23/key-held", methods: []string{jwt}, algs: []string{"RS256", "ES256"},
			held: "ES256", method: jwt, alg: "ES256"},
		{name: "CLI-23/key-refused", methods: []string{jwt}, algs: []string{"RS256"},
			held: "ES256", method: jwt, alg: "RS256"},
		{name: "CLI-23/no-algorithm", methods: []string{jwt, basic}, algs: []string{"RS512"}, method: basic},
		{name: "CLI-22/none", methods: []string{jwt}, algs: []string{"none"},
			fail: `offers "private_key_jwt" with "none"`},
		{name: "CLI-23/post-only", methods: []string{"client_secret_post"}, fail: `it offers "client_secret_post"`},
		{name: "CLI-23/configured", methods: []string{jwt}, configured: basic, method: basic},
		{name: "CLI-23/configured-jwt", configured: jwt, method: jwt, alg: "RS256"},
		{name: "CLI-23/configured-no-algorithm", algs: []string{"PS256"}, configured: jwt,
			fail: "none of RS256 and ES256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := discovery.Metadata{TokenAuthMethods: c.methods, TokenAuthSigningAlgs: c.algs}
			method, alg, err := oauth.ChooseAuth(m, oauth.Config{AuthMethod: c.configured}, c.held)
			if method != c.method || alg != c.alg || (err != nil) != (c.fail != "") ||
				err != nil && !strings.Contains(err.Error(), c.fail) {
				t.Errorf("got %q, %q, %v; want %q, %q, %q", method, alg, err, c.method, c.alg, c.fail)
			}
		})
	}
}

// The answer's scope is what counts; what it must hold, it must hold in the right type.
func TestParseToken(t *testing.T) {
	spec.Rules(t, "CLI-55", "CLI-56")
	for _, c := range []struct{ name, body, want, fail string }{
		{"CLI-55/all", `{"access_token":"a","token_type":"BEARER","expires_in":60,"scope":"x y"}`, "x y 1m0s", ""},
		{"CLI-55/unknown-members", `{"access_token":"a","token_type":"Bearer","expires_in":60,"refresh_token":"r","n":null}`, "x y 1m0s", ""},
		{"CLI-55/null-scope",
			`{"access_token":"a","token_type":"Bearer","expires_in":60,"scope":null}`, "x y 1m0s", ""},
		{"CLI-56/less", `{"access_token":"a","token_type":"Bearer","expires_in":60,"scope":"y"}`, "y 1m0s", ""},
		{"CLI-56/more", `{"access_token":"a","token_type":"Bearer","expires_in":60,"scope":"profile x y email"}`,
			"x y 1m0s", ""},
		{"CLI-56/none", `{"access_token":"a","token_type":"Bearer","expires_in":60,"scope":""}`, "", `scope ""`},
		{"CLI-56/other", `{"access_token":"a","token_type":"Bearer","expires_in":60,"scope":"X"}`, "", `scope "X"`},
		{"CLI-55/long", `{"access_token":"a","token_type":"Bearer","expires_in":1e300}`, "x y 24h0m0s", ""},
		{"CLI-55/negative", `{"access_token":"a","token_type":"Bearer","expires_in":-1}`, "", "expires_in -1"},
		{"CLI-55/fraction", `{"access_token":"a","token_type":"Bearer","expires_in":0.5}`, "", "expires_in 0.5"},
		{"CLI-55/no-type", `{"access_token":"a","expires_in":60}`, "", "token_type (none)"},
		{"CLI-55/array", `[]`, "", "not a JSON object"},
		{"CLI-55/token-at-limit", `{"access_token":"` + strings.Repeat("t", 16<<10) +
			`","token_type":"Bearer","expires_in":60}`, "x y 1m0s", ""},
		{"CLI-55/token-too-long", `{"access_token":"` + strings.Repeat("t", 16<<10+1) +
			`","token_type":"Bearer","expires_in":60}`, "", "16385 bytes, over 16384"},
		{"CLI-55/case", `{"Access_Token":"a","token_type":"Bearer","expires_in":60}`, "", "no access_token"},
		{"CLI-55/twice", `{"access_token":"a","access_token":"b","token_type":"Bearer","expires_in":60}`, "", "twice"},
		{"CLI-55/object", `{"access_token":{"a":1},"token_type":"Bearer","expires_in":60}`, "", "a JSON object"},
		{"CLI-55/trailing", `{"access_token":"a","token_type":"Bearer","expires_in":60} {}`, "", "not JSON"},
		{"CLI-55/space", `{"access_token":"a b","token_type":"Bearer","expires_in":60}`, "", "cannot be sent"},
		{"CLI-55/not-ascii", `{"access_token":"\u00e9","token_type":"Bearer","expires_in":60}`, "", "cannot be sent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := oauth.ParseToken([]byte(c.body), "x y")
			got := fmt.Sprint(a.Scope, " ", a.Left)
			if c.fail == "" && (err != nil || got != c.want) ||
				c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)) {
				t.Errorf("got %q, %v; want %q, %q", got, err, c.want, c.fail)
			}
		})
	}
}

// What a server says is shown bounded, escaped, and never with a secret in it.
func TestServersTextIsSafe(t *testing.T) {
	spec.Rules(t, "OPS-2")
	for _, c := range []struct{ text, want string }{
		{"Host not trusted.", "Host not trusted."},
		{"a\r\nforged line\x1b[2J", `a\r\nforged line\x1b[2J`},
		{strings.Repeat("x", 5000), strings.Repeat("x", 200) + "..."},
		{"got sesame-open in", "left out"}, {"got base64 of eyJhbGciOiJS", "left out"}, {"tiny: k1", "left out"},
	} {
		if got := oauth.ShownText(c.text, []string{"the sesame-opener", "k1", ""}); !strings.Contains(got, c.want) ||
			len(got) > 300 {
			t.Errorf("%.40q: got %q, want %q", c.text, got, c.want)
		}
	}
}

// The keys that the device publishes are public ones for signatures, named by their thumbprint, and not those of TLS.
func TestJWKS(t *testing.T) {
	spec.Rules(t, "CLI-65", "CLI-66", "CLI-37")
	r := newRig(t, authserver.Options{})
	if got := string(r.JWKS()); got != `{"keys":[]}` {
		t.Errorf("without a key: %s", got)
	}
	r.must("registration")
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(r.JWKS(), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%v: %s", err, r.JWKS())
	}
	k := set.Keys[0]
	print, err := k.Thumbprint(5) // crypto.SHA256
	if err != nil || !k.IsPublic() || k.Use != "sig" || k.Algorithm != "RS256" ||
		len(k.KeyID) != 43 || len(print) != 32 {
		t.Errorf("key %+v, %v", k, err)
	}
	for _, private := range []string{`"d"`, `"p"`, `"q"`, `"dp"`, `"qi"`} {
		if strings.Contains(string(r.JWKS()), private) {
			t.Errorf("the private member %s is published", private)
		}
	}
}

// There is a registration for each issuer; the token of the one is in use until the other gives one.
func TestTwoServers(t *testing.T) {
	spec.Rules(t, "CLI-24")
	r := newRig(t, authserver.Options{})
	first := r.must("registration").Token
	firstConfig := r.config
	other, err := authserver.Start(authserver.Options{CA: r.server.CA(), Key: r.server.Signer()})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r.config.Issuer = other.Issuer()
	r.configure()
	other.Misbehave(authserver.PathToken, authserver.ServerError)
	r.work()
	if a := r.Token("registration"); a.Token != first {
		t.Errorf("got %v, want the token of the first server", a)
	}
	other.Behave()
	r.work()
	if a := r.Token("registration"); a.Token == first || a.Err != nil {
		t.Errorf("got %v, want a token of the second server", a)
	}
	r.config = firstConfig
	r.configure()
	r.work()
	r.restart()
	r.must("registration")
	r.registrations(1)
	if n := other.Registrations(); n != 1 || len(r.Status().Clients) != 2 {
		t.Errorf("%d registrations at the second server, %d clients stored", n, len(r.Status().Clients))
	}
}

// A look at the registration may bring a new secret and a new registration token; both are stored before they are used.
func TestManaged(t *testing.T) {
	spec.Rules(t, "CLI-41")
	mux := http.NewServeMux()
	var seen []string
	answer := func(w http.ResponseWriter, status int, text string) {
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
	r := newRig(t, authserver.Options{}) // for its authority alone
	cert, err := r.server.CA().Issue(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	s := startTLS(t, cert, mux)
	soon := time.Now().Add(10 * time.Minute).Unix()
	mux.HandleFunc("POST /register", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 201, fmt.Sprintf(`{"client_id":"c","client_secret":"secret-1","client_secret_expires_at":%d,`+
			`"registration_client_uri":"%s/c","registration_access_token":"token-1"}`, soon, s))
	})
	mux.HandleFunc("GET /c", func(w http.ResponseWriter, q *http.Request) {
		seen = append(seen, q.Header.Get("Authorization"))
		n := len(seen) + 1
		answer(w, 200, fmt.Sprintf(`{"client_id":"c","client_secret":"secret-%d","client_secret_expires_at":%d,`+
			`"registration_access_token":"token-%d","redirect_uris":null}`, n, soon+int64(n), n))
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, q *http.Request) {
		_, secret, _ := q.BasicAuth()
		seen = append(seen, secret)
		if !strings.Contains(string(r.flash.data), `"`+secret+`"`) {
			t.Errorf("%s was used before it was stored", secret)
		}
		answer(w, 200, `{"access_token":"a","token_type":"bearer","expires_in":60}`)
	})
	pool := func() (*x509.CertPool, error) { return r.server.CA().Pool(), nil }
	found := discovery.New(discovery.Options{Roots: pool})
	c := oauth.New(oauth.Options{
		HTTP: found.HTTPClient,
		Metadata: func(context.Context, string) (discovery.Metadata, error) {
			return discovery.Metadata{TokenEndpoint: s + "/token", RegistrationEndpoint: s + "/register"}, nil
		},
		Storage: r.flash, Clock: func() (time.Time, bool) { return time.Now(), true }, Report: func(oauth.Event) {},
	})
	c.Configure(oauth.Config{Issuer: s, Name: "a", Scopes: []string{"registration"}})
	c.Here(s)
	for range 3 {
		c.Token("registration")
		c.Due()
		c.Step(t.Context())
	}
	want := []string{"Bearer token-1", "secret-2", "Bearer token-2", "secret-4", "Bearer token-4", "secret-6"}
	if err := c.Status().Err; !slices.Equal(seen, want) || err != nil {
		t.Errorf("got %q, %v, want %q, and no update after what a look brought", seen, err, want)
	}
}
