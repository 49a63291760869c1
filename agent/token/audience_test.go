package token_test

import (
	"strings"
	"testing"

	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// An IPv6 address is a name of the device as an IPv4 address is: alone, in brackets, or as the host of a URL; a port
// never matches.
func TestAudienceAddress(t *testing.T) {
	spec.Rules(t, "CLM-4")
	set := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(mint.CachedKey(mint.DefaultKID, 2048))}).Set()
	v := token.NewVerifier(token.Options{Names: token.Names{"2001:db8::1", "192.0.2.7"}})
	for aud, want := range map[string]wire.Reason{
		"2001:db8::1":              wire.OK,
		"2001:DB8::1":              wire.OK,
		"[2001:db8::1]":            wire.OK,
		"https://[2001:db8::1]":    wire.OK,
		"192.0.2.7":                wire.OK,
		"http://192.0.2.7":         wire.OK,
		"*":                        wire.OK,
		"https://*":                wire.OK,
		"https://2001:db8::1":      wire.Audience, // RFC 3986 wants brackets
		"https://[2001:db8::1]:80": wire.Audience,
		"[2001:db8::1]:80":         wire.Audience,
		"https://[2001:db8::1]/":   wire.Audience,
		"https://u@[2001:db8::1]":  wire.Audience,
		"[[2001:db8::1]]":          wire.Audience,
		"[2001:db8::1":             wire.Audience,
		"2001:db8::1]":             wire.Audience,
		"[2001:db8::1].":           wire.Audience,
		"2001:db8::2":              wire.Audience,
		"2001:db8::1%eth0":         wire.Audience,
		"2001*":                    wire.Audience,
		"2001:db8::*":              wire.Audience,
		"[*]":                      wire.Audience,
		"*::1":                     wire.Audience,
		"192.0.2.7:80":             wire.Audience,
		"[192.0.2.7]":              wire.Audience,
		"[]":                       wire.Audience,
		"::":                       wire.Audience,
	} {
		tok := tokenFor("a")
		tok.Claims.Set("aud", aud)
		var held token.Token
		if got := v.Check([]byte(tok.Sign()), clock, set, &held); got.Reason != want {
			t.Errorf("aud %q: got %v, want %v", aud, got.Reason, want)
		}
	}
}

// The shortest addresses have two colons; a name is as long as DNS allows, and one that is longer is nobody's.
func TestAudienceAtTheLimits(t *testing.T) {
	spec.Rules(t, "CLM-4")
	set := hold(t, map[string][]byte{mint.DefaultIssuer: mint.JWKS(mint.CachedKey(mint.DefaultKID, 2048))}).Set()
	label := strings.Repeat("a", 63) + "."
	longest := strings.Repeat(label, 4)[:255]
	tooLong := longest + "b"
	for _, c := range []struct {
		name, aud string
		want      wire.Reason
	}{
		{"::1", "::1", wire.OK}, {"::1", "[::1]", wire.OK}, {"::", "::", wire.OK}, {"::", "[::]", wire.OK},
		{"::1", "::2", wire.Audience},
		{longest, longest, wire.OK}, {tooLong, tooLong, wire.Audience}, {tooLong, "another", wire.Audience},
	} {
		tok := tokenFor("a")
		tok.Claims.Set("aud", c.aud)
		var held token.Token
		v := token.NewVerifier(token.Options{Names: token.Names{c.name}})
		if got := v.Check([]byte(tok.Sign()), clock, set, &held); got.Reason != c.want {
			t.Errorf("a device of %d bytes, aud %.20q: got %v, want %v", len(c.name), c.aud, got.Reason, c.want)
		}
	}
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
