package hal

import (
	"bytes"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

func testKey(first byte) []byte {
	key := make([]byte, KeySize)
	for i := range key {
		key[i] = first + byte(i)
	}
	return key
}

func newSealer(tb testing.TB, key []byte) *Sealer {
	tb.Helper()
	s, err := NewSealer(key)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func mustSeal(tb testing.TB, s *Sealer, name string, plain []byte) []byte {
	tb.Helper()
	file, err := s.Seal(name, plain)
	if err != nil {
		tb.Fatal(err)
	}
	return file
}

func TestSeal(t *testing.T) {
	spec.Rules(t, "KEY-3")
	s := newSealer(t, testKey(1))
	for _, plain := range []string{"", "x", `{"keys":[]}`, strings.Repeat("long ", 100_000)} {
		file := mustSeal(t, s, "keys.json", []byte(plain))
		if len(file) != len(plain)+SealOverhead {
			t.Errorf("%d bytes became %d", len(plain), len(file))
		}
		if len(plain) > 1 && bytes.Contains(file, []byte(plain)) {
			t.Error("the file shows what was sealed")
		}
		if again := mustSeal(t, s, "keys.json", []byte(plain)); bytes.Equal(again, file) {
			t.Error("sealed twice, it is the same: the nonce was used twice")
		}
		// Another start of the same device has only the key.
		if got, err := newSealer(t, testKey(1)).Open("keys.json", file); err != nil || string(got) != plain {
			t.Errorf("%d bytes came back as %d, %v", len(plain), len(got), err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	spec.Rules(t, "KEY-3")
	s := newSealer(t, testKey(1))
	file := mustSeal(t, s, "keys.json", []byte(`{"keys":[]}`))
	const foreign, unsealed = "sealed on another device", "is not sealed"
	for _, c := range []struct {
		what, name string
		sealer     *Sealer
		file       []byte
		want       string
	}{
		{"another name", "servers.json", s, file, foreign},
		{"no name", "", s, file, foreign},
		{"another device", "keys.json", newSealer(t, testKey(2)), file, foreign},
		{"empty", "keys.json", s, nil, unsealed},
		{"never sealed", "keys.json", s, []byte(`{"keys":[]}`), unsealed},
		{"another version", "keys.json", s, bytes.Replace(file, []byte("-1\n"), []byte("-2\n"), 1), unsealed},
		{"more behind", "keys.json", s, append(bytes.Clone(file), 0), foreign},
	} {
		plain, err := c.sealer.Open(c.name, c.file)
		if plain != nil || err == nil || !strings.Contains(err.Error(), c.want) ||
			!strings.HasPrefix(err.Error(), "hal: "+c.name) {
			t.Errorf("%s: %q, %v; want %q", c.what, plain, err, c.want)
		}
	}
	for i := range file { // cut short at every place
		if plain, err := s.Open("keys.json", file[:i]); plain != nil || err == nil {
			t.Errorf("cut to %d bytes: %q, %v", i, plain, err)
		}
	}
	for i := range len(file) * 8 { // every bit turned
		turned := bytes.Clone(file)
		turned[i/8] ^= 1 << (i % 8)
		if plain, err := s.Open("keys.json", turned); plain != nil || err == nil {
			t.Errorf("bit %d turned: %q, %v", i, plain, err)
		}
	}
	if _, err := s.Open("keys.json", file); err != nil {
		t.Errorf("the file itself: %v", err)
	}
}

func TestNewSealerRefuses(t *testing.T) {
	for _, c := range []struct {
		key  []byte
		want string
	}{
		{nil, "has 0 bytes, not 32"},
		{testKey(0)[:31], "has 31 bytes"},
		{append(testKey(0), 1), "has 33 bytes"},
		{make([]byte, KeySize), "never programmed: every byte of it is 0x00"},
		{bytes.Repeat([]byte{0xff}, KeySize), "never programmed: every byte of it is 0xff"},
	} {
		if s, err := NewSealer(c.key); s != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%x: %v, %v; want %q", c.key, s, err, c.want)
		}
	}
}

// oldFile is keys.json as the first version sealed it under testKey(1).
const oldFile = "nmos-sealed-1\n" +
	"\x1c\x93\xb8\x7f\x84rfP\xec\x16\x95\xa6\xeas\x06\xed\xa5f<\x04N\x9d\x98\xef\xfd\xd8y\xb4s8\xb8F\x0fm\x81\x1e" +
	"\x98\x16\xb5\xa5Q\xd2;\xce\xfc\xe6\xb4B"

// A device that is updated must open what the firmware before it sealed, so the format must not change by accident.
func TestOpenOldFile(t *testing.T) {
	plain, err := newSealer(t, testKey(1)).Open("keys.json", []byte(oldFile))
	if err != nil || string(plain) != "written by version 1" {
		t.Errorf("got %q, error %v", plain, err)
	}
}

func FuzzOpen(f *testing.F) {
	s := newSealer(f, testKey(1))
	good := []byte(oldFile) // not sealed here: each process of the fuzzer would have its own
	f.Add("keys.json", good)
	f.Add("servers.json", good)
	f.Add("keys.json", good[:len(sealed)+12])
	f.Add("", []byte(sealed))
	f.Fuzz(func(t *testing.T, name string, file []byte) {
		// The fuzzer cannot know the key, so there is one pair alone that may open.
		plain, err := s.Open(name, file)
		if (err == nil) != (name == "keys.json" && bytes.Equal(file, good)) {
			t.Errorf("%q of %d bytes: %q, %v", name, len(file), plain, err)
		}
		if err != nil && (plain != nil || !strings.Contains(err.Error(), name)) {
			t.Errorf("got %q, error %v", plain, err)
		}
		resealed := mustSeal(t, s, name, file)
		if back, err := s.Open(name, resealed); err != nil || !bytes.Equal(back, file) {
			t.Errorf("sealed and opened: %x, %v; want %x", back, err, file)
		}
	})
}
