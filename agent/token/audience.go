package token

import (
	"bytes"

	"nmosauthd/agent/wildcard"
)

// Names are the host names that aud may name this device by, lower case and without a trailing dot.
type Names []string

// match tells whether one entry of aud names this device (CLM-4, CLM-5): a host name or scheme://host, with wildcards. It
// changes entry to lower case.
func (n Names) match(entry []byte) bool {
	if at := bytes.Index(entry, []byte("://")); at >= 0 {
		if !isScheme(entry[:at]) {
			return false
		}
		entry = entry[at+3:]
	}
	if len(entry) > 0 && entry[len(entry)-1] == '.' {
		entry = entry[:len(entry)-1]
	}
	if len(entry) == 0 || bytes.ContainsAny(entry, ":/?#@ ") {
		return false // a port, path or query never matches
	}
	for i, c := range entry {
		if 'A' <= c && c <= 'Z' {
			entry[i] = c + 'a' - 'A' // host names have no case (RFC 4343)
		}
	}
	for _, name := range n {
		if matchHost(entry, name) {
			return true
		}
	}
	return false
}

// matchHost is wildcard.Host for a name held as a string; the copy is on the stack for any name that DNS allows.
func matchHost(pattern []byte, name string) bool {
	var buf [255]byte
	if len(name) > len(buf) {
		return false
	}
	return wildcard.Host(pattern, buf[:copy(buf[:], name)])
}

// isScheme tells whether b is a URI scheme (RFC 3986 §3.1).
func isScheme(b []byte) bool {
	for i, c := range b {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return len(b) > 0
}
