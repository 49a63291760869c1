package discovery

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Names are handled in the presentation form of RFC 1035 §5.1, as the DNS library reads and writes them: labels ended
// by dots, `\.` for a dot inside a label, `\032` or `\ ` for a space, everything outside ASCII as `\DDD`. So a name
// never holds a control character, and is safe to print.

// canonical is the form in which names are compared (RFC 4343): lower case, with the trailing dot.
func canonical(name string) string {
	name = strings.ToLower(name)
	if !strings.HasSuffix(name, ".") {
		name += "."
	}
	return name
}

// cutLabel splits a name after its first label; rest is "." or "" at the end. An escaped dot ends no label.
//
//go:noinline // for flash
func cutLabel(name string) (label, rest string) {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case '.':
			if rest = name[i+1:]; rest == "" {
				rest = "."
			}
			return name[:i], rest
		}
	}
	return name, ""
}

// local reports whether a name belongs to mDNS, and is never asked of a name server (RFC 6762 §3, DIS-2).
func local(name string) bool { return within(canonical(name), mdnsDomain+".") }

// within reports whether a name is domain or below it; both are canonical.
//
//go:noinline // for flash
func within(name, domain string) bool {
	for name != domain {
		if name == "." || name == "" {
			return false
		}
		_, name = cutLabel(name)
	}
	return true
}

// cutInstance splits the name of an instance of a service, `<Instance>.<Service>.<Domain>` (RFC 6763 §4.1).
func cutInstance(name, service string) (instance, domain string, ok bool) {
	instance, rest := cutLabel(name)
	domain, ok = strings.CutPrefix(canonical(rest), service+".")
	return instance, domain, ok && instance != "" && domain != ""
}

// unescape takes the escapes of the presentation form out of a label or a string of a TXT record.
func unescape(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	raw := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' && i+1 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:min(i+4, len(text))], 10, 8); err == nil && i+3 < len(text) {
				c = byte(n)
				i += 3
			} else {
				i++
				c = text[i]
			}
		}
		raw = append(raw, c)
	}
	return string(raw)
}

// InstanceName writes the name of an instance for people: without escapes if it is printable, else quoted.
func InstanceName(label string) string {
	text := unescape(label)
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.QuoteToASCII(text)
	}
	return text
}

// undot takes the trailing dot off a name, for people.
//
//go:noinline // for flash
func undot(name string) string { return strings.TrimSuffix(name, ".") }
