package vectors

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"math/big"
	"slices"

	"nmosauthd/tinytest/mint"
)

// digestInfo is what stands before the digest of SHA-512 (RFC 8017 §9.2).
var digestInfo = []byte{0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04,
	0x02, 0x03, 0x05, 0x00, 0x04, 0x40}

// block returns EMSA-PKCS1-v1_5 (RFC 8017 §9.2) of an encoded digest.
func block(size int, info []byte) []byte {
	em := bytes.Repeat([]byte{0xff}, size)
	em[0], em[1] = 0, 1
	em[size-len(info)-1] = 0
	copy(em[size-len(info):], info)
	return em
}

func (b *builder) signature() {
	b.begin("signature",
		"Signatures that are none: forged, of another text, and of blocks that only look like EMSA-PKCS1-v1_5.")
	b.setting("signature", "")
	b.minted(b.base(), tables, func(c mint.Case) bool {
		return c.Rule == "TOK-6" || c.Rule == "KEY-6" || c.Name == "forged-and-duplicate"
	})
	b.blocks("block", b.base())
	b.numbers()
	key := mint.CachedKey("exponent-3", 3072)
	b.published("exponent-3",
		"A key whose exponent is 3, with which a careless check of the block can be fooled without the private key.",
		b.issuer+"/exponent-3", string(mint.JWKS(key)))
	t := b.base()
	t.Key = key
	t.Header.Set("kid", key.KID)
	b.token("exponent-3-good", "KEY-4", "ok", t.Sign())
	b.blocks("exponent-3-block", t)
	b.cubeRoots(t)
}

// info returns the encoded digest of the text that a template's signature is over.
func info(t *mint.Token) (input string, encoded []byte) {
	input = encode(t.Header.Bytes()) + "." + encode(t.Claims.Bytes())
	digest := sha512.Sum512([]byte(input))
	return input, append(bytes.Clone(digestInfo), digest[:]...)
}

// blocks adds signatures by the issuer's own key over blocks that are malformed. RFC 8017 §8.2.2 compares blocks, so
// that no other than the one is right.
func (b *builder) blocks(prefix string, t *mint.Token) {
	input, good := info(t)
	size := t.Key.Private.Size()
	digest := good[len(digestInfo):]
	edited := func(edit func(em []byte)) []byte { em := block(size, good); edit(em); return em }
	replaced := func(old, with []byte) []byte { return bytes.Replace(good, old, with, 1) }
	oid := []byte{0x03, 0x04, 0x02, 0x03}
	separator := size - len(good) - 1
	for _, c := range []struct {
		name  string
		block []byte
		also  []int
	}{
		{"null-missing", block(size, append([]byte{0x30, 0x4f, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
			0x03, 0x04, 0x02, 0x03, 0x04, 0x40}, digest...)), []int{200}},
		{"oid-of-sha256", block(size, replaced(oid, []byte{0x03, 0x04, 0x02, 0x01})), nil},
		{"oid-of-sha384", block(size, replaced(oid, []byte{0x03, 0x04, 0x02, 0x02})), nil},
		{"oid-of-sha512-256", block(size, replaced(oid, []byte{0x03, 0x04, 0x02, 0x06})), nil},
		{"oid-missing", block(size, append([]byte{0x30, 0x46, 0x30, 0x02, 0x05, 0x00, 0x04, 0x40}, digest...)), nil},
		{"digest-bare", block(size, digest), nil},
		{"digest-empty", block(size, append(bytes.Clone(digestInfo[:18]), 0)), nil},
		{"digest-short", block(size, good[:len(good)-1]), nil},
		{"digest-in-part", block(size, good[:len(good)-32]), nil},
		{"digest-longer", block(size, append(bytes.Clone(good), 0)), nil},
		{"digest-bit-flipped", edited(func(em []byte) { em[size-1] ^= 1 }), nil},
		{"digest-of-nothing", block(size, func() []byte {
			d := sha512.Sum512(nil)
			return append(bytes.Clone(digestInfo), d[:]...)
		}()), nil},
		{"digest-of-payload-only", block(size, func() []byte {
			d := sha512.Sum512([]byte(encode(t.Claims.Bytes())))
			return append(bytes.Clone(digestInfo), d[:]...)
		}()), nil},
		{"digest-of-decoded-text", block(size, func() []byte {
			d := sha512.Sum512([]byte(string(t.Header.Bytes()) + "." + string(t.Claims.Bytes())))
			return append(bytes.Clone(digestInfo), d[:]...)
		}()), nil},
		{"digest-twice", block(size, func() []byte {
			d := sha512.Sum512(digest)
			return append(bytes.Clone(digestInfo), d[:]...)
		}()), nil},
		{"length-in-long-form", block(size, append([]byte{0x30, 0x81, 0x51}, good[2:]...)), nil},
		{"length-in-longer-form", block(size, append([]byte{0x30, 0x82, 0x00, 0x51}, good[2:]...)), nil},
		{"length-too-large", block(size, append([]byte{0x30, 0x52}, good[2:]...)), nil},
		{"length-too-small", block(size, append([]byte{0x30, 0x50}, good[2:]...)), nil},
		{"length-indefinite", block(size, append(append([]byte{0x30, 0x80}, good[2:]...), 0, 0)), nil},
		{"parameter-is-integer", block(size, replaced([]byte{0x05, 0x00}, []byte{0x02, 0x00})), nil},
		{"parameter-with-garbage", block(size,
			slices.Concat([]byte{0x30, 0x55, 0x30, 0x11}, good[4:15], []byte{0x05, 0x04, 1, 2, 3, 4}, good[17:])), nil},
		{"garbage-after", block(size, append(bytes.Clone(good), bytes.Repeat([]byte{0x5a}, 40)...)), nil},
		{"zeros-after", block(size, append(bytes.Clone(good), make([]byte, 40)...)), nil},
		{"garbage-after-short-padding", shortPadding(size, good), nil},
		{"type-0", edited(func(em []byte) { em[1] = 0 }), nil},
		{"type-2", edited(func(em []byte) { em[1] = 2 }), nil},
		{"padding-of-zeros", edited(func(em []byte) { clear(em[2:separator]) }), nil},
		{"padding-with-zero-inside", edited(func(em []byte) { em[20] = 0 }), nil},
		{"padding-with-fe-inside", edited(func(em []byte) { em[20] = 0xfe }), nil},
		{"padding-first-byte-fe", edited(func(em []byte) { em[2] = 0xfe }), nil},
		{"padding-last-byte-fe", edited(func(em []byte) { em[separator-1] = 0xfe }), nil},
		{"separator-is-one", edited(func(em []byte) { em[separator] = 1 }), nil},
		{"separator-is-ff", edited(func(em []byte) { em[separator] = 0xff }), nil},
		{"padding-missing", append(append([]byte{0, 1, 0}, good...), make([]byte, size-3-len(good))...), nil},
		{"all-zeros-but-digest", append(make([]byte, size-len(digest)), digest...), nil},
		{"of-iso-9796", append(append(append([]byte{0x6b}, bytes.Repeat([]byte{0xbb}, size-len(digest)-3)...), 0xba),
			append(bytes.Clone(digest), 0xcc)...), nil},
	} {
		if len(c.block) != size {
			panic(c.name)
		}
		m := c.block
		if new(big.Int).SetBytes(m).Cmp(t.Key.Private.N) >= 0 {
			continue
		}
		b.token(prefix+"-"+c.name, "TOK-6", "signature", input+"."+encode(mint.RawSignature(t.Key, m)), c.also...)
	}
}

// shortPadding is a block with eight bytes of padding and garbage behind the digest: Bleichenbacher's of 2006.
func shortPadding(size int, good []byte) []byte {
	em := append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, 8)...)
	em = append(append(em, 0), good...)
	return append(em, bytes.Repeat([]byte{0x41}, size-len(em))...)
}

// numbers adds signatures that are other numbers than the one.
func (b *builder) numbers() {
	t := b.base()
	input, _ := info(t)
	n, size := t.Key.Private.N, t.Key.Private.Size()
	_, _, last := cut(t.Sign())
	s := new(big.Int).SetBytes(decoded(last))
	one := big.NewInt(1)
	write := func(x *big.Int) []byte { return x.FillBytes(make([]byte, max(size, (x.BitLen()+7)/8))) }
	for _, c := range []struct {
		name string
		sig  []byte
	}{
		{"modulus", write(n)},
		{"modulus-less-one", write(new(big.Int).Sub(n, one))},
		{"modulus-and-one", write(new(big.Int).Add(n, one))},
		{"negated", write(new(big.Int).Sub(n, s))},
		{"plus-modulus", write(new(big.Int).Add(s, n))},
		{"plus-256-moduli", write(new(big.Int).Add(s, new(big.Int).Lsh(n, 8)))},
		{"squared", write(new(big.Int).Exp(s, big.NewInt(2), n))},
		{"inverse", write(new(big.Int).ModInverse(s, n))},
		{"reversed", func() []byte { r := bytes.Clone(decoded(last)); reverse(r); return r }()},
		{"twice", append(decoded(last), decoded(last)...)},
		{"half", decoded(last)[:size/2]},
		{"first-byte-missing", decoded(last)[1:]},
		{"byte-before", append([]byte{1}, decoded(last)...)},
		{"block-itself", func() []byte { _, good := info(t); return block(size, good) }()},
		{"digest-itself", func() []byte { _, good := info(t); return good[len(digestInfo):] }()},
		{"in-der-octets", append([]byte{0x04, 0x82, 0x01, 0x00}, decoded(last)...)},
		{"in-der-bits", append([]byte{0x03, 0x82, 0x01, 0x01, 0x00}, decoded(last)...)},
		{"two", write(big.NewInt(2))},
		{"in-hex", decoded(fmt.Sprintf("%X", decoded(last)))}, // which is base64url, too
	} {
		b.token("signature-is-"+c.name, "TOK-6", "signature", input+"."+encode(c.sig))
	}
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}

// cubeRoots adds forgeries without the private key (CVE-2006-4339 and its kin): the cube of the signature begins as a
// good block does, with the rest where a careless check does not look.
func (b *builder) cubeRoots(t *mint.Token) {
	input, good := info(t)
	size := t.Key.Private.Size()
	for _, c := range []struct {
		name string
		head []byte // of the block
	}{
		{"eight-bytes-of-padding", append(append([]byte{0, 1}, append(bytes.Repeat([]byte{0xff}, 8), 0)...), good...)},
		{"no-padding", append([]byte{0, 1, 0}, good...)},
		{"one-byte-of-padding", append([]byte{0, 1, 0xff, 0}, good...)},
	} {
		low := append(bytes.Clone(c.head), make([]byte, size-len(c.head))...)
		high := append(bytes.Clone(c.head), bytes.Repeat([]byte{0xff}, size-len(c.head))...)
		root := cubeRoot(new(big.Int).SetBytes(high))
		cube := new(big.Int).Exp(root, big.NewInt(3), nil)
		if cube.Cmp(new(big.Int).SetBytes(low)) < 0 {
			panic("no cube begins so: " + c.name)
		}
		b.token("exponent-3-cube-root-"+c.name, "TOK-6", "signature",
			input+"."+encode(root.FillBytes(make([]byte, size)))).
			about("Made without the private key.")
	}
	b.token("exponent-3-one", "TOK-6", "signature", input+"."+encode(big.NewInt(1).FillBytes(make([]byte, size))))
}

// cubeRoot is the largest integer whose cube is not above n.
func cubeRoot(n *big.Int) *big.Int {
	low, high := big.NewInt(0), new(big.Int).Lsh(big.NewInt(1), uint(n.BitLen()/3+1))
	for low.Cmp(high) < 0 {
		middle := new(big.Int).Add(low, high)
		middle.Add(middle, big.NewInt(1)).Rsh(middle, 1)
		if new(big.Int).Exp(middle, big.NewInt(3), nil).Cmp(n) <= 0 {
			low = middle
		} else {
			high = middle.Sub(middle, big.NewInt(1))
		}
	}
	return low
}
