package decide

import (
	"bytes"

	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
)

// Grants are the specifiers of a token for device models, made ready for many questions. It answers as PermitObject
// does, whose work it does once. It borrows from the token, and can be reused.
type Grants struct {
	apis  [][]byte
	token *token.Token
	lists [2][]grant // of reading, of writing
	ready [2]bool
}

// grant is one specifier.
type grant struct {
	specifier []byte
	head      int  // bytes before the first "*"; all of them if there is none
	last      byte // of those
	stars     bool // what follows are stars, and nothing else
}

// Use makes g that of a verified token and these claims, x-nmos-<api> each.
func (g *Grants) Use(apis [][]byte, t *token.Token) {
	g.apis, g.token, g.ready = apis, t, [2]bool{}
}

// Permit reports whether the access to an object is permitted, as PermitObject does.
func (g *Grants) Permit(access Access, o Object) wire.Reason {
	if access != Read && access != Write {
		return wire.Method
	}
	kind := access - Read
	if !g.ready[kind] {
		g.collect(kind)
	}
	if match(g.lists[kind], o.path, o.draft) || o.role > 0 && match(g.lists[kind], o.path[o.role:], o.draft) {
		return wire.OK
	}
	return notGranted(g.apis, g.token)
}

func (g *Grants) collect(kind Access) {
	list := g.lists[kind][:0]
	for _, api := range g.apis {
		specifiers := g.token.Specifiers(api, kind == Write-Read)
		for specifier, more := specifiers.Next(); more; specifier, more = specifiers.Next() {
			if len(specifier) == 0 { // CTL-18
				continue
			}
			list = append(list, makeGrant(specifier))
		}
	}
	g.lists[kind], g.ready[kind] = list, true
}

func makeGrant(specifier []byte) grant {
	g := grant{specifier: specifier, head: bytes.IndexByte(specifier, '*')}
	if g.stars = g.head >= 0 && isAll(specifier[g.head:]); g.head < 0 {
		g.head = len(specifier)
	}
	if g.head > 0 {
		g.last = specifier[g.head-1]
	}
	return g
}

// match reports whether one of the specifiers matches the role path. Most do not, and begin alike: so what is looked at
// first is the last byte before the first "*".
func match(list []grant, path []byte, draft Drafted) bool {
	for i := range list {
		g := &list[i]
		if at := g.head - 1; uint(at) < uint(len(path)) {
			if path[at] != g.last {
				continue
			}
		} else if at > len(path) {
			continue
		}
		if g.matches(path, draft) {
			return true
		}
	}
	return false
}

// matches is matchRole.
func (g *grant) matches(path []byte, draft Drafted) bool {
	if !g.stars {
		return matchRole(g.specifier, path, draft)
	}
	if head := g.specifier[:g.head]; len(path) >= len(head) {
		return len(path) > 0 && string(path[:len(head)]) == string(head)
	} else { // CTL-13
		return g.last == '.' && draft&DraftedRoot == 0 && len(path) > 0 && string(path) == string(head[:len(head)-1])
	}
}
