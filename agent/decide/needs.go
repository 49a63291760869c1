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
	n = Need{API: place.API}
	switch {
	case place.Kind == Base && string(place.API) == "ncp":
		return r.Controls.needsBase(n), access == Read && len(r.Controls.Claims) > 0
	case place.Kind == Base:
		return n, access == Read
	case place.Kind == Control:
		return r.Controls.needsSocket(place.Model), access == Read && len(r.Controls.Claims) > 0
	case (place.Kind == RolePaths || place.Kind == RolePath) && (access == Read || access == Write):
		return r.needsConfiguration(access, place)
	case place.Kind == ModelObject && len(r.Controls.Claims) == 0:
		return Need{}, false
	case place.Kind != Resource && place.Kind != ModelObject && place.Kind != Everything:
		return Need{}, false
	case access == Read:
		n.Permission = "read"
	case access == Write:
		n.Permission = "write"
	default:
		return Need{}, false
	}
	if place.Kind == Everything {
		n.Specifier, n.Wide = []byte("*"), true
		return n, true
	}
	if place.Kind == ModelObject {
		n.API = r.Controls.Claims[0]
		if len(place.Model) > 0 {
			n.Specifier = append(append(n.Specifier, place.Model...), ':')
		}
		n.Specifier = append(n.Specifier, place.Role...)
		n.Wide = bytes.IndexByte(n.Specifier, '*') >= 0 || r.Controls.inEachModel(place)
		return n, true
	}
	n.Specifier, n.Wide = place.Rest, bytes.IndexByte(place.Rest, '*') >= 0
	return n, true
}

// needsSocket returns the smallest claim that opens an IS-12 socket (PATH-15).
func (c *Controls) needsSocket(prefix []byte) (n Need) {
	if len(c.Claims) > 0 {
		n.API = c.Claims[0]
	}
	if len(prefix) > 0 {
		n.Specifier = append(append(n.Specifier, prefix...), ':')
	}
	n.Permission = "read"
	if c.Asked { // any object will do
		n.Specifier, n.Wide = append(n.Specifier, "root"...), true
		return n
	}
	n.Both, n.Specifier = true, append(n.Specifier, "root.*"...)
	return n
}

// needsBase returns the claim that opens the base of IS-12's API: that of its path's name, if that counts (CTL-15).
func (c *Controls) needsBase(n Need) Need {
	for i, name := range c.Claims {
		if i == 0 || string(name) == "ncp" {
			n.API = name
		}
	}
	return n
}

// inEachModel reports whether a specifier for a place in a device model has no prefix although there are several
// models.
func (c *Controls) inEachModel(place Place) bool { return len(place.Model) == 0 && len(c.Models) > 0 }
