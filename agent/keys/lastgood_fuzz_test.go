package keys_test

import (
	"bytes"
	"strings"
	"testing"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/spec"
)

// Whatever the file of kept keys holds, what is taken from it is as good as what a server publishes, and is written and
// read again as it is; errors are short.
func FuzzLastGood(f *testing.F) {
	spec.Rules(f, "KEY-3")
	data, err := kept(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	good, _, _ := bytes.Cut(data, []byte("\n"))
	f.Add(good)
	long := strings.Repeat("x", 5000)
	for _, seed := range []string{
		strings.ReplaceAll(string(good), "retired", "fetched"), strings.ReplaceAll(string(good), `"one"`, `"`+long+`"`),
		strings.ReplaceAll(string(good), `"RSA"`, `"`+long+`"`), strings.ReplaceAll(string(good), `"AQAB"`, `"AQ"`),
		`{"format":1,"issuers":[{"issuer":"` + long + `","keys":[null,1,{}]},{"keys":null}]}`,
		`{"format":` + strings.Repeat("1", 5000) + `}`, `{"` + long + `":1,"` + long + `":2}`, `[`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		g, left, err := keys.DecodeLastGood(keys.Sealed(line[:len(line):len(line)]))
		for _, e := range append(left, err) {
			if e != nil && len(e.Error()) > 1000 {
				t.Errorf("got an error of %d bytes, %.200q", len(e.Error()), e)
			}
		}
		if err != nil {
			return
		}
		for _, h := range g.Issuers {
			if len(h.Keys) == 0 || len(h.Keys) > keys.MaxKeys {
				t.Errorf("%.100q has %d keys", h.Name, len(h.Keys))
			}
			for _, k := range h.Keys {
				if bits := k.Public.N.BitLen(); bits < 2048 || bits > 8192 || k.Public.N.Bit(0) == 0 || k.Public.E < 3 {
					t.Errorf("took a key of %d bits, exponent %d", bits, k.Public.E)
				}
			}
		}
		data, err := g.Encode()
		if err != nil {
			if len(line) < keys.MaxLastGood/8 { // what is written may be longer, such as "\u003c" for "<"
				t.Error(err)
			}
			return
		}
		again, left, err := keys.DecodeLastGood(data)
		if err != nil || len(left) > 0 || !again.Equal(g) {
			t.Errorf("written again got %v, left out %v, equal %v", err, left, again.Equal(g))
		}
	})
}
