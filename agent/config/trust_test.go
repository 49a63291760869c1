package config_test

import (
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/spec"
)

// What a pattern of trusted_issuers lets in, and what only looks as if it did: the host that is asked for keys must be
// the one that the pattern means.
func TestTrusts(t *testing.T) {
	spec.Rules(t, "KEY-5")
	patterns := []string{"https://*.example.com", "https://auth.example.org/realms/media",
		"https://*.example.net:8443/", "https://[2001:db8::1]"}
	for issuer, want := range map[string]bool{
		"https://a.example.com":                 true,
		"https://a.b.example.com":               true,
		"https://a.example.com:8443":            true, // the port takes no part
		"https://A.Example.COM":                 true,
		"https://a.example.com.":                true,
		"https://auth.example.org/realms/media": true,
		"https://a.example.net":                 true,
		"https://a.example.net:1/":              true,
		"https://[2001:db8::1]":                 true,
		"https://[2001:db8::1]:8443":            true,

		"https://example.com":                             false,
		"https://a.example.com/":                          true, // the one slash that comparisons ignore
		"https://aexample.com":                            false,
		"https://a.example.com.evil.net":                  false,
		"https://evil.net/.example.com":                   false,
		"https://evil.net/a.example.com":                  false,
		"https://evil.net?.example.com":                   false,
		"https://evil.net#.example.com":                   false,
		"https://evil.net\\.example.com":                  false,
		"https://evil.net%2f.example.com":                 false,
		"https://evil.net%00.example.com":                 false,
		"https://evil.net%23.example.com":                 false,
		"https://evil.net\x00.example.com":                false,
		"https://evil.net\n.example.com":                  false,
		"https://evil.net\t.example.com":                  false,
		"https://evil.net .example.com":                   false,
		"https://evil.net;.example.com":                   false,
		"https://evil.net,.example.com":                   false,
		"https://evil.net&.example.com":                   false,
		"https://evil.net／.example.com":                   false,
		"https://evil.net。.example.com":                   false,
		"https://evil.net%E3%80%82.example.com":           false,
		"https://a.example.com@evil.net":                  false,
		"https://a.example.com:x@evil.net":                false,
		"https://evil.net@a.example.com":                  false,
		"https://user:password@a.example.com":             false,
		"https://@a.example.com":                          false,
		"https://[::1%25.example.com]":                    false,
		"https://[::1%25x.example.com]:8080":              false,
		"https://[fe80::1%25eth0.example.com]":            false,
		"https://[2001:db8::1%25x]":                       false,
		"https://[2001:db8::2]":                           false,
		"https://[::1].example.com":                       false,
		"https://*.example.com":                           false,
		"https://.example.com":                            false,
		"https://..example.com":                           false,
		"https://a..example.com":                          false,
		"https://-.example.com":                           false,
		"https://a_b.example.com":                         false,
		"https://a.example.com..":                         false,
		"https://a.example.com:":                          false,
		"https://a.example.com:0":                         false,
		"https://a.example.com:65536":                     false,
		"https://a.example.com:443:80":                    false,
		"https://a.example.com/x":                         false,
		"https://a.example.com/.":                         false,
		"https://a.example.com//evil.net":                 false,
		"https://a.example.com?a=b":                       false,
		"https://a.example.com?":                          false,
		"https://a.example.com#a":                         false,
		"https://a.example.com#":                          false,
		"https:a.example.com":                             false,
		"https:/a.example.com":                            false,
		"https:///a.example.com":                          false,
		"//a.example.com":                                 false,
		"a.example.com":                                   false,
		"":                                                false,
		"http://a.example.com":                            false,
		"HTTPS://a.example.com":                           true, // the key server asked is the same
		"ftp://a.example.com":                             false,
		"file:///a.example.com":                           false,
		"javascript://a.example.com":                      false,
		"unix://a.example.com":                            false,
		" https://a.example.com":                          false,
		"https://a.example.com ":                          false,
		"https://auth.example.org":                        false,
		"https://auth.example.org/realms/other":           false,
		"https://auth.example.org/realms/Media":           false,
		"https://auth.example.org/realms/media/x":         false,
		"https://auth.example.org/realms/%6dedia":         false,
		"https://auth.example.org/realms/../realms/media": false,
		"https://auth.example.org/realms//media":          false,
	} {
		c := config.Authorization{TrustedIssuers: patterns}
		if got := c.Trusts(issuer); got != want {
			t.Errorf("%q: %v", issuer, got)
		}
		if (config.Authorization{}).Trusts(issuer) {
			t.Errorf("%q: trusted without a pattern", issuer)
		}
	}
}

// http issuers are for development: both the pattern and the configuration have to say so.
func TestTrustsHTTP(t *testing.T) {
	spec.Rules(t, "KEY-5")
	for _, c := range []struct {
		pattern, issuer string
		allow, want     bool
	}{
		{"http://*.example.com", "http://a.example.com", true, true},
		{"http://*.example.com", "http://a.example.com", false, false},
		{"https://*.example.com", "http://a.example.com", true, false},
		{"http://*.example.com", "https://a.example.com", true, false},
	} {
		config := config.Authorization{TrustedIssuers: []string{c.pattern}, AllowHTTP: c.allow}
		if got := config.Trusts(c.issuer); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
