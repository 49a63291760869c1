package decide

import (
	"bytes"

	"nmosauthd/agent/token"
	"nmosauthd/agent/wildcard"
	"nmosauthd/agent/wire"
)

// Drafted are rules of ours that are switched off, in favour of what the draft of BCP-003-02 says by its letter. The
// zero value switches none off.
type Drafted uint8

// The rules.
const (
	DraftedRoot   Drafted = 1 << iota // CTL-13: "root.*" does not match "root"
	DraftedBelow                      // CTL-14: a specifier without "*" matches what is below its object, too
	DraftedTarget                     // CTL-64: bulkProperties are judged by the object in the path alone
)

// Object is an object of a device model, as specifiers of x-nmos-control and x-nmos-configuration name it: by its role
// path, "root.receiver-monitors.monitor-01" (CTL-1).
type Object struct {
	path  []byte // the role path; of several models, behind the model's prefix
	role  int    // where the role path begins
	draft Drafted
}

// NewObject returns the object with a role path, as it stands in the model, not percent-encoded (CTL-17). It borrows
// from it. If the device has several models, prefix is that of the object's, and the object borrows from scratch, which
// is returned as grown (CTL-19).
//
//go:noinline // for flash
func (c *Controls) NewObject(prefix, rolePath, scratch []byte) (o Object, grown []byte) {
	if len(prefix) == 0 {
		return Object{path: rolePath, draft: c.Drafted}, scratch
	}
	return c.ofModel(prefix, rolePath, scratch)
}

//go:noinline // for flash
func (c *Controls) ofModel(prefix, rolePath, scratch []byte) (o Object, grown []byte) {
	scratch = appendRole(scratch[:0], prefix, rolePath)
	return Object{scratch, len(prefix) + 1, c.Drafted}, scratch
}

// appendRole appends a role path behind its model's prefix, if there is one.
func appendRole(dst, prefix, rolePath []byte) []byte {
	if len(prefix) > 0 {
		dst = append(append(dst, prefix...), ':')
	}
	return append(dst, rolePath...)
}

// matchedBy reports whether the specifier matches the object: with the model's prefix, or without, since a specifier
// without a prefix holds for every model (CTL-19).
func (o Object) matchedBy(specifier []byte) bool {
	return matchRole(specifier, o.path, o.draft) || o.role > 0 && matchRole(specifier, o.path[o.role:], o.draft)
}

// coveredBy reports whether the specifier matches the object and everything that is, or ever can be, below it (CTL-64).
func (o Object) coveredBy(specifier []byte) bool {
	return coversRole(specifier, o.path, o.draft) || o.role > 0 && coversRole(specifier, o.path[o.role:], o.draft)
}

// matchRole reports whether the specifier matches the whole role path (CTL-12). One that ends in ".*" also matches what
// is before that: "root.*" gives every object, and the root block is one (CTL-13). Without a "*" a specifier names one
// object, not what is below it (CTL-14). Either can be as the draft has it.
func matchRole(specifier, path []byte, draft Drafted) bool {
	if len(specifier) == 0 || len(path) == 0 { // CTL-18
		return false
	}
	if wildcard.Match(specifier, path) {
		return true
	}
	if specifier[len(specifier)-1] == '*' {
		block, dotted := bytes.CutSuffix(bytes.TrimRight(specifier, "*"), dot)
		return dotted && draft&DraftedRoot == 0 && wildcard.Match(block, path)
	}
	return draft&DraftedBelow != 0 && wildcard.MatchBefore(specifier, path, '.')
}

// coversRole reports whether the specifier matches the role path and all below it: it ends in "*", and what is before
// that begins "<path>." (CTL-64). By the draft's letter, that is either too much, or what any specifier does that
// matches.
func coversRole(specifier, path []byte, draft Drafted) bool {
	head := bytes.TrimRight(specifier, "*")
	if len(head) == len(specifier) || len(path) == 0 {
		return draft&DraftedBelow != 0 && matchRole(specifier, path, draft)
	}
	return bytes.HasPrefix(path, head) ||
		draft&DraftedRoot == 0 && len(head) == len(path)+1 && head[len(path)] == '.' && bytes.HasPrefix(head, path)
}

var dot = []byte(".")

// Configuration is the claim for IS-14, without "x-nmos-" (CTL-10).
var Configuration = [][]byte{[]byte("configuration")}

// PermitObject reports whether a verified token permits the access to an object of the device model, by one of these
// claims, x-nmos-<api> each (CTL-10, CTL-11); scope alone opens no object (CTL-16). A subtree is the object with all
// that is below it, which one specifier must match as a whole.
func PermitObject(apis [][]byte, access Access, o Object, subtree bool, t *token.Token) wire.Reason {
	if access != Read && access != Write {
		return wire.Method
	}
	for _, api := range apis {
		specifiers := t.Specifiers(api, access == Write)
		for specifier, more := specifiers.Next(); more; specifier, more = specifiers.Next() {
			if subtree && o.coveredBy(specifier) || !subtree && o.matchedBy(specifier) {
				return wire.OK
			}
		}
	}
	return notGranted(apis, t)
}

// notGranted says why a token permits nothing on an object: it has one of the claims or names it in its scope, or not.
func notGranted(apis [][]byte, t *token.Token) wire.Reason {
	for _, api := range apis {
		if t.Grants(api) {
			return wire.PathNotGranted
		}
	}
	return wire.APINotGranted
}
