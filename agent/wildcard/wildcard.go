// Package wildcard matches the two kinds of pattern that IS-10 tokens hold: path specifiers and host names.
//
// Both matches take time linear in pattern plus text, whatever an attacker writes, and allocate nothing.
package wildcard

import "bytes"

// Match tells whether the whole of text matches pattern, in which "*" stands for zero or more bytes of any value, any
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
		// Taking the leftmost place of each piece leaves the most text for those that follow, so there is no going back.
		i := index(text, pattern[:star])
		if i < 0 {
			return false
		}
		text = text[i+star:]
	}
}

// Host tells whether the host name matches pattern. Both are lower case and without a trailing dot; host has no empty
// labels. A lone "*" matches every name; a leftmost label "*" stands for one or more labels (RFC 4592 §2.1.1, §3.3.1); a "*"
// elsewhere in a label stands for zero or more characters of that label.
func Host(pattern, host []byte) bool {
	if len(pattern) == 0 || len(host) == 0 {
		return false
	}
	for {
		p, h := bytes.LastIndexByte(pattern, '.'), bytes.LastIndexByte(host, '.')
		if p < 0 && pattern[0] == '*' && len(pattern) == 1 {
			return true // one or more labels of host are left here
		}
		if !Match(pattern[p+1:], host[h+1:]) {
			return false
		}
		if p < 0 || h < 0 {
			return p < 0 && h < 0
		}
		pattern, host = pattern[:p], host[:h]
		if len(pattern) == 0 || len(host) == 0 {
			return false
		}
	}
}

// index returns the first place of piece in text, or -1, by the two-way algorithm (Crochemore and Perrin 1991): linear
// time and no memory. bytes.Index falls back to Rabin-Karp, whose worst case an attacker can reach.
func index(text, piece []byte) int {
	m := len(piece)
	switch m {
	case 0:
		return 0
	case 1:
		return bytes.IndexByte(text, piece[0])
	}
	if m > len(text) {
		return -1
	}
	cut, period := maxSuffix(piece, false)
	if c, p := maxSuffix(piece, true); c > cut {
		cut, period = c, p
	}
	last := len(text) - m
	if cut+period <= m && bytes.Equal(piece[:cut], piece[period:period+cut]) {
		for at, known := 0, 0; at <= last; {
			i := max(cut, known)
			for i < m && piece[i] == text[at+i] {
				i++
			}
			if i < m {
				at, known = at+i-cut+1, 0
				continue
			}
			for i = cut; i > known && piece[i-1] == text[at+i-1]; {
				i--
			}
			if i <= known {
				return at
			}
			at, known = at+period, m-period
		}
		return -1
	}
	period = max(cut, m-cut) + 1
	for at := 0; at <= last; {
		i := cut
		for i < m && piece[i] == text[at+i] {
			i++
		}
		if i < m {
			at += i - cut + 1
			continue
		}
		for i = cut; i > 0 && piece[i-1] == text[at+i-1]; {
			i--
		}
		if i == 0 {
			return at
		}
		at += period
	}
	return -1
}

// maxSuffix returns where the greatest suffix of x starts, by byte order or the reverse of it, and that suffix's period.
func maxSuffix(x []byte, reverse bool) (start, period int) {
	start, period = 0, 1
	for j, k := 1, 0; j+k < len(x); {
		a, b := x[j+k], x[start+k]
		switch {
		case a == b:
			if k+1 == period {
				j, k = j+period, 0
			} else {
				k++
			}
		case (a < b) != reverse:
			j, k = j+k+1, 0
			period = j - start
		default:
			start, j = j, j+1
			k, period = 0, 1
		}
	}
	return start, period
}
