package keys

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha512"
	"math/big"
	"sync"
	"testing"

	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// verifyKeys are keys of several lengths, one with the smallest exponent and one whose length eight does not divide.
var verifyKeys = sync.OnceValue(func() []*rsa.PrivateKey {
	var all []*rsa.PrivateKey
	for _, bits := range []int{2048, 2050, 3072, 4096} {
		all = append(all, mint.CachedKey("key-1", bits).Private)
	}
	p, _ := new(big.Int).SetString(""+
		"f66648780fa5322536b2801432c5118d79c9971f0cfd2a365dc1b22cf7d0c1d74d6bce14b9e0fd3d54481fd48a297cf264cd"+
		"a6bb3ea247b36bd2aa9a48911a404af4b6132538d356d4dfdda0b52f70ceff94e2c6446c67a30d79af944502a4cbbe898f0e"+
		"066ea3226f7ef0d6b609951f2cb4fc6b2c905d6d1c938d6457d8f71d", 16)
	q, _ := new(big.Int).SetString(""+
		"d4d49b08ae1091e89d6f1e9681946eeb5897c7650987600cd32d75084475255ffdcfe9a3b22aa8c4804ea44edaa3c331667c"+
		"e6396885a127491299b74470a967615de8c5da383d9d2b18b978dc2a1bc821de2db393263217696a6f70d866b162c79ee5af"+
		"33e7ad17ce6bb73bf769fa38559f8bc57651189b37f16bcbf966956f", 16)
	one, three := big.NewInt(1), big.NewInt(3)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	return append(all, &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 3}, D: three.ModInverse(three, phi),
		Primes: []*big.Int{p, q},
	})
})

// seal returns the signature of which em comes out, whatever that is, by the two primes (RFC 8017 §5.1.2).
func seal(key *rsa.PrivateKey, em []byte) []byte {
	x, one := new(big.Int).SetBytes(em), big.NewInt(1)
	part := func(prime *big.Int) *big.Int {
		d := new(big.Int).Mod(key.D, new(big.Int).Sub(prime, one))
		return d.Exp(new(big.Int).Mod(x, prime), d, prime)
	}
	p, q := key.Primes[0], key.Primes[1]
	a, b := part(p), part(q)
	h := new(big.Int).ModInverse(q, p)
	h.Mod(h.Mul(h, new(big.Int).Sub(a, b)), p)
	return b.Add(b, h.Mul(h, q)).FillBytes(make([]byte, key.Size()))
}

// encoding returns what must come out of a good signature (RFC 8017 §9.2).
func encoding(key *rsa.PrivateKey, digest []byte) []byte {
	em := make([]byte, key.Size())
	em[1] = 1
	end := len(em) - len(digest) - len(prefix)
	for i := 2; i < end-1; i++ {
		em[i] = 0xff
	}
	copy(em[end:], prefix[:])
	copy(em[end+len(prefix):], digest)
	return em
}

// agree compares the verification with that of crypto/rsa, and returns what both say.
func agree(tb testing.TB, private *rsa.PrivateKey, digest *[sha512.Size]byte, sig []byte) bool {
	tb.Helper()
	key, err := newKey("", &private.PublicKey)
	if err != nil {
		tb.Fatal(err)
	}
	got := key.Verifies(digest, sig)
	if want := rsa.VerifyPKCS1v15(&private.PublicKey, crypto.SHA512, digest[:], sig) == nil; got != want {
		tb.Fatalf("%d bits, exponent %d, digest %x, signature %x: got %t, crypto/rsa says %t",
			private.N.BitLen(), private.E, digest, sig, got, want)
	}
	return got
}

// The bytes of a signature's encoding count, and its length, and that it is less than the modulus: as crypto/rsa has
// it.
func TestVerifies(t *testing.T) {
	spec.Rules(t, "TOK-2")
	digest := sha512.Sum512([]byte("signed"))
	for _, key := range verifyKeys() {
		em := encoding(key, digest[:])
		good := seal(key, em)
		if real, err := rsa.SignPKCS1v15(nil, key, crypto.SHA512, digest[:]); err == nil &&
			string(real) != string(good) {
			t.Fatalf("%d bits: the test's own encoding is not that of crypto/rsa", key.N.BitLen())
		}
		if !agree(t, key, &digest, good) {
			t.Errorf("%d bits, exponent %d: a good signature does not verify", key.N.BitLen(), key.E)
		}
		more := new(big.Int).Add(new(big.Int).SetBytes(good), key.N) // the same number modulo the modulus
		for name, sig := range map[string][]byte{
			"empty": nil, "shorter": good[1:], "longer": append([]byte{0}, good...), "zero": make([]byte, len(good)),
			"the modulus": key.N.Bytes(), "one": append(make([]byte, len(good)-1), 1), "plus the modulus": more.Bytes(),
		} {
			if agree(t, key, &digest, sig) {
				t.Errorf("%d bits: a signature that is %s verifies", key.N.BitLen(), name)
			}
		}
		step := 61
		if key.N.BitLen() == 2048 && key.E != 3 {
			step = 3
		}
		for i := 0; i < len(em); i += step {
			em[i] ^= 1 << (i % 8)
			if new(big.Int).SetBytes(em).Cmp(key.N) < 0 && agree(t, key, &digest, seal(key, em)) {
				t.Errorf("%d bits: an encoding with a bit of byte %d changed verifies", key.N.BitLen(), i)
			}
			em[i] ^= 1 << (i % 8)
		}
	}
}

// FuzzVerifies compares with crypto/rsa: encodings that are changed at a place and then signed, and signatures that are
// changed themselves.
func FuzzVerifies(f *testing.F) {
	all := verifyKeys() // here: an input that takes ten seconds counts as stuck
	f.Add(uint8(0), []byte("signed"), []byte{}, uint16(0), []byte{}, uint16(0))
	f.Add(uint8(1), []byte("signed"), []byte{1}, uint16(0), []byte{}, uint16(0))
	f.Add(uint8(3), []byte("signed"), []byte{0, 0xff}, uint16(1), []byte{}, uint16(0))
	f.Add(uint8(4), []byte("signed"), []byte{1, 2, 3}, uint16(200), []byte{4}, uint16(9))
	f.Fuzz(func(t *testing.T, which uint8, text, inside []byte, at uint16, outside []byte, from uint16) {
		key := all[int(which)%len(all)]
		digest := sha512.Sum512(text)
		em := encoding(key, digest[:])
		for i, b := range inside {
			em[(int(at)+i)%len(em)] ^= b
		}
		sig := seal(key, em)
		for i, b := range outside {
			sig[(int(from)+i)%len(sig)] ^= b
		}
		if from > 1<<15 {
			sig = sig[:int(from)%(len(sig)+1)]
		}
		agree(t, key, &digest, sig)
	})
}
