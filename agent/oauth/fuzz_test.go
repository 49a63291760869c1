package oauth_test

import (
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/oauth"
)

// Whatever a server answers, a token that is taken from it can be sent, ends, and covers part of what was asked; an
// error is one line.
func FuzzParseToken(f *testing.F) {
	f.Add([]byte(`{"access_token":"a","token_type":"Bearer","expires_in":60,"scope":"x y"}`))
	f.Add([]byte(`{"access_token":"a","token_type":"bearer","expires_in":1e400}`))
	f.Add([]byte(`{"access_token":"a\n","token_type":"bearer","expires_in":-0.0,"scope":null}`))
	f.Add([]byte("\ufeff{}"))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := oauth.ParseToken(body, "x y")
		switch {
		case err != nil:
			if a.Token != "" || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("got %q with error %q", a.Token, err)
			}
		case a.Token == "" || strings.ContainsFunc(a.Token, func(r rune) bool { return r <= ' ' || r > '~' }):
			t.Errorf("took the token %q", a.Token)
		case a.Left < time.Second || a.Left > 24*time.Hour:
			t.Errorf("took a life of %v", a.Left)
		case a.Scope != "x" && a.Scope != "y" && a.Scope != "x y":
			t.Errorf("took the scope %q", a.Scope)
		}
	})
}
