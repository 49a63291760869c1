package authserver

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"nmosauthd/tinytest/mint"
)

// message is a request that a client sends, and may spoil.
type message struct {
	method, path, kind, authorization string
	form                              url.Values
	json                              map[string]any
}

// send sends a message and returns the status and the members of the answer.
func (m message) send(t *testing.T, s *Server) (int, map[string]any) {
	t.Helper()
	body := []byte(m.form.Encode())
	if m.json != nil {
		body = encode(m.json)
	}
	request, err := http.NewRequest(m.method, s.URL()+m.path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", m.kind)
	if m.authorization != "" {
		request.Header.Set("Authorization", m.authorization)
	}
	response, err := s.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	_ = json.Unmarshal(text, &members) // not all answers are JSON
	return response.StatusCode, members
}

func jwksOf(k *mint.Key) map[string]any {
	key := k.JWK()
	return map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "n": key.N, "e": key.E, "kid": "one", "use": "sig", "alg": "RS256",
	}}}
}

// registration is a message as IS-10 has it.
func registration() message {
	return message{method: "POST", path: PathRegister, kind: "application/json", json: map[string]any{
		"client_name": "a", "grant_types": []string{"client_credentials"}, "response_types": []string{},
		"redirect_uris": []string{}, "scope": "registration", "token_endpoint_auth_method": "private_key_jwt",
		"jwks": jwksOf(mint.CachedKey("device", 2048)),
	}}
}

// assertion signs claims as a client does.
func assertion(t *testing.T, typ string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{
		Key: mint.CachedKey("device", 2048).Private, KeyID: "one",
	}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(encode(claims))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Each fault of a client is refused and noted, and a client without one is served.
func TestClientsAreCheckedStrictly(t *testing.T) {
	s := start(t, Options{})
	if status, m := registration().send(t, s); status != 201 || m["client_id"] != "client-0001" ||
		m["registration_access_token"] == nil {
		t.Fatalf("got %d %v, want a client", status, m)
	}
	for name, spoil := range map[string]func(*message){
		"type":             func(m *message) { m.kind = "text/plain" },
		"no name":          func(m *message) { delete(m.json, "client_name") },
		"no method":        func(m *message) { delete(m.json, "token_endpoint_auth_method") },
		"other method":     func(m *message) { m.json["token_endpoint_auth_method"] = "none" },
		"no scope":         func(m *message) { delete(m.json, "scope") },
		"response_types":   func(m *message) { m.json["response_types"] = []string{"none"} },
		"no redirect_uris": func(m *message) { delete(m.json, "redirect_uris") },
		"grant_types":      func(m *message) { m.json["grant_types"] = []string{"client_credentials", "password"} },
		"two sets of keys": func(m *message) { m.json["jwks_uri"] = "https://example.com" },
		"no keys":          func(m *message) { delete(m.json, "jwks") },
		"private key": func(m *message) {
			m.json["jwks"].(map[string]any)["keys"].([]any)[0].(map[string]any)["d"] = "AQAB"
		}, "key without a kid": func(m *message) {
			delete(m.json["jwks"].(map[string]any)["keys"].([]any)[0].(map[string]any), "kid")
		},
	} {
		m, before := registration(), len(s.Violations())
		spoil(&m)
		if status, answer := m.send(t, s); status != 400 || len(s.Violations()) != before+1 {
			t.Errorf("registration, %s: got %d %v, %d violations, want 400 and one",
				name, status, answer, len(s.Violations())-before)
		}
	}

	n := 0
	now := time.Now().Unix()
	ask := func(typ string, change func(claims map[string]any, m *message)) (int, map[string]any) {
		n++
		claims := map[string]any{
			"iss": "client-0001", "sub": "client-0001", "aud": s.URL() + PathToken, "jti": fmt.Sprint(n), "iat": now,
			"exp": now + 60,
		}
		m := message{
			method: "POST", path: PathToken, kind: "application/x-www-form-urlencoded",
			form: url.Values{
				"grant_type": {"client_credentials"}, "scope": {"registration"},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			},
		}
		change(claims, &m)
		if !m.form.Has("client_assertion") {
			m.form.Set("client_assertion", assertion(t, typ, claims))
		}
		return m.send(t, s)
	}
	before := len(s.Violations())
	if status, m := ask("JWT", func(map[string]any, *message) {}); status != 200 || m["scope"] != "registration" ||
		len(s.Violations()) != before {
		t.Fatalf("got %d %v, %v, want a token", status, m, s.Violations())
	}
	for name, spoil := range map[string]func(claims map[string]any, m *message){
		"type":           func(_ map[string]any, m *message) { m.kind = "application/json" },
		"query":          func(_ map[string]any, m *message) { m.path += "?scope=x" },
		"twice":          func(_ map[string]any, m *message) { m.form.Add("scope", "events") },
		"both":           func(_ map[string]any, m *message) { m.authorization = "Basic YTpi" },
		"assertion type": func(_ map[string]any, m *message) { m.form.Set("client_assertion_type", "x") },
		"other client":   func(_ map[string]any, m *message) { m.form.Set("client_id", "x") },
		"grant":          func(_ map[string]any, m *message) { m.form.Set("grant_type", "password") },
		"not a JWT":      func(_ map[string]any, m *message) { m.form.Set("client_assertion", "a.b.c") },
		"alg none": func(_ map[string]any, m *message) {
			m.form.Set("client_assertion", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))+".e30.")
		},
		"iss":       func(c map[string]any, _ *message) { c["iss"] = "x" },
		"aud":       func(c map[string]any, _ *message) { c["aud"] = s.Issuer() },
		"aud array": func(c map[string]any, _ *message) { c["aud"] = []string{s.URL() + PathToken} },
		"no jti":    func(c map[string]any, _ *message) { delete(c, "jti") },
		"jti again": func(c map[string]any, _ *message) { c["jti"] = "1" },
		"expired":   func(c map[string]any, _ *message) { c["exp"] = now - 1 },
		"early":     func(c map[string]any, _ *message) { c["iat"], c["exp"] = now+37, now+97 },
	} {
		before := len(s.Violations())
		if status, m := ask("JWT", spoil); status != 400 && status != 401 || len(s.Violations()) != before+1 {
			t.Errorf("%s: got %d %v, %d violations, want a refusal and one",
				name, status, m, len(s.Violations())-before)
		}
	}
	if status, _ := ask("at+jwt", func(map[string]any, *message) {}); status != 401 {
		t.Errorf("typ: got %d, want 401", status)
	}
	// No scope is a token for nothing, as with real servers, and noted.
	before = len(s.Violations())
	status, m := ask("JWT", func(_ map[string]any, m *message) { m.form.Del("scope") })
	if status != 200 || m["scope"] != "" || len(s.Violations()) != before+1 {
		t.Errorf("no scope: got %d %v", status, m)
	}
	if status, m = ask("JWT", func(_ map[string]any, m *message) {
		m.form.Set("scope", "events")
	}); m["error"] != "invalid_scope" {
		t.Errorf("another scope: got %d %v, want invalid_scope", status, m)
	}
	s.ForgetClients()
	if status, m = ask("JWT", func(map[string]any, *message) {}); status != 401 || m["error"] != "invalid_client" {
		t.Errorf("after the reset: got %d %v, want invalid_client", status, m)
	}
}

// The registration token changes with each update, unless the kind of server keeps it; the old one is then invalid.
func TestManagedClients(t *testing.T) {
	for _, kind := range []Kind{Exemplary, Keycloak, Hydra, OIDCProvider} {
		s := start(t, Options{Kind: kind})
		_, m := registration().send(t, s)
		token := fmt.Sprint(m["registration_access_token"])
		at := strings.TrimPrefix(fmt.Sprint(m["registration_client_uri"]), s.URL())
		update := registration()
		update.method, update.path, update.authorization = "PUT", at, "Bearer "+token
		if status, _ := update.send(t, s); status != 400 {
			t.Errorf("%s: without client_id: got %d, want 400", kind, status)
		}
		update.json["client_id"], update.json["client_name"] = m["client_id"], "b"
		status, m := update.send(t, s)
		if status != 200 || m["client_name"] != "b" || s.Registered()[0].Name != "b" {
			t.Errorf("%s: got %d %v, want the new name", kind, status, m)
		}
		update.json["registration_access_token"] = "x"
		update.authorization = "Bearer " + fmt.Sprint(m["registration_access_token"])
		if status, _ = update.send(t, s); status != 400 {
			t.Errorf("%s: with a registration token in it: got %d, want 400", kind, status)
		}
		look := message{method: "GET", path: at, authorization: "Bearer " + token}
		want := map[bool]int{true: 200, false: 401}[kind == OIDCProvider]
		if status, _ = look.send(t, s); status != want {
			t.Errorf("%s: the old token: got %d, want %d", kind, status, want)
		}
		look.method, look.authorization = "DELETE", update.authorization
		if status, _ = look.send(t, s); status != 204 || len(s.Registered()) != 0 || s.Registrations() != 1 {
			t.Errorf("%s: removal: got %d, %v", kind, status, s.Registered())
		}
	}
}

// Each fault of a client's endpoint changes the answer, and its name is known.
func TestEveryClientFaultHappens(t *testing.T) {
	s := start(t, Options{Clients: map[string]string{"a": "b"}})
	ask := func(path string) string {
		m := registration()
		if path == PathToken {
			m = message{method: "POST", path: path, kind: "application/x-www-form-urlencoded",
				authorization: "Basic YTpi",
				form:          url.Values{"grant_type": {"client_credentials"}, "scope": {"events"}}}
		} else {
			delete(m.json, "jwks")
			m.json["jwks_uri"] = "https://example.com/jwks"
		}
		status, members := m.send(t, s)
		for _, name := range []string{"client_id", "registration_access_token", "registration_client_uri",
			"client_id_issued_at"} {
			if members[name] != nil {
				members[name] = "some"
			}
		}
		if token, _ := members["access_token"].(string); strings.Count(token, ".") == 2 {
			members["access_token"] = "some"
		}
		return fmt.Sprint(status, string(encode(members)))
	}
	for _, f := range ClientFaults {
		if f.Scope == AuthorizePath || f.Scope == MetadataPath {
			continue // TestAuthorizationFaults
		}
		path := PathToken
		if f.Scope == RegisterPath {
			path = PathRegister
		}
		if f.Fault == RegisterLost {
			continue // it has no answer; see agent/oauth
		}
		good := ask(path)
		s.MisbehaveTimes(path, f.Fault, 1)
		if bad := ask(path); bad == good {
			t.Errorf("%s: as good as ever: %s", f.Fault, bad)
		}
		// A fault of any path spoils the others, too, and no other fault can be set there.
		err := s.tryMisbehave(PathJWKS, f.Fault, 1)
		if (err == nil) != (f.Scope == AnyPath) {
			t.Errorf("%s for key sets: got %v, want it refused unless it is a fault of any path", f.Fault, err)
		}
		status, _ := message{method: "GET", path: PathJWKS}.send(t, s)
		if (status == 200) != (err != nil) {
			t.Errorf("%s for key sets: the answer has status %d, want 200 unless the fault is set", f.Fault, status)
		}
	}
}
