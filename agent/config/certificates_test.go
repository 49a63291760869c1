package config

import (
	"fmt"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// What of [certificates] is wrong, alone or together, is refused with its line (CERT-5, CERT-11, CERT-22).
func TestConfigCertificatesMistakes(t *testing.T) {
	spec.Rules(t, "CERT-5", "CERT-11", "CERT-22", "CERT-48")
	const trusted = "trust_first = true\nest = "
	for _, c := range []struct{ text, want string }{
		{`est = "auto"`, `:3: [certificates] est needs one of fingerprint, ca_file and trust_first, or no server can be trusted`},
		{trusted + `"aut"`, `:4: [certificates] est: "aut" must be off, auto or the server's URL (auto?)`},
		{trusted + `"http://a"`, `:4: [certificates] est: "http://a" must be https; http needs allow_http = true, for development only`},
		{trusted + `"https://u:p@a"`, `:4: [certificates] est: "https://…@a" holds a user name; remove it`},
		{trusted + `"https://*.a"`, `:4: [certificates] est: "https://*.a" holds a *; name the server`},
		{trusted + `"https://a/.well-known/est/x"`,
			`:4: [certificates] est: "https://a/.well-known/est/x": leave /.well-known/est out, and put what follows it, the label, behind the host`},
		{trusted + `"https://a/b%2fc"`, `:4: [certificates] est: "https://a/b%2fc": the label is not of letters, digits, -, ., _ and ~`},
		{trusted + `"https://a/../c"`, `:4: [certificates] est: "https://a/../c": the label is not of letters, digits, -, ., _ and ~`},
		{trusted + `"auto"` + "\nkeys = []", `:5: [certificates] keys is empty: name ecdsa, rsa or both`},
		{`keys = ["ed25519"]`, `:3: [certificates] keys: "ed25519" must be one of ecdsa, rsa`},
		{`fingerprint = "00:11"`, `:3: [certificates] fingerprint: "00:11" is not a SHA-256 in 64 hexadecimal digits, as "openssl x509 -fingerprint -sha256" prints it`},
		{`names = ["192.0.2.1"]`, `:3: [certificates] names: "192.0.2.1" is an address; a certificate is for names`},
		{`names = ["[2001:db8::1]"]`, `:3: [certificates] names: "[2001:db8::1]" is an address; a certificate is for names`},
		{`names = ["*.example.com"]`, `:3: [certificates] names: "*.example.com" is not a host name: the name contains '*'`},
		{`mode = "0644"`, `:3: [certificates] mode: "0644" must be 0600, or 0640 for the group to read it`},
		{`folder = ""`, `:3: [certificates] folder: the path does not name a folder`},
		{`folder = "certs"`, `:3: [certificates] folder: "certs" is not an absolute path`},
		{trusted + `"auto"` + "\nfolder = \"/var/lib/nmos-authd/\"",
			`:5: [certificates] folder is [state] dir, which nobody else may enter`},
		{trusted + `"auto"` + "\n[state]\ndir = \"\"",
			`:3: [certificates] trust_first needs [state] dir: without it, a root is taken unchecked at each start, not once`},
		{`ca_file = "/run/nmos-authd/certs/roots.pem"`,
			`:3: [certificates] ca_file is /run/nmos-authd/certs/roots.pem, which EST brings; it is for roots that somebody installed`},
		{`maker_key = "/k"`, `:3: [certificates] maker_key is the key of maker_certificate, which is missing`},
	} {
		_, err := Parse("x.toml", []byte("\n[certificates]\n"+c.text+"\n"))
		if got := fmt.Sprint(err); got != "x.toml"+c.want {
			t.Errorf("%q:\n got %s\nwant x.toml%s", c.text, got, c.want)
		}
	}
}

// Off unless asked for; what is risky is said (CERT-6, CERT-11).
func TestCertificateWarnings(t *testing.T) {
	spec.Rules(t, "CERT-6", "CERT-11")
	if c := Default(); c.Certificates.Enabled() || c.Certificates.TrustFirst || !c.Certificates.Renew ||
		c.Certificates.FileMode() != 0o640 {
		t.Errorf("by default: got %+v", c.Certificates)
	}
	const on = "[certificates]\nest = \"auto\"\n"
	print := "fingerprint = \"" + strings.Repeat("0f", 32) + "\"\n"
	for _, c := range []struct{ text, want string }{
		{on + print, ""},
		{on + "trust_first = true\n", "[certificates] trust_first: until the device holds a root, whoever answers"},
		{on + "trust_first = true\n" + print, ""},
		{"[certificates]\ntrust_first = true", ""},
		{on + print + "renew = false", "[certificates] renew is false: the certificate ends"},
		{on + print + "[state]\ndir = \"\"", "[certificates] est: [state] dir is empty"},
	} {
		cfg, err := Parse("x.toml", []byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got := cfg.Warnings()
		if len(got) > 1 || (c.want == "") != (len(got) == 0) || c.want != "" && !strings.HasPrefix(got[0], c.want) {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}
