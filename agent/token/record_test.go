package token_test

import (
	"crypto/sha256"
	"testing"

	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// What a record says of a token: its jti if that can be shown, else a digest; and the key that verified it.
func TestWhatIsRecordedOfAToken(t *testing.T) {
	spec.Rules(t, "OPS-2")
	m := newMemory(t, token.Options{}, mint.CachedKey(mint.DefaultKID, 2048).JWK())
	for _, c := range []struct{ name, jti, want string }{
		{"jti", `"5f0c1b52"`, "5f0c1b52"},
		{"jti with escapes", `"\u0061\/b"`, "a/b"},
		{"no jti", "", ""},
		{"empty", `""`, ""},
		{"a number", `17`, ""},
		{"an object", `{"a":["b"]}`, ""},
		{"control characters", `"a\nb"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			minted := tokenFor("a")
			minted.Claims.Delete("jti")
			if c.jti != "" {
				minted.Claims.SetRaw("jti", c.jti)
			}
			raw := []byte(minted.Sign())
			sum := sha256.Sum256(raw)
			for _, when := range []bool{false, true} {
				var tok token.Token
				if got := m.Check(raw, m.clock, m.Set(), &tok); got.Reason != wire.OK || got.Hit != when {
					t.Fatalf("got %+v", got)
				}
				if string(tok.ID()) != c.want || tok.KeyID() != mint.DefaultKID {
					t.Errorf("jti %q, kid %q", tok.ID(), tok.KeyID())
				}
				digest := tok.Digest()
				if c.want == "" && string(digest[:]) != string(sum[:16]) || c.want != "" && digest != (token.Digest{}) {
					t.Errorf("digest %x of a token of jti %q", digest, c.want)
				}
			}
		})
	}
}

// A token that is not verified says nothing of itself.
func TestNothingIsRecordedOfAForgedToken(t *testing.T) {
	spec.Rules(t, "OPS-2")
	m := newMemory(t, token.Options{}, mint.CachedKey(mint.DefaultKID, 2048).JWK())
	forged := tokenFor("a")
	forged.Claims.SetRaw("jti", `"5f0c1b52"`)
	var tok token.Token
	if got := m.Check([]byte(spoil(forged.Sign())), m.clock, m.Set(), &tok); got.Reason != wire.Signature {
		t.Fatalf("got %+v", got)
	}
	if tok.Verified() || tok.KeyID() != "" || tok.Digest() != (token.Digest{}) {
		t.Errorf("verified %v, kid %q, digest %x", tok.Verified(), tok.KeyID(), tok.Digest())
	}
}
