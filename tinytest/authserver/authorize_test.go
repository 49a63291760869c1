package authserver

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/mint"
)

const (
	callback = "http://127.0.0.1:7777/callback?program=panel"
	verifier = "0123456789-0123456789.0123456789_0123456789~"
	password = "open sesame"
)

func challenge(of string) string {
	sum := sha256.Sum256([]byte(of))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// visitor is a registered client on behalf of a person, and that person's browser.
type visitor struct {
	t  *testing.T
	s  *Server
	id string
}

// publicClient is a registration for the authorization code grant.
func publicClient() message {
	return message{method: "POST", path: PathRegister, kind: "application/json", json: map[string]any{
		"client_name": "panel <1>", "grant_types": []string{"authorization_code", "refresh_token"},
		"response_types": []string{"code"}, "redirect_uris": []string{callback}, "scope": "connection query",
		"token_endpoint_auth_method": "none",
	}}
}

func visit(t *testing.T, s *Server) visitor {
	t.Helper()
	status, m := publicClient().send(t, s)
	if status != 201 || m["client_secret"] != nil {
		t.Fatalf("registration: got %d %v, want a client without a secret", status, m)
	}
	return visitor{t, s, fmt.Sprint(m["client_id"])}
}

// request is a good authorization request.
func (v visitor) request() url.Values {
	return url.Values{
		"response_type": {"code"}, "client_id": {v.id}, "redirect_uri": {callback}, "scope": {"connection"},
		"state":          {"a state"},
		"code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"},
	}
}

// browse makes a request, and returns the status, the page and where the browser is sent.
func (v visitor) browse(method, path string, values url.Values) (status int, text string, to *url.URL) {
	v.t.Helper()
	var response *http.Response
	var err error
	if method == http.MethodGet {
		response, err = v.s.Client().Get(v.s.URL() + path + "?" + values.Encode())
	} else {
		response, err = v.s.Client().PostForm(v.s.URL()+path, values)
	}
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	to, err = url.Parse(response.Header.Get("Location"))
	if err != nil {
		v.t.Fatal(err)
	}
	return response.StatusCode, string(body), to
}

// open asks for the form, and returns its number.
func (v visitor) open() string {
	v.t.Helper()
	status, text, _ := v.browse("GET", PathAuthorize, v.request())
	number := regexp.MustCompile(`name="request" value="(\w+)"`).FindStringSubmatch(text)
	if status != 200 || number == nil || !strings.Contains(text, "panel &lt;1&gt; wants to use: connection") {
		v.t.Fatalf("got %d %s, want a form", status, text)
	}
	return number[1]
}

// answers sends the form.
func (v visitor) answers(number, name, password, decision string) (status int, to url.Values) {
	v.t.Helper()
	status, _, u := v.browse("POST", PathSignIn, url.Values{
		"request": {number}, "username": {name}, "password": {password}, "decision": {decision},
	})
	return status, u.Query()
}

// token makes a token request of the public client.
func (v visitor) token(values ...string) (int, map[string]any) {
	v.t.Helper()
	m := message{method: "POST", path: PathToken, kind: "application/x-www-form-urlencoded",
		form: url.Values{"client_id": {v.id}}}
	for i := 0; i < len(values); i += 2 {
		m.form.Set(values[i], values[i+1])
		if values[i+1] == "" {
			m.form.Del(values[i])
		}
	}
	return m.send(v.t, v.s)
}

// code signs in and returns a code.
func (v visitor) code() string {
	v.t.Helper()
	_, q := v.answers(v.open(), "anna", password, "allow")
	if q.Get("code") == "" {
		v.t.Fatalf("got %v, want a code", q)
	}
	return q.Get("code")
}

func (v visitor) exchange(code string, more ...string) (int, map[string]any) {
	v.t.Helper()
	return v.token(append([]string{
		"grant_type", "authorization_code", "code", code, "redirect_uri", callback, "code_verifier", verifier,
	}, more...)...)
}

func people(o Options) Options {
	o.Users = map[string]string{"anna": password}
	return o
}

// claims reads a token.
func claims(t *testing.T, token any) map[string]any {
	t.Helper()
	parts := strings.Split(fmt.Sprint(token), ".")
	if len(parts) != 3 {
		t.Fatalf("got %v, want a token", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// A person signs in with a password, and the client gets a token for that person, and a refresh token that is good
// once.
func TestAuthorizationCode(t *testing.T) {
	s := start(t, people(Options{Policy: func(c RegisteredClient, user, api string) (mint.Permission, bool) {
		return mint.Permission{Read: []string{c.Name + " " + user}}, api == "connection"
	}}))
	v := visit(t, s)
	number := v.open()
	if status, _ := v.answers(number, "anna", "guess", "allow"); status != 403 {
		t.Errorf("a wrong password: got %d, want 403", status)
	}
	if status, _ := v.answers(number, "berta", "", "allow"); status != 403 {
		t.Errorf("nobody: got %d, want 403", status)
	}
	status, q := v.answers(number, "anna", password, "allow")
	if status != 302 || q.Get("state") != "a state" || q.Get("iss") != s.Issuer() || q.Get("program") != "panel" {
		t.Fatalf("got %d %v, want to be sent back with the state, the issuer and what stood in the URI", status, q)
	}
	if status, _ = v.answers(number, "anna", password, "allow"); status != 400 {
		t.Errorf("the same form again: got %d, want 400", status)
	}
	status, m := v.exchange(q.Get("code"))
	c := claims(t, m["access_token"])
	if status != 200 || m["scope"] != "connection" || c["sub"] != "anna" || c["client_id"] != v.id ||
		fmt.Sprint(c["x-nmos-connection"]) != "map[read:[panel <1> anna]]" || c["x-nmos-query"] != nil {
		t.Errorf("got %d %v, claims %v", status, m, c)
	}

	first := fmt.Sprint(m["refresh_token"])
	if status, m = v.token("grant_type", "refresh_token", "refresh_token", first, "scope",
		"connection query"); m["error"] != "invalid_scope" {
		t.Errorf("more scope: got %d %v, want invalid_scope", status, m)
	}
	status, m = v.token("grant_type", "refresh_token", "refresh_token", first)
	second := fmt.Sprint(m["refresh_token"])
	if c := claims(t, m["access_token"]); status != 200 || second == first || c["sub"] != "anna" {
		t.Fatalf("got %d %v, want another refresh token", status, m)
	}
	// Whoever has the old one has stolen it, or the other has: neither is served.
	for _, token := range []string{first, second} {
		if status, m = v.token("grant_type", "refresh_token", "refresh_token", token); status != 400 ||
			m["error"] != "invalid_grant" {
			t.Errorf("after a second use: got %d %v, want invalid_grant", status, m)
		}
	}
	status, q = v.answers(v.open(), "", "", "deny")
	if status != 302 || q.Get("error") != "access_denied" || q.Get("state") != "a state" || q.Has("code") {
		t.Errorf("a no: got %d %v, want access_denied", status, q)
	}
	number = v.open()
	for range tries {
		v.answers(number, "anna", "guess", "allow")
	}
	if status, _ := v.answers(number, "anna", password, "allow"); status != 400 {
		t.Errorf("after %d guesses: got %d, want 400", tries, status)
	}
	if status, _ := v.answers(v.open(), "anna", password, ""); status != 400 {
		t.Errorf("no decision: got %d, want 400", status)
	}
	if text := strings.Join(s.Violations(), "\n"); strings.Contains(text, first) || strings.Contains(text, verifier) {
		t.Errorf("secrets in what is noted: %s", text)
	}
}

// Each fault of an authorization request is refused with its error, and nobody is sent to an address that is not
// registered.
func TestAuthorizationRequestsAreCheckedStrictly(t *testing.T) {
	s := start(t, people(Options{Owner: "anna"}))
	v := visit(t, s)
	if status, _, to := v.browse("GET", PathAuthorize, v.request()); status != 302 || to.Query().Get("code") == "" ||
		len(s.Violations()) != 0 {
		t.Fatalf("got %d %v, %v, want a code, since the owner agreed before", status, to, s.Violations())
	}
	device := registration()
	device.json["scope"] = "connection"
	_, m := device.send(t, s)
	for _, c := range []struct{ name, set, to, want string }{
		{"no client", "client_id", "", ""},
		{"another client", "client_id", "client-0099", ""},
		{"a client without redirect URIs", "client_id", fmt.Sprint(m["client_id"]), ""},
		{"no redirect URI", "redirect_uri", "", ""},
		{"another redirect URI", "redirect_uri", "https://attacker.example.net/", ""},
		{"a longer redirect URI", "redirect_uri", callback + "&x=1", ""},
		{"another port", "redirect_uri", strings.Replace(callback, "7777", "7778", 1), ""},
		{"no response type", "response_type", "", "invalid_request"},
		{"implicit", "response_type", "token", "unsupported_response_type"},
		{"no state", "state", "", "invalid_request"},
		{"no challenge", "code_challenge", "", "invalid_request"},
		{"a short challenge", "code_challenge", "abc", "invalid_request"},
		{"a padded challenge", "code_challenge", challenge(verifier) + "=", "invalid_request"},
		{"no challenge method", "code_challenge_method", "", "invalid_request"},
		{"plain", "code_challenge_method", "plain", "invalid_request"},
		{"no scope", "scope", "", "invalid_scope"},
		{"a scope too many", "scope", "connection events", "invalid_scope"},
		{"twice", "scope", "connection\nquery", "invalid_request"},
	} {
		q, before := v.request(), len(s.Violations())
		if q.Del(c.set); c.to != "" {
			q[c.set] = strings.Split(c.to, "\n")
		}
		status, _, to := v.browse("GET", PathAuthorize, q)
		got := to.Query()
		switch {
		case c.want == "" && (status != 400 || to.String() != ""):
			t.Errorf("%s: got %d, sent to %q, want 400 and nowhere", c.name, status, to)
		case c.want != "" && (status != 302 || got.Get("error") != c.want || got.Has("code") ||
			got.Get("iss") != s.Issuer() || got.Get("state") != q.Get("state")):
			t.Errorf("%s: got %d %v, want %s", c.name, status, got, c.want)
		}
		if n := len(s.Violations()) - before; n != 1 {
			t.Errorf("%s: got %d violations, want 1", c.name, n)
		}
	}
	if status, _, _ := v.browse("POST", PathAuthorize, v.request()); status != 405 {
		t.Errorf("POST: got %d, want 405", status)
	}
}

// A code is good once, for its client, its redirect URI and whoever knows the verifier.
func TestCodesAreCheckedStrictly(t *testing.T) {
	s := start(t, people(Options{}))
	v := visit(t, s)
	other := visit(t, s)
	for _, c := range []struct {
		name string
		more []string
		want string
	}{
		{"no redirect URI", []string{"redirect_uri", ""}, "invalid_request"},
		{"another redirect URI", []string{"redirect_uri", "http://127.0.0.1:7777/"}, "invalid_grant"},
		{"no verifier", []string{"code_verifier", ""}, "invalid_request"},
		{"another verifier", []string{"code_verifier", strings.ToUpper(verifier[:42]) + "AB"}, "invalid_grant"},
		{"the challenge", []string{"code_verifier", challenge(verifier)}, "invalid_grant"},
		{"no code", []string{"code", ""}, "invalid_request"},
		{"another code", []string{"code", "x"}, "invalid_grant"},
		{"another client", []string{"client_id", other.id}, "invalid_grant"},
		{"nobody", []string{"client_id", "x"}, "invalid_client"},
		{"a public client with a secret", []string{"client_secret", "x"}, "invalid_client"},
		{"another grant", []string{"grant_type", "client_credentials"}, "unauthorized_client"},
	} {
		if status, m := v.exchange(v.code(), c.more...); status != 400 && status != 401 || m["error"] != c.want {
			t.Errorf("%s: got %d %v, want %s", c.name, status, m, c.want)
		}
	}
	code := v.code()
	_, m := v.exchange(code)
	if status, again := v.exchange(code); status != 400 || again["error"] != "invalid_grant" {
		t.Errorf("a second time: got %d %v, want invalid_grant", status, again)
	}
	// RFC 6749 §4.1.2: what the code gave is withdrawn with it.
	if status, m := v.token("grant_type", "refresh_token", "refresh_token",
		fmt.Sprint(m["refresh_token"])); status != 400 || m["error"] != "invalid_grant" {
		t.Errorf("the refresh token of a code that came twice: got %d %v, want invalid_grant", status, m)
	}
	// A try that failed has used the code up.
	code = v.code()
	v.exchange(code, "code_verifier", challenge(verifier))
	if status, m := v.exchange(code); status != 400 || m["error"] != "invalid_grant" {
		t.Errorf("after a wrong verifier: got %d %v, want invalid_grant", status, m)
	}
}

// A refresh token is for its client, until that revokes it or an administrator withdraws it.
func TestRefreshTokensEnd(t *testing.T) {
	s := start(t, people(Options{}))
	v, other := visit(t, s), visit(t, s)
	fresh := func() string { _, m := v.exchange(v.code()); return fmt.Sprint(m["refresh_token"]) }
	refresh := func(v visitor, token string) any {
		_, m := v.token("grant_type", "refresh_token", "refresh_token", token)
		return m["error"]
	}
	revoke := func(v visitor, token string) (int, map[string]any) {
		m := message{method: "POST", path: PathRevoke, kind: "application/x-www-form-urlencoded", form: url.Values{
			"client_id": {v.id}, "token": {token},
			"token_type_hint": {"access_token"}, // RFC 7009 §2.1: a wrong hint changes nothing
		}}
		return m.send(t, s)
	}
	token := fresh()
	if got := refresh(other, token); got != "invalid_grant" {
		t.Errorf("another client: got %v, want invalid_grant", got)
	}
	if got := refresh(v, ""); got != "invalid_request" {
		t.Errorf("none: got %v, want invalid_request", got)
	}
	if status, m := revoke(other, token); status != 400 || m["error"] != "invalid_grant" {
		t.Errorf("revoked by another client: got %d %v, want invalid_grant", status, m)
	}
	if status, _ := revoke(v, token); status != 200 || !slices.Contains(s.Revoked(), token) {
		t.Errorf("revoked: got %d, %v, want 200", status, s.Revoked())
	}
	if got := refresh(v, token); got != "invalid_grant" {
		t.Errorf("revoked: got %v, want invalid_grant", got)
	}
	if status, _ := revoke(v, "unknown"); status != 200 {
		t.Errorf("an unknown token revoked: got %d, want 200 (RFC 7009 §2.2)", status)
	}
	token = fresh()
	code := v.code()
	before := len(s.Violations())
	s.Withdraw(v.id)
	if got := refresh(v, token); got != "invalid_grant" || len(s.Violations()) != before {
		t.Errorf("withdrawn: got %v, %v, want invalid_grant, which is not the client's fault",
			got, s.Violations()[before:])
	}
	if _, m := v.exchange(code); m["error"] != "invalid_grant" {
		t.Errorf("a code withdrawn: got %v, want invalid_grant", m)
	}
	token = fresh()
	s.Disable(v.id, true)
	if got := refresh(v, token); got != "invalid_client" {
		t.Errorf("disabled: got %v, want invalid_client", got)
	}
	if status, _, _ := v.browse("GET", PathAuthorize, v.request()); status != 400 {
		t.Errorf("disabled, authorization: got %d, want 400", status)
	}
}

// What a client is for must agree with where its people come back to.
func TestRegistrationForPeople(t *testing.T) {
	s := start(t, Options{})
	for name, spoil := range map[string]func(m map[string]any){
		"no redirect URIs":       func(m map[string]any) { m["redirect_uris"] = []string{} },
		"plain HTTP elsewhere":   func(m map[string]any) { m["redirect_uris"] = []string{"http://panel.example.com/"} },
		"a name of the loopback": func(m map[string]any) { m["redirect_uris"] = []string{"http://localhost/"} },
		"another scheme":         func(m map[string]any) { m["redirect_uris"] = []string{"javascript://x/"} },
		"a fragment": func(m map[string]any) {
			m["redirect_uris"] = []string{"https://panel.example.com/#a"}
		}, "a user": func(m map[string]any) { m["redirect_uris"] = []string{"https://a@panel.example.com/"} },
		"not text":          func(m map[string]any) { m["redirect_uris"] = []int{1} },
		"no response types": func(m map[string]any) { m["response_types"] = []string{} },
		"implicit":          func(m map[string]any) { m["response_types"] = []string{"code", "token"} },
		"another grant": func(m map[string]any) {
			m["grant_types"] = []string{"authorization_code", "password"}
		}, "refresh alone": func(m map[string]any) { m["grant_types"] = []string{"refresh_token"} },
		"no secret for itself": func(m map[string]any) {
			m["grant_types"] = []string{"authorization_code", "client_credentials"}
		},
	} {
		m, before := publicClient(), len(s.Violations())
		spoil(m.json)
		if status, answer := m.send(t, s); status != 400 || answer["error"] != "invalid_client_metadata" ||
			len(s.Violations()) != before+1 {
			t.Errorf("%s: got %d %v, %d violations, want invalid_client_metadata and one",
				name, status, answer, len(s.Violations())-before)
		}
	}
	m := publicClient()
	m.json["redirect_uris"], m.json["token_endpoint_auth_method"] = []string{
		"https://panel.example.com/back"}, "client_secret_basic"
	status, answer := m.send(t, s)
	if status != 201 || answer["client_secret"] == nil {
		t.Errorf("with a secret: got %d %v, want 201 and one", status, answer)
	}
}

// The metadata list what a client needs (RFC 8414 §2; IS-10).
func TestMetadataOfAClientsServer(t *testing.T) {
	s := start(t, Options{})
	_, body := get(t, s, PathMetadata)
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"authorization_endpoint":           s.URL() + "/authorize",
		"token_endpoint":                   s.URL() + "/token",
		"revocation_endpoint":              s.URL() + "/revoke",
		"registration_endpoint":            s.URL() + "/register",
		"code_challenge_methods_supported": "[S256]",
		"grant_types_supported":            "[authorization_code client_credentials refresh_token]",
		"response_types_supported":         "[code]",
		"token_endpoint_auth_methods_supported": "[client_secret_basic client_secret_post private_key_jwt " +
			"none]",
		"authorization_response_iss_parameter_supported": "true",
		"scopes_supported": "[connection events node query registration]",
	} {
		if got := fmt.Sprint(m[name]); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// Each fault of the way by a browser changes the answer.
func TestAuthorizationFaults(t *testing.T) {
	s := start(t, people(Options{Owner: "anna"}))
	v := visit(t, s)
	good := func(q url.Values) string {
		return fmt.Sprint(q.Get("state") == "a state", q.Get("iss") == s.Issuer(), q.Has("code"))
	}
	for fault, want := range map[Fault]string{
		"": "true true true", AuthorizeNoState: "false true true", AuthorizeOtherState: "false true true",
		AuthorizeOtherIssuer: "true false true", AuthorizeDenied: "true true false",
	} {
		if fault != "" {
			s.MisbehaveTimes(PathAuthorize, fault, 1)
		}
		if _, _, to := v.browse("GET", PathAuthorize, v.request()); good(to.Query()) != want {
			t.Errorf("%s: got %s, want %s", fault, good(to.Query()), want)
		}
		if err := s.tryMisbehave(PathToken, fault, 1); fault != "" && err == nil {
			t.Errorf("%s for tokens: want it refused", fault)
		}
	}
	s.MisbehaveTimes(PathMetadata, MetadataNoRegistration, 1)
	if _, body := get(t, s, PathMetadata); strings.Contains(string(body), "registration_endpoint") {
		t.Errorf("got %s, want no registration_endpoint", body)
	}
}

// Codes and forms end.
func TestCodesEnd(t *testing.T) {
	s := start(t, people(Options{}))
	v := visit(t, s)
	code, number := v.code(), v.open()
	s.mu.Lock()
	s.clients.codes[code].until = time.Now()
	s.clients.forms[number].until = time.Now()
	s.mu.Unlock()
	if _, m := v.exchange(code); m["error"] != "invalid_grant" {
		t.Errorf("an old code: got %v, want invalid_grant", m)
	}
	if status, _ := v.answers(number, "anna", password, "allow"); status != 400 {
		t.Errorf("an old form: got %d, want 400", status)
	}
}
