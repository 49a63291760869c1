package token_test

import (
	"testing"

	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
)

// An IPv6 address is a name of the device as an IPv4 address is: alone, in brackets, or as the host of a URL; a port
// never matches.
func TestAudienceAddress_CLM4(t *testing.T) {
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
