package keys

import (
	"bytes"
	"crypto/sha512"

	"filippo.io/bigmod"
)

// Crypto/rsa sets up a key's modulus at each verification, a third of its time and most of its allocations. Here it
// is set up once, with the key, by the same arithmetic: bigmod is what crypto/rsa has inside, published by its author.

// prefix is what stands before a SHA-512 digest in a signature: the DER encoding of DigestInfo (RFC 8017 §9.2, note 1).
var prefix = [...]byte{
	0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40,
}

// Verifies reports whether sig is the RS512 signature of what has this digest: RSASSA-PKCS1-v1_5 (RFC 8017 §8.2.2).
// There is one encoding of a digest that is right, and every byte of it is compared: nothing is parsed.
func (k *Key) Verifies(digest *[sha512.Size]byte, sig []byte) bool {
	if k.modulus == nil || len(sig) != k.modulus.Size() {
		return false
	}
	s, err := bigmod.NewNat().SetBytes(sig, k.modulus) // an error if it is not less than the modulus
	if err != nil {
		return false
	}
	got := bigmod.NewNat().ExpShortVarTime(s, uint(k.Public.E), k.modulus).Bytes(k.modulus)
	padding, info := got[:len(got)-len(prefix)-sha512.Size], got[len(got)-len(prefix)-sha512.Size:]
	ok := len(padding) >= leastPadding && padding[0] == 0 && padding[1] == 1 && padding[len(padding)-1] == 0
	for _, b := range padding[2 : len(padding)-1] {
		ok = ok && b == 0xff
	}
	return ok && bytes.Equal(info[:len(prefix)], prefix[:]) && bytes.Equal(info[len(prefix):], digest[:])
}

// leastPadding is the length of the padding with what is around it: two bytes before, eight or more, and one behind
// (RFC 8017 §9.2). Any key that is taken has room for more.
const leastPadding = 11
