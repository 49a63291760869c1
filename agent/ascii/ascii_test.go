package ascii_test

import (
	"bytes"
	"encoding/hex"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"nmosauthd/agent/ascii"
)

// Every byte is what the standard library says of it.
func TestBytes(t *testing.T) {
	for i := range 256 {
		c := byte(i)
		want, err := hex.DecodeString("0" + string(rune(c)))
		if got, ok := ascii.HexDigit(c); ok != (err == nil) || ok && got != want[0] {
			t.Errorf("HexDigit(%q) is %d, %t; want %v, %v", c, got, ok, want, err)
		}
		lower := c
		if c < utf8.RuneSelf {
			lower = bytes.ToLower([]byte{c})[0]
		}
		if got := ascii.Lower(c); got != lower {
			t.Errorf("Lower(%q) is %q, want %q", c, got, lower)
		}
		escaped := url.QueryEscape(string([]byte{c}))
		if got := ascii.Unreserved(rune(c)); got != (len(escaped) == 1 && c != ' ') {
			t.Errorf("Unreserved(%q) is %t, and it is written %s", c, got, escaped)
		}
		if got := string(ascii.AppendPercent(nil, c)); len(escaped) == 3 && got != escaped {
			t.Errorf("AppendPercent(%q) is %s, want %s", c, got, escaped)
		}
		for at := range 19 { // wherever it stands
			text := bytes.Repeat([]byte{0xff, ' ', 0x80, '~', 0xa0, 'a'}, 4)[:19]
			text[at] = c
			if got, want := ascii.HasControl(text), c < ' ' || c == 0x7f; got != want {
				t.Errorf("HasControl(%q) is %t, want %t", text, got, want)
			}
		}
	}
}

func TestEqualFold(t *testing.T) {
	for _, c := range []struct {
		text, word string
		want       bool
	}{
		{"WebSocket", "websocket", true}, {"AT+JWT", "at+jwt", true}, {"", "", true}, {"web", "websocket", false},
		{"web\u017focket", "websocket", false}, {"web\u017focke", "websocket", false}, {"wordK", "wordk", true},
		{"word\u212a", "wordk", false},
		{"at\x0bjwt", "at+jwt", false}, {"@", "`", false}, {"[", "{", false}, {"websocket", "WEBSOCKET", false},
	} {
		if got := ascii.EqualFold([]byte(c.text), c.word); got != c.want {
			t.Errorf("%q and %q: %t, want %t", c.text, c.word, got, c.want)
		}
	}
}

func TestHost(t *testing.T) {
	for name, want := range map[string]string{
		"": "", ".": "", "A.Example.": "a.example", "a.example": "a.example", "a..": "a.", "2001:DB8::1": "2001:db8::1",
		"\u212aeys.example": "\u212aeys.example",
	} {
		if got := ascii.Host(name); got != want {
			t.Errorf("Host(%q) is %q, want %q", name, got, want)
		}
	}
}

func TestIsUUID(t *testing.T) {
	const id = "0123456f-89ab-4cde-8f01-23456789abcd"
	for text, want := range map[string]bool{
		id: true, "": false, id[:35]: false, id + "0": false, strings.ToUpper(id): false, "g" + id[1:]: false,
		strings.Replace(id, "-", "0", 1): false, "-" + id[1:]: false, id[:18] + "0" + id[19:]: false,
	} {
		if got := ascii.IsUUID(text); got != want {
			t.Errorf("IsUUID(%q): got %t, want %t", text, got, want)
		}
	}
}

func TestShown(t *testing.T) {
	for _, c := range []struct{ text, ascii, line string }{
		{"", "", ""}, {`plain "\`, `plain "\`, `plain "\`}, {"é\t", `\u00e9\u0009`, `é\t`},
		{"a\x1b[2J\u202e\n", `a\u001b[2J\u202e\u000a`, `a\x1b[2J\u202e\n`},
		{"😀\U000e0001", `\ud83d\ude00\udb40\udc01`, `😀\U000e0001`}, {"\xff", `\ufffd`, "\ufffd"},
	} {
		if got := string(ascii.AppendString([]byte("-"), c.text)); got != "-"+c.ascii {
			t.Errorf("AppendString(%q) is %s, want -%s", c.text, got, c.ascii)
		}
		if got := ascii.Line(c.text); got != c.line {
			t.Errorf("Line(%q) is %s, want %s", c.text, got, c.line)
		}
	}
}

// Whatever the text: it does nothing to a terminal, and is still there.
func FuzzShown(f *testing.F) {
	f.Add("a\x1b[2Jé😀\u202e\"\\\xff\x00")
	f.Fuzz(func(t *testing.T, text string) {
		escaped := string(ascii.AppendString(nil, text))
		if strings.ContainsFunc(escaped, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q becomes %q", text, escaped)
		}
		if line := ascii.Line(text); strings.ContainsFunc(line, func(r rune) bool { return !strconv.IsPrint(r) }) {
			t.Errorf("%q becomes the line %q", text, line)
		}
	})
}
