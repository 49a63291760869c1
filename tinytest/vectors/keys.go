package vectors

import (
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"strings"

	"nmosauthd/tinytest/mint"
)

// jwk returns a public key's members in their order, and more of them.
func jwk(k *mint.Key, more string) string {
	j := mint.RSAJWK("", k.Private.N, k.Private.E)
	if more != "" {
		more = "," + more
	}
	return `{"kty":"RSA","n":"` + j.N + `","e":"` + j.E + `"` + more + `}`
}

func set(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// madeUp is a modulus of so many bits that belongs to nobody.
func madeUp(name string, bits int) string {
	var raw []byte
	for i := uint32(0); len(raw) < (bits+7)/8; i++ {
		sum := sha512.Sum512(binary.BigEndian.AppendUint32([]byte(name), i))
		raw = append(raw, sum[:]...)
	}
	n := new(big.Int).SetBytes(raw[:(bits+7)/8])
	n.Rsh(n, uint((bits+7)/8*8-bits))
	n.SetBit(n, bits-1, 1)
	n.SetBit(n, 0, 1)
	return encode(n.Bytes())
}

// by returns a good token of the group by a key, its kid as given; "-" leaves it out.
func (b *builder) by(k *mint.Key, kid string) string {
	t := b.base()
	t.Key = k
	if t.Header.Set("kid", kid); kid == "-" {
		t.Header.Delete("kid")
	}
	return t.Sign()
}

func (b *builder) keys() {
	b.begin("keys", "Key sets: which keys count, and which are left out. Each set has an issuer of its own.")
	key, second, other := mint.CachedKey("key-1", 2048), mint.CachedKey("key-2", 2048),
		mint.CachedKey("encryption", 2048)
	use := `"use":"sig","alg":"RS512"`
	named := func(kid string) string { return `"kid":"` + kid + `",` + use }

	// Sets that hold key-1 in a peculiar form, and no other: good, or useless.
	n := mint.RSAJWK("", key.Private.N, key.Private.E).N
	padded := base64.URLEncoding.EncodeToString(key.Private.N.Bytes())
	for _, c := range []struct {
		name string
		set  string
		good bool
		also []int // as right
	}{
		{"plain", set(jwk(key, named("key-1"))), true, nil},
		{"without-use-and-alg", set(jwk(key, `"kid":"key-1"`)), true, nil},
		{"without-kid", set(jwk(key, use)), true, nil},
		{"kid-empty", set(jwk(key, named(""))), true, nil},
		{"kid-other", set(jwk(key, named("other"))), true, []int{401, 503}},
		{"kid-of-unicode", set(jwk(key, named("schlüssel"))), true, []int{401, 503}},
		{"kid-null", set(jwk(key, `"kid":null,`+use)), true, []int{401, 503}},
		{"use-and-alg-null", set(jwk(key, `"kid":"key-1","use":null,"alg":null`)), true, []int{401, 503}},
		{"key-ops-verify", set(jwk(key, named("key-1")+`,"key_ops":["verify"]`)), true, nil},
		{"key-ops-verify-among-others", set(jwk(key, named("key-1")+`,"key_ops":["sign","verify"]`)), true, nil},
		// AMWA's test suite sends it
		{"key-ops-string", set(jwk(key, named("key-1")+`,"key_ops":"verify"`)), true, []int{401, 503}},
		{"x5c-of-nonsense", set(jwk(key, named("key-1")+`,"x5c":["nonsense"],"x5t":"no"`)), true, nil},
		{"x5u", set(jwk(key, named("key-1")+`,"x5u":"https://attacker.example.net/x5u"`)), true, nil},
		{"members-unknown", set(jwk(key, named("key-1")+`,"x":{"y":[1,null]},"iat":1,"exp":2`)), true, nil},
		{"members-of-private-key", set(jwk(key, named("key-1")+`,"d":"AQ","p":"AQ","q":"AQ"`)), true, nil},
		{"members-of-curves", set(jwk(key, named("key-1")+`,"crv":"P-256","x":"AQ","y":"AQ","k":"AQ"`)), true, nil},
		{"order-reversed", `{"keys":[{"alg":"RS512","use":"sig","kid":"key-1","e":"AQAB","n":"` + n +
			`","kty":"RSA"}]}`, true, nil},
		{"more-members-of-set", `{"issuer":"x","keys":[` + jwk(key, named("key-1")) + `],"next":null}`, true, nil},
		{"white-space", " {\r\n\t\"keys\" : [ " + jwk(key, named("key-1")) + " ] } \n", true, nil},
		{"byte-order-mark", "\ufeff" + set(jwk(key, named("key-1"))), true, []int{401, 503}},
		{"bare-array", "[" + jwk(key, named("key-1")) + "]", true, []int{401, 503}}, // INFO-002's example
		{"n-padded", set(`{"kty":"RSA","n":"` + padded + `","e":"AQAB",` + named("key-1") + `}`), true,
			[]int{401, 503}},
		{"n-with-zero-before", set(`{"kty":"RSA","n":"` + encode(append([]byte{0}, key.Private.N.Bytes()...)) +
			`","e":"AQAB",` + named("key-1") + `}`), true, []int{401, 503}},
		{"e-with-zeros-before", set(`{"kty":"RSA","n":"` + n + `","e":"` + encode([]byte{0, 0, 1, 0, 1}) + `",` +
			named("key-1") + `}`), true, []int{401, 503}},
		{"kid-of-256-bytes", set(jwk(key, named(strings.Repeat("k", 256)))), true, []int{401, 503}},

		{"empty-set", set(), false, nil},
		{"empty-object", `{}`, false, nil},
		{"null", `null`, false, nil},
		{"not-json", `<html>`, false, nil},
		{"keys-object", `{"keys":` + jwk(key, named("key-1")) + `}`, false, nil},
		{"keys-null", `{"keys":null}`, false, nil},
		{"name-in-capitals", `{"Keys":[` + jwk(key, named("key-1")) + `]}`, false, []int{200}},
		{"single-key", jwk(key, named("key-1")), false, []int{200}},
		{"cut", strings.TrimSuffix(set(jwk(key, named("key-1"))), "]}"), false, nil},
		{"data-after", set(jwk(key, named("key-1"))) + "x", false, []int{200}},
		{"use-enc", set(jwk(key, `"kid":"key-1","use":"enc"`)), false, nil},
		{"use-in-capitals", set(jwk(key, `"kid":"key-1","use":"SIG"`)), false, []int{200}},
		{"alg-rs256", set(jwk(key, `"kid":"key-1","use":"sig","alg":"RS256"`)), false, nil},
		{"alg-ps512", set(jwk(key, `"kid":"key-1","use":"sig","alg":"PS512"`)), false, nil},
		{"alg-in-small-letters", set(jwk(key, `"kid":"key-1","use":"sig","alg":"rs512"`)), false, []int{200}},
		{"alg-number", set(jwk(key, `"kid":"key-1","alg":512`)), false, []int{200}},
		{"key-ops-sign", set(jwk(key, named("key-1")+`,"key_ops":["sign"]`)), false, []int{200}},
		{"key-ops-encrypt", set(jwk(key, named("key-1")+`,"key_ops":["encrypt","wrapKey"]`)), false, []int{200}},
		{"key-ops-empty", set(jwk(key, named("key-1")+`,"key_ops":[]`)), false, []int{200}},
		{"key-ops-number", set(jwk(key, named("key-1")+`,"key_ops":1`)), false, []int{200}},
		{"kty-missing", set(`{"n":"` + n + `","e":"AQAB",` + named("key-1") + `}`), false, []int{200}},
		{"kty-in-small-letters",
			set(`{"kty":"rsa","n":"` + n + `","e":"AQAB",` + named("key-1") + `}`), false, []int{200}},
		{"kty-ec", set(`{"kty":"EC","crv":"P-256","n":"` + n + `","e":"AQAB","kid":"key-1"}`), false, nil},
		{"kty-oct", set(`{"kty":"oct","k":"` + n + `","kid":"key-1"}`), false, nil},
		{"n-missing", set(`{"kty":"RSA","e":"AQAB",` + named("key-1") + `}`), false, nil},
		{"e-missing", set(`{"kty":"RSA","n":"` + n + `",` + named("key-1") + `}`), false, []int{200}},
		{"n-empty", set(`{"kty":"RSA","n":"","e":"AQAB",` + named("key-1") + `}`), false, nil},
		{"n-number", set(`{"kty":"RSA","n":12345,"e":"AQAB",` + named("key-1") + `}`), false, nil},
		{"n-in-hex", set(fmt.Sprintf(`{"kty":"RSA","n":"%x.","e":"AQAB",%s}`, key.Private.N, named("key-1"))), false,
			nil},
		{"n-standard-alphabet", set(`{"kty":"RSA","n":"` + strings.NewReplacer("-", "+", "_", "/").Replace(n) +
			`","e":"AQAB",` + named("key-1") + `}`), false, []int{200}},
		{"n-even", set(`{"kty":"RSA","n":"` + evenOf(key) + `","e":"AQAB",` + named("key-1") + `}`), false, nil},
		{"n-twice", set(`{"kty":"RSA","n":"` + n + `","n":"` + madeUp("twice", 2048) + `","e":"AQAB",` +
			named("key-1") + `}`), false, []int{200}},
		{"e-number", set(`{"kty":"RSA","n":"` + n + `","e":65537,` + named("key-1") + `}`), false, []int{200}},
		{"e-zero", set(`{"kty":"RSA","n":"` + n + `","e":"AA",` + named("key-1") + `}`), false, nil},
		{"e-one", set(`{"kty":"RSA","n":"` + n + `","e":"AQ",` + named("key-1") + `}`), false, nil},
		{"e-two", set(`{"kty":"RSA","n":"` + n + `","e":"Ag",` + named("key-1") + `}`), false, nil},
		{"e-even", set(`{"kty":"RSA","n":"` + n + `","e":"AQAA",` + named("key-1") + `}`), false, nil},
		{"e-of-33-bits", set(`{"kty":"RSA","n":"` + n + `","e":"` + encode([]byte{1, 0, 0, 0, 1}) + `",` +
			named("key-1") + `}`), false, nil},
		{"e-as-large-as-n", set(`{"kty":"RSA","n":"` + n + `","e":"` + n + `",` + named("key-1") + `}`), false, nil},
		{"e-another", set(`{"kty":"RSA","n":"` + n + `","e":"Aw",` + named("key-1") + `}`), false, nil},
		{"kid-of-257-bytes", set(jwk(key, named(strings.Repeat("k", 257)))), false, []int{200}},
		{"65-keys", set(append(others(64), jwk(key, named("key-1")))...), false, []int{200}},
		{"private-pem", quote("-----BEGIN PRIVATE KEY-----"), false, nil},
		{"certificates", `{"key-1":"-----BEGIN CERTIFICATE-----"}`, false, nil},
	} {
		b.published("keys-"+c.name, "", b.issuer+"/keys-"+c.name, c.set)
		rule := "KEY-4"
		if strings.HasPrefix(c.name, "65-") || strings.HasPrefix(c.name, "kid-of-25") {
			rule = "KEY-8"
		}
		token := b.by(key, "key-1")
		switch {
		case c.good:
			b.token("keys-"+c.name, rule, "ok", token, c.also...)
			if c.name == "plain" || c.name == "without-kid" {
				b.token("keys-"+c.name+"-no-kid", rule, "ok", b.by(key, "-"))
				b.token("keys-"+c.name+"-other-kid", rule, "ok", b.by(key, "other"), 401)
				b.token("keys-"+c.name+"-forged", "TOK-6",
					map[bool]string{true: "signature", false: "key-unknown"}[c.name == "plain"],
					b.by(mint.CachedKey("attacker", 2048), "key-1")).pending()
			}
		case c.name == "e-another": // a key all the same, which verifies nothing
			b.token("keys-"+c.name, rule, "signature", token)
		default: // no key is held, and none will be
			b.token("keys-"+c.name, rule, "keys-pending", token, append([]int{401}, c.also...)...)
		}
	}

	// Sets of several keys.
	small, k2047, k3072 := mint.CachedKey("small", 1024), mint.CachedKey("key-2047", 2047),
		mint.CachedKey("key-3072", 3072)
	k4096, k8192 := mint.CachedKey("key-4096", 4096), mint.CachedKey("key-8192", 8192)
	good := jwk(key, named("key-1"))
	several := func(name, about, document string) { b.published("keys-"+name, about, b.issuer+"/keys-"+name, document) }

	several("sizes", "Keys of several sizes, of which two are too small.",
		set(good, jwk(small, named("small")), jwk(k2047, named("key-2047")), jwk(k3072, named("key-3072")),
			jwk(k4096, named("key-4096")), jwk(k8192, named("key-8192"))))
	b.token("keys-size-2048", "KEY-4", "ok", b.by(key, "key-1"))
	b.token("keys-size-3072", "KEY-4", "ok", b.by(k3072, "key-3072"))
	b.token("keys-size-4096", "KEY-4", "ok", b.by(k4096, "key-4096"))
	b.token("keys-size-8192", "KEY-4", "ok", b.by(k8192, "key-8192"), 401)
	b.token("keys-size-8192-no-kid", "KEY-4", "ok", b.by(k8192, "-"), 401)
	b.token("keys-size-1024", "TOK-6", "key-unknown", b.by(small, "small")).pending()
	b.token("keys-size-1024-no-kid", "TOK-6", "signature", b.by(small, "-")).pending()
	b.token("keys-size-1024-other-kid", "TOK-6", "signature", b.by(small, "key-1"))
	b.token("keys-size-2047", "TOK-6", "key-unknown", b.by(k2047, "key-2047"), 200).pending()
	b.token("keys-size-crossed-kid", "KEY-4", "ok", b.by(k4096, "key-3072"), 401)

	several("several", "Two keys of one name, one without a name, and others that are useless.",
		set(`{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ","kid":"ec","use":"sig","alg":"ES256"}`,
			`{"kty":"OKP","crv":"Ed25519","x":"AQ","kid":"okp"}`,
			`{"kty":"oct","k":"c2VjcmV0","kid":"oct","alg":"HS512"}`, `7`, `null`, `{}`, `[]`, `"key"`,
			jwk(key, named("same")), jwk(second, named("same")), jwk(other, `"use":"enc","kid":"enc"`), jwk(k3072, use),
			jwk(mint.CachedKey("attacker", 2048), `"kid":"rs256","alg":"RS256"`)))
	b.token("keys-first-of-one-name", "KEY-4", "ok", b.by(key, "same"))
	b.token("keys-second-of-one-name", "KEY-4", "ok", b.by(second, "same"), 401)
	b.token("keys-second-without-kid", "KEY-4", "ok", b.by(second, "-"))
	b.token("keys-nameless-by-other-kid", "KEY-4", "ok", b.by(k3072, "ec"), 401, 503)
	b.token("keys-nameless-without-kid", "KEY-4", "ok", b.by(k3072, "-"))
	b.token("keys-for-encryption", "KEY-4", "key-unknown", b.by(other, "enc")).pending()
	b.token("keys-for-encryption-without-kid", "KEY-4", "signature", b.by(other, "-")).pending()
	b.token("keys-for-rs256", "KEY-4", "key-unknown", b.by(mint.CachedKey("attacker", 2048), "rs256")).pending()
	hmacByPublished := func(kid, secret string) string {
		t := b.base()
		t.Header.Set("alg", "HS512")
		t.Header.Set("kid", kid)
		input := encode(t.Header.Bytes()) + "." + encode(t.Claims.Bytes())
		return input + "." + encode(mac("HS512", []byte(secret), input))
	}
	b.token("keys-hmac-by-published-secret", "TOK-2", "token-algorithm", hmacByPublished("oct", "secret")).
		about("A secret in a key set that anybody can read.")

	several("64", "As many keys as may be, the good one last.", set(append(others(63), good)...))
	b.token("keys-64-last", "KEY-8", "ok", b.by(key, "key-1"), 401, 503)
	b.token("keys-64-last-no-kid", "KEY-8", "ok", b.by(key, "-"), 401, 503)

	several("of-another", "A set that holds another key only.", set(jwk(second, named("key-2"))))
	b.token("keys-of-another", "KEY-6", "key-unknown", b.by(key, "key-1")).pending()
	b.token("keys-of-another-its-kid", "TOK-6", "signature", b.by(key, "key-2"))
	b.token("keys-of-another-no-kid", "KEY-6", "signature", b.by(key, "-")).pending()
	b.token("keys-of-another-good", "KEY-4", "ok", b.by(second, "key-2"))
	t := b.base()
	t.Key = second
	t.Header.Set("kid", "key-2")
	t.Claims.Set("iss", b.issuer)
	b.token("keys-of-another-issuer", "KEY-5", "issuer-untrusted", t.Sign(), 401).
		about("A good signature by this issuer's key under the name of another, which this device does not trust.")
}

// others are keys that belong to nobody.
func others(n int) []string {
	all := make([]string, n)
	for i := range all {
		name := fmt.Sprintf("other-%d", i+1)
		all[i] = `{"kty":"RSA","n":"` + madeUp(name, 2048) + `","e":"AQAB","kid":"` + name +
			`","use":"sig","alg":"RS512"}`
	}
	return all
}

// evenOf is a modulus with its lowest bit cleared.
func evenOf(k *mint.Key) string {
	n := new(big.Int).Set(k.Private.N)
	return encode(n.SetBit(n, 0, 0).Bytes())
}
