package keys_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json" // no duplicates, names with their case

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// go-jose, which is asked in these tests, leaves out RSA keys of over 4096 bits if it is not told otherwise.
func init() { jose.MaxRSAModulusBits = 8192 }

// jwk is a usable key with changes.
func jwk(kid string, change func(*mint.JWK)) mint.JWK {
	k := mint.FakeJWK(kid, 2048)
	if change != nil {
		change(&k)
	}
	return k
}

// raw is a key as it stands in a document, which need not be what encoding/json would write.
type raw string

func document(keys ...any) []byte {
	var all []string
	for _, k := range keys {
		text, written := k.(raw)
		if !written {
			b, err := json.Marshal(k)
			if err != nil {
				panic(err)
			}
			text = raw(b)
		}
		all = append(all, string(text))
	}
	return []byte(`{"keys":[` + strings.Join(all, ",") + `]}`)
}

// One key of each kind beside a good one: it is left out, and the good one stays (KEY-4), whatever the order.
func TestUnfitKeysAreLeftOut(t *testing.T) {
	spec.Rules(t, "KEY-4", "TOK-6")
	good := jwk("good", nil)
	modulus := mint.CachedKey("modulus", 2048).Private.N
	for name, unfit := range map[string]any{
		"use enc":         jwk("a", func(k *mint.JWK) { k.Use = "enc" }),
		"use in capitals": jwk("a", func(k *mint.JWK) { k.Use = "SIG" }),
		"alg RS256":       jwk("a", func(k *mint.JWK) { k.Alg = "RS256" }),
		"alg PS512":       jwk("a", func(k *mint.JWK) { k.Alg = "PS512" }),
		"alg in small":    jwk("a", func(k *mint.JWK) { k.Alg = "rs512" }),
		"alg none":        jwk("a", func(k *mint.JWK) { k.Alg = "none" }),
		"1024 bits":       mint.FakeJWK("a", 1024),
		"2047 bits":       mint.FakeJWK("a", 2047),
		"8193 bits":       mint.FakeJWK("a", 8193),
		"16384 bits":      mint.FakeJWK("a", 16384),
		"even modulus":    mint.RSAJWK("a", new(big.Int).Sub(modulus, big.NewInt(1)), 65537),
		"exponent 0":      jwk("a", func(k *mint.JWK) { k.E = "AA" }),
		"exponent 1":      jwk("a", func(k *mint.JWK) { k.E = "AQ" }),
		"exponent 2":      jwk("a", func(k *mint.JWK) { k.E = "Ag" }),
		"exponent even":   jwk("a", func(k *mint.JWK) { k.E = "AQAA" }),
		"exponent 2^31+1": jwk("a", func(k *mint.JWK) { k.E = "gAAAAQ" }),
		"exponent 2^32+1": jwk("a", func(k *mint.JWK) { k.E = "AQAAAAE" }),
		"no exponent":     jwk("a", func(k *mint.JWK) { k.E = "" }),
		"no modulus":      jwk("a", func(k *mint.JWK) { k.N = "" }),
		"bad base64":      jwk("a", func(k *mint.JWK) { k.N = "!" + k.N }),
		"kty missing":     jwk("a", func(k *mint.JWK) { k.KeyType = "" }),
		"kty unknown":     json.RawMessage(`{"kty":"AKP","alg":"ML-DSA-65","pub":"AAAA"}`),
		"kty in small":    jwk("a", func(k *mint.JWK) { k.KeyType = "rsa" }),
		"kty number":      json.RawMessage(`{"kty":1}`),
		"octets":          json.RawMessage(`{"kty":"oct","k":"c2VjcmV0"}`),
		"elliptic curve": mint.JWK{KeyType: "EC", Curve: "P-256", X: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
			Y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
		"curve unknown":    json.RawMessage(`{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}`),
		"Edwards curve":    json.RawMessage(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`),
		"kid number":       json.RawMessage(`{"kty":"RSA","kid":1,"n":"` + good.N + `","e":"AQAB"}`),
		"null":             nil,
		"number":           1,
		"string":           "a key",
		"array":            []any{good},
		"empty object":     json.RawMessage(`{}`),
		"e a number":       json.RawMessage(`{"kty":"RSA","n":"` + good.N + `","e":65537}`),
		"n twice":          json.RawMessage(`{"kty":"RSA","n":"` + good.N + `","e":"AQAB","n":"` + good.N + `"}`),
		"alg twice, null":  json.RawMessage(`{"kty":"RSA","n":"` + good.N + `","e":"AQAB","alg":"RS256","alg":null}`),
		"key_ops others":   jwk("a", func(k *mint.JWK) { k.KeyOps = []string{"encrypt", "wrapKey"} }),
		"key_ops empty":    json.RawMessage(`{"kty":"RSA","n":"` + good.N + `","e":"AQAB","key_ops":[]}`),
		"key_ops a string": json.RawMessage(`{"kty":"RSA","n":"` + good.N + `","e":"AQAB","key_ops":"encrypt"}`),
		"key_ops a number": json.RawMessage(`{"kty":"RSA","n":"` + good.N + `","e":"AQAB","key_ops":1}`),
		"use empty":        json.RawMessage(`{"kty":"RSA","use":"","n":"` + good.N + `","e":"AQAB"}`),
		"alg empty":        json.RawMessage(`{"kty":"RSA","alg":"","n":"` + good.N + `","e":"AQAB"}`),
		"kid of 257 bytes": jwk(strings.Repeat("k", 257), nil),
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
func TestFitKeys(t *testing.T) {
	spec.Rules(t, "KEY-4", "TOK-6")
	good := mint.FakeJWK("", 2048).N
	private, err := json.Marshal(jose.JSONWebKey{Key: mint.CachedKey("private", 2048).Private, KeyID: "private"})
	if err != nil {
		t.Fatal(err)
	}
	// beside puts members beside those that a key is.
	beside := func(members string) raw { return raw(`{` + members + `,"kty":"RSA","n":"` + good + `","e":"AQAB"}`) }
	for name, fit := range map[string]any{
		"without use":      jwk("", func(k *mint.JWK) { k.Use = "" }),
		"without alg":      jwk("", func(k *mint.JWK) { k.Alg = "" }),
		"without kid":      jwk("", nil),
		"2048 bits":        mint.FakeJWK("", 2048),
		"8192 bits":        mint.FakeJWK("", 8192),
		"exponent 3":       jwk("", func(k *mint.JWK) { k.E = "Aw" }),
		"exponent 2^31-1":  jwk("", func(k *mint.JWK) { k.E = "f____w" }),
		"key_ops":          jwk("", func(k *mint.JWK) { k.KeyOps = []string{"verify"} }),
		"key_ops a string": json.RawMessage(`{"kty":"RSA","n":"` + good + `","e":"AQAB","key_ops":"verify"}`),
		"unknown members": json.RawMessage(`{"kty":"RSA","n":"` + mint.FakeJWK("", 2048).N +
			`","e":"AQAB","x-vendor":{"a":[1]},"kid":""}`),
		"leading zeros":    jwk("", func(k *mint.JWK) { k.N = "AAAA" + k.N }),
		"several the same": jwk("good", nil),
		"kid of 256 bytes": jwk(strings.Repeat("k", 256), nil),
		"n padded":         jwk("", func(k *mint.JWK) { k.N += "==" }),
		"null members": json.RawMessage(`{"kty":"RSA","n":"` + good +
			`","e":"AQAB","use":null,"alg":null,"kid":null,"key_ops":null}`),
		"nested 5000 deep": beside(`"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000)),

		// What stands beside n and e, as go-jose and others stumble over it.
		"private key":        json.RawMessage(private),
		"private, broken":    beside(`"d":"","p":1,"q":null,"dp":"!","oth":[{}]`),
		"x5c broken":         beside(`"x5c":["AAAA"]`),
		"x5c a string":       beside(`"x5c":"AAAA"`),
		"x5c empty":          beside(`"x5c":[""]`),
		"x5c PEM":            beside(`"x5c":["-----BEGIN CERTIFICATE-----\nMIIB"]`),
		"x5c twice":          beside(`"x5c":[],"x5c":null`),
		"x5t too long":       beside(`"x5t":"nlXBblrobU8znHlAnG_Ne6Or6LsnlXBblrobU8znHlAnG_Ne6Or6Ls"`),
		"x5t hex":            beside(`"x5t":"9E:55:C1:6E:5A:E8:6D:4F:33:9C:79:40:9C:6F:CD:7B:A3:AB:E8:BB"`),
		"x5t padded":         beside(`"x5t":"nlXBblrobU8znHlAnG_Ne6Or6Ls="`),
		"x5t number":         beside(`"x5t":1`),
		"x5t#S256 not fit":   beside(`"x5t#S256":"AA"`),
		"x5u not a URL":      beside(`"x5u":"http://[::1"`),
		"x5u an array":       beside(`"x5u":[]`),
		"x of a curve":       beside(`"crv":"P-256","x":1,"y":"!"`),
		"octets":             beside(`"k":7`),
		"dates":              beside(`"iat":"yesterday","exp":{},"nbf":[1e999]`),
		"not UTF-8":          beside("\"owner\":\"M\xfcller\""),
		"surrogate":          beside(`"owner":"\ud800"`),
		"names in capitals":  beside(`"N":"AA","E":"AA","USE":"enc","ALG":"none","Kty":"EC"`),
		"duplicates, nested": beside(`"x-vendor":{"a":1,"a":2}`),
	} {
		if found, left, err := keys.Parse(document(fit)); err != nil || len(found) != 1 || len(left) != 0 {
			t.Errorf("%s: %d keys, left out %v, %v", name, len(found), left, err)
		}
	}
}

// Documents as a whole (KEY-8).
func TestDocuments(t *testing.T) {
	spec.Rules(t, "KEY-4", "KEY-8")
	good := string(document(jwk("good", nil)))
	key := good[len(`{"keys":[`) : len(good)-len(`]}`)]
	many := func(n int) string { return `{"keys":[` + strings.TrimSuffix(strings.Repeat(key+",", n), ",") + `]}` }
	padded := func(n int) string { return good + strings.Repeat(" ", n-len(good)) }
	for _, c := range []struct {
		name, text string
		keys       int // 0 if refused
	}{
		{"good", good, 1},
		{"white space", " \r\n\t" + good + "\n", 1},
		{"other members", `{"a":1,` + good[1:], 1},
		{"bare array", "[" + key + "]", 1},
		{"bare array of two", "\n[" + key + "," + key + "]", 2},
		{"64 keys", many(64), 64},
		{"64 unknown ones before it", `{"keys":[` + strings.Repeat(`{"kty":"new"},`, 63) + key + `]}`, 1},
		{"256 KiB", padded(256 << 10), 1},
		{"byte order mark", "\ufeff" + good, 1},
		{"byte order mark and white space", "\ufeff\n" + good, 1},
		{"byte order mark before a bare array", "\ufeff[" + key + "]", 1},
		{"other members twice", `{"a":1,"a":2,` + good[1:], 1},
		{"other members not UTF-8", "{\"a\":\"M\xfcller\"," + good[1:], 1},

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
		{"two byte order marks", "\ufeff\ufeff" + good, 0},
		{"byte order mark alone", "\ufeff", 0},
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

// What trying every key of a set costs is bounded: the sum of (bits/1024)² is at most 512, and the last keys go first
// (KEY-4).
func TestCostOfASet(t *testing.T) {
	spec.Rules(t, "KEY-4")
	many := func(n, bits int) (all []any) {
		for range n {
			all = append(all, mint.FakeJWK("", bits))
		}
		return all
	}
	for _, c := range []struct {
		name       string
		keys       []any
		want, left int
	}{
		{"63 of 8192", many(63, 8192), 8, 1},
		{"8 of 8192", many(8, 8192), 8, 0},
		{"64 of 2048", many(64, 2048), 64, 0},
		{"33 of 4096", many(33, 4096), 32, 1},
		{"64 of 2897", many(64, 2897), 63, 1},
		{"one small before 8 of 8192", append(many(1, 2048), many(8, 8192)...), 8, 1},
		{"8 of 8192 before one small", append(many(8, 8192), many(1, 2048)...), 8, 1},
		{"8 of 8192, a large one, one small", slices.Concat(many(8, 8192), many(1, 8192), many(1, 2048)), 8, 1},
	} {
		found, left, err := keys.Parse(document(c.keys...))
		if err != nil || len(found) != c.want || len(left) != c.left {
			t.Errorf("%s: got %d keys, left out %v, error %v; want %d keys, %d reports",
				c.name, len(found), left, err, c.want, c.left)
		}
		for i, k := range found { // the first of the document, in its order
			if want := c.keys[i].(mint.JWK); base64.RawURLEncoding.EncodeToString(k.Public.N.Bytes()) != want.N {
				t.Errorf("%s: key %d is not the one at its place in the document", c.name, i+1)
			}
		}
		for _, l := range left {
			if want := fmt.Sprintf("the last %d of %d good keys left out",
				len(c.keys)-c.want, len(c.keys)); !strings.Contains(l.Error(), want) {
				t.Errorf("%s: got the report %q, want %q", c.name, l, want)
			}
			if errors.Is(l, keys.ErrUnneeded) {
				t.Errorf("%s: reported as not needed: %v", c.name, l)
			}
		}
	}
	held := keys.NewStore(nil, nil)
	held.Configure(keys.Policy{Servers: []string{issuer}, Refresh: time.Hour})
	one, _, err := keys.Parse(document(mint.FakeJWK("", 8192)))
	if err != nil {
		t.Fatal(err)
	}
	held.Hold(keys.Held{Name: issuer, Keys: slices.Repeat(one, 63)})
	if got := len(held.Set().Issuer([]byte(issuer)).Keys); got != 8 {
		t.Errorf("%d keys of 8192 bits are held that were kept, want 8", got)
	}
}

// Keys that a normal realm has beside those for RS512 are nothing to warn of; those that are broken are.
func TestUnneededKeys(t *testing.T) {
	spec.Rules(t, "KEY-4")
	good := jwk("good", nil)
	for name, c := range map[string]struct {
		key      any
		unneeded bool
	}{
		"RSA-OAEP":    {jwk("a", func(k *mint.JWK) { k.Use, k.Alg = "enc", "RSA-OAEP" }), true},
		"RS256":       {jwk("a", func(k *mint.JWK) { k.Alg = "RS256" }), true},
		"ES512":       {json.RawMessage(`{"kty":"EC","crv":"P-521","alg":"ES512","x":"AA","y":"AA"}`), true},
		"new kind":    {json.RawMessage(`{"kty":"AKP","alg":"ML-DSA-65","pub":"AAAA"}`), true},
		"for signing": {jwk("a", func(k *mint.JWK) { k.KeyOps = []string{"sign"} }), true},
		"1024 bits":   {mint.FakeJWK("a", 1024), false},
		"no modulus":  {jwk("a", func(k *mint.JWK) { k.N = "" }), false},
		"long kid":    {jwk(strings.Repeat("k", 257), nil), false},
		"not a key":   {7, false},
	} {
		_, left, err := keys.Parse(document(good, c.key))
		if err != nil || len(left) != 1 || errors.Is(left[0], keys.ErrUnneeded) != c.unneeded ||
			!strings.HasPrefix(left[0].Error(), "key 2 left out: ") {
			t.Errorf("%s: left out %v, error %v; want one, unneeded %v", name, left, err, c.unneeded)
		}
	}
}

// FuzzJWKS compares with go-jose: each key that is taken is one that it reads, and if it reads the whole set the
// same keys come out.
func FuzzJWKS(f *testing.F) {
	good := jwk("good", nil)
	f.Add(document(good, jwk("enc", func(k *mint.JWK) { k.Use = "enc" }), mint.FakeJWK("small", 512)))
	f.Add(document(json.RawMessage(`{"kty":"oct","k":"c2VjcmV0"}`), good, json.RawMessage(`{"kty":"AKP"}`)))
	f.Add(document(mint.JWK{KeyType: "EC", Curve: "P-256", X: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
		Y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}, good))
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
		if (err == nil) != (len(found) > 0) || len(found)+len(left) > keys.MaxKeys ||
			len(text) > keys.MaxDocument && err == nil {
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

// ask has go-jose read a set and returns the keys that should be taken from it. all is false if it does not read
// the whole set, or it is over the limit.
func ask(text []byte) (want string, all bool) {
	var set jose.JSONWebKeySet
	var members struct {
		Keys []strict.RawMessage `json:"keys"`
	}
	if strict.Unmarshal(text, &members) != nil || strict.Unmarshal(text, &set) != nil ||
		len(set.Keys) != len(members.Keys) || len(set.Keys) > keys.MaxKeys {
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
