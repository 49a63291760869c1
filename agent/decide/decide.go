// Package decide says what a request needs and whether a token grants it. It is pure: no clock, no I/O, no state. Every
// function is safe for concurrent use, and none allocates.
//
// The caller normalises the path first and routes on the normal form, never on the target as received.
package decide

import (
	"bytes"

	"nmosauthd/agent/token"
	"nmosauthd/agent/wildcard"
	"nmosauthd/agent/wire"
)

// Access is what a method does. The zero value is denied.
type Access uint8

// What methods do (PATH-1, PATH-2).
const (
	NoAccess Access = iota // a method that NMOS APIs do not use
	Read
	Write
	Preflight // OPTIONS, which never needs a token
)

// MethodAccess returns what the method does. Methods are case-sensitive (RFC 9110 §9.1).
func MethodAccess(method []byte) Access {
	switch string(method) {
	case "GET", "HEAD":
		return Read
	case "POST", "PUT", "PATCH", "DELETE":
		return Write
	case "OPTIONS":
		return Preflight
	}
	return NoAccess
}

// Rules are what the configuration says about paths.
type Rules struct {
	// prefixes that can be read without a token: outside /x-nmos, or below /x-nmos/system (PATH-11)
	Public []string
	Claims []Mapping // prefixes outside /x-nmos that a claim rules, as it rules an API's (PATH-11)
	// more paths of IS-12 sockets than /x-nmos/ncp/<version>, without a trailing slash (PATH-15)
	Control   []string
	PathBytes int           // the longest normalised path; 0 means DefaultPathBytes (PATH-16)
	Controls  Controls      // of device models
	Forms     Forms         // of specifiers in x-nmos-configuration (CTL-66)
	Observed  [APIs][2]bool // of each API: whether reading, and writing, is observed in enforce mode (OPS-3)
}

// DefaultPathBytes is the length of the longest normalised path unless configured. A decision takes time in proportion
// to the length of the path times that of the token's specifiers, so the path needs a bound as the token does
// (PATH-16).
const DefaultPathBytes = 2048

// Mapping puts the paths below a prefix under x-nmos-<api>, whose specifiers match what follows the prefix's slash.
type Mapping struct {
	Prefix string
	API    []byte
}

// Early is what can be decided without a token. The zero value says that a token is needed.
type Early struct{ answer wire.Reason }

// Final returns the answer to a request for which no token counts.
func Final(answer wire.Reason) Early { return Early{answer} }

// TokenNeeded reports whether there is no answer yet.
func (e Early) TokenNeeded() bool { return e.answer == wire.Undecided }

// Answer returns the answer if no token is needed, else Undecided, which denies if a caller forgets to check.
func (e Early) Answer() wire.Reason { return e.answer }

// WithoutToken decides what can be decided without a token: everybody may (Public), or nobody.
func WithoutToken(access Access, place Place) Early {
	switch {
	case access == NoAccess:
		return Final(wire.Method) // PATH-1
	case place.Kind == TooLong: // PATH-16
		return Final(wire.PathTooLong)
	case access == Preflight: // PATH-2
		return Final(wire.Public)
	case place.Kind == Root && access == Read: // PATH-3
		return Final(wire.Public)
	case place.Kind == Open && access == Read: // PATH-11
		return Final(wire.Public)
	}
	return Early{}
}

// Permit reports whether a verified token, good for this device and time, permits the access. A token that is not
// verified permits nothing.
func (r *Rules) Permit(access Access, place Place, t *token.Token) wire.Reason {
	switch place.Kind {
	case Base: // PATH-4
		if access == Read && r.grantsBase(place.API, t) {
			return wire.OK
		}
		return wire.APINotGranted
	case Resource, Everything: // PATH-5
		return permitResource(access, &place, t)
	case RolePaths, RolePath: // CTL-61
		return r.permitConfiguration(access, &place, t)
	case ModelObject: // CTL-86
		return r.permitModel(access, &place, t)
	case Control:
		return r.Controls.permitSocket(access, place.Model, t)
	case BadVersion: // PATH-10
		return wire.PathVersion
	case Root: // only reading is public
		return wire.PathVersion
	case TooLong:
		return wire.PathTooLong
	}
	return wire.PathClosed // PATH-11
}

func permitResource(access Access, place *Place, t *token.Token) wire.Reason {
	if access != Read && access != Write {
		return wire.Method
	}
	specifiers := t.Specifiers(place.API, access == Write)
	for {
		specifier, more := specifiers.Next()
		if !more {
			break
		}
		if place.Kind == Everything && isAll(specifier) || place.Kind == Resource && matches(specifier, place.Rest) {
			return wire.OK
		}
	}
	if !t.Grants(place.API) {
		return wire.APINotGranted
	}
	return wire.PathNotGranted
}

// grantsBase reports whether a token has the claim of an API, or names it in its scope. For IS-12's, whose path is
// /x-nmos/ncp, the names count that are configured (CTL-15).
func (r *Rules) grantsBase(api []byte, t *token.Token) bool {
	if string(api) != "ncp" {
		return t.Grants(api)
	}
	for _, name := range r.Controls.Claims {
		if t.Grants(name) {
			return true
		}
	}
	return false
}

// permitSocket answers for the handshake of an IS-12 socket. The socket can change everything in the device model, so
// the handshake needs the whole model under write, too, unless each command is asked about (PATH-15, CTL-22).
func (c *Controls) permitSocket(access Access, prefix []byte, t *token.Token) wire.Reason {
	granted, some := false, false
	var whole [2]bool // of reading, of writing
	for _, api := range c.Claims {
		granted = granted || t.Grants(api)
		for i := range whole {
			specifiers := t.Specifiers(api, i == 1)
			for specifier, more := specifiers.Next(); more; specifier, more = specifiers.Next() {
				some = some || len(specifier) > 0
				whole[i] = whole[i] || isWhole(specifier, prefix)
			}
		}
	}
	switch {
	case !granted, access != Read:
		return wire.APINotGranted
	case c.Asked && some, whole[0] && whole[1]:
		return wire.OK
	case c.Asked:
		return wire.PathNotGranted
	}
	return wire.ControlNotGranted
}

// isWhole reports whether a specifier gives a whole device model: "*" or "root.*", behind the model's prefix or without
// (CTL-19).
func isWhole(specifier, prefix []byte) bool {
	if rest, found := bytes.CutPrefix(specifier, prefix); found && len(prefix) > 0 && len(rest) > 0 && rest[0] == ':' {
		specifier = rest[1:]
	}
	return isAll(bytes.TrimPrefix(specifier, []byte("root.")))
}

// isAll reports whether a specifier matches everything: "*", or several of them, which mean the same.
func isAll(specifier []byte) bool { return len(specifier) > 0 && len(bytes.Trim(specifier, "*")) == 0 }

// matches reports whether the specifier matches rest (PATH-6), or rest with a trailing slash, which names the same
// resource (PATH-7). For the latter the specifier must end in a slash, ignoring stars after it.
func matches(specifier, rest []byte) bool {
	if wildcard.Match(specifier, rest) {
		return true
	}
	specifier, found := bytes.CutSuffix(bytes.TrimRight(specifier, "*"), slash)
	return found && wildcard.Match(specifier, rest)
}
