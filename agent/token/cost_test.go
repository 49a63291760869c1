package token_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// Nobody has claims compared with anything before a signature is verified: a forged token that names thousands of
// audiences costs a device of many names what it costs a device of one.
func TestForgedAudienceCostsNothing(t *testing.T) {
	spec.Rules(t, "TOK-6")
	set := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(mint.CachedKey(mint.DefaultKID, 2048))}).Set()
	tok := tokenFor("a")
	tok.Claims.Set("aud", slices.Repeat([]string{"*a*b*c*d*e*.*.*.*"}, 500))
	raw := tok.Sign()
	if len(raw) > token.MaxBytes {
		t.Fatalf("the token has %d bytes, more than is read", len(raw))
	}
	many := make(token.Names, 256)
	for i := range many {
		many[i] = strings.Repeat("b", 60) + fmt.Sprintf("%03d.", i) +
			strings.Repeat(strings.Repeat("a", 62)+".", 2) + "example"
	}
	// fastest is the least time of several, each for a token not seen before.
	fastest := func(names token.Names, made func(n int) string, want wire.Reason) time.Duration {
		v := token.NewVerifier(token.Options{Names: names})
		least := time.Hour
		for n := range 20 {
			raw := []byte(made(n))
			var held token.Token
			began := time.Now()
			got := v.Check(raw, clock, set, &held)
			least = min(least, time.Since(began))
			if got.Reason != want {
				t.Fatalf("got %v, want %v", got.Reason, want)
			}
		}
		return least
	}
	forged := func(n int) string { return raw[:len(raw)-3] + fmt.Sprintf("%cAA", 'A'+n) }
	one, all := fastest(token.Names{"node"}, forged, wire.Signature), fastest(many, forged, wire.Signature)
	for try := 0; try < 50 && all > 5*one+time.Millisecond; try++ { // others have the machine
		one, all = min(one, fastest(token.Names{"node"}, forged, wire.Signature)), min(all,
			fastest(many, forged, wire.Signature))
	}
	if all > 5*one+time.Millisecond {
		t.Errorf("a forged token costs %v with 256 names, %v with one; want about the same", all, one)
	}
	t.Logf("a forged token costs %v with 256 names, %v with one", all, one)
	fastest(many, func(int) string { return raw }, wire.Audience) // signed, it is judged by what it names
}

// An audience is found among many, wherever it stands, and only among strings.
func TestAudienceAfterTheSignature(t *testing.T) {
	spec.Rules(t, "CLM-3", "CLM-4")
	set := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(mint.CachedKey(mint.DefaultKID, 2048))}).Set()
	v := newVerifier(token.Options{})
	for _, c := range []struct {
		aud  string
		want wire.Reason
	}{
		{`"` + mint.DefaultDevice + `"`, wire.OK},
		{`["x","","` + mint.DefaultDevice + `","y"]`, wire.OK},
		{`["` + strings.Repeat("x", 300) + `","` + mint.DefaultDevice + `"]`, wire.OK},
		{`["x","y"]`, wire.Audience},
		{`""`, wire.Audience},
		{`[]`, wire.Audience},
		{`[""]`, wire.Audience},
		{`["` + mint.DefaultDevice + `",1]`, wire.AudienceMissing},
		{`[1,"` + mint.DefaultDevice + `"]`, wire.AudienceMissing},
		{`{"` + mint.DefaultDevice + `":"` + mint.DefaultDevice + `"}`, wire.AudienceMissing},
	} {
		tok := tokenFor("a")
		tok.Claims.SetRaw("aud", c.aud)
		var held token.Token
		for _, when := range []string{"first", "again"} {
			if got := v.Check([]byte(tok.Sign()), clock, set, &held); got.Reason != c.want {
				t.Errorf("aud %.60s, %s: got %v, want %v", c.aud, when, got.Reason, c.want)
			}
		}
	}
}
