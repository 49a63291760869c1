package token

import (
	"bytes"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/wildcard"
)

// Names are the host names and addresses that aud may name this device by, lower case and without a trailing dot; an
// IPv6 address without brackets, in the form of RFC 5952.
type Names []string

// match reports whether an entry of aud names this device (CLM-4, CLM-5): a host name or scheme://host, with wildcards.
// It changes entry to lower case.
func (n Names) match(entry []byte) bool {
	url := false
	if at := bytes.Index(entry, []byte("://")); at >= 0 {
		if !isScheme(entry[:at]) {
			return false
		}
		url, entry = true, entry[at+3:]
	}
	for i, c := range entry {
		entry[i] = ascii.Lower(c) // host names have no case (RFC 4343)
	}
	if is, address := ipv6(entry, url); is {
		return n.hasIPv6(address)
	}
	if len(entry) > 0 && entry[len(entry)-1] == '.' {
		entry = entry[:len(entry)-1]
	}
	if len(entry) == 0 || bytes.ContainsAny(entry, ":/?#@ ") {
		return false // a port, path or query never matches
	}
	for _, name := range n {
		if isIPv6(name) && !(len(entry) == 1 && entry[0] == '*') {
			continue // an address has no labels that a pattern could match
		}
		if matchHost(entry, name) {
			return true
		}
	}
	return false
}

// ipv6 returns the address that an entry of aud, or the host of a URL in it, consists of. In a URL it stands in
// brackets (RFC 3986 §3.2.2); alone it need not, since a host and port have one colon only.
func ipv6(host []byte, url bool) (is bool, address []byte) {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		return true, host[1 : n-1]
	}
	return !url && bytes.Count(host, []byte(":")) > 1, host
}

// hasIPv6 compares as text: RFC 5952 leaves one form for each address.
func (n Names) hasIPv6(address []byte) bool {
	for _, name := range n {
		if isIPv6(name) && string(address) == name {
			return true
		}
	}
	return false
}

// isIPv6 reports whether a name of the device is an IPv6 address.
func isIPv6(name string) bool {
	for i := range len(name) {
		if name[i] == ':' {
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

// isScheme reports whether b is a URI scheme (RFC 3986 §3.1).
func isScheme(b []byte) bool {
	for i, c := range b {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return len(b) > 0
}
