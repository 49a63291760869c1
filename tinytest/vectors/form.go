package vectors

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"nmosauthd/tinytest/mint"
)

// tables are the mint's.
var tables = [][]mint.Case{mint.Faults, mint.Variants}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// cut returns the segments of a token.
func cut(token string) (head, payload, signature string) {
	parts := strings.Split(token, ".")
	return parts[0], parts[1], parts[2]
}

func (b *builder) form() {
	b.begin("form", "The compact form of a token: segments, base64url, size. Signatures are over the text as it "+
		"stands.")
	b.setting("form", "")
	b.minted(b.base(), tables, func(c mint.Case) bool {
		return c.Rule == "TOK-1" || strings.HasPrefix(c.Name, "token-")
	})
	base := b.base()
	head, payload, signature := cut(base.Sign())
	const malformed = "token-malformed"
	sign := func(head, payload string) string { return mint.SignText(head+"."+payload, base.Key) }
	for _, c := range []struct{ name, token string }{
		{"signature-missing-dot", head + "." + payload + signature},
		{"segments-6", head + "." + payload + "." + signature + "..."},
		{"dots-two-between", head + ".." + payload + "." + signature},
		{"all-segments-empty-but-payload", "." + payload + "."},
		{"dot-percent-encoded", head + "%2E" + payload + "%2E" + signature},
		{"dot-of-full-width", head + "．" + payload + "．" + signature},
		{"segments-split-by-comma", head + "," + payload + "," + signature},
		{"segments-split-by-space", head + " " + payload + " " + signature},
		{"quoted", `"` + base.Sign() + `"`},
		{"quoted-in-single", `'` + base.Sign() + `'`},
		{"in-angle-brackets", "<" + base.Sign() + ">"},
		{"with-its-scheme-twice", "Bearer " + base.Sign()},
		{"space-after", base.Sign() + " x"},
		{"semicolon-after", base.Sign() + ";"},
		{"nul-after", base.Sign() + "\x00"},
		{"tilde-and-disclosure-after", base.Sign() + "~"}, // SD-JWT
		{"header-space", sign(head[:4]+" "+head[4:], payload)},
		{"header-standard-alphabet", sign(strings.NewReplacer("-", "+", "_",
			"/").Replace(encode([]byte(`{"alg":"RS512","kid":"key-1","x":"???>>>~~~"}`))), payload)},
		{"header-alphabets-mixed", sign(encode([]byte(`{"alg":"RS512","kid":"key-1"}`))+"+-", payload)},
		{"header-one-character-over", sign(encode([]byte(`{"alg":"RS512","kid":"key-1"} `))+"A", payload)},
		{"header-of-dots-in-hex", sign(fmt.Sprintf("%x", base.Header.Bytes()), payload)},
		{"header-plain-json", sign(string(base.Header.Bytes()), payload)},
		{"payload-plain-json", sign(head, string(base.Claims.Bytes()))},
		{"payload-newline-every-76", sign(head, wrapped(payload, 76))},
		{"payload-padded-with-percent", sign(head, strings.TrimRight(payload, "=")+"%3D")},
		{"payload-padded-in-excess", sign(head, payload+"====")},
		{"payload-padding-inside", sign(head, payload[:8]+"="+payload[8:])},
		{"payload-dollar", sign(head, payload[:8]+"$"+payload[8:])},
		{"payload-soft-hyphen", sign(head, payload[:8]+"\u00ad"+payload[8:])},
		{"payload-letter-of-full-width", sign(head, "ｅ"+payload[1:])},
		{"payload-underscore-and-slash-twins", sign(head, "eyJ4IjoiPz8_Pz8/In0")},
		{"signature-one-character-over", head + "." + payload + "." + signature + "AAA"},
		{"signature-space-before", head + "." + payload + ". " + signature},
		{"signature-cut-to-one-character", head + "." + payload + "." + signature[:1]},
		{"signature-last-bits", head + "." + payload + "." + otherTail(signature)},
		{"text", "token"},
		{"random-hex", "7f8a1c4d5e6b7a8990a1b2c3d4e5f60718293a4b5c6d7e8f"},
		{"uuid", "2f1d6a90-5f0e-4b0f-9b0a-0d6a1f6f2b11"},
		{"null", "null"},
		{"undefined", "undefined"},
		{"saml", "PHNhbWxwOlJlc3BvbnNlPg=="},
		{"paseto", "v4.public.eyJzdWIiOiJvcGVyYXRvciJ9"},
		{"macaroon-like", "MDAxY2xvY2F0aW9uIGh0dHA6Ly9leGFtcGxlLw"},
	} {
		b.token("form-"+c.name, "TOK-1", malformed, c.token)
	}
	for _, size := range []int{1500, 4000, 8000, 12000} { // whatever cuts it off does so somewhere here
		t := b.base()
		t.Claims.Set("x-fill", strings.Repeat("x", (size-1000)*3/4))
		c := b.token(fmt.Sprintf("form-size-%d", size), "TOK-5", "ok", t.Sign())
		if size > 8000 {
			c.also(400, 401, 431)
		}
		c.about(fmt.Sprintf("A good token of about %d bytes.", size))
	}
}

func wrapped(text string, width int) string {
	var b strings.Builder
	for len(text) > width {
		b.WriteString(text[:width] + "\r\n")
		text = text[width:]
	}
	return b.String() + text
}

func decoded(segment string) []byte {
	raw, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		panic(err)
	}
	return raw
}

// otherTail sets the highest of the bits of the last character that encode nothing: 256 bytes leave four.
func otherTail(segment string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(segment) - 1
	return segment[:last] + string(alphabet[strings.IndexByte(alphabet, segment[last])|8])
}

func (b *builder) header() {
	b.begin("header", "The members of a token's header: alg, crit, typ, kid, keys in the header.")
	b.setting("header", "")
	b.minted(b.base(), tables, func(c mint.Case) bool {
		return c.Rule == "TOK-2" || c.Rule == "TOK-3" || c.Rule == "TOK-4" || strings.HasPrefix(c.Name, "kid-")
	})
	for _, alg := range []string{
		"RS384", "RS1", "RS512/256", "HS384", "PS256", "PS384", "ES256", "ES384", "ES256K", "EdDSA", "Ed25519",
		"ML-DSA-44", "dir", "A256KW", "RSA-OAEP", "RSASSA-PKCS1-v1_5", "sha512WithRSAEncryption", "SHA512withRSA",
		"rsa-sha512", "1.2.840.113549.1.1.13", " RS512", "RS512\t", "RS512,none", "RS512\u200b", "ＲＳ５１２", "RS512RS512",
		"R\u017f512", "nOnE", "none ", "null",
	} {
		name := strings.Map(func(r rune) rune {
			switch {
			case 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
				return r
			case 'A' <= r && r <= 'Z':
				return r | 0x20
			}
			return '-'
		}, alg)
		for strings.Contains(name, "--") {
			name = strings.ReplaceAll(name, "--", "-")
		}
		switch alg {
		case " RS512":
			name = "space-before"
		case "RS512\t":
			name = "tab-after"
		case "RS512\u200b":
			name = "zero-width-space-after"
		case "ＲＳ５１２":
			name = "of-full-width"
		case "R\u017f512":
			name = "long-s"
		case "nOnE":
			name = "none-mixed"
		case "none ":
			name = "none-space-after"
		case "null":
			name = "null-in-quotes"
		}
		b.head("alg-is-"+strings.Trim(name, "-"), "TOK-2", "token-algorithm", "alg", quote(alg))
	}
	for _, c := range []struct{ name, member, value string }{
		{"zip", "zip", `"DEF"`},
		{"cty", "cty", `"JWT"`},
		{"cty-json", "cty", `"application/json"`},
		{"enc", "enc", `"A256GCM"`},
		{"iss", "iss", `"https://attacker.example.net"`},
		{"exp", "exp", `0`},
		{"aud", "aud", `"somebody"`},
		{"x5t", "x5t", `"dGh1bWJwcmludA"`},
		{"x5t-s256", "x5t#S256", `"dGh1bWJwcmludA"`},
		{"nonce", "nonce", `"1"`},
		{"url", "url", `"https://attacker.example.net"`},
		{"ppt", "ppt", `"shaken"`},
		{"b64-false", "b64", `false`},
		{"b64-true", "b64", `true`},
		{"epk", "epk", `{"kty":"EC"}`},
		{"svt", "svt", `["a"]`},
		{"trust-chain", "trust_chain", `["a"]`},
		{"empty-name", "", `1`},
		{"long-name", strings.Repeat("n", 300), `1`},
		{"typ-like", "TYP", `"none"`},
	} {
		note := "RFC 7515 §4: a member that is not understood, and that crit does not name, is ignored."
		b.head("header-member-"+c.name, "TOK-5", "ok", c.member, c.value).about(note)
	}
	// RFC 7797 §6: b64 must be in crit; without it, a receiver that does not know it reads the payload as ever.
	for _, c := range []struct{ name, value string }{
		{"upper", "KEY-1"},
		{"space-after", "key-1 "},
		{"nul-after", "key-1\u0000"},
		{"prefix", "key"},
		{"longer", "key-11"},
		{"path", "../../../../etc/passwd"},
		{"dev-null", "/dev/null"},
		{"sql", "' OR '1'='1"},
		{"url", "https://attacker.example.net/jwks"},
		{"command", "$(id)"},
		{"non-ascii", "schlüssel"},
		{"256-bytes", strings.Repeat("k", 256)},
		{"1000-bytes", strings.Repeat("k", 1000)},
		{"newline", "key-1\n"},
		{"quote", `"`},
		{"percent-encoded", "key%2D1"},
		{"format", "%s%n"},
		{"template", "{{7*7}}"},
	} {
		b.head("kid-odd-"+c.name, "KEY-4", "ok", "kid",
			quote(c.value)).about("The key that is held verifies it: kid is a hint.")
		forged := b.base()
		forged.Key = mint.CachedKey("attacker", 2048)
		forged.Header.SetRaw("kid", quote(c.value))
		b.token("kid-odd-"+c.name+"-forged", "KEY-6", "key-unknown", forged.Sign()).pending()
	}
	for _, c := range []struct{ name, value string }{
		{"null", "null"},
		{"array", `["key-1"]`},
		{"object", `{"k":"key-1"}`},
		{"true", "true"},
	} {
		b.head("kid-"+c.name, "TOK-5", "token-json", "kid", c.value,
			200).about("RFC 7515 §4.1.4 wants a string; ignoring it harms nobody.")
	}
	b.head("kid-escaped", "KEY-4", "ok", "kid", `"\u006bey-1"`)
	for _, c := range []struct{ name, value string }{
		{"unknown-name", `["x-vendor"]`},
		{"number", `1`},
		{"true", `true`},
		{"false", `false`},
		{"array-of-number", `[1]`},
		{"array-of-null", `[null]`},
		{"empty-string-inside", `[""]`},
		{"kid", `["kid"]`},
		{"typ", `["typ"]`},
		{"twice", `["b64","b64"]`},
		{"http", `["http://example.com/UNDEFINED"]`},
		{"nested", `[["b64"]]`},
	} {
		b.head("crit-is-"+c.name, "TOK-3", "token-critical", "crit", c.value)
	}
	upper := b.base()
	upper.Header.SetRaw("CRIT", `["b64"]`)
	b.token("crit-name-in-capitals", "TOK-5", "ok", upper.Sign()).about("Names have a case: this is an unknown member.")
	for _, c := range []struct{ name, value string }{
		{"jose", `"JOSE"`},
		{"jose-json", `"JOSE+JSON"`},
		{"dpop", `"dpop+jwt"`},
		{"request", `"oauth-authz-req+jwt"`},
		{"secevent", `"secevent+jwt"`},
		{"introspection", `"token-introspection+jwt"`},
		{"refresh", `"Refresh"`},
		{"bearer", `"Bearer"`},
		{"id", `"ID"`},
		{"with-parameter", `"application/jwt; charset=utf-8"`},
		{"jwt-nul", `"JWT\u0000"`},
		{"kelvin", `"\u0041T+JW\u0054 "`},
		{"sd", `"vc+sd-jwt"`}, {"object", `{}`}, {"true", `true`},
	} {
		b.head("typ-is-"+c.name, "TOK-4", "token-type", "typ", c.value)
	}
	b.head("typ-escaped", "TOK-4", "ok", "typ", `"\u004aWT"`)
	b.hmacs()
}

// hmacs are more of the confusion of a public key with a secret: each form in which a program may hold the key.
func (b *builder) hmacs() {
	jwk := string(mint.JWKS(mint.CachedKey("key-1", 2048)))
	inner := strings.TrimSuffix(strings.TrimPrefix(jwk, `{"keys":[`), "]}")
	key := mint.CachedKey("key-1", 2048)
	for _, c := range []struct {
		name   string
		secret []byte
	}{
		{"empty-secret", nil},
		{"modulus", key.Private.N.Bytes()},
		{"jwk", []byte(inner)},
		{"jwks", []byte(jwk)},
		{"kid", []byte("key-1")},
		{"pem-without-newline", bytes.TrimRight(key.PublicPEM(), "\n")},
		{"base64-modulus", []byte(encode(key.Private.N.Bytes()))},
	} {
		for _, alg := range []string{"HS256", "HS512"} {
			t := b.base()
			t.Header.Set("alg", alg)
			input := encode(t.Header.Bytes()) + "." + encode(t.Claims.Bytes())
			name := "alg-" + strings.ToLower(alg) + "-" + c.name
			b.token(name, "TOK-2", "token-algorithm", input+"."+encode(mac(alg, c.secret, input)))
		}
	}
	for _, c := range []struct {
		name   string
		secret []byte
	}{
		{"empty-secret", nil}, {"pem", key.PublicPEM()}, {"modulus", key.Private.N.Bytes()},
	} {
		t := b.base()
		input := encode(t.Header.Bytes()) + "." + encode(t.Claims.Bytes())
		b.token("alg-rs512-but-hmac-"+c.name, "TOK-6", "signature", input+"."+encode(mac("HS512", c.secret, input))).
			about("The header says RS512, and the last segment is an HMAC.")
	}
}
