package decide

import "bytes"

// Need is the smallest claim that grants an access.
type Need struct {
	API        []byte // of the claim x-nmos-<api>
	Permission string // "read" or "write", which must hold Specifier; "" if the claim, or the API in scope, is enough
	Specifier  []byte // the path itself; "*" if everything is needed
	Both       bool   // under "write" as well as under "read" (PATH-15)
	// Wide reports that Specifier also grants other accesses: the path contains a "*", which in a specifier stands for
	// anything (PATH-6), or everything is needed, or any specifier will do, or there are several device models and
	// Specifier holds for each of them (CTL-19).
	Wide bool
}

// Needs returns the smallest claim that grants an access for which WithoutToken has no answer. It borrows from place.
// ok is false if no claim grants it.
//
// No claim can be narrower: each holds in every version of the API (PATH-6), with and without a trailing slash
// (PATH-7), for every method of its permission (PATH-1), and opens the API's base for reading (PATH-4).
func (r *Rules) Needs(access Access, place Place) (n Need, ok bool) {
	controlled := len(r.Controls.Claims) > 0
	switch place.Kind {
	case Base:
		n.API = place.API
		if string(n.API) == "ncp" {
			n.API = r.Controls.baseOf(n.API)
			return n, access == Read && controlled
		}
		return n, access == Read
	case Control:
		return r.Controls.needsSocket(place.Model), access == Read && controlled
	}
	switch access {
	case Read:
		n.Permission = "read"
	case Write:
		n.Permission = "write"
	default:
		return n, false
	}
	switch place.Kind {
	case RolePaths, RolePath:
		return r.needsConfiguration(access, &place)
	case Everything:
		n.API, n.Specifier, n.Wide = place.API, []byte("*"), true
	case ModelObject:
		if !controlled {
			return Need{}, false
		}
		n.API = r.Controls.Claims[0]
		n.Specifier = appendRole(nil, place.Model, place.Role)
		n.Wide = bytes.IndexByte(n.Specifier, '*') >= 0 || r.Controls.inEachModel(&place)
	case Resource:
		n.API, n.Specifier, n.Wide = place.API, place.Rest, bytes.IndexByte(place.Rest, '*') >= 0
	default:
		return Need{}, false
	}
	return n, true
}

// needsSocket returns the smallest claim that opens an IS-12 socket (PATH-15).
func (c *Controls) needsSocket(prefix []byte) (n Need) {
	if len(c.Claims) > 0 {
		n.API = c.Claims[0]
	}
	role := wholeRoot
	if c.Asked { // any object will do
		role = root
	}
	n.Permission, n.Specifier = "read", appendRole(nil, prefix, role)
	n.Wide, n.Both = c.Asked, !c.Asked
	return n
}

var root, wholeRoot = []byte("root"), []byte("root.*")

// baseOf returns the claim that opens the base of IS-12's API: that of its path's name, if that counts (CTL-15).
func (c *Controls) baseOf(api []byte) []byte {
	for i, name := range c.Claims {
		if i == 0 || string(name) == "ncp" {
			api = name
		}
	}
	return api
}

// inEachModel reports whether a specifier for a place in a device model has no prefix although there are several
// models.
func (c *Controls) inEachModel(place *Place) bool { return len(place.Model) == 0 && len(c.Models) > 0 }
