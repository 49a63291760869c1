package keys_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json" // no duplicates, names with their case

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
)

// jwk is a usable key with changes.
func jwk(kid string, change func(*mint.JWK)) mint.JWK {
	k := mint.FakeJWK(kid, 2048)
	if change != nil {
		change(&k)
	}
	return k
}

func document(keys ...any) []byte {
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return text
}

// One key of each kind beside a good one: it is left out, and the good one stays (KEY-4), whatever the order.
func TestUnfitKeysAreLeftOut_KEY4_TOK6(t *testing.T) {
	good := jwk("good", nil)
	private, err := json.Marshal(jose.JSONWebKey{Key: mint.CachedKey("private", 2048).Private, KeyID: "private"})
	if err != nil {
		t.Fatal(err)
	}
	modulus := mint.CachedKey("modulus", 2048).Private.N
	for name, unfit := range map[string]any{
		"use enc":          jwk("a", func(k *mint.JWK) { k.Use = "enc" }),
		"use in capitals":  jwk("a", func(k *mint.JWK) { k.Use = "SIG" }),
		"alg RS256":        jwk("a", func(k *mint.JWK) { k.Alg = "RS256" }),
		"alg PS512":        jwk("a", func(k *mint.JWK) { k.Alg = "PS512" }),
		"alg in small":     jwk("a", func(k *mint.JWK) { k.Alg = "rs512" }),
		"alg none":         jwk("a", func(k *mint.JWK) { k.Alg = "none" }),
		"1024 bits":        mint.FakeJWK("a", 1024),
		"2047 bits":        mint.FakeJWK("a", 2047),
		"8193 bits":        mint.FakeJWK("a", 8193),
		"16384 bits":       mint.FakeJWK("a", 16384),
		"even modulus":     mint.RSAJWK("a", new(big.Int).Sub(modulus, big.NewInt(1)), 65537),
		"exponent 0":       jwk("a", func(k *mint.JWK) { k.E = "AA" }),
		"exponent 1":       jwk("a", func(k *mint.JWK) { k.E = "AQ" }),
		"exponent 2":       jwk("a", func(k *mint.JWK) { k.E = "Ag" }),
		"exponent even":    jwk("a", func(k *mint.JWK) { k.E = "AQAA" }),
		"exponent 2^32+1":  jwk("a", func(k *mint.JWK) { k.E = "AQAAAAE" }),
		"no exponent":      jwk("a", func(k *mint.JWK) { k.E = "" }),
		"no modulus":       jwk("a", func(k *mint.JWK) { k.N = "" }),
		"bad base64":       jwk("a", func(k *mint.JWK) { k.N = "!" + k.N }),
		"private key":      json.RawMessage(private),
		"kty missing":      jwk("a", func(k *mint.JWK) { k.KeyType = "" }),
		"kty unknown":      json.RawMessage(`{"kty":"AKP","alg":"ML-DSA-65","pub":"AAAA"}`),
		"kty in small":     jwk("a", func(k *mint.JWK) { k.KeyType = "rsa" }),
		"kty number":       json.RawMessage(`{"kty":1}`),
		"octets":           json.RawMessage(`{"kty":"oct","k":"c2VjcmV0"}`),
		"elliptic curve":   mint.JWK{KeyType: "EC", Curve: "P-256", X: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", Y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
		"curve unknown":    json.RawMessage(`{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}`),
		"Edwards curve":    json.RawMessage(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`),
		"kid number":       json.RawMessage(`{"kty":"RSA","kid":1,"n":"` + good.N + `","e":"AQAB"}`),
		"broken x5c":       json.RawMessage(`{"kty":"RSA","n":"` + good.N + `","e":"AQAB","x5c":["AAAA"]}`),
		"null":             nil,
		"number":           1,
		"string":           "a key",
		"array":            []any{good},
		"empty object":     json.RawMessage(`{}`),
		"nested 5000 deep": json.RawMessage(`{"kty":"RSA","x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`),
	} {
		for _, order := range [][]any{{good, unfit}, {unfit, good}} {
			found, left, err := keys.Parse(document(order...))
			if err != nil || len(found) != 1 || found[0].KID != "good" || len(left) != 1 {
				t.Errorf("%s: %d keys, left out %v, %v", name, len(found), left, err)
			}
		}
		if found, _, err := keys.Parse(document(unfit)); err == nil || len(found) > 0 {
			t.Errorf("%s alone: %d keys, %v", name, len(found), err)
		}
	}
}

// Keys that look unusual and can be used.
func TestFitKeys_KEY4_TOK6(t *testing.T) {
	for name, fit := range map[string]any{
		"without use":      jwk("", func(k *mint.JWK) { k.Use = "" }),
		"without alg":      jwk("", func(k *mint.JWK) { k.Alg = "" }),
		"without kid":      jwk("", nil),
		"2048 bits":        mint.FakeJWK("", 2048),
		"8192 bits":        mint.FakeJWK("", 8192),
		"exponent 3":       jwk("", func(k *mint.JWK) { k.E = "Aw" }),
		"exponent 2^31-1":  jwk("", func(k *mint.JWK) { k.E = "f____w" }),
		"key_ops":          jwk("", func(k *mint.JWK) { k.KeyOps = []string{"verify"} }),
		"unknown members":  json.RawMessage(`{"kty":"RSA","n":"` + mint.FakeJWK("", 2048).N + `","e":"AQAB","x-vendor":{"a":[1]},"kid":""}`),
		"leading zeros":    jwk("", func(k *mint.JWK) { k.N = "AAAA" + k.N }),
		"several the same": jwk("good", nil),
	} {
		if found, left, err := keys.Parse(document(fit)); err != nil || len(found) != 1 || len(left) != 0 {
			t.Errorf("%s: %d keys, left out %v, %v", name, len(found), left, err)
		}
	}
}

// Documents as a whole (KEY-8).
func TestDocuments_KEY4_KEY8(t *testing.T) {
	good := string(document(jwk("good", nil)))
	key := good[len(`{"keys":[`) : len(good)-len(`]}`)]
	many := func(n int) string { return `{"keys":[` + strings.TrimSuffix(strings.Repeat(key+",", n), ",") + `]}` }
	padded := func(n int) string { return good + strings.Repeat(" ", n-len(good)) }
	for _, c := range []struct {
		name, text string
		keys       int // 0: refused
	}{
		{"good", good, 1},
		{"white space", " \r\n\t" + good + "\n", 1},
		{"other members", `{"a":1,` + good[1:], 1},
		{"bare array", "[" + key + "]", 1},
		{"bare array of two", "\n[" + key + "," + key + "]", 2},
		{"64 keys", many(64), 64},
		{"64 unknown ones before it", `{"keys":[` + strings.Repeat(`{"kty":"new"},`, 63) + key + `]}`, 1},
		{"256 KiB", padded(256 << 10), 1},

		{"256 KiB and one", padded(256<<10 + 1), 0},
		{"10 MB", padded(10 << 20), 0},
		{"65 keys", many(65), 0},
		{"1,000 keys", `{"keys":[` + strings.TrimSuffix(strings.Repeat(`{"kty":"new"},`, 1000), ",") + `]}`, 0},
		{"nothing", "", 0},
		{"white space only", " \n", 0},
		{"HTML", "<!DOCTYPE html><title>busy</title>", 0},
		{"half", good[:len(good)/2], 0},
		{"null", "null", 0},
		{"number", "1", 0},
		{"string", `"keys"`, 0},
		{"one key", key, 0},
		{"no keys", `{"keys":[]}`, 0},
		{"no keys in a bare array", `[]`, 0},
		{"keys missing", `{}`, 0},
		{"keys null", `{"keys":null}`, 0},
		{"keys an object", `{"keys":` + key + `}`, 0},
		{"keys in capitals", `{"KEYS":[` + key + `]}`, 0},
		{"keys twice", `{"keys":[` + key + `],"keys":[]}`, 0},
		{"trailing data", good + "x", 0},
		{"two documents", good + good, 0},
		{"comma after last", `{"keys":[` + key + `,]}`, 0},
		{"byte order mark", "\ufeff" + good, 0},
		{"bare array in an array", "[[" + key + "]]", 0},
		{"nested 200,000 deep", strings.Repeat("[", 200_000), 0},
		{"nested 100,000 deep and closed", strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), 0},
		{"objects nested 50,000 deep", strings.Repeat(`{"":`, 50_000), 0},
	} {
		found, _, err := keys.Parse([]byte(c.text))
		if len(found) != c.keys || (err == nil) != (c.keys > 0) {
			t.Errorf("%s: %d keys, %v; want %d", c.name, len(found), err, c.keys)
		}
	}
}

// FuzzJWKS compares with go-jose: each key that is taken is one that it reads, and where it reads the whole set the same keys
// come out.
func FuzzJWKS(f *testing.F) {
	good := jwk("good", nil)
	f.Add(document(good, jwk("enc", func(k *mint.JWK) { k.Use = "enc" }), mint.FakeJWK("small", 512)))
	f.Add(document(json.RawMessage(`{"kty":"oct","k":"c2VjcmV0"}`), good, json.RawMessage(`{"kty":"AKP"}`)))
	f.Add(document(mint.JWK{KeyType: "EC", Curve: "P-256", X: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", Y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}, good))
	f.Add(document(jwk("one", func(k *mint.JWK) { k.E = "Aw" }), jwk("even", func(k *mint.JWK) { k.E = "Ag" })))
	f.Add(document(json.RawMessage(`{"kty":"RSA","kid":"\ud800","n":"` + good.N + `","e":"AQAB","kid":"b"}`)))
	f.Add([]byte("[" + string(document(good)) + "]"))
	f.Add([]byte(`{"keys":[],"keys":null}`))
	f.Add([]byte(`{"Keys":[null]}`))
	f.Add([]byte(`[{"kty":"RSA","n":"` + good.N + `","e":"AQAB","x5c":[],"x5t":"","x5t#S256":"AA"}]`))
	f.Add([]byte(strings.Repeat("[", 20000)))
	f.Fuzz(func(t *testing.T, text []byte) {
		before := slices.Clone(text)
		found, left, err := keys.Parse(text)
		if !bytes.Equal(text, before) {
			t.Error("the document was changed")
		}
		if (err == nil) != (len(found) > 0) || len(found)+len(left) > keys.MaxKeys || len(text) > keys.MaxDocument && err == nil {
			t.Fatalf("%d keys, %d left out, %v", len(found), len(left), err)
		}
		for _, k := range found {
			bits := k.Public.N.BitLen()
			if bits < 2048 || bits > 8192 || k.Public.N.Bit(0) == 0 || k.Public.E < 3 || k.Public.E%2 == 0 {
				t.Errorf("took a key of %d bits, exponent %d", bits, k.Public.E)
			}
		}
		if trimmed := bytes.TrimLeft(text, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
			text = fmt.Appendf(nil, `{"keys":%s}`, text)
			if len(text) > keys.MaxDocument {
				return
			}
		}
		want, all := ask(text)
		if got := describe(found); all && got != want {
			t.Errorf("found\n%sgo-jose says\n%s", got, want)
		}
	})
}

// ask has go-jose read a set and returns the keys that should be taken from it. all is false where it does not read the whole
// set, or it is over the limit.
func ask(text []byte) (want string, all bool) {
	var set jose.JSONWebKeySet
	var members struct {
		Keys []strict.RawMessage `json:"keys"`
	}
	if strict.Unmarshal(text, &members) != nil || strict.Unmarshal(text, &set) != nil || len(set.Keys) != len(members.Keys) ||
		len(set.Keys) > keys.MaxKeys {
		return "", false
	}
	var fit []keys.Key
	for i := range set.Keys {
		one := document(&set.Keys[i])
		if k, _, err := keys.Parse(one); err == nil {
			fit = append(fit, k...)
		}
	}
	return describe(fit), true
}

func describe(found []keys.Key) string {
	var b strings.Builder
	for _, k := range found {
		fmt.Fprintf(&b, "%q %x\n", k.KID, k.Thumbprint)
	}
	return b.String()
}
