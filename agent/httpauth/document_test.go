package httpauth_test

import (
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"nmosauthd/agent/httpauth"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// HTTP.md names every header that an answer can have: web servers are configured by it.
func TestDocumentNamesEveryHeader(t *testing.T) {
	spec.Rules(t, "ANS-8")
	text, err := os.ReadFile("HTTP.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{"Content-Type": true} // of the body, which is said to be JSON
	for reason := range wire.Reasons {
		for _, enforced := range []wire.Reason{wire.Undecided, wire.NoToken} {
			w := httptest.NewRecorder()
			httpauth.Answer(w, &wire.Reply{
				Reason: wire.Reason(reason), Enforced: enforced, ClientID: []byte("c"), Subject: []byte("s"),
				Path: []byte("/p"), ExpiresIn: 1,
			})
			for name := range w.Header() {
				if !seen[name] && !strings.Contains(strings.ToLower(string(text)), "`"+strings.ToLower(name)+"`") {
					t.Errorf("HTTP.md lacks %s", name)
				}
				seen[name] = true
			}
		}
	}
	if len(seen) < 11 {
		t.Errorf("only %d headers were met: %v", len(seen), seen)
	}
}
