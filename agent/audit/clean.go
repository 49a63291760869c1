package audit

import "bytes"

// Cleaned stands in a record where a token stood.
const Cleaned = "[token]"

// claims is how a JSON object begins in base64url, and so the header and the claims of every token.
const claims = "eyJ"

// shortHeader is shorter than the header of any token: {"alg":"RS512"} has 20 characters.
const shortHeader = 16

// appendClean appends text without the tokens in it: a client may put one where it does not belong, into a path. It appends no
// more than most bytes and some, which tell that it had to be cut, and searches no more, so that a long text costs no decision
// much.
func appendClean(dst, text []byte, most int) []byte {
	for end := len(dst) + most + 1; ; {
		from, to := findToken(text, end-len(dst))
		dst = append(dst, text[:min(from, end-len(dst))]...)
		if from == to || len(dst) >= end {
			return dst
		}
		dst = append(dst, Cleaned...)
		if text = text[to:]; len(dst) >= end {
			return dst
		}
	}
}

// findToken returns where a token starts and ends, of those that start within the first bytes. from and to are the length of the
// text where there is none.
func findToken(text []byte, first int) (from, to int) {
	if bytes.IndexByte(text, '%') < 0 {
		if from = bytes.Index(text, []byte(claims[1:])) - 1; from < -1 {
			return len(text), len(text)
		}
		from = max(from, 0)
	}
	for from < min(first, len(text)) {
		n, found := token(text[from:])
		if found {
			return from, from + n
		}
		from += n
	}
	return len(text), len(text)
}

// token tells whether text starts with what looks like a token in the compact form (RFC 7515 §3.1), be it cut off after its second
// part has begun, percent-encoded or tampered with, and how many bytes of it to take away or pass over. Whatever follows a token up
// to the next slash or line feed goes with it. The e at its start may be missing: behind "%4" it is the end of an escape, and N to
// whoever reads the path. Names like myJack.left.level are told from that by their length.
func token(text []byte) (n int, found bool) {
	dots, chars, begun := 0, 0, 0 // of this part: its characters, and how many of them are those of claims
	headless := len(text) > 0 && text[0] == claims[1]
	if headless {
		chars, begun = 1, 1
	}
	for n < len(text) {
		c, size := octet(text[n:])
		switch {
		case size == 1 && (c == '/' || c == '\n'):
			return max(n, 1), false
		case c == '.' && headless && dots == 0 && chars < shortHeader:
			return 1, false
		case c == '.' && (dots > 0 || begun == len(claims)):
			dots++
			chars, begun = 0, 0
		case chars == begun && begun < len(claims) && c == claims[begun]:
			begun++
			chars++
		case dots == 0 && begun < len(claims):
			return max(n, 1), false
		default:
			chars++
		}
		n += size
		if dots == 2 || dots == 1 && begun == len(claims) {
			if end := bytes.IndexAny(text[n:], "/\n"); end >= 0 {
				return n + end, true
			}
			return len(text), true
		}
	}
	return n, false
}

// octet reads one byte of a path, which may be percent-encoded.
func octet(text []byte) (c byte, size int) {
	if text[0] == '%' && len(text) > 2 {
		if high, low := digit(text[1]), digit(text[2]); high|low < 16 {
			return high<<4 | low, 3
		}
	}
	return text[0], 1
}

// digit returns the value of a hex digit, 0xff where c is none.
func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xff
}
