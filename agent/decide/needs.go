package decide

import "bytes"

// Need is the smallest claim that grants an access.
type Need struct {
	API        []byte // of the claim x-nmos-<api>
	Permission string // under which the claim must hold Specifier, "read" or "write"; "": the claim, or the API in scope, is enough
	Specifier  []byte // the path itself; "*" where everything is needed
	Both       bool   // under "write" as well as under "read" (PATH-15)
	// Wide: the path holds a "*", or everything is needed. A specifier cannot say just that, since its "*" stands for anything (PATH-6): this one grants
	// the access and others too.
	Wide bool
}

// Needs returns the smallest claim that grants an access for which WithoutToken has no answer. It borrows from place. ok is false
// where no claim grants it.
//
// A claim says no more than this: it holds in every version of the API (PATH-6), for a path with a trailing slash as without
// (PATH-7), for each method of its permission (PATH-1), and opens the API's base for reading (PATH-4).
func Needs(access Access, place Place) (n Need, ok bool) {
	n = Need{API: place.API}
	switch {
	case place.Kind == Base:
		return n, access == Read
	case place.Kind == Control:
		return Need{API: controlAPIs[0], Permission: "read", Both: true, Specifier: []byte("root.*")}, access == Read
	case place.Kind != Resource && place.Kind != Everything:
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
	n.Specifier, n.Wide = place.Rest, bytes.IndexByte(place.Rest, '*') >= 0
	return n, true
}
