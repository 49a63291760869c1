package token_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
	"nmosauthd/tinytest/wycheproof"
)

// held makes an issuer of a key set as its server sends it; nil if none of the keys counts.
func held(document []byte) *keys.Issuer {
	all, _, err := keys.Parse(document)
	if err != nil {
		return nil
	}
	return &keys.Issuer{Name: mint.DefaultIssuer, Keys: all}
}

// Each signature is verified as that of a token is, by a key that was published as a JWK. What some standard accepts
// (DigestInfo without NULL) is refused, as RFC 8017 §8.2.2 has it.
func TestWycheproofSHA512(t *testing.T) {
	spec.Rules(t, "TOK-6")
	for bits, least := range map[int]int{2048: 250, 3072: 250, 4096: 250, 8192: 250} {
		valid := 0
		all := wycheproof.SHA512(bits)
		for _, c := range all {
			encode := base64.RawURLEncoding.EncodeToString
			issuer := held([]byte(`{"keys":[{"kty":"RSA","n":"` + encode(c.Modulus) +
				`","e":"` + encode(c.Exponent) + `"}]}`))
			if issuer == nil {
				t.Fatalf("%s: its key is left out", c.Name)
			}
			if got, want := token.Verifies(issuer, c.Message, c.Signature), c.Result == wycheproof.Valid; got != want {
				t.Errorf("%s: verifies: %v, want %v (%s)", c.Name, got, want, c.Result)
			}
			if c.Result == wycheproof.Valid {
				valid++
			}
		}
		if len(all) < least || valid < 7 {
			t.Errorf("%d bits: %d vectors, %d valid; want %d and 7 or more", bits, len(all), valid, least)
		}
	}
}

// No JWS of the sets is an access token: they are signed with other algorithms, and their payloads are not claims. What
// they say of the form must be what is found: those that are valid are well formed, and those that are about base64 are
// not. The valid ones with RS512 have good signatures by their published keys.
func TestWycheproofJWS(t *testing.T) {
	spec.Rules(t, "TOK-1", "TOK-2", "TOK-5", "TOK-6")
	base := mint.New(mint.Options{Now: present})
	set := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(base.Key)}).Set()
	v := newVerifier(token.Options{})
	all, good := wycheproof.JSONWebSignatures(), 0
	for _, c := range all {
		var tok token.Token
		o := v.Check([]byte(c.Token), clock, set, &tok)
		switch o.Reason {
		case wire.TokenMalformed, wire.TokenJSON, wire.TokenAlgorithm, wire.TokenTooLarge:
		default:
			t.Errorf("%s: %v", c.Name, o.Reason)
		}
		if tok.Verified() {
			t.Errorf("%s: it is verified", c.Name)
		}
		segments := strings.Split(c.Token, ".")
		// A character that is not base64url is valid here by what a lenient decoder makes of it, and an empty payload
		// is not claims.
		lenient := strings.Contains(c.Name, "InvalidCharacterInserted")
		wellFormed := token.Split([]byte(c.Token))
		if c.Result == wycheproof.Valid && wellFormed != (!lenient && len(segments) == 3 && segments[1] != "") {
			t.Errorf("%s: well formed: %v", c.Name, wellFormed)
		}
		// Their text in the file has lost what their names say: it is a good one.
		lost := strings.Contains(c.Name, "nvalidBase64Padding")
		if c.Group == "base64" && c.Result == wycheproof.Invalid && wellFormed && !lost {
			t.Errorf("%s: is well formed", c.Name)
		}
		if c.Group != "rs512" || c.Result != wycheproof.Valid {
			continue
		}
		issuer := held(bytes.Join([][]byte{[]byte(`{"keys":[`), c.Keys[0], []byte("]}")}, nil))
		signature, err := base64.RawURLEncoding.DecodeString(segments[2])
		if issuer == nil || err != nil || !token.Verifies(issuer, []byte(segments[0]+"."+segments[1]), signature) {
			t.Errorf("%s: its signature is refused", c.Name)
		}
		if token.Verifies(issuer, []byte(segments[0]+"."+segments[1]+"A"), signature) {
			t.Errorf("%s: its signature is good for another text", c.Name)
		}
		good++
	}
	if len(all) < 450 || good < 4 {
		t.Errorf("%d vectors, %d of them good with RS512; want 450 and 4 or more", len(all), good)
	}
}

// The keys of the sets count only if they are fit for RS512. Once more with alg RS512 in place of what they have, so
// that it is the key itself that is judged.
func TestWycheproofJWK(t *testing.T) {
	spec.Rules(t, "KEY-4")
	unfit := map[string]bool{"keysize_too_small": true, "exponentOne": true, "wrong_kty": true, "rsa_encryption": true}
	judged := map[string]int{}
	for _, c := range wycheproof.JSONWebSignatures() {
		for _, text := range c.Keys {
			var members map[string]any
			if err := json.Unmarshal(text, &members); err != nil {
				t.Fatal(err)
			}
			published := func() *keys.Issuer {
				key, err := json.Marshal(members)
				if err != nil {
					t.Fatal(err)
				}
				return held([]byte(`{"keys":[` + string(key) + `]}`))
			}
			fit := members["kty"] == "RSA" && (members["use"] == nil || members["use"] == "sig") && !unfit[c.Group]
			if ops, has := members["key_ops"].([]any); has && ops[0] != "verify" {
				fit = false
			}
			if got, want := published() != nil,
				fit && (members["alg"] == nil || members["alg"] == "RS512"); got != want {
				t.Errorf("%s: %v counts: %v, want %v", c.Name, members["alg"], got, want)
			}
			if members["alg"] = "RS512"; members["kty"] != "RSA" || c.Group == "wrong_kty" {
				continue
			}
			judged[c.Group]++
			if got := published() != nil; got != fit {
				t.Errorf("%s: with alg RS512 counts: %v, want %v", c.Name, got, fit)
			}
		}
	}
	if judged["keysize_too_small"] == 0 || judged["exponentOne"] == 0 || judged["rs256"] == 0 {
		t.Errorf("judged %v: not the keys that were meant", judged)
	}
}
