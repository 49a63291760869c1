// Package wildcard matches the two kinds of pattern that IS-10 tokens hold: path specifiers and host names.
//
// Whatever an attacker writes, a match takes time at most in proportion to the length of the pattern times that of the
// text, and allocates nothing: bytes.Index compares a piece of the pattern at most once at each place of the text.
// Callers bound both (TOK-5, PATH-16).
package wildcard

import "bytes"

// Match reports whether the whole of text matches pattern, in which "*" stands for zero or more bytes of any value, any
// number of times; everything else is literal (IS-10 Access Tokens, "The value of the access permissions object").
func Match(pattern, text []byte) bool {
	star := bytes.IndexByte(pattern, '*')
	if star < 0 {
		return bytes.Equal(pattern, text)
	}
	if !bytes.HasPrefix(text, pattern[:star]) {
		return false
	}
	text = text[star:]
	for {
		pattern = pattern[star+1:]
		if star = bytes.IndexByte(pattern, '*'); star < 0 {
			return bytes.HasSuffix(text, pattern)
		}
		// Taking the leftmost place of each piece leaves the most text for those that follow, so there is no going
		// back.
		i := bytes.Index(text, pattern[:star])
		if i < 0 {
			return false
		}
		text = text[i+star:]
	}
}

// MatchBefore reports whether pattern, which does not end in "*", matches text up to before one of the places where it
// has the byte end.
func MatchBefore(pattern, text []byte, end byte) bool {
	star := bytes.IndexByte(pattern, '*')
	if star < 0 {
		return len(text) > len(pattern) && text[len(pattern)] == end && bytes.HasPrefix(text, pattern)
	}
	if !bytes.HasPrefix(text, pattern[:star]) {
		return false
	}
	for text = text[star:]; ; {
		pattern = pattern[star+1:]
		if star = bytes.IndexByte(pattern, '*'); star < 0 {
			break
		}
		i := bytes.Index(text, pattern[:star])
		if i < 0 {
			return false
		}
		text = text[i+star:]
	}
	for { // the last piece may be at any place that end follows
		i := bytes.Index(text, pattern)
		if i < 0 || i+len(pattern) == len(text) {
			return false
		}
		if text[i+len(pattern)] == end {
			return true
		}
		text = text[i+1:]
	}
}

// Host reports whether the host name matches pattern. Both are lower case and without a trailing dot; host has no empty
// labels. A lone "*" matches every name; a leftmost label "*" stands for one or more labels (RFC 4592 §2.1.1, §3.3.1);
// a "*" elsewhere in a label stands for zero or more characters of that label.
func Host(pattern, host []byte) bool {
	for len(host) > 0 {
		if string(pattern) == "*" {
			return true // one or more labels of host are left here
		}
		p, h := bytes.LastIndexByte(pattern, '.'), bytes.LastIndexByte(host, '.')
		if !Match(pattern[p+1:], host[h+1:]) {
			return false
		}
		if p == -1 || h == -1 {
			return p == h
		}
		pattern, host = pattern[:p], host[:h]
	}
	return false
}
