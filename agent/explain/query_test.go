package explain_test

import (
	"strings"
	"testing"

	"nmosauthd/agent/explain"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// The token of a handshake may be in the target's query, and is explained as one in the header is.
func TestTokenInTheQuery(t *testing.T) {
	spec.Rules(t, "ANS-9")
	base := mint.New(mint.Options{Permissions: map[string]mint.Permission{"events": {Read: []string{"sources/a"}}}})
	tok := []byte(base.Sign())
	q := explain.Question{Method: "GET", Upgrade: "websocket", JWKS: mint.JWKSOf(base.Key.JWK())}
	ask := func(query string) (string, wire.Reason) {
		t.Helper()
		q.Target = "/x-nmos/events/v1.0/sources/a?" + query
		return run(t, q)
	}
	inHeader := q
	inHeader.Target, inHeader.Token = "/x-nmos/events/v1.0/sources/a", tok
	want, _ := run(t, inHeader)
	for _, query := range []string{
		"access_token=" + string(tok), "x=y&access_token=" + strings.ReplaceAll(string(tok), ".", "%2e") + "&z",
	} {
		if got, reason := ask(query); reason != wire.OK || got != want {
			t.Errorf("got %v:\n%s\nwant, as for the header:\n%s", reason, got, want)
		}
	}
	for query, want := range map[string]wire.Reason{
		"access_token=": wire.EmptyToken, "access_token=a.b.c": wire.TokenMalformed,
		"access_token=a&access_token=b": wire.TwoTokens, "x=y": wire.NoToken,
	} {
		if got, reason := ask(query); reason != want {
			t.Errorf("%s: got %v, want %v:\n%s", query, reason, want, got)
		}
	}
	q.Token = tok
	if got, reason := ask("access_token=" + string(tok)); reason != wire.TwoTokens {
		t.Errorf("in both places: got %v:\n%s", reason, got)
	}
	q.Token, q.Upgrade = nil, ""
	if got, reason := ask("access_token=" + string(tok)); reason != wire.NoToken {
		t.Errorf("no handshake: got %v:\n%s", reason, got)
	}
}
