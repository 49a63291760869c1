package daemon

import (
	"errors"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// The keys that a normal realm has for other purposes are no warning, unless they are all that it has.
func TestUnneededKeysAreNotWarnedOf(t *testing.T) {
	spec.Rules(t, "KEY-4")
	oaep, rs256 := mint.FakeJWK("oaep", 2048), mint.FakeJWK("rs256", 2048)
	oaep.Use, oaep.Alg, rs256.Alg = "enc", "RSA-OAEP", "RS256"
	small := mint.FakeJWK("small", 1024)
	for name, c := range map[string]struct {
		published []mint.JWK
		want      int // warnings about single keys
	}{
		"a normal realm": {[]mint.JWK{mint.FakeJWK("good", 2048), oaep, rs256}, 0},
		"a weak key":     {[]mint.JWK{mint.FakeJWK("good", 2048), oaep, small}, 1},
		"nothing useful": {[]mint.JWK{oaep, rs256}, 2},
	} {
		core, seen := observer.New(zapcore.WarnLevel)
		found, left, err := keys.Parse(mint.JWKSOf(c.published...))
		logKeys(zap.New(core), keys.Event{Keys: len(found), Left: left, Err: err, Changed: err == nil})
		if got := seen.FilterMessage("a key of the set is not used").Len(); got != c.want {
			t.Errorf("%s: got %d warnings, want %d: %v", name, got, c.want, errors.Join(left...))
		}
	}
}
