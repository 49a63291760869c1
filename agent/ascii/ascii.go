// Package ascii is the one home of what several rooms do with bytes that others wrote: fold case, read hex digits and
// UUIDs, compare host names, and show text such that it draws on no terminal. To all of it whatever is not ASCII is
// foreign.
//
// It does no I/O, and keeps nothing.
package ascii

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Lower returns a letter in lower case, and any other byte as it is.
func Lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// IsUUID reports whether an id is one as NMOS writes it: 8-4-4-4-12 hexadecimal digits in lower case.
func IsUUID(id string) bool {
	for i := range len(id) {
		digits := "0123456789abcdef"
		if i == 8 || i == 13 || i == 18 || i == 23 {
			digits = "-"
		}
		if strings.IndexByte(digits, id[i]) < 0 {
			return false
		}
	}
	return len(id) == 36
}

// EqualFold compares text, in any case, with a word in lower case. bytes.EqualFold would fold U+017F and U+212A, too.
func EqualFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if Lower(c) != lower[i] {
			return false
		}
	}
	return true
}

// Host returns a host or domain name as names are compared (RFC 4343): in lower case, without a trailing dot.
func Host(name string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf {
			r = rune(Lower(byte(r)))
		}
		return r
	}, strings.TrimSuffix(name, "."))
}

// HasControl reports whether text holds a byte that could break a line or a terminal. It looks at eight bytes at a
// time, since every value of a packet is looked at.
func HasControl(b []byte) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		x := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		// The top bit of a byte is set in one of these if it is not ASCII, below the space, or the delete character. It
		// may be by carry, too, but not if none is.
		if (x|(x-' '*ones)|(x+ones))&tops != 0 && hasControl(b[:8]) {
			return true
		}
		b = b[8:]
	}
	return hasControl(b)
}

func hasControl(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c == 0x7f {
			return true
		}
	}
	return false
}

// HexDigit returns the value of a hex digit, in whatever case.
func HexDigit(c byte) (value byte, ok bool) {
	switch c = Lower(c); {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// Unreserved reports whether a character stands for itself in a URI (RFC 3986 §2.3).
func Unreserved(r rune) bool {
	switch r {
	case '-', '.', '_', '~':
		return true
	}
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// AppendPercent appends a byte percent-encoded in normal form (RFC 3986 §6.2.2.1).
func AppendPercent(dst []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[c>>4], digits[c&15])
}

// AppendRune appends a character if it is printable ASCII, else \u and four digits, beyond the basic plane twice, as
// JSON has it (RFC 8259 §7).
func AppendRune(dst []byte, r rune) []byte {
	if r >= ' ' && r <= '~' {
		return append(dst, byte(r))
	}
	if r <= 0xffff {
		return appendUnit(dst, r)
	}
	high, low := utf16.EncodeRune(r)
	return appendUnit(appendUnit(dst, high), low)
}

func appendUnit(dst []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// AppendString appends text as AppendRune does each of its characters.
//
//go:noinline // for flash
func AppendString(dst []byte, text string) []byte {
	for _, r := range text {
		dst = AppendRune(dst, r)
	}
	return dst
}

// Line returns text on one line for people, who may read other letters than ASCII's: what cannot be printed is
// written as Go does.
func Line(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// Quote makes a text of others safe to print: one line of ASCII, cut after so many bytes of the text.
func Quote(text string, most int) string {
	if len(text) > most {
		text = text[:most] + "..."
	}
	quoted := strconv.QuoteToASCII(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
