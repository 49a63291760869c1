package mint

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"fmt"
	"hash"
	"math/big"
)

// attacker is the key of somebody the issuer does not know.
func attacker(bits int) *Key { return CachedKey("attacker", bits) }

// headerFaults are in the header's members: alg (TOK-2), crit (TOK-3), typ (TOK-4).
func headerFaults() []Case {
	const alg, crit, typ = "token-algorithm", "token-critical", "token-type"
	rows := []Case{
		fault("alg-none-unsigned", "TOK-2", alg, func(t *Token) string {
			t.Header.Set("alg", "none")
			head, payload := t.segments()
			return head + "." + payload + "."
		}),
		fault("alg-none", "TOK-2", alg, header("alg", `"none"`)),
		fault("alg-none-capital", "TOK-2", alg, header("alg", `"None"`)),
		fault("alg-none-upper", "TOK-2", alg, header("alg", `"NONE"`)),
		fault("alg-hs256-public-key", "TOK-2", alg, hmacForm("HS256", sha256.New)),
		fault("alg-hs512-public-key", "TOK-2", alg, hmacForm("HS512", sha512.New)),
		fault("alg-rs256", "TOK-2", alg, func(t *Token) string {
			t.Header.Set("alg", "RS256")
			return t.signWith(func(input string) ([]byte, error) {
				digest := sha256.Sum256([]byte(input))
				return rsa.SignPKCS1v15(nil, t.Key.Private, crypto.SHA256, digest[:])
			})
		}),
		fault("alg-ps512", "TOK-2", alg, func(t *Token) string {
			t.Header.Set("alg", "PS512")
			return t.signWith(func(input string) ([]byte, error) { return pss(t.Key, sha512.New, []byte(input)), nil })
		}),
		fault("alg-es512", "TOK-2", alg, ecdsaForm),
		fault("alg-lower-case", "TOK-2", alg, header("alg", `"rs512"`)),
		fault("alg-mixed-case", "TOK-2", alg, header("alg", `"Rs512"`)),
		fault("alg-space-after", "TOK-2", alg, header("alg", `"RS512 "`)),
		fault("alg-nul-after", "TOK-2", alg, header("alg", `"RS512\u0000"`)),
		fault("alg-empty", "TOK-2", alg, header("alg", `""`)),
		fault("alg-null", "TOK-2", alg, header("alg", `null`)),
		fault("alg-number", "TOK-2", alg, header("alg", `512`)),
		fault("alg-array", "TOK-2", alg, header("alg", `["RS512"]`)),
		fault("alg-missing", "TOK-2", alg, func(t *Token) string { t.Header.Delete("alg"); return t.Sign() }),
		fault("alg-name-in-capitals", "TOK-2", alg, func(t *Token) string {
			t.Header.Delete("alg")
			t.Header.Set("ALG", "RS512") // names are compared with their case (RFC 7515 §4); encoding/json does not
			return t.Sign()
		}),

		fault("crit-b64", "TOK-3", crit, func(t *Token) string {
			t.Header.SetRaw("crit", `["b64"]`)
			t.Header.SetRaw("b64", `true`) // RFC 7797 with the default: the token is encoded as ever
			return t.Sign()
		}),
		fault("crit-b64-false", "TOK-3", crit, func(t *Token) string {
			t.Header.SetRaw("crit", `["b64"]`)
			t.Header.SetRaw("b64", `false`)
			return t.Sign()
		}),
		fault("crit-exp", "TOK-3", crit, header("crit", `["exp"]`)),
		fault("crit-alg", "TOK-3", crit, header("crit", `["alg"]`)),
		fault("crit-empty", "TOK-3", crit, header("crit", `[]`)),
		fault("crit-string", "TOK-3", crit, header("crit", `"b64"`)),
		fault("crit-null", "TOK-3", crit, header("crit", `null`)),
		fault("crit-object", "TOK-3", crit, header("crit", `{}`)),

		fault("kid-number", "TOK-5", "token-json", header("kid", `1`)).
			note("RFC 7515 §4.1.4: kid must be a string; ignoring it and trying every key is defensible"),
	}
	for name, value := range ordered(
		"jwe", `"JWE"`, "id-token", `"id+jwt"`, "logout", `"logout+jwt"`, "text", `"text/jwt"`, "empty", `""`,
		"application-only", `"application/"`, "application-twice", `"application/application/jwt"`,
		"space-after", `"JWT "`, "number", `1`, "null", `null`, "array", `["JWT"]`,
	) {
		rows = append(rows, fault("typ-"+name, "TOK-4", typ, header("typ", value)))
	}
	for name, value := range ordered("jku", `"https://attacker.example.net/jwks"`,
		"x5u", `"https://attacker.example.net/x5c"`) {
		rows = append(rows, fault("key-in-header-"+name, "TOK-3", "signature", func(t *Token) string {
			t.Header.SetRaw(name, value)
			t.Key = attacker(2048)
			return t.Sign()
		}))
	}
	return append(rows,
		fault("key-in-header-jwk", "TOK-3", "signature", func(t *Token) string {
			t.Key = attacker(2048)
			t.Header.SetRaw("jwk", t.Key.JWK().raw())
			return t.Sign()
		}),
		fault("key-in-header-jwk-without-kid", "TOK-3", "keys-pending", func(t *Token) string {
			t.Key = attacker(2048)
			t.Header.Delete("kid")
			t.Header.SetRaw("jwk", t.Key.JWK().raw())
			return t.Sign()
		}).then("signature"),
		fault("key-in-header-x5c", "TOK-3", "signature", func(t *Token) string {
			t.Key = attacker(2048)
			t.Header.SetRaw("x5c", `["`+selfSigned(t.Key)+`"]`)
			return t.Sign()
		}),
	)
}

func headerVariants() []Case {
	rows := []Case{
		good("typ-absent", "TOK-4", func(t *Token) string { t.Header.Delete("typ"); return t.Sign() }),
		good("kid-absent", "KEY-4", func(t *Token) string { t.Header.Delete("kid"); return t.Sign() }),
		good("kid-unknown", "KEY-4", header("kid", `"no-such-key"`)),
		good("kid-empty", "KEY-4", header("kid", `""`)),
		good("header-unknown-member", "TOK-5", header("x-vendor", `{"a":[1,2,3]}`)),
		good("header-white-space", "TOK-5", headerText(func(h string) string { return " " + h + "\r\n\t" })),
		good("alg-escaped", "TOK-2", header("alg", `"\u0052S512"`)),
		good("key-in-header-ignored", "TOK-3", func(t *Token) string {
			t.Header.SetRaw("jwk", attacker(2048).JWK().raw())
			t.Header.SetRaw("jku", `"https://attacker.example.net/jwks"`)
			return t.Sign()
		}),
	}
	for name, value := range ordered(
		"lower", "jwt", "upper", "JWT", "access-token", "at+jwt", "access-token-upper", "AT+JWT",
		"application", "application/at+jwt", "application-jwt", "application/jwt", "application-mixed",
		"Application/At+Jwt",
	) {
		rows = append(rows, good("typ-"+name, "TOK-4", header("typ", quote(value))))
	}
	return rows
}

// ordered yields pairs in the order given.
func ordered(pairs ...string) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		for i := 0; i+1 < len(pairs); i += 2 {
			if !yield(pairs[i], pairs[i+1]) {
				return
			}
		}
	}
}

// signWith signs by another algorithm than RS512.
func (t *Token) signWith(sign func(input string) ([]byte, error)) string {
	head, payload := t.segments()
	input := head + "." + payload
	sig, err := sign(input)
	if err != nil {
		panic(fmt.Errorf("mint: sign: %w", err))
	}
	return input + "." + encode(sig)
}

// hmacForm is the classic confusion: the public key, which everybody has, as the secret of a MAC.
func hmacForm(alg string, digest func() hash.Hash) maker {
	return func(t *Token) string {
		t.Header.Set("alg", alg)
		return t.signWith(func(input string) ([]byte, error) {
			mac := hmac.New(digest, t.Key.PublicPEM())
			mac.Write([]byte(input))
			return mac.Sum(nil), nil
		})
	}
}

// ecdsaForm is a good ES512 signature (RFC 7518 §3.4) by a key of its own.
func ecdsaForm(t *Token) string {
	t.Header.Set("alg", "ES512")
	return t.signWith(func(input string) ([]byte, error) {
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P521(), bytes.Repeat([]byte{1}, 66))
		if err != nil {
			return nil, err
		}
		digest := sha512.Sum512([]byte(input))
		der, err := key.Sign(nil, digest[:], crypto.SHA512) // without randomness it is the same each time (RFC 6979)
		if err != nil {
			return nil, err
		}
		var pair struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &pair); err != nil {
			return nil, err
		}
		sig := make([]byte, 132)
		pair.R.FillBytes(sig[:66])
		pair.S.FillBytes(sig[66:])
		return sig, nil
	})
}
