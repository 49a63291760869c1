package token_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// memory is a verifier with keys, for tests of what it remembers.
type memory struct {
	*token.Verifier
	*issuers
	clock token.Clock
}

func newMemory(tb testing.TB, o token.Options, published ...mint.JWK) *memory {
	return &memory{newVerifier(o), hold(tb, map[string][]byte{mint.DefaultIssuer: mint.JWKSOf(published...)}), clock}
}

func (m *memory) publish(tb testing.TB, published ...mint.JWK) {
	tb.Helper()
	m.renew(tb, mint.DefaultIssuer, mint.JWKSOf(published...))
}

// outcome asks about a token.
func (m *memory) outcome(tok string) token.Outcome {
	var t token.Token
	return m.Check([]byte(tok), m.clock, m.Set(), &t)
}

// check asks about a token and compares with what is expected.
func (m *memory) check(tb testing.TB, when, tok string, want token.Outcome) {
	tb.Helper()
	if got := m.outcome(tok); got != want {
		tb.Errorf("%s: %+v, want %+v", when, got, want)
	}
}

var (
	good      = token.Outcome{Reason: wire.OK}
	goodAgain = token.Outcome{Reason: wire.OK, Hit: true}
)

// The same bad token costs one signature check for each key set.
func TestRefusedTokensAreRemembered(t *testing.T) {
	spec.Rules(t, "TOK-6")
	key, other := mint.CachedKey(mint.DefaultKID, 2048), mint.CachedKey("other", 2048)
	m := newMemory(t, token.Options{}, key.JWK())
	forged := spoil(tokenFor("a").Sign())
	first := token.Outcome{Reason: wire.Signature, Missing: true, KID: keys.KIDHeld}
	again := first
	again.Hit = true
	m.check(t, "first", forged, first)
	m.check(t, "again", forged, again)
	m.check(t, "another", spoil(tokenFor("b").Sign()), first)
	m.publish(t, key.JWK(), other.JWK())
	m.check(t, "under the next set", forged, first)
	m.check(t, "again under the next set", forged, again)

	bad := tokenFor("c")
	bad.Claims.Delete("sub")
	m.check(t, "signed and without sub", bad.Sign(), token.Outcome{Reason: wire.SubjectMissing})
	m.check(t, "signed and without sub, again", bad.Sign(), token.Outcome{Reason: wire.SubjectMissing, Hit: true})
}

func TestFloodOfForgedTokens(t *testing.T) {
	spec.Rules(t, "TOK-6")
	m := newMemory(t, token.Options{Cached: 4}, mint.CachedKey(mint.DefaultKID, 2048).JWK())
	var tokens []string
	for i := range 4 {
		tok := tokenFor(fmt.Sprint("client-", i)).Sign()
		tokens = append(tokens, tok)
		m.check(t, "first", tok, good)
	}
	header := tokens[0]
	for i := range 2000 {
		forged := []byte(header) // of every number another signature
		at := len(forged) - 30
		for n := i; n > 0; n /= 26 {
			forged[at] = 'a' + byte(n%26)
			at++
		}
		if string(forged) != header {
			var tok token.Token
			m.Check(forged, m.clock, m.Set(), &tok)
		}
	}
	for _, tok := range tokens {
		m.check(t, "after the flood", tok, goodAgain)
	}
}

// A full cache gives up an expired token first, else the one used longest ago.
func TestCacheEviction(t *testing.T) {
	spec.Rules(t, "CLM-7")
	m := newMemory(t, token.Options{Cached: 3}, mint.CachedKey(mint.DefaultKID, 2048).JWK())
	a, b, c := tokenFor("a").Sign(), tokenFor("b").Sign(), tokenFor("c").Sign()
	for _, tok := range []string{a, b, c} {
		m.check(t, "first", tok, good)
	}
	m.check(t, "a, so that b is the oldest", a, goodAgain)
	m.check(t, "d takes the place of b", tokenFor("d").Sign(), good)
	m.check(t, "a", a, goodAgain)
	m.check(t, "c", c, goodAgain)
	m.check(t, "b, which takes the place of d", b, good)

	short := mint.New(mint.Options{Client: "short", Now: present, Life: time.Minute}).Sign()
	m.check(t, "short takes the place of a", short, good)
	m.check(t, "c", c, goodAgain)
	m.check(t, "b", b, goodAgain)
	m.check(t, "short, so that it is the newest", short, goodAgain)
	m.clock.Now += time.Minute.Microseconds()
	m.check(t, "short has expired", short, token.Outcome{Reason: wire.Expired, Hit: true})
	m.check(t, "a takes its place", a, good)
	m.check(t, "c is still there", c, goodAgain)
	m.check(t, "b is still there", b, goodAgain)
}

// Keys that leave the set take the tokens that they verified with them, remembered ones included.
func TestKeyLeavesTheSet(t *testing.T) {
	spec.Rules(t, "KEY-7")
	one, two := mint.CachedKey("one", 2048), mint.CachedKey("two", 2048)
	m := newMemory(t, token.Options{}, one.JWK(), two.JWK())
	byOne, byTwo := tokenFor("a"), tokenFor("b")
	byOne.Key, byTwo.Key = one, two
	byOne.Header.Set("kid", "one")
	byTwo.Header.Set("kid", "two")
	late := byOne.Clone()
	late.Claims.Set("client_id", "late")
	nameless := byOne.Clone()
	nameless.Header.Delete("kid")
	m.check(t, "by the first key", byOne.Sign(), good)
	m.check(t, "by the first key, without kid", nameless.Sign(), good)
	m.check(t, "by the second key", byTwo.Sign(), good)

	m.publish(t, two.JWK())
	gone := token.Outcome{Reason: wire.KeyUnknown, Missing: true, KID: keys.KIDRetired}
	goneAgain := gone
	goneAgain.Hit = true
	m.check(t, "its key has left", byOne.Sign(), gone)
	m.check(t, "its key has left, again", byOne.Sign(), goneAgain)
	m.check(t, "its key has left, without kid", nameless.Sign(), gone)
	m.check(t, "its key has left, without kid, again", nameless.Sign(), goneAgain)
	m.check(t, "its key has left, never seen before", late.Sign(), gone)
	m.publish(t, two.JWK())
	m.check(t, "its key has left, after another fetch", byOne.Sign(), gone)
	if got := m.outcome(nameless.Sign()); got.KID != gone.KID || !got.Missing {
		t.Errorf("its key has left, without kid, after another fetch: got %+v, want one that is retired", got)
	}
	m.check(t, "the other key is there", byTwo.Sign(), goodAgain)

	renamed := two.JWK()
	renamed.KeyID = "another name"
	m.publish(t, renamed)
	m.check(t, "the same key by another name", byTwo.Sign(), goodAgain)

	m.publish(t, one.JWK(), two.JWK())
	m.check(t, "the key has come back", byOne.Sign(), good)

	impostor := *mint.CachedKey("impostor", 2048)
	impostor.KID = "one"
	m.publish(t, impostor.JWK(), two.JWK())
	m.check(t, "another key has its name", byOne.Sign(), gone)
	m.check(t, "another key has its name, never seen before", late.Sign(),
		token.Outcome{Reason: wire.Signature, Missing: true, KID: keys.KIDHeld})
}

// A token that no held key verifies says so, what it is to be called and what its kid is, each time until its key is
// there; each key set costs it one signature check.
func TestMissingKey(t *testing.T) {
	spec.Rules(t, "KEY-6")
	one, two, gone := mint.CachedKey("one", 2048), mint.CachedKey("two", 2048), mint.CachedKey("gone", 2048)
	for name, c := range map[string]struct {
		kid    string
		reason wire.Reason
		is     keys.KID
	}{
		"unknown kid": {"two", wire.KeyUnknown, keys.KIDUnknown},
		"no kid":      {"", wire.Signature, keys.KIDUnknown},
		"empty kid":   {"empty", wire.Signature, keys.KIDUnknown},
		"known kid":   {"one", wire.Signature, keys.KIDHeld},
		"retired kid": {"gone", wire.KeyUnknown, keys.KIDRetired},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t, token.Options{}, one.JWK(), gone.JWK())
			m.publish(t, one.JWK())
			tok := tokenFor("early")
			tok.Key = two
			switch c.kid {
			case "":
				tok.Header.Delete("kid")
			case "empty":
				tok.Header.Set("kid", "")
			default:
				tok.Header.Set("kid", c.kid)
			}
			raw := tok.Sign()
			first := token.Outcome{Reason: c.reason, Missing: true, KID: c.is}
			again := first
			again.Hit = true
			for _, when := range []string{"at first", "after a fetch", "after another"} {
				m.check(t, when, raw, first)
				m.check(t, when+", again", raw, again)
				var held token.Token
				if m.Check([]byte(raw), m.clock, m.Set(), &held); string(held.Issuer()) != mint.DefaultIssuer ||
					held.Verified() || len(held.Client()) > 0 {
					t.Errorf("%s, again: got issuer %q, client %q, verified %v; want the issuer alone",
						when, held.Issuer(), held.Client(), held.Verified())
				}
				m.publish(t, one.JWK())
			}
			m.publish(t, one.JWK(), two.JWK())
			m.check(t, "its key is there", raw, good)
			m.check(t, "its key is there, again", raw, goodAgain)
		})
	}
}

// Two issuers may give two keys one name. What one signs must not pass for the other's, remembered or not.
func TestIssuersDoNotMix(t *testing.T) {
	spec.Rules(t, "CLM-1", "KEY-4")
	const other = "https://other.example.com"
	mine, theirs := mint.CachedKey("mine", 2048), mint.CachedKey("theirs", 2048)
	named := func(k *mint.Key) []byte {
		j := k.JWK()
		j.KeyID = "key-1"
		return mint.JWKSOf(j)
	}
	v := newVerifier(token.Options{})
	h := hold(t, map[string][]byte{mint.DefaultIssuer: named(mine), other: named(theirs)})
	for range 2 {
		for _, c := range []struct {
			issuer string
			key    *mint.Key
			want   wire.Reason
		}{
			{mint.DefaultIssuer, mine, wire.OK}, {other, theirs, wire.OK},
			{mint.DefaultIssuer, theirs, wire.Signature}, {other, mine, wire.Signature},
			{other + "/", theirs, wire.OK}, {other + "//", theirs, wire.KeyUnknown},
		} {
			for _, kid := range []string{"key-1", ""} {
				tok := tokenFor("a")
				tok.Key = c.key
				tok.Claims.Set("iss", c.issuer)
				tok.Header.Set("kid", kid)
				var held token.Token
				if got := v.Check([]byte(tok.Sign()), clock, h.Set(), &held); got.Reason != c.want {
					t.Errorf("iss %s signed by %s, kid %q: %v, want %v", c.issuer, c.key.KID, kid, got.Reason, c.want)
				}
			}
		}
	}
}

// Many connections, few places, keys that come and go: every answer is one that the token can have, and what is
// answered belongs to the token that was asked about. Meant for the race detector.
func TestVerifierConcurrently(t *testing.T) {
	spec.Rules(t, "KEY-7")
	one, two := mint.CachedKey("one", 2048), mint.CachedKey("two", 2048)
	m := newMemory(t, token.Options{Cached: 3, Parallel: 2}, one.JWK(), two.JWK())
	type known struct {
		raw, client string
		forged      bool
	}
	var tokens []known
	for i := range 6 {
		client := fmt.Sprint("client-", i)
		tok := tokenFor(client)
		tok.Key = []*mint.Key{one, two}[i%2]
		tok.Header.Set("kid", tok.Key.KID)
		raw := tok.Sign()
		tokens = append(tokens, known{raw, client, false}, known{spoil(raw), client, true})
	}
	var asking sync.WaitGroup
	for g := range 4 {
		asking.Go(func() {
			var held token.Token
			for i := range 300 {
				k := tokens[(i*7+g*5)%len(tokens)]
				got := m.Check([]byte(k.raw), clock, m.Set(), &held)
				switch got.Reason {
				case wire.OK:
					if k.forged || string(held.Client()) != k.client || !held.Verified() {
						t.Errorf("%+v (forged: %v) is taken for one of %q", got, k.forged, held.Client())
					}
				case wire.Signature, wire.KeyUnknown:
					if held.Verified() {
						t.Errorf("%+v, and verified", got)
					}
				default:
					t.Errorf("got %+v", got)
				}
			}
		})
	}
	for i := range 20 {
		if i%2 == 0 {
			m.publish(t, one.JWK())
		} else {
			m.publish(t, one.JWK(), two.JWK())
		}
	}
	asking.Wait()
}
