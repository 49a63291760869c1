package token_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
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

// check asks about a token and compares with what is expected.
func (m *memory) check(tb testing.TB, when, tok string, want token.Outcome) {
	tb.Helper()
	var t token.Token
	if got := m.Check([]byte(tok), m.clock, m.Set(), &t); got != want {
		tb.Errorf("%s: %+v, want %+v", when, got, want)
	}
}

var (
	good      = token.Outcome{Reason: wire.OK}
	goodAgain = token.Outcome{Reason: wire.OK, Hit: true}
)

// The same bad token costs one signature check for each key set.
func TestRefusedTokensAreRemembered_TOK6(t *testing.T) {
	key, other := mint.CachedKey(mint.DefaultKID, 2048), mint.CachedKey("other", 2048)
	m := newMemory(t, token.Options{}, key.JWK())
	forged := spoil(tokenFor("a").Sign())
	m.check(t, "first", forged, token.Outcome{Reason: wire.Signature})
	m.check(t, "again", forged, token.Outcome{Reason: wire.Signature, Hit: true})
	m.check(t, "another", spoil(tokenFor("b").Sign()), token.Outcome{Reason: wire.Signature})
	m.publish(t, key.JWK(), other.JWK())
	m.check(t, "under the next set", forged, token.Outcome{Reason: wire.Signature})
	m.check(t, "again under the next set", forged, token.Outcome{Reason: wire.Signature, Hit: true})

	bad := tokenFor("c")
	bad.Claims.Delete("sub")
	m.check(t, "signed and without sub", bad.Sign(), token.Outcome{Reason: wire.SubjectMissing})
	m.check(t, "signed and without sub, again", bad.Sign(), token.Outcome{Reason: wire.SubjectMissing, Hit: true})
}

func TestFloodOfForgedTokens_TOK6(t *testing.T) {
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
func TestCacheEviction_CLM7(t *testing.T) {
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
func TestKeyLeavesTheSet_KEY7(t *testing.T) {
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
	gone := token.Outcome{Reason: wire.KeyUnknown}
	m.check(t, "its key has left", byOne.Sign(), gone)
	gone.Hit = true
	m.check(t, "its key has left, again", byOne.Sign(), gone)
	m.check(t, "its key has left, without kid", nameless.Sign(), token.Outcome{Reason: wire.KeyUnknown})
	m.check(t, "its key has left, never seen before", late.Sign(), token.Outcome{Reason: wire.KeyUnknown})
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
	m.check(t, "another key has its name", byOne.Sign(), token.Outcome{Reason: wire.KeyUnknown})
	m.check(t, "another key has its name, never seen before", late.Sign(), token.Outcome{Reason: wire.Signature})
}

// A token under a key that is not held waits for one fetch, then is good or refused; it is not fetched for again.
func TestUnknownKey_KEY6_ANS5(t *testing.T) {
	one, two := mint.CachedKey("one", 2048), mint.CachedKey("two", 2048)
	m := newMemory(t, token.Options{}, one.JWK())
	template := func(client string) string {
		tok := tokenFor(client)
		tok.Key = two
		tok.Header.Set("kid", "two")
		return tok.Sign()
	}
	pending := token.Outcome{Reason: wire.KeysPending, Fetch: true}
	pendingAgain := token.Outcome{Reason: wire.KeysPending, Fetch: true, Hit: true}
	unknown := token.Outcome{Reason: wire.KeyUnknown, Fetch: true}
	unknownAgain := token.Outcome{Reason: wire.KeyUnknown, Fetch: true, Hit: true}
	early := template("early")
	m.check(t, "first", early, pending)
	m.check(t, "again", early, pendingAgain)

	m.publish(t, one.JWK())
	m.check(t, "fetched, and not there", early, unknown)
	m.check(t, "fetched, and not there, again", early, unknownAgain)
	m.publish(t, one.JWK())
	m.check(t, "after the next fetch", early, unknown)
	m.check(t, "after the next fetch, again", early, unknownAgain)

	late := template("late")
	m.check(t, "another token", late, pending)
	m.publish(t, one.JWK(), two.JWK())
	m.check(t, "fetched, and there", late, good)
	m.check(t, "fetched, and there, the one refused before", early, good)
	m.check(t, "both remembered", late, goodAgain)
	m.check(t, "both remembered", early, goodAgain)
}

// Fetching another issuer's keys says nothing about a token that waits for its own.
func TestUnknownKeyOfAnotherIssuer_KEY6(t *testing.T) {
	const other = "https://other.example.com"
	one, two := mint.CachedKey("one", 2048), mint.CachedKey("two", 2048)
	v := newVerifier(token.Options{})
	h := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(one), other: mint.JWKS(one)})
	tok := tokenFor("a")
	tok.Key = two
	tok.Header.Set("kid", "two")
	var held token.Token
	for range 3 {
		if got := v.Check([]byte(tok.Sign()), clock, h.Set(), &held); got.Reason != wire.KeysPending || !got.Fetch ||
			string(held.Issuer()) != mint.DefaultIssuer || held.Verified() {
			t.Errorf("%+v of %q", got, held.Issuer())
		}
		h.renew(t, other, mint.JWKS(one, two))
	}
}

// Two issuers may give two keys one name. What one signs must not pass for the other's, remembered or not.
func TestIssuersDoNotMix_CLM1_KEY4(t *testing.T) {
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
			{other + "/", theirs, wire.OK}, {other + "//", theirs, wire.KeysPending},
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

// Many connections, few places, keys that come and go: every answer is one that the token can have, and what is answered
// belongs to the token that was asked about. Meant for the race detector.
func TestVerifierConcurrently_KEY7(t *testing.T) {
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
				case wire.Signature, wire.KeyUnknown, wire.KeysPending:
					if held.Verified() {
						t.Errorf("%+v, and verified", got)
					}
				default:
					t.Errorf("%+v", got)
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
