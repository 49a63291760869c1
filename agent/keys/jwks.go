package keys

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// Limits of a key set document (KEY-8, TOK-6).
const (
	MaxDocument = 256 << 10 // bytes
	MaxKeys     = 64
	minKeyBits  = 2048 // RFC 7518 §3.3
	maxKeyBits  = 8192 // beyond it one forged token costs the device too much
)

// go-jose leaves out RSA keys of over 4096 bits where it is not told otherwise, before anything is parsed.
func init() { jose.MaxRSAModulusBits = maxKeyBits }

// errNoKeys is for a document that is well formed and holds nothing that can verify an access token.
var errNoKeys = errors.New("it holds no RSA key that can verify RS512")

// Parse reads a JWK Set (RFC 7517 §5), or a bare array of keys (INFO-002's example), key by key: one that cannot be used is
// left out and named in the second result, it does not lose the set (KEY-4). An error means that no key can be used.
func Parse(document []byte) ([]Key, []error, error) {
	if len(document) > MaxDocument {
		return nil, nil, fmt.Errorf("the key set is over %d bytes", MaxDocument)
	}
	var raw []json.RawMessage
	var err error
	if document = bytes.TrimLeft(document, " \t\r\n"); len(document) > 0 && document[0] == '[' {
		err = json.Unmarshal(document, &raw)
	} else {
		var set struct {
			Keys *[]json.RawMessage `json:"keys"`
		}
		if err = json.Unmarshal(document, &set); err == nil {
			if set.Keys == nil {
				return nil, nil, errors.New(`the key set is neither an object with "keys" nor an array of keys`)
			}
			raw = *set.Keys
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the key set is not JSON as RFC 7517 has it: %w", err)
	}
	if len(raw) > MaxKeys {
		return nil, nil, fmt.Errorf("the key set holds %d keys, more than %d", len(raw), MaxKeys)
	}
	var keys []Key
	var left []error
	for n, r := range raw {
		k, err := parseKey(r)
		if err != nil {
			left = append(left, fmt.Errorf("key %d left out: %w", n+1, err))
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, left, errNoKeys
	}
	return keys, left, nil
}

func parseKey(raw json.RawMessage) (Key, error) {
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil {
		return Key{}, err
	}
	pub, ok := jwk.Key.(*rsa.PublicKey)
	switch {
	case !ok:
		return Key{}, errors.New("not an RSA public key")
	case jwk.Use != "" && jwk.Use != "sig":
		return Key{}, fmt.Errorf("its use is %+.20q, not sig", jwk.Use)
	case jwk.Algorithm != "" && jwk.Algorithm != "RS512":
		return Key{}, fmt.Errorf("its alg is %+.20q, not RS512", jwk.Algorithm)
	case pub.N.BitLen() < minKeyBits || pub.N.BitLen() > maxKeyBits:
		return Key{}, fmt.Errorf("its modulus has %d bits, not %d to %d", pub.N.BitLen(), minKeyBits, maxKeyBits)
	case pub.N.Bit(0) == 0 || pub.E < 3 || pub.E&1 == 0 || pub.E > 1<<31-1:
		return Key{}, errors.New("its modulus or exponent is none of RSA")
	}
	return newKey(&jwk, pub)
}
