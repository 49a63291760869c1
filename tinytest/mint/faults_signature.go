package mint

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"time"
)

// signatureFaults are forgeries (TOK-6, KEY-4, KEY-6), and tokens with two faults of which the one met first counts.
func signatureFaults() []Case {
	const want = "signature"
	return []Case{
		fault("signature-bit-flipped", "TOK-6", want, editSignature(func(s []byte) []byte { s[17] ^= 0x10; return s })),
		fault("signature-truncated", "TOK-6", want, editSignature(func(s []byte) []byte { return s[:len(s)-1] })),
		fault("signature-longer", "TOK-6", want, editSignature(func(s []byte) []byte { return append(s, 0) })),
		fault("signature-leading-zero", "TOK-6", want,
			editSignature(func(s []byte) []byte { return append([]byte{0}, s...) })),
		fault("signature-one-byte", "TOK-6", want, editSignature(func([]byte) []byte { return []byte{1} })),
		fault("signature-zero", "TOK-6", want, editSignature(func(s []byte) []byte { clear(s); return s })),
		fault("signature-one", "TOK-6", want,
			editSignature(func(s []byte) []byte { clear(s); s[len(s)-1] = 1; return s })),
		fault("signature-all-ones", "TOK-6", want, editSignature(func(s []byte) []byte {
			for i := range s {
				s[i] = 0xff // above every modulus
			}
			return s
		})),
		fault("signature-of-other-payload", "TOK-6", want, func(t *Token) string {
			_, sig := cutSignature(t.Sign())
			t.Claims.Set("sub", "administrator@example.com")
			head, payload := t.segments()
			return head + "." + payload + "." + sig
		}),
		fault("signature-of-other-header", "TOK-6", want, func(t *Token) string {
			_, sig := cutSignature(t.Sign())
			t.Header.Set("typ", "at+jwt")
			head, payload := t.segments()
			return head + "." + payload + "." + sig
		}),
		fault("signature-sha256-inside", "TOK-6", want, func(t *Token) string {
			return t.signWith(func(input string) ([]byte, error) {
				digest := sha256.Sum256([]byte(input))
				return rsa.SignPKCS1v15(nil, t.Key.Private, crypto.SHA256, digest[:])
			})
		}),
		fault("signature-pss-inside", "TOK-6", want, func(t *Token) string {
			return t.signWith(func(input string) ([]byte, error) { return pss(t.Key, sha256.New, []byte(input)), nil })
		}),

		fault("other-key-same-kid", "TOK-6", want, func(t *Token) string { t.Key = attacker(2048); return t.Sign() }),
		fault("other-key-no-kid", "KEY-6", "keys-pending", func(t *Token) string {
			t.Key = attacker(2048)
			t.Header.Delete("kid")
			return t.Sign()
		}).then(want),
		fault("other-key-unknown-kid", "KEY-6", "keys-pending", func(t *Token) string {
			t.Key = attacker(2048)
			t.Header.Set("kid", t.Key.KID)
			return t.Sign()
		}).then("key-unknown"),
		fault("key-1024-bits", "TOK-6", "keys-pending", func(t *Token) string {
			t.Key = smallKey()
			t.Header.Set("kid", t.Key.KID)
			return t.Sign()
		}).then("key-unknown").publish(func() []JWK { return []JWK{smallKey().JWK()} }).
			note("published by the issuer, and ignored: as if it were not there"),
		fault("key-1024-bits-no-kid", "TOK-6", "keys-pending", func(t *Token) string {
			t.Key = smallKey()
			t.Header.Delete("kid")
			return t.Sign()
		}).then(want).publish(func() []JWK { return []JWK{smallKey().JWK()} }),
		fault("key-for-encryption", "KEY-4", "keys-pending", func(t *Token) string {
			t.Key = encryptionKey()
			t.Header.Set("kid", t.Key.KID)
			return t.Sign()
		}).then("key-unknown").publish(func() []JWK {
			j := encryptionKey().JWK()
			j.Use, j.Alg = "enc", ""
			return []JWK{j}
		}),
		fault("key-for-rs256", "KEY-4", "keys-pending", func(t *Token) string {
			t.Key = encryptionKey()
			t.Header.Set("kid", "rs256")
			return t.Sign()
		}).then("key-unknown").publish(func() []JWK {
			j := encryptionKey().JWK()
			j.KeyID, j.Alg = "rs256", "RS256"
			return []JWK{j}
		}),

		fault("forged-and-sub-missing", "TOK-6", want, func(t *Token) string {
			t.Key = attacker(2048)
			t.Claims.Delete("sub")
			return t.Sign()
		}),
		fault("forged-and-expired", "TOK-6", want, func(t *Token) string {
			t.Key = attacker(2048)
			t.Claims.SetRaw("exp", t.seconds(-300))
			return t.Sign()
		}),
		fault("forged-and-duplicate", "TOK-5", "token-json", func(t *Token) string {
			t.Key = attacker(2048)
			t.Claims.Add("sub", quote("administrator@example.com"))
			return t.Sign()
		}),
	}
}

func smallKey() *Key      { return CachedKey("small", 1024) }
func encryptionKey() *Key { return CachedKey("encryption", 2048) }

// editSignature changes the signature's bytes; edit may write to its argument.
func editSignature(edit func(sig []byte) []byte) maker {
	return func(t *Token) string {
		head, payload := t.segments()
		input := head + "." + payload
		return input + "." + encode(edit(signature(input, t.Key)))
	}
}

// selfSigned is a certificate for a key, in the standard base64 that x5c has (RFC 7515 §4.1.6).
func selfSigned(k *Key) string {
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "attacker"},
		NotBefore: time.Unix(1_600_000_000, 0), NotAfter: time.Unix(4_000_000_000, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &k.Private.PublicKey, k.Private)
	if err != nil {
		panic(fmt.Errorf("mint: self-signed certificate: %w", err))
	}
	return base64.StdEncoding.EncodeToString(der)
}
