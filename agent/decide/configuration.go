package decide

import (
	"bytes"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
)

// Forms says in which forms specifiers of x-nmos-configuration count (CTL-66). The zero value is the one that
// BCP-003-02 has.
type Forms uint8

// The forms.
const (
	RoleForm  Forms = iota // role paths: "root.receivers.*"
	URLForm                // what follows the version in the URL: "rolePaths/root.receivers*"
	BothForms              // either
)

// findObject sorts a place in IS-14's API (CTL-60). A Node with several Devices may put a selector before "rolePaths".
func (r *Rules) findObject(place *Place) {
	first, rest, _ := bytes.Cut(place.Rest, slash)
	if string(first) != "rolePaths" {
		place.Kind = RolePath // to nothing that a role path could name
		if !IsSelector(first) {
			return
		}
		if len(rest) == 0 {
			*place = Place{Kind: Base, API: place.API}
			return
		}
		place.Model, _ = r.Controls.Prefix(first)
		if first, rest, _ = bytes.Cut(rest, slash); string(first) != "rolePaths" {
			return
		}
	}
	if len(rest) == 0 {
		place.Kind = RolePaths
		return
	}
	place.Kind = RolePath
	role, member, _ := bytes.Cut(rest, slash)
	place.Role, place.Subtree = role, string(member) == "bulkProperties" && r.Controls.Drafted&DraftedTarget == 0
}

// IsSelector reports whether b can be the segment by which a Node tells its Devices apart (CTL-60).
func IsSelector(b []byte) bool {
	for _, c := range b {
		if !ascii.Unreserved(rune(c)) || c == '.' || c == '~' {
			return false
		}
	}
	return len(b) > 0
}

// InConfiguration reports whether a path, or a target that has no normal form, is in IS-14's API, whose errors have a
// body of their own (CTL-67).
func InConfiguration(path []byte) bool {
	rest, below := bytes.CutPrefix(path, []byte("/x-nmos/configuration"))
	return below && (len(rest) == 0 || rest[0] == '/' || rest[0] == '?')
}

// Query takes the query of a request into account, which only one place has a use for: reading bulkProperties shows
// everything below the object unless the query says recurse=false (CTL-64, PATH-8). A query that two servers could read
// differently counts as one that does not say so.
func (p Place) Query(target []byte) Place {
	p.Subtree = p.Subtree && recurses(target)
	return p
}

// recurses reports whether the query of a target leaves out recurse=false, or also says anything else of it.
func recurses(target []byte) bool {
	_, query, _ := bytes.Cut(target, []byte("?"))
	if bytes.ContainsAny(query, ";#") { // a separator to some, the end to others
		return true
	}
	said := false
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		if string(pair) == "recurse=false" {
			said = true
			continue
		}
		name, _, _ := bytes.Cut(pair, []byte("="))
		if isRecurse(name) {
			return true
		}
	}
	return !said
}

// isRecurse reports whether some server could take a parameter's name for "recurse": encoded, in another case, with
// blanks before or anything after it. Bad encoding counts as that.
func isRecurse(name []byte) bool {
	const word = "recurse"
	n := 0 // of word that was read
	for i := 0; i < len(name) && n < len(word); i++ {
		c := name[i]
		if c == '%' {
			decoded, ok := unhex(name[i:])
			if !ok {
				return true
			}
			c, i = decoded, i+2
		}
		switch {
		case n == 0 && (c <= ' ' || c == '+'):
		case c|0x20 == word[n]:
			n++
		default:
			return false
		}
	}
	return n == len(word)
}

// permitConfiguration answers for an object of IS-14's API, or for the list of them.
func (r *Rules) permitConfiguration(access Access, place *Place, t *token.Token) wire.Reason {
	if access != Read && access != Write {
		return wire.Method
	}
	if r.Forms != RoleForm { // CTL-66
		url := *place
		url.Kind = Resource
		if reason := permitResource(access, &url, t); reason == wire.OK || r.Forms == URLForm {
			return reason
		}
	}
	if place.Kind == RolePaths {
		return permitList(access, place, t)
	}
	var decoded, joined [maxRolePath]byte
	role, ok := unescape(decoded[:0], place.Role) // CTL-17
	if !ok {                                      // which no normalised path has
		return wire.PathNotGranted
	}
	object, _ := r.Controls.NewObject(place.Model, role, joined[:0])
	apis := [...][]byte{place.API}
	reason := PermitObject(apis[:], access, object, false, t)
	if reason == wire.OK && access == Read && place.Subtree &&
		PermitObject(apis[:], access, object, true, t) != wire.OK {
		return wire.SubtreeNotGranted // CTL-64
	}
	return reason
}

// maxRolePath is how long a role path can be without costing an allocation.
const maxRolePath = 1024

// permitList answers for the list of role paths: any specifier permits reading it, for it names objects and shows
// nothing of them (CTL-63). There is nothing to write; who may write everything may try.
func permitList(access Access, place *Place, t *token.Token) wire.Reason {
	specifiers := t.Specifiers(place.API, access == Write)
	for specifier, more := specifiers.Next(); more; specifier, more = specifiers.Next() {
		if access == Read && len(specifier) > 0 || isWhole(specifier, place.Model) {
			return wire.OK
		}
	}
	if !t.Grants(place.API) {
		return wire.APINotGranted
	}
	return wire.PathNotGranted
}

// needsConfiguration returns the smallest claim for an object of IS-14's API, or for the list of them.
func (r *Rules) needsConfiguration(access Access, place *Place) (n Need, ok bool) {
	n = Need{API: place.API, Permission: "read"}
	if access == Write {
		n.Permission = "write"
	}
	if r.Forms == URLForm || r.Forms == BothForms && place.Kind == RolePath && len(place.Role) == 0 {
		n.Specifier, n.Wide = place.Rest, bytes.IndexByte(place.Rest, '*') >= 0
		return n, true
	}
	role := wholeRoot
	switch {
	case place.Kind == RolePaths:
		if n.Wide = true; access == Read { // any object will do
			role = root
		}
	case len(place.Role) == 0:
		return Need{}, false
	default:
		role, _ = unescape(nil, place.Role)
		if access == Read && place.Subtree {
			if r.Controls.Drafted&DraftedRoot == 0 { // CTL-13
				role = append(role, '.')
			}
			role = append(role, '*')
		}
		n.Wide = r.Controls.inEachModel(place)
	}
	n.Specifier = appendRole(nil, place.Model, role)
	n.Wide = n.Wide || bytes.IndexByte(n.Specifier, '*') >= 0
	return n, true
}

// object sorts a role path, which may stand behind the prefix and colon of one of several models (CTL-19, CTL-86).
func (r *Rules) object(path []byte) Place {
	place := Place{Kind: ModelObject, Role: path}
	for i := range r.Controls.Models {
		prefix := r.Controls.Models[i].Prefix
		if rest, found := bytes.CutPrefix(path, prefix); found && len(rest) > 1 && rest[0] == ':' {
			place.Model, place.Role = prefix, rest[1:]
		}
	}
	return place
}

// permitModel answers for an object of a device model as for a command on it (CTL-10, CTL-86).
func (r *Rules) permitModel(access Access, place *Place, t *token.Token) wire.Reason {
	var joined [maxRolePath]byte
	object, _ := r.Controls.NewObject(place.Model, place.Role, joined[:0])
	return PermitObject(r.Controls.Claims, access, object, false, t)
}
