package token_test

import (
	"fmt"
	"strings"
	"testing"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// An entry of aud, and iss, may be a URL of any scheme that RFC 3986 §3.1 allows; with anything else before "://" it is
// not a URL.
func TestSchemes(t *testing.T) {
	spec.Rules(t, "CLM-1", "CLM-4")
	set := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(mint.CachedKey(mint.DefaultKID, 2048))}).Set()
	v := newVerifier(token.Options{})
	good := []string{"http", "HTTPS", "a", "z", "A", "Z", "coap+tcp", "ms-settings",
		"z39.50r", "h0", "h9", "h+", "h-", "h."}
	bad := []string{
		"", "0", "9a", "+a", "-a", ".a", "a_b", "a b", "a/b", "a:b", "a{b", "a`b", "a@b", "a[b", "a~", "a\u007f", "é",
		"a,b",
	}
	for want, schemes := range map[wire.Reason][]string{wire.OK: good, wire.Audience: bad} {
		for _, scheme := range schemes {
			tok := tokenFor("a")
			tok.Claims.Set("aud", scheme+"://"+mint.DefaultDevice)
			var held token.Token
			if got := v.Check([]byte(tok.Sign()), clock, set, &held); got.Reason != want {
				t.Errorf("aud %q://…: got %v, want %v", scheme, got.Reason, want)
			}
		}
	}
	for want, schemes := range map[wire.Reason][]string{wire.KeyUnknown: good, wire.IssuerMissing: bad} {
		for _, scheme := range schemes {
			tok := tokenFor("a")
			tok.Claims.Set("iss", scheme+"://issuer.example.org")
			var held token.Token
			if got := v.Check([]byte(tok.Sign()), clock, set, &held); got.Reason != want {
				t.Errorf("iss %q://…: got %v, want %v", scheme, got.Reason, want)
			}
		}
	}
}

// A "*" that is not all of an entry matches host names alone: an IPv6 address has no labels.
func TestNoWildcardInAnAddress(t *testing.T) {
	spec.Rules(t, "CLM-5")
	set := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(mint.CachedKey(mint.DefaultKID, 2048))}).Set()
	v := token.NewVerifier(token.Options{Names: token.Names{"2001:db8::1"}})
	for _, aud := range []string{"*1", "**", "2*1", "https://*1", "1", "*."} {
		want := wire.Audience
		if aud == "*." {
			want = wire.OK // the trailing dot is taken off
		}
		tok := tokenFor("a")
		tok.Claims.Set("aud", aud)
		var held token.Token
		if got := v.Check([]byte(tok.Sign()), clock, set, &held); got.Reason != want {
			t.Errorf("aud %q: got %v, want %v", aud, got.Reason, want)
		}
	}
}

// An API's name is of lower-case letters, digits and "-".
func TestIsAPI(t *testing.T) {
	spec.Rules(t, "PATH-10")
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-"
	for c := range 256 {
		for _, name := range [][]byte{{byte(c)}, {'a', byte(c)}, {byte(c), 'a'}} {
			if got, want := token.IsAPI(name), strings.IndexByte(allowed, byte(c)) >= 0; got != want {
				t.Errorf("%q: got %v, want %v", name, got, want)
			}
		}
	}
	if token.IsAPI(nil) {
		t.Error("an empty name: got true, want false")
	}
}

// The scope names an API by a whole word of its own, however short, wherever it stands.
func TestScopeWords(t *testing.T) {
	spec.Rules(t, "PATH-4")
	set := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(mint.CachedKey(mint.DefaultKID, 2048))}).Set()
	v := newVerifier(token.Options{})
	for _, c := range []struct {
		scope, api string
		want       bool
	}{
		{"a", "a", true}, {"a b", "b", true}, {"b a c", "a", true}, {"  a ", "a", true}, {"ab", "a", false},
		{"ab", "b", false},
		{"bcd", "bcd", true}, {"x bcd", "bcd", true}, {"bcde bcd", "bcd", true}, {"bcde", "bcd", false},
		{"abcd", "bcd", false}, {"", "a", false}, {" ", "", false}, {"a  b", "", false}, {"", "", false},
		{"a\tb", "a", false}, {"a,b", "a", false},
	} {
		tok := tokenFor("a")
		tok.Claims.Set("scope", c.scope)
		var held token.Token
		if got := v.Check([]byte(tok.Sign()), clock, set, &held); got.Reason != wire.OK {
			t.Fatalf("scope %q: got %v, want ok", c.scope, got.Reason)
		}
		if got := held.Grants([]byte(c.api)); got != c.want {
			t.Errorf("scope %q grants %q: got %v, want %v", c.scope, c.api, got, c.want)
		}
	}
}

// A record names the key as the token does if one key is published under several names, else by the first of its names.
func TestKeyOfSeveralNames(t *testing.T) {
	spec.Rules(t, "KEY-4", "OPS-2")
	key := mint.CachedKey("one", 2048)
	second := key.JWK()
	second.KeyID = "two"
	m := newMemory(t, token.Options{}, key.JWK(), second)
	for kid, want := range map[string]string{"one": "one", "two": "two", "three": "one", "": "one"} {
		tok := tokenFor("a")
		tok.Key = key
		tok.Header.Delete("kid")
		if kid != "" {
			tok.Header.Set("kid", kid)
		}
		var held token.Token
		if got := m.Check([]byte(tok.Sign()), m.clock, m.Set(), &held); got.Reason != wire.OK || held.KeyID() != want {
			t.Errorf("kid %q: got %v by %q, want ok by %q", kid, got.Reason, held.KeyID(), want)
		}
	}
}

// Tokens whose kid names a held key get more turns; every other token is of the other kind, whatever it lacks.
func TestKindOfToken(t *testing.T) {
	spec.Rules(t, "ANS-5")
	set := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(mint.CachedKey(mint.DefaultKID, 2048))}).Set()
	v := newVerifier(token.Options{})
	other, nameless, empty, number := tokenFor("a"), tokenFor("a"), tokenFor("a"), tokenFor("a")
	other.Header.Set("kid", "other")
	nameless.Header.Delete("kid")
	empty.Header.Set("kid", "")
	number.Header.SetRaw("kid", "1")
	raw := tokenFor("a").Sign()
	for _, c := range []struct {
		name, raw string
		want      bool
	}{
		{"named", raw, true}, {"other", other.Sign(), false}, {"named, another", spoil(raw), true},
		{"without kid", nameless.Sign(), false}, {"empty kid", empty.Sign(), false}, {"a number", number.Sign(), false},
		{"nothing", "", false}, {"a dot", ".", false}, {"no dot", "a", false},
		{"header alone", raw[:strings.Index(raw, ".")], false}, {"not base64url", "=" + raw, false},
		{"not JSON", "YQ.YQ.YQ", false}, {"named again", raw, true},
	} {
		if got := v.Named([]byte(c.raw), set); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	if v.Named([]byte(raw), &keys.Set{}) {
		t.Error("no keys are held: got true, want false")
	}
}

// What a server's Date shows is kept until there are 64 issuers, whether keys of it are held or not.
func TestBoundsOfOthersAreKept(t *testing.T) {
	spec.Rules(t, "OPS-1")
	var b token.Bounds
	none := &keys.Set{}
	date := present.UnixMicro()
	b.Dated("https://a.example.com", date, 0, none)
	b.Dated("https://b.example.com/", date+1, 0, none)
	for name, want := range map[string]int64{"https://a.example.com/": date, "https://b.example.com": date + 1} {
		if got, ok := b.Date(name, 0); !ok || got != want {
			t.Errorf("%s: got %d, %v; want %d", name, got, ok, want)
		}
	}
}

// A Verifier reads tokens as long as its options say, and never longer ones than MaxBytes.
func TestLongestToken(t *testing.T) {
	spec.Rules(t, "TOK-5")
	set := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(mint.CachedKey(mint.DefaultKID, 2048))}).Set()
	for option, most := range map[int]int{
		0: token.MaxBytes, -1: token.MaxBytes, 1: 1, 100: 100, token.MaxBytes - 1: token.MaxBytes - 1,
		token.MaxBytes: token.MaxBytes, token.MaxBytes + 1: token.MaxBytes,
	} {
		v := newVerifier(token.Options{MaxBytes: option})
		for n, want := range map[int]wire.Reason{most: wire.TokenMalformed, most + 1: wire.TokenTooLarge} {
			var held token.Token
			if got := v.Check([]byte(strings.Repeat("a", n)), clock, set, &held); got.Reason != want {
				t.Errorf("option %d: a token of %d bytes: got %v, want %v", option, n, got.Reason, want)
			}
		}
	}
}

// As many tokens are remembered as the options say, by default DefaultCached.
func TestHeldTokens(t *testing.T) {
	spec.Rules(t, "TOK-6")
	set := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(mint.CachedKey(mint.DefaultKID, 2048))}).Set()
	for option, want := range map[int]int{0: token.DefaultCached, -1: token.DefaultCached, 1: 1, 2: 2} {
		v := newVerifier(token.Options{Cached: option})
		var held token.Token
		for i := range 3 {
			v.Check([]byte(tokenFor(fmt.Sprint("client-", i)).Sign()), clock, set, &held)
		}
		if n, limit := v.Held(); n != min(want, 3) || limit != want {
			t.Errorf("option %d: got %d of %d, want %d of %d", option, n, limit, min(want, 3), want)
		}
	}
}
