package authserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/misbehave"
)

// metadata is the document of RFC 8414 §2, with the members that IS-10 asks for.
func (s *Server) metadata(fault Fault) []byte {
	m := map[string]any{
		"issuer":                           s.Issuer(),
		"jwks_uri":                         s.URL() + PathJWKS,
		"token_endpoint":                   s.URL() + PathToken,
		"authorization_endpoint":           s.URL() + PathAuthorize,
		"registration_endpoint":            s.URL() + PathRegister,
		"revocation_endpoint":              s.URL() + PathRevoke,
		"scopes_supported":                 s.scopes(),
		"response_types_supported":         []string{"code"},
		"grant_types_supported":            allGrants,
		"code_challenge_methods_supported": []string{"S256"},
		"response_modes_supported":         []string{"query"},

		"authorization_response_iss_parameter_supported": true, // RFC 9207
	}
	s.clientMetadata(m)
	switch fault {
	case MetadataOtherIssuer:
		m["issuer"] = "https://attacker.example.net"
	case MetadataNoIssuer:
		delete(m, "issuer")
	case MetadataNoJWKS:
		delete(m, "jwks_uri")
	case MetadataNoRegistration:
		delete(m, "registration_endpoint")
	case MetadataJWKSHTTP:
		m["jwks_uri"] = "http" + strings.TrimPrefix(s.URL(), "https") + PathJWKS
	case MetadataJWKSElsewhere:
		m["jwks_uri"] = s.otherURL() + PathElsewhere + PathJWKS
	case MetadataJWKSNotURL:
		m["jwks_uri"] = 42
	}
	return encode(m)
}

// jwks is the key set (RFC 7517 §5).
func (s *Server) jwks(fault Fault) []byte {
	s.mu.Lock()
	raw := s.rawJWKS
	keys := make([]mint.JWK, 0, len(s.keys))
	for _, k := range s.keys {
		keys = append(keys, k.JWK())
	}
	s.mu.Unlock()

	switch fault {
	case KeysEmpty:
		keys = nil
	case KeysMissing:
		return encode(map[string]string{"x-note": "no keys here"})
	case KeysObject:
		return encode(map[string]any{"keys": map[string]any{"key-1": keys}})
	case KeysBare:
		return encode(keys)
	case KeysMixed:
		return mixed(keys, s.attacker().JWK())
	case KeysOfEnc:
		for i := range keys {
			keys[i].Use, keys[i].Alg = "enc", "RSA-OAEP-256"
		}
	case KeysOfRS256:
		for i := range keys {
			keys[i].Alg = "RS256"
		}
	case KeysOf1024:
		keys = []mint.JWK{mint.FakeJWK("key-1", 1024)}
	case KeysOf16384:
		keys = []mint.JWK{mint.FakeJWK("key-1", 16384)}
	case KeysMany:
		var strangers []mint.JWK
		for i := range ManyKeys {
			strangers = append(strangers, mint.FakeJWK(fmt.Sprintf("stranger-%d", i), 2048))
		}
		keys = append(strangers, keys...)
	default:
		if raw != nil {
			return raw
		}
	}
	return mint.JWKSOf(keys...)
}

// mixed puts keys that cannot verify RS512, and things that are hardly keys, around the right ones. The stranger is a
// key that must not be used, since it is marked for encryption.
func mixed(keys []mint.JWK, stranger mint.JWK) []byte {
	const (
		x = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4" // RFC 7517 appendix A.1
		y = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"
	)
	set := []any{
		map[string]any{"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "ec", "use": "sig", "alg": "ES256"},
		map[string]any{"kty": "EC", "crv": "P-257", "x": x, "y": y, "kid": "ec-unknown-curve"},
		map[string]any{"kty": "OKP", "crv": "Ed25519",
			"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "okp"},
		map[string]any{"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
		map[string]any{"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA", "kid": "future"},
		map[string]any{"kty": "RSA", "n": "not base64!", "e": "AQAB", "kid": "broken-modulus"},
		map[string]any{"kty": "RSA", "n": stranger.N, "kid": "no-exponent"},
		map[string]any{"kty": "RSA", "n": keys[0].N, "e": "AQ", "kid": "exponent-one"},
		map[string]any{"kty": 7, "kid": "numeric-type"},
		map[string]any{},
	}
	for _, k := range keys {
		set = append(set, k)
	}
	stranger.KeyID, stranger.Use, stranger.Alg = "encryption", "enc", "RSA-OAEP"
	return encode(map[string]any{"keys": append(set, stranger)})
}

// elsewhere is an attacker's copy of the server: as good as the original, but for the keys.
func (s *Server) elsewhere(path string) answer {
	switch {
	case path == PathJWKS:
		return jsonAnswer(mint.JWKS(s.attacker()))
	case s.logical(path) == PathMetadata:
		return jsonAnswer(s.metadata(MetadataJWKSElsewhere))
	}
	return textAnswer(http.StatusNotFound, "nothing here")
}

// admin answers POST /admin/rotate, /admin/misbehave?path=…&fault=… and /admin/behave, for demonstrations.
func (s *Server) admin(r *http.Request, what string) answer {
	if r.Method != http.MethodPost {
		return textAnswer(http.StatusMethodNotAllowed, "POST only")
	}
	switch what {
	case "rotate":
		return textAnswer(http.StatusOK, "signing with "+s.Rotate().KID)
	case "replace":
		return textAnswer(http.StatusOK, "signing with "+s.Replace().KID)
	case "forget-clients":
		s.ForgetClients()
		return textAnswer(http.StatusOK, "no client is registered")
	case "behave":
		s.Behave()
		return textAnswer(http.StatusOK, "behaving")
	case "misbehave":
		path, fault := r.URL.Query().Get("path"), Fault(r.URL.Query().Get("fault"))
		if err := s.tryMisbehave(path, fault, misbehave.EveryTime); err != nil {
			return textAnswer(http.StatusBadRequest, err.Error())
		}
		return textAnswer(http.StatusOK, path+" misbehaves by "+string(fault))
	}
	return textAnswer(http.StatusNotFound, "nothing here")
}

// encode is JSON without the escapes that are meant for HTML. Its callers pass nothing that JSON cannot express.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Errorf("authserver: %w", err))
	}
	return b.Bytes()
}
