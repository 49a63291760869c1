package config

import (
	"strings"
	"testing"
)

func TestConfigWarnings(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"mode = \"observe\"\n", `mode is "observe": nothing is denied`},
		{"[authorization]\nallow_http = true\n",
			`[authorization] allow_http: whoever can answer on the network can make tokens that this device accepts`},
		{"[authorization]\ntrusted_issuers = [\"https://*.example.com\", \"https://auth.*:8443/a\", \"https://*\", " +
			"\"https://192.0.2.1\"]\n",
			`[authorization] trusted_issuers: "https://auth.*:8443/a" also matches hosts of any other domain; end it in a domain of yours
[authorization] trusted_issuers: "https://*" also matches hosts of any other domain; end it in a domain of yours`},
		{"[authorization]\nservers = [\"https://a.example.com/r/.well-known/openid-configuration\"]\n",
			`[authorization] servers: "https://a.example.com/r/.well-known/openid-configuration" is a document's URL, which ` +
				"no token has as its iss; name the issuer, without /.well-known/…"},
		{"[audit]\nfull = \"wait\"\n", `[audit] full is "wait": while a sink is stuck the device's APIs are, too`},
	} {
		cfg, err := Parse(file, []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(cfg.Warnings(), "\n"); got != c.want {
			t.Errorf("%q:\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
}
