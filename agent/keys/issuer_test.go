package keys_test

import (
	"strings"
	"testing"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/spec"
)

// Which issuer the metadata of a server that discovery found may name: the same URL in another spelling; and, of one
// advertised without api_selector, any path on the same scheme, host and port (INFO-002's Keycloak behind a reverse
// proxy).
func TestMayName(t *testing.T) {
	spec.Rules(t, "KEY-8")
	for _, c := range []struct {
		server, issuer string
		want           bool
	}{
		{"https://a", "https://a", true},
		{"https://a", "https://a/", true},
		{"https://a", "https://a:443", true},
		{"https://a:443", "https://a", true},
		{"https://a/x", "https://A:443/x/", true},
		{"http://a", "http://a:80", true},
		{"https://a", "https://a/realms/nmos", true},
		{"https://a", "https://a:443/realms/nmos", true},
		{"https://a:8443", "https://a:8443/auth/realms/nmos/", true},
		{"https://[2001:db8::1]", "https://[2001:db8::1]:443/x", true},

		{"https://a", "https://a:80", false},
		{"http://a", "https://a", false},
		{"https://a", "http://a/x", false},
		{"https://a", "https://a:8443/x", false},
		{"https://a:44", "https://a:443", false},
		{"https://a:4443", "https://a:4", false},
		{"https://[2001:db8::443]", "https://[2001:db8:]", false},
		{"https://a/x", "https://a/X", false},
		{"https://a/x", "https://a/x/y", false}, // with api_selector there is no choice
		{"https://a/x", "https://a", false},
		{"https://a/x", "https://a/y", false},
		{"https://a", "https://b/x", false},
		{"https://a", "https://a.evil.example.com/x", false},
		{"https://a", "https://evil.example.com/https://a", false},
		{"https://a", "https://a@evil.example.com/x", false},
		{"https://a", "https://evil@a/x", false},
		{"https://a", "https://a/x?y", false},
		{"https://a", "https://a/x?", false},
		{"https://a", "https://a/x#y", false},
		{"https://a", "https://a/x#", false},
		{"https://a", "https://a/x y", false},
		{"https://a", "https://a/\u00e9", false},
		{"https://a", "https://a/\n", false},
		{"https://a", "https://a/" + strings.Repeat("x", 2048), false},
		{"https://a", "", false},
		{"", "", false},
		{"https://a b", "https://a b", false},
		{"https://a", "//a/x", false},
		{"https://a", "https:a/x", false},
	} {
		if got := keys.MayName(c.server, c.issuer); got != c.want {
			t.Errorf("%s names %.60q: got %v, want %v", c.server, c.issuer, got, c.want)
		}
	}
}

// One way of several that mean the same is the origin; what cannot be an issuer has none.
func TestOrigin(t *testing.T) {
	spec.Rules(t, "KEY-8")
	for issuer, want := range map[string]string{
		"https://a": "https://a", "https://A.Example/x/": "https://a.example", "https://a:443/": "https://a",
		"http://a:80": "http://a", "https://a:80": "https://a:80", "http://a:443": "http://a:443",
		"https://a:": "https://a", "HTTPS://a": "https://a",
		"https://[2001:DB8::1]:443/x": "https://[2001:db8::1]", "https://a:8443/x": "https://a:8443",
		"": "", "a": "", "https://": "", "https://:443": "", "ftp://a": "", "https://u@a": "", "https://a?": "",
		"https://a?b": "", "https://a#": "", "https://a b": "", "https://a/~": "https://a", "https://a/!": "https://a",
		"https://a/\u007f": "",
		"https://a/\u00e9": "", "https://a/" + strings.Repeat("x", 2048-len("https://a/")): "https://a",
		"https://a/" + strings.Repeat("x", 2049-len("https://a/")): "",
	} {
		if got := keys.Origin(issuer); got != want {
			t.Errorf("%.60q: got %q, want %q", issuer, got, want)
		}
	}
}
