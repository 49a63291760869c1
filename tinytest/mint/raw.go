package mint

import (
	"fmt"
	"hash"
	"math/big"
)

// Remember makes a key the one that CachedKey returns under its name and size, so that tokens are the same each time.
func Remember(k *Key) {
	cacheMu.Lock()
	defer cacheMu.Unlock()
	cache[cacheKey{k.KID, k.Private.N.BitLen()}] = k
}

// SignText appends an RS512 signature to a text that need not be two segments.
func SignText(input string, key *Key) string { return signText(input, key) }

// RawSignature is the private operation of RSA on a block that need not be one of any scheme (RFC 8017 §5.2.1): what a
// holder of the key could sign, and no honest one does. The block must be smaller than the modulus.
func RawSignature(key *Key, block []byte) []byte {
	m := new(big.Int).SetBytes(block)
	if m.Cmp(key.Private.N) >= 0 {
		panic(fmt.Errorf("mint: a block of %d bits is too large for %s", m.BitLen(), key.KID))
	}
	return m.Exp(m, key.Private.D, key.Private.N).FillBytes(make([]byte, key.Private.Size()))
}

// pss is RSASSA-PSS (RFC 8017 §8.1.1) with a salt of zeros as long as the digest: crypto/rsa would draw one, and the
// token would be another each time.
func pss(key *Key, digest func() hash.Hash, message []byte) []byte {
	sum := func(parts ...[]byte) []byte {
		h := digest()
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	size := digest().Size()
	salt := make([]byte, size)
	bits := key.Private.N.BitLen() - 1
	block := make([]byte, (bits+7)/8)
	sealed := sum(make([]byte, 8), sum(message), salt)
	data := block[:len(block)-size-1]
	data[len(data)-size-1] = 1
	copy(data[len(data)-size:], salt)
	for i := 0; i < len(data); i += size { // the mask
		c := i / size
		mask := sum(sealed, []byte{byte(c >> 24), byte(c >> 16), byte(c >> 8), byte(c)})
		for j := range min(size, len(data)-i) {
			data[i+j] ^= mask[j]
		}
	}
	block[0] &= 0xff >> (8*len(block) - bits)
	copy(block[len(data):], sealed)
	block[len(block)-1] = 0xbc
	return RawSignature(key, block)
}
