package authserver

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The kinds of servers differ in what they answer, as the real ones do.
func TestKinds(t *testing.T) {
	for _, c := range []struct {
		kind         Kind
		audience     string // asked for
		aud          string
		scope, cache bool // with an empty scope; of a registration
		secret       int  // its length
	}{
		{Exemplary, "", "[*]", true, true, 26}, {Keycloak, "", "[*]", true, false, 86},
		{OIDCProvider, "", "[*]", false, true, 86},
		{Hydra, "", "[]", true, true, 26}, {Hydra, "*", "[*]", true, true, 26}, {Hydra, "other", "", true, true, 26},
		{BBC, "", "[*]", true, true, 26},
	} {
		s := start(t, Options{Kind: c.kind})
		r := registration()
		r.json["token_endpoint_auth_method"] = "client_secret_basic"
		delete(r.json, "jwks")
		request, err := http.NewRequest("POST", s.URL()+PathRegister, strings.NewReader(string(encode(r.json))))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", r.kind)
		response, err := s.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var client map[string]any
		err = json.NewDecoder(response.Body).Decode(&client)
		response.Body.Close()
		secret := fmt.Sprint(client["client_secret"])
		if cache := response.Header.Get("Cache-Control") == "no-store"; err != nil || cache != c.cache ||
			len(secret) != c.secret {
			t.Errorf("%s: got %v, %d characters, cache %t, want %d and %t",
				c.kind, err, len(secret), cache, c.secret, c.cache)
		}
		m := message{method: "POST", path: PathToken, kind: "application/x-www-form-urlencoded",
			form: url.Values{"grant_type": {"client_credentials"}}}
		m.authorization = "Basic " +
			base64.StdEncoding.EncodeToString([]byte(fmt.Sprint(client["client_id"])+":"+url.QueryEscape(secret)))
		if c.audience != "" {
			m.form.Set("audience", c.audience)
		}
		status, a := m.send(t, s)
		if c.aud == "" {
			if status != 400 || a["error"] != "invalid_request" {
				t.Errorf("%s, audience %s: got %d %v, want invalid_request", c.kind, c.audience, status, a)
			}
			continue
		}
		if _, scope := a["scope"]; status != 200 ||
			fmt.Sprint(claims(t, a["access_token"])["aud"]) != c.aud || scope != c.scope {
			t.Errorf("%s: got %d %v, want aud %s and scope %t", c.kind, status, a, c.aud, c.scope)
		}
	}
}
