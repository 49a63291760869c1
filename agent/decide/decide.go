// Package decide says what a request needs and whether a token gives it. It is pure: no clock, no I/O, no state; every
// function may be called from any number of goroutines, and none allocates.
//
// The caller normalises the path first and routes on the normal form, never on the target as it came.
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
	Public []string  // prefixes outside /x-nmos that need no token (PATH-11)
	Claims []Mapping // prefixes outside /x-nmos that a claim rules, as it rules an API's (PATH-11)
}

// Mapping has the paths below a prefix ruled by x-nmos-<api>, its specifiers matching what follows the prefix's slash.
type Mapping struct {
	Prefix string
	API    []byte
}

// WithoutToken answers where no token takes part: OK means that one is needed, Public that none is, Method that nothing helps.
func WithoutToken(access Access, place Place) wire.Reason {
	switch {
	case access == NoAccess:
		return wire.Method // PATH-1
	case access == Preflight: // PATH-2
		return wire.Public
	case place.Kind == Root && access == Read: // PATH-3
		return wire.Public
	case place.Kind == Open: // PATH-11
		return wire.Public
	}
	return wire.OK
}

// Permit tells whether a verified token, good for this device and time, permits the access. A token that is not verified
// permits nothing.
func Permit(access Access, place Place, t *token.Token) wire.Reason {
	switch place.Kind {
	case Base: // PATH-4
		if access == Read && t.Grants(place.API) {
			return wire.OK
		}
		return wire.APINotGranted
	case Resource: // PATH-5
		return permitResource(access, place, t)
	case BadVersion: // PATH-10
		return wire.PathVersion
	case Root: // only read is free
		return wire.PathVersion
	}
	return wire.PathClosed // PATH-11
}

func permitResource(access Access, place Place, t *token.Token) wire.Reason {
	if access != Read && access != Write {
		return wire.Method
	}
	specifiers := t.Specifiers(place.API, access == Write)
	for {
		specifier, more := specifiers.Next()
		if !more {
			break
		}
		if matches(specifier, place.Rest) {
			return wire.OK
		}
	}
	if !t.Grants(place.API) {
		return wire.APINotGranted
	}
	return wire.PathNotGranted
}

// matches tells whether the specifier matches rest (PATH-6), or rest with a slash at its end, which names the same resource
// (PATH-7). For the latter the specifier must end in a slash, stars behind it standing for nothing.
func matches(specifier, rest []byte) bool {
	if wildcard.Match(specifier, rest) {
		return true
	}
	specifier, found := bytes.CutSuffix(bytes.TrimRight(specifier, "*"), slash)
	return found && wildcard.Match(specifier, rest)
}
