package token

import (
	"encoding/base64"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// slowSplit is the readable twin of split.
func slowSplit(raw string) (parts [3]string, ok bool) {
	segments := strings.Split(raw, ".")
	if len(segments) != 3 || segments[0] == "" || segments[1] == "" {
		return parts, false
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i, s := range segments {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || strings.Trim(s, alphabet) != "" || base64.RawURLEncoding.EncodeToString(b) != s {
			return parts, false
		}
		parts[i] = string(b)
	}
	return parts, true
}

func FuzzSplit(f *testing.F) {
	spec.Rules(f, "TOK-1")
	for _, raw := range []string{
		"", ".", "..", "...", "a", "YQ.YQ.YQ", "YQ.YQ.", ".YQ.YQ", "YQ..YQ", "YQ.YQ.YQ.YQ", "YQ.YQ", "YQ==.YQ.YQ",
		"YR.YQ.YQ", "YQ.YQ.YR", "YQ.Y\nQ.YQ", "YQ.YQ.YQ\r\n", "YQ.YQ.\r", " YQ.YQ.YQ", "_-8.YQ.YQ", "/+8.YQ.YQ",
		"YWI.YWJj.YWJjZA", "Y.YQ.YQ", "YQ.YQ.\xff\x00",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		s, ok := split([]byte(raw), make([]byte, len(raw)))
		parts, want := slowSplit(raw)
		if ok != want {
			t.Fatalf("%q: %v", raw, ok)
		}
		if !ok {
			return
		}
		if string(s.header) != parts[0] || string(s.payload) != parts[1] || string(s.signature) != parts[2] ||
			string(s.signed)+"."+raw[strings.LastIndexByte(raw, '.')+1:] != raw {
			t.Errorf("%q became %+v", raw, s)
		}
	})
}
