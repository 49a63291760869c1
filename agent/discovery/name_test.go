package discovery

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/miekg/dns"

	"nmosauthd/tinytest/spec"
)

func TestWithin(t *testing.T) {
	spec.Rules(t, "DIS-1")
	for _, c := range []struct {
		name, domain string
		want         bool
	}{
		{"example.com.", "example.com.", true},
		{"a.example.com.", "example.com.", true},
		{"a.b.example.com.", "example.com.", true},
		{"example.com.", "a.example.com.", false},
		{"badexample.com.", "example.com.", false},
		{`bad\.example.com.`, "example.com.", false}, // a dot inside a label
		{`bad\\.example.com.`, "example.com.", true}, // a backslash inside one
		{"example.net.", "example.com.", false},
		{"com.", "example.com.", false},
		{".", "example.com.", false},
		{"", "example.com.", false},
		{"a.", ".", true},
	} {
		if got := within(c.name, c.domain); got != c.want {
			t.Errorf("within(%q, %q) = %v", c.name, c.domain, got)
		}
	}
}

func TestCutInstance(t *testing.T) {
	spec.Rules(t, "DIS-1")
	for name, want := range map[string]string{
		`a._nmos-auth._tcp.example.com.`:       "a example.com.",
		`A\.b\ c._NMOS-Auth._TCP.Example.com.`: `A\.b\ c example.com.`,
		`_nmos-auth._tcp.example.com.`:         "",
		`a._nmos-auth._tcp.`:                   "",
		`a._nmos-auth._udp.example.com.`:       "",
		`a.b._nmos-auth._tcp.example.com.`:     "",
		`a\._nmos-auth._tcp.example.com.`:      "",
		`www.example.com.`:                     "",
		`.`:                                    "",
		``:                                     "",
	} {
		instance, domain, ok := cutInstance(name, service)
		got := instance + " " + domain
		if !ok {
			got = ""
		}
		expect(t, name, got, want)
	}
}

// A label as the DNS library writes it is read back as what it was, and is printed safely.
func FuzzInstanceName(f *testing.F) {
	f.Add("Studio A.1 (main)")
	f.Add("Straße\\123")
	f.Add("\x00\xff\\")
	f.Fuzz(func(t *testing.T, label string) {
		if label == "" || len(label) > 63 {
			return
		}
		p := append([]byte{byte(len(label))}, label...)
		name, _, err := dns.UnpackDomainName(append(p, 0), 0)
		if err != nil {
			t.Fatal(err)
		}
		first, rest := cutLabel(name)
		expect(t, "rest", rest, ".")
		expect(t, "unescaped", unescape(first), label)
		expect(t, "twin", slowUnescape(first), label)
		shown := InstanceName(first)
		if shown != label && !strings.HasPrefix(shown, `"`) || !utf8.ValidString(shown) ||
			strings.ContainsAny(shown, "\x00\n\r\x1b\u202e") {
			t.Errorf("%q is shown as %q", label, shown)
		}
	})
}
