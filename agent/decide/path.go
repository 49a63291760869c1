package decide

import (
	"bytes"
	"unicode/utf8"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/token"
)

// Normalize appends the normal form of a request target's path to dst (RFC 3986 §6.2.2: percent-encoded unreserved
// characters decoded, hexadecimal digits in upper case, dot segments removed; the query is dropped). ok is false for a
// path that two HTTP servers could read differently (PATH-9): it must be refused, since the server that decides may not
// be the one that serves. The result is never longer than target.
func Normalize(dst, target []byte) (path []byte, ok bool) {
	if query := bytes.IndexByte(target, '?'); query >= 0 {
		target = target[:query]
	}
	if len(target) == 0 || target[0] != '/' {
		return dst, false
	}
	if isNormal(target) {
		return append(dst, target...), true
	}
	start := len(dst) // of the path
	path = append(dst, '/')
	segment := len(path) // start of the segment being read
	for i := 1; i < len(target); {
		run := i
		for i < len(target) && plain[target[i]] {
			i++
		}
		path = append(path, target[run:i]...)
		if i == len(target) {
			break
		}
		switch target[i] {
		case '/':
			if len(path) == segment {
				return path[:start], false // an empty segment
			}
			if path, ok = endSegment(path, start, segment); !ok {
				return path[:start], false
			}
			if path[len(path)-1] != '/' {
				path = append(path, '/')
			}
			segment = len(path)
			i++
		case '%':
			var n int
			if path, n = appendEncoded(path, target[i:]); n == 0 {
				return path[:start], false
			}
			i += n
		default:
			return path[:start], false
		}
	}
	if path, ok = endSegment(path, start, segment); !ok {
		return path[:start], false
	}
	return path, true
}

// isNormal reports whether a path, which begins with a slash, is its own normal form, as most are: copied in one piece
// it costs half. Of one with a segment that begins with a dot it says no.
func isNormal(path []byte) bool {
	for i := 1; i < len(path); i++ {
		if path[i] == '.' || path[i] == '/' {
			return false
		}
		for i < len(path) && plain[path[i]] {
			i++
		}
		if i < len(path) && path[i] != '/' {
			return false
		}
	}
	return true
}

// NormalizeNamed is Normalize for what a record names: a path, or the role path of an object, which begins without a
// slash and stays as it is.
func NormalizeNamed(name string) (path []byte, ok bool) {
	if name != "" && name[0] != '/' {
		return []byte(name), true
	}
	return Normalize(nil, []byte(name))
}

// plain says which bytes stand for themselves in a path. The others are "/", "%", and those that servers treat
// differently: control characters, space, backslash, "#", non-ASCII bytes, and ";", since servers that know path
// parameters remove them before they look for empty and dot segments (PATH-9).
var plain = func() (t [256]bool) {
	for c := '!'; c < 0x7f; c++ {
		t[c] = c != '/' && c != '%' && c != '\\' && c != '#' && c != ';'
	}
	return t
}()

// endSegment removes the segment that ends path if it is a dot segment, with its parent if it is "..". ok is false if
// there is no parent.
//
//go:noinline // for flash
func endSegment(path []byte, start, segment int) ([]byte, bool) {
	switch string(path[segment:]) {
	case ".":
		return path[:segment], true
	case "..":
		if segment == start+1 {
			return path, false
		}
		parent := bytes.LastIndexByte(path[start:segment-1], '/')
		return path[:start+parent+1], true
	}
	return path, true
}

// appendEncoded appends the percent-encoded character at the start of b: an unreserved one decoded, any other in its
// normal encoded form. It returns how many bytes it read, or 0 if the encoding is bad or hides something that servers
// treat differently: a slash, a semicolon, a control character, broken or overlong UTF-8.
func appendEncoded(path, b []byte) ([]byte, int) {
	var char [utf8.UTFMax]byte
	n := 0
	for n < len(char) {
		c, ok := unhex(b[3*n:])
		if !ok {
			break
		}
		char[n] = c
		n++
		if utf8.FullRune(char[:n]) {
			break
		}
	}
	r, size := utf8.DecodeRune(char[:n])
	switch {
	case r == utf8.RuneError && size <= 1, r < 0x20, 0x7f <= r && r < 0xa0, r == '/', r == '\\', r == ';':
		return path, 0
	case ascii.Unreserved(r):
		return append(path, byte(r)), 3
	}
	for _, c := range char[:size] {
		path = ascii.AppendPercent(path, c)
	}
	return path, 3 * size
}

// unhex reads one percent-encoded byte.
func unhex(b []byte) (byte, bool) {
	if len(b) < 3 || b[0] != '%' {
		return 0, false
	}
	high, ok1 := ascii.HexDigit(b[1])
	low, ok2 := ascii.HexDigit(b[2])
	return high<<4 | low, ok1 && ok2
}

// Place is where a path leads. Its slices borrow from the path.
type Place struct {
	Kind Kind
	API  []byte // of Base, Resource, Everything, RolePaths and RolePath
	Rest []byte // of Resource, RolePaths and RolePath: what follows the version's slash, without a trailing slash
	// Role is the role path of a RolePath, still percent-encoded; empty if the path has none where one belongs. Of an
	// ModelObject it is as it is.
	Role []byte
	// Subtree reports that reading a RolePath shows everything below it, too (CTL-64).
	Subtree bool
	// Model is the prefix of the device model that the path leads to; empty if there is one model (CTL-19).
	Model []byte
}

// Kind sorts paths by the rule that governs them. The zero value is closed.
type Kind uint8

// The kinds of place.
const (
	Outside    Kind = iota // not below /x-nmos: closed unless configured (PATH-11)
	Root                   // "/" and "/x-nmos" (PATH-3)
	Base                   // "/x-nmos/<api>" and "/x-nmos/<api>/<version>" (PATH-4)
	Resource               // "/x-nmos/<api>/<version>/<path>" (PATH-5)
	BadVersion             // below /x-nmos, without a valid API and version (PATH-10)
	Open                   // configured to be read without a token (PATH-11)
	// needs the specifier "*": a mapped prefix itself (PATH-4), some sockets of the Query API (PATH-14)
	Everything
	Control     // the socket of a device model, "/x-nmos/ncp/<version>" or configured (PATH-15)
	TooLong     // longer than the bound (PATH-16)
	RolePaths   // "/x-nmos/configuration/<version>[/<selector>]/rolePaths", the list (CTL-63)
	RolePath    // below it: an object of a device model (CTL-61)
	ModelObject // an object of a device model, named by an inventory (CTL-86)
)

// Find sorts a normalised path, or the role path by which an inventory names an object of a device model, which begins
// without a slash, as no path of a request does.
func (r *Rules) Find(path []byte) (place Place) {
	most := r.PathBytes
	if most == 0 {
		most = DefaultPathBytes
	}
	switch {
	case len(path) > most:
		place.Kind = TooLong
		return place
	case len(path) > 0 && path[0] != '/':
		return r.object(path)
	}
	if len(r.Control) > 0 || len(r.Controls.Models) > 0 {
		bare := bytes.TrimSuffix(path, slash)
		prefix, known := r.Controls.Prefix(bare)
		for _, control := range r.Control {
			known = known || string(bare) == control
		}
		if known {
			place.Kind, place.Model = Control, prefix
			return place
		}
	}
	rest, below := bytes.CutPrefix(path, []byte("/x-nmos"))
	switch {
	case len(path) == 1, below && len(rest) <= 1 && (len(rest) == 0 || rest[0] == '/'):
		place.Kind = Root
		return place
	case !below || rest[0] != '/':
		return r.outside(path)
	}
	api, rest, _ := bytes.Cut(rest[1:], slash)
	if string(api) == "system" { // the one API that may be public: IS-09 has no authorization (PATH-11)
		if open := r.outside(path); open.Kind == Open {
			return open
		}
	}
	version, rest, _ := bytes.Cut(rest, slash)
	switch {
	case !token.IsAPI(api), len(version) > 0 && !isVersion(version):
		place.Kind = BadVersion
	case len(rest) > 0:
		place.Kind, place.API, place.Rest = Resource, api, bytes.TrimSuffix(rest, slash)
		if string(api) == "configuration" {
			r.findObject(&place)
		}
	case len(version) > 0 && string(api) == "ncp":
		place.Kind = Control
	default:
		place.Kind, place.API = Base, api
	}
	return place
}

// Socket returns the place that the handshake of a WebSocket at p asks for. A socket of the Query API is decided by its
// subscription's resource_path, which the request names; if that is empty, or the request names the subscription
// instead, the socket may show everything (PATH-14).
func (p Place) Socket() Place {
	first, _, _ := bytes.Cut(p.Rest, slash)
	if string(p.API) == "query" && (p.Kind == Base || p.Kind == Resource && string(first) == "subscriptions") {
		return Place{Kind: Everything, API: p.API}
	}
	return p
}

// outside sorts a path that is not below /x-nmos by the configured prefixes, of which the longest counts (PATH-11).
func (r *Rules) outside(path []byte) Place {
	best, place := 0, Place{Kind: Outside}
	for _, prefix := range r.Public {
		if len(prefix) > best && under(path, prefix) {
			best, place = len(prefix), Place{Kind: Open}
		}
	}
	for i := range r.Claims {
		c := &r.Claims[i]
		if len(c.Prefix) < best || len(c.Prefix) == 0 ||
			!under(path, c.Prefix) { // a prefix in both lists needs a token
			continue
		}
		best, place = len(c.Prefix), Place{Kind: Everything, API: c.API}  // PATH-4
		if rest := bytes.Trim(path[len(c.Prefix):], "/"); len(rest) > 0 { // a normal path has no two slashes together
			place.Kind, place.Rest = Resource, rest
		}
	}
	return place
}

// under reports whether path is prefix or below it.
func under(path []byte, prefix string) bool {
	n := len(prefix)
	if n > 0 && prefix[n-1] == '/' {
		n--
	}
	return len(path) >= n && string(path[:n]) == prefix[:n] && (len(path) == n || path[n] == '/')
}

var slash = []byte("/")

// isVersion reports whether b is v<number>.<number> (PATH-10).
func isVersion(b []byte) bool {
	if len(b) == 0 || b[0] != 'v' {
		return false
	}
	major, minor, found := bytes.Cut(b[1:], []byte("."))
	return found && isNumber(major) && isNumber(minor)
}

func isNumber(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}
