package mint

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync"
)

// Key is an RSA key pair and the name that its owner publishes it under. Keys are shared: do not change one.
type Key struct {
	KID     string
	Private *rsa.PrivateKey
}

// GenerateKey returns a new key of that many bits, 1024 or more. Hundreds of milliseconds for 2048 bits on a slow
// machine: prefer CachedKey where it need not be new.
func GenerateKey(kid string, bits int) *Key {
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(fmt.Errorf("mint: generate a key of %d bits: %w", bits, err))
	}
	return &Key{KID: kid, Private: private}
}

type cacheKey struct {
	kid  string
	bits int
}

var (
	cacheMu sync.Mutex
	cache   = map[cacheKey]*Key{}
)

// CachedKey returns the key of that name and size, the same one for as long as the process lives.
func CachedKey(kid string, bits int) *Key {
	cacheMu.Lock()
	defer cacheMu.Unlock()
	k := cache[cacheKey{kid, bits}]
	if k == nil {
		k = keptKey(kid, bits)
		cache[cacheKey{kid, bits}] = k
	}
	return k
}

// JWK is a public key as RFC 7517 writes it. Empty members are left out.
type JWK struct {
	KeyType string   `json:"kty"`
	N       string   `json:"n,omitempty"`
	E       string   `json:"e,omitempty"`
	KeyID   string   `json:"kid,omitempty"`
	Use     string   `json:"use,omitempty"`
	Alg     string   `json:"alg,omitempty"`
	KeyOps  []string `json:"key_ops,omitempty"`
	Curve   string   `json:"crv,omitempty"`
	X       string   `json:"x,omitempty"`
	Y       string   `json:"y,omitempty"`
	K       string   `json:"k,omitempty"`
}

// JWK returns the public half, marked for signatures with RS512.
func (k *Key) JWK() JWK {
	j := RSAJWK(k.KID, k.Private.N, k.Private.E)
	j.Use, j.Alg = "sig", "RS512"
	return j
}

// RSAJWK returns a public key that need not have a private one, without use and alg.
func RSAJWK(kid string, n *big.Int, e int) JWK {
	return JWK{KeyType: "RSA", N: encode(n.Bytes()), E: encode(big.NewInt(int64(e)).Bytes()), KeyID: kid}
}

// FakeJWK returns a public key of exactly that many bits that belongs to nobody: a random odd modulus. It costs
// microseconds, where a real key of 16,384 bits costs minutes.
func FakeJWK(kid string, bits int) JWK {
	raw := make([]byte, (bits+7)/8)
	if _, err := rand.Read(raw); err != nil {
		panic(fmt.Errorf("mint: %w", err))
	}
	n := new(big.Int).SetBytes(raw)
	n.Rsh(n, uint(len(raw)*8-bits))
	n.SetBit(n, bits-1, 1)
	n.SetBit(n, 0, 1)
	j := RSAJWK(kid, n, 65537)
	j.Use, j.Alg = "sig", "RS512"
	return j
}

// JWKS returns the key set (RFC 7517 §5) that publishes these keys.
func JWKS(keys ...*Key) []byte {
	set := make([]JWK, len(keys))
	for i, k := range keys {
		set[i] = k.JWK()
	}
	return JWKSOf(set...)
}

// JWKSOf is JWKS for keys that are written already.
func JWKSOf(keys ...JWK) []byte {
	if keys == nil {
		keys = []JWK{}
	}
	return marshal(struct {
		Keys []JWK `json:"keys"`
	}{keys})
}

// PublicPEM returns the public half as SubjectPublicKeyInfo: what an attacker has, and what HS256 confusion uses as
// its secret.
func (k *Key) PublicPEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(&k.Private.PublicKey)
	if err != nil {
		panic(fmt.Errorf("mint: %w", err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// PEM returns the private key in PKCS #8. Keep it out of logs.
func (k *Key) PEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(k.Private)
	if err != nil {
		panic(fmt.Errorf("mint: %w", err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// errNotRSA is returned for a key file that holds something else.
var errNotRSA = errors.New("mint: the file holds no RSA private key in PEM (PKCS #8 or PKCS #1)")

// ParseKey reads the private key that PEM wrote, or one of OpenSSL's in PKCS #1.
func ParseKey(kid string, text []byte) (*Key, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errNotRSA
	}
	if private, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return &Key{KID: kid, Private: private}, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotRSA, err)
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errNotRSA
	}
	return &Key{KID: kid, Private: private}, nil
}

// raw is the text of a JWK, for header members.
func (j JWK) raw() string {
	b, err := json.Marshal(j)
	if err != nil {
		panic(fmt.Errorf("mint: %w", err))
	}
	return string(b)
}
