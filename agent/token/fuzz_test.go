package token_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
)

// FuzzToken signs a header and a payload, changes one byte of the token, and has it checked, twice: by the agent and by
// its twin. What the agent accepts, go-jose must accept under the same key.
func FuzzToken(f *testing.F) {
	base := mint.New(mint.Options{Now: present})
	second := mint.CachedKey("key-2", 2048)
	set := hold(f, map[string][]byte{mint.DefaultIssuer: mint.JWKS(base.Key, second)}).Set()
	for _, seed := range documents(base) {
		f.Add(seed[0], seed[1], uint16(0), byte(0), len(seed[1])%5 == 0)
	}
	header, payload := string(base.Header.Bytes()), string(base.Claims.Bytes())
	for at := range uint16(20) {
		f.Add(header, payload, at*37, byte(1)<<(at%7), false)
	}
	f.Fuzz(func(t *testing.T, header, payload string, at uint16, mask byte, bySecond bool) {
		key := base.Key
		if bySecond {
			key = second
		}
		raw := []byte(mint.SignBytes([]byte(header), []byte(payload), key))
		raw[int(at)%len(raw)] ^= mask
		v := newVerifier(token.Options{})
		var first, again token.Token
		got := v.Check(raw, clock, set, &first)
		t.Logf("header %q, payload %q, byte %d ^ %d, by the second key: %v", header, payload, at, mask, bySecond)
		compareToken(t, string(raw), got.Reason, &first, set)
		if more := v.Check(raw, clock, set, &again); more.Reason != got.Reason || again.Verified() != first.Verified() {
			t.Errorf("%v, and asked again %v", got, more)
		}
		if again.Verified() {
			s, _ := slowForm(string(raw))
			s.slowClaims()
			compareClaims(t, &s, &again)
		}
	})
}

// FuzzClaims is FuzzToken without signatures, which is many times as fast: how header and payload are read.
func FuzzClaims(f *testing.F) {
	for _, seed := range documents(mint.New(mint.Options{Now: present})) {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, header, payload string) {
		if len(header)+len(payload) > token.MaxBytes*3/4 {
			return
		}
		var tok token.Token
		kid, got := token.ReadUnsigned([]byte(header), []byte(payload), token.Names{mint.DefaultDevice}, &tok)
		s, want := slowRead(header, payload)
		if want == wire.OK {
			want = s.slowClaims()
		}
		if got != want {
			t.Fatalf("%v, its twin says %v", got, want)
		}
		if got == wire.OK {
			if string(kid) != s.kid {
				t.Errorf("kid %q, want %q", kid, s.kid)
			}
			compareClaims(t, &s, &tok)
			if got, want := token.Judge(&tok, clock), s.slowJudge(clock); got != want {
				t.Errorf("%v, its twin says %v", got, want)
			}
		}
	})
}

// documents are the headers and payloads of the mint's tokens, as far as they can be decoded, and some more.
func documents(base *mint.Token) [][2]string {
	var all [][2]string
	for _, table := range [][]mint.Case{mint.Faults, mint.Variants} {
		for _, c := range table {
			segments := strings.Split(c.Make(base), ".")
			if len(segments) != 3 {
				continue
			}
			header, err1 := base64.RawURLEncoding.DecodeString(segments[0])
			payload, err2 := base64.RawURLEncoding.DecodeString(segments[1])
			if err1 == nil && err2 == nil && len(payload) < 4096 {
				all = append(all, [2]string{string(header), string(payload)})
			}
		}
	}
	header := string(base.Header.Bytes())
	for _, aud := range []string{`"NODE-1.Example.com."`, `["HTTPS://*.example.com"]`, `"**.example.com"`, `"*.*.*"`,
		`"İ"`, `"*.\u212a"`} {
		all = append(all,
			[2]string{header, `{"iss":"A://0","sub":"s","aud":` + aud + `,"exp":1e10,"azp":"a","iat":0.5,"scope":" "}`})
	}
	return all
}

// compareToken compares the agent's answer with the twin's, and what it accepted with go-jose's opinion.
func compareToken(t *testing.T, raw string, got wire.Reason, tok *token.Token, set *keys.Set) {
	t.Helper()
	s, want := slowForm(raw)
	if want != wire.OK {
		if got != want || tok.Verified() {
			t.Errorf("%v, its twin says %v", got, want)
		}
		return
	}
	want = s.slowClaims()
	issuer := set.Issuer([]byte(s.issuer))
	switch {
	case want == wire.IssuerMissing:
	case issuer == nil:
		want = wire.KeyUnknown
	case !signed(raw, issuer):
		want = wire.KeyUnknown
		if s.kid == "" || slices.ContainsFunc(issuer.Keys, func(k keys.Key) bool { return k.KID == s.kid }) {
			want = wire.Signature
		}
	case want == wire.OK:
		want = s.slowJudge(clock)
	}
	if got != want {
		t.Fatalf("%v, its twin says %v", got, want)
	}
	verified := got == wire.OK || got == wire.Expired || got == wire.IssuedLater ||
		got == wire.NotYetValid || got == wire.Audience
	if tok.Verified() != verified {
		t.Fatalf("%v, verified is %v", got, tok.Verified())
	}
	if verified {
		compareClaims(t, &s, tok)
		askGoJose(t, raw, &s, issuer)
	}
}

// compareClaims compares what a token says with what encoding/json reads.
func compareClaims(t *testing.T, s *slowToken, tok *token.Token) {
	t.Helper()
	if string(tok.Issuer()) != s.issuer || string(tok.Subject()) != s.subject || string(tok.Client()) != s.client {
		t.Errorf("issuer %q, subject %q, client %q", tok.Issuer(), tok.Subject(), tok.Client())
	}
	words := strings.Split(s.scope, " ")
	apis := []string{"connection", "node", "a", ""}
	for api := range s.read {
		apis = append(apis, api)
	}
	for _, api := range apis {
		_, claimed := s.read[api]
		if want := claimed || api != "" && slices.Contains(words, api); tok.Grants([]byte(api)) != want {
			t.Errorf("grants %q: %v", api, !want)
		}
		for _, write := range []bool{false, true} {
			want := s.read[api]
			if write {
				want = s.write[api]
			}
			var got []string
			all := tok.Specifiers([]byte(api), write)
			for {
				one, more := all.Next()
				if !more {
					break
				}
				got = append(got, string(one))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q, write %v: %q, want %q", api, write, got, want)
			}
		}
	}
}

// signed reports whether one of the issuer's keys signed the token with RS512.
func signed(raw string, issuer *keys.Issuer) bool {
	at := strings.LastIndexByte(raw, '.')
	digest := sha512.Sum512([]byte(raw[:at]))
	signature, err := base64.RawURLEncoding.DecodeString(raw[at+1:])
	return err == nil && slices.ContainsFunc(issuer.Keys, func(k keys.Key) bool {
		return rsa.VerifyPKCS1v15(k.Public, crypto.SHA512, digest[:], signature) == nil
	})
}

// askGoJose has the token verified by the library. It reads members of the header that the agent leaves alone (TOK-3),
// so a token that has them is none of its business here.
func askGoJose(t *testing.T, raw string, s *slowToken, issuer *keys.Issuer) {
	t.Helper()
	for _, read := range []string{"jwk", "x5c", "b64", "nonce"} {
		if _, has := s.header[read]; has {
			return
		}
	}
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS512})
	if err != nil {
		t.Fatalf("go-jose: %v", err)
	}
	for _, k := range issuer.Keys {
		if payload, err := jws.Verify(k.Public); err == nil {
			if want, _ := base64.RawURLEncoding.DecodeString(strings.Split(raw,
				".")[1]); string(payload) != string(want) {
				t.Errorf("go-jose reads the payload %q", payload)
			}
			return
		}
	}
	t.Error("go-jose does not accept the signature")
}
