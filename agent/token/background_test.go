package token_test

import (
	"testing"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// While the background is busy with new tokens, those that are remembered are answered, be they good or forged, and no
// new one is before it was verified there.
func TestBackground(t *testing.T) {
	spec.Rules(t, "ANS-5")
	held := make(chan func(), 1)
	busy := false
	m := newMemory(t, token.Options{Background: func(f func()) {
		if busy {
			held <- f
			return
		}
		go f()
	}}, mint.CachedKey(mint.DefaultKID, 2048).JWK())
	known, forged := tokenFor("a").Sign(), spoil(tokenFor("b").Sign())
	refused := token.Outcome{Reason: wire.Signature, Missing: true, KID: keys.KIDHeld}
	m.check(t, "a good token", known, good)
	m.check(t, "a forged token", forged, refused)
	busy = true
	got := make(chan token.Outcome)
	fresh := tokenFor("c").Sign()
	go func() { got <- m.outcome(fresh) }()
	verification := <-held
	refused.Hit = true
	m.check(t, "the good token again", known, goodAgain)
	m.check(t, "the forged token again", forged, refused)
	select {
	case o := <-got:
		t.Errorf("a token that was not verified: got %+v", o)
	default:
	}
	verification()
	if o := <-got; o != good {
		t.Errorf("a token that was verified: got %+v, want %+v", o, good)
	}
	m.check(t, "the new token again", fresh, goodAgain)
}
