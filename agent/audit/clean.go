package audit

import (
	"bytes"

	"nmosauthd/agent/ascii"
)

// Cleaned stands in a record where a token stood.
const Cleaned = "[token]"

const (
	// shortHeader is the least length of a token's header: {"alg":""} in base64url.
	shortHeader = 14
	// shortToken is the least length of what is taken for a token: the header, and two dots or a dot and the beginning
	// of claims.
	shortToken = shortHeader + 2
)

// Clean returns text without the tokens in it, for those who show what a client sent elsewhere than in a record.
func Clean(text []byte) []byte { return appendClean(nil, text, len(text)+len(Cleaned)) }

// appendClean appends text without the tokens in it: a client may put one where it does not belong, into a path. It
// appends no more than most bytes and some, which tell that it had to be cut, and of what follows it looks only for the
// end of a token, so that a long text costs no decision much.
func appendClean(dst, text []byte, most int) []byte {
	for end := len(dst) + most + 1; ; {
		from, to := findToken(text, end-len(dst))
		dst = append(dst, text[:min(from, end-len(dst))]...)
		if from == len(text) || len(dst) >= end {
			return dst
		}
		dst = append(dst, Cleaned...)
		if text = text[to:]; len(dst) >= end {
			return dst
		}
	}
}

// findToken returns where the first token starts and ends, of those that start within the first bytes; both are the
// length of the text if there is none.
//
// What counts is the compact form (RFC 7515 §3.1), percent-encoded or not, whole, tampered with, or cut off after its
// claims have begun: a segment of base64url in which a JSON object begins, with a dot and another such behind it, or
// two more segments of whatever kind. The segment before an object may also be one whose own first letters were read as
// part of an escape: "%4eyJ…" is "NyJ…" once normalised. Whatever follows a token up to the next slash or line feed
// goes with it.
func findToken(text []byte, first int) (from, to int) {
	if len(text) < shortToken || !suspicious(text) {
		return len(text), len(text)
	}
	segment := 0  // where this segment starts
	object := -1  // where an object starts in it; -1 if none does
	chars := 0    // of the segment
	inside := 0   // of them, those from object on
	header := -1  // where the token starts whose header is the segment before; -1 if that is not one
	untested := 0 // from where on an object may start
	for at := 0; at < len(text); {
		if at >= first {
			if segment >= first && header < 0 {
				break
			}
			if n := bytes.IndexAny(text[at:], "./\n%"); n != 0 {
				if n < 0 {
					break
				}
				at, chars, inside = at+n, chars+n, inside+n
			}
		}
		c, size := octet(text[at:])
		next := at + size
		switch {
		case size == 1 && (c == '/' || c == '\n'):
			segment, object, header, chars = next, -1, -1, 0
		case c == '.':
			start := -1
			if begins, _ := beginsObject(text[next:]); chars >= shortHeader && begins {
				if start = object; start < 0 {
					start = segment
				}
			} else if header >= 0 {
				start = header
			}
			if start >= 0 {
				if end := bytes.IndexAny(text[next:], "/\n"); end >= 0 {
					return start, next + end
				}
				return start, len(text)
			}
			if header = -1; object >= 0 && inside >= shortHeader {
				header = object
			}
			segment, object, chars = next, -1, 0
		default:
			if object < 0 && at >= untested && at < first {
				begins, space := beginsObject(text[at:])
				if begins {
					object, inside = at, 0
				}
				// In the middle of white space no object begins, and long white space is not to be looked at again and
				// again.
				untested = at + max(space-lastGroup, 0)
			}
			chars++
			inside++
		}
		at = next
	}
	return len(text), len(text)
}

// suspicious reports whether text is worth a closer look: a percent sign, or a dot with as much before it as a header
// is long, and behind it an object or another dot. Ordinary paths, host names and user names have neither.
func suspicious(text []byte) bool {
	if bytes.IndexByte(text, '%') >= 0 {
		return true
	}
	for rest := text; ; {
		dot := bytes.IndexByte(rest, '.')
		if dot < 0 {
			return false
		}
		header := dot >= shortHeader
		for at := dot - shortHeader; header && at < dot; at++ {
			header = rest[at] != '/' && rest[at] != '\n'
		}
		if rest = rest[dot+1:]; header {
			if begins, _ := beginsObject(rest); begins || bytes.IndexByte(rest, '.') >= 0 {
				return true
			}
		}
	}
}

// lastGroup is longer than four characters of base64url, which three bytes are, percent-encoded.
const lastGroup = 64

// beginsObject reports whether text, decoded from base64url, begins as a JSON object with a member does: white space
// (RFC 8259 §2), or a byte order mark, that "{", white space and a quotation mark follow. Text may be percent-encoded.
// space is how much of it was seen to be white space.
func beginsObject(text []byte) (begins bool, space int) {
	opened := false
	bits, held := uint32(0), 0
	for at := 0; at < len(text); {
		c, size := octet(text[at:])
		v := value(c)
		if v > 63 {
			return false, space
		}
		bits, held = bits<<6|uint32(v), held+6
		at += size
		if held < 8 {
			continue
		}
		held -= 8
		switch b := byte(bits >> held); {
		case b == ' ' || b == '\t' || b == '\n' || b == '\r':
			space = at
		case b == 0xef || b == 0xbb || b == 0xbf: // of the mark; nothing else in base64url of JSON begins with these
			if opened {
				return false, space
			}
		case b == '{' && !opened:
			opened = true
		default:
			return opened && b == '"', space
		}
	}
	return false, space
}

// value returns the six bits that a character of base64url stands for (RFC 4648 §5), 0xff if it is not one.
func value(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c - 'A'
	case c >= 'a' && c <= 'z':
		return c - 'a' + 26
	case c >= '0' && c <= '9':
		return c - '0' + 52
	case c == '-':
		return 62
	case c == '_':
		return 63
	}
	return 0xff
}

// twice is how many times over a percent sign may be encoded: "%252e".
const twice = 4

// octet reads one byte of a path, which may be percent-encoded, and the percent sign of that too.
func octet(text []byte) (c byte, size int) {
	if text[0] != '%' {
		return text[0], 1
	}
	at := 1
	for range twice {
		if len(text)-at < 4 || text[at] != '2' || text[at+1] != '5' {
			break
		}
		at += 2
	}
	if len(text)-at >= 2 {
		high, ok1 := ascii.HexDigit(text[at])
		low, ok2 := ascii.HexDigit(text[at+1])
		if ok1 && ok2 {
			return high<<4 | low, at + 2
		}
	}
	return text[0], 1
}
