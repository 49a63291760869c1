// Package inventory says which API path stands for a resource of the device, so that firmware which has no HTTP request
// in hand can ask in its own terms: kind, name, and read or write. It decides nothing: a path that it finds is judged
// like any other.
//
// The document that it reads is JSON:
//
//	{
//	  "kinds": {"gpio": {"read": "/gpio/{name}", "write": "/gpio/{name}/level"}},
//	  "resources": [
//	    {"kind": "sender", "name": "out-1", "id": "6f1e0000-0000-4000-8000-000000000031"},
//	    {"kind": "gpio", "name": 7},
//	    {"kind": "meter", "name": "in-1", "read": "/x-vendor/meters/left"},
//	    {"kind": "meter", "name": "in-2", "id": "6f1e0000-0000-4000-8000-000000000022", "control": "root.meters.in-2"}
//	  ]
//	}
//
// "kinds" may be left out: sender, receiver, meter and source are known (Kinds). A kind that the document has takes the
// place of the known one, with all its templates; templates of a resource itself take the place of its kind's, one by
// one. A kind without a template for write has nothing to write. A template is a path in normal form (PATH-8, PATH-9)
// with {id}, the UUID by which NMOS knows the resource, and {name}, percent-encoded, in it; not one that all may read
// (PATH-3). A name is text or a whole number, compared byte by byte.
//
// "control" is the role path of the object of the device model (IS-12) that the resource is, too; of several models,
// behind the model's prefix and a colon. It takes the place of the kind's templates: the resource then needs what a
// command on the object needs. By it, and by its id, requests for the resource are known by its name (NameOf).
//
// A document with any mistake is refused as a whole.
package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/wire"
)

// Limits of a document. They bound the memory of a Table at about four times MaxDocument, whatever the document says.
const (
	MaxDocument  = 4 << 20 // bytes of a document, and of all paths of a Table
	MaxResources = 16384
	maxKinds     = 256  // in a document
	maxTemplate  = 1024 // bytes of a template, and of the path made of it
)

// Templates are the paths that stand for a kind of resource, or for one; empty if none.
type Templates struct{ Read, Write string }

// Kinds returns the built-in kinds, as in IS-05 v1.1 and IS-07 v1.0.
func Kinds() map[string]Templates {
	const single, sources = "/x-nmos/connection/v1.1/single/", "/x-nmos/events/v1.0/sources/{id}/state"
	return map[string]Templates{
		"sender":   {Read: single + "senders/{id}/active", Write: single + "senders/{id}/staged"},
		"receiver": {Read: single + "receivers/{id}/active", Write: single + "receivers/{id}/staged"},
		"meter":    {Read: sources},
		"source":   {Read: sources},
	}
}

// Resource is one resource of a document.
type Resource struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	ID      string `json:"id,omitempty"`   // UUID, lower case; empty if no template needs it
	Read    string `json:"read,omitempty"` // Read and Write are its own templates; empty for those of its kind
	Write   string `json:"write,omitempty"`
	Control string `json:"control,omitempty"` // role path; empty if none
}

// Table is a document ready to be asked. It does not change, so any number of goroutines may ask it. The zero value
// knows no resource.
type Table struct {
	kinds map[string]map[string]entry // by kind and name
	paths []byte                      // of all entries, one behind the other
	names map[string]name             // by id and by role path
	all   []name                      // in the order of the document
}

// entry locates the paths of a resource.
type entry struct{ read, write span }

type span struct{ from, to uint32 }

// name is what the device calls a resource.
type name struct{ kind, name string }

// NameOf returns the kind and the name of the resource that a path is about: that whose id is a segment of it, or whose
// role path it is; the first that the document lists, if there are several. ok is false if it knows none. It allocates
// nothing.
func (t *Table) NameOf(path []byte) (kind, name string, ok bool) {
	if len(t.names) == 0 {
		return "", "", false
	}
	if len(path) > 0 && path[0] != '/' {
		n, ok := t.names[string(path)]
		return n.kind, n.name, ok
	}
	for len(path) > 0 {
		var segment []byte
		segment, path, _ = bytes.Cut(path, slash)
		if len(segment) != uuidBytes {
			continue
		}
		if n, ok := t.names[string(segment)]; ok {
			return n.kind, n.name, true
		}
	}
	return "", "", false
}

var slash = []byte("/")

// uuidBytes is the length of an id.
const uuidBytes = 36

// Find returns the normalised path that stands for a resource, or the role path, which begins without a slash. Neither
// is to be written to. ok is false if there is no such resource, or nothing of it to read or to write. It allocates
// nothing, and its time does not depend on the number of resources.
func (t *Table) Find(kind, name []byte, write bool) (path []byte, ok bool) {
	e := t.kinds[string(kind)][string(name)]
	s := e.read
	if write {
		s = e.write
	}
	return t.paths[s.from:s.to:s.to], s.to > s.from
}

// Len returns how many resources there are.
func (t *Table) Len() int { return len(t.all) }

// At returns a resource by its place in the document, from 0: kind, name, and what stands for reading and for writing
// it, as Find returns that.
func (t *Table) At(i int) (kind, name string, read, write []byte) {
	n := &t.all[i]
	e := t.kinds[n.kind][n.name]
	return n.kind, n.name, t.paths[e.read.from:e.read.to:e.read.to], t.paths[e.write.from:e.write.to:e.write.to]
}

// builder makes a Table.
type builder struct {
	Table
	templates map[string]Templates // by kind
}

func newBuilder(kinds map[string]Templates) (*builder, error) {
	b := &builder{Table: Table{kinds: map[string]map[string]entry{}, names: map[string]name{}}, templates: Kinds()}
	for kind, templates := range kinds {
		if !wire.IsName([]byte(kind), wire.MaxKind) {
			return nil, fmt.Errorf("the kind %.80q: it must be 1 to %d bytes without control characters", kind,
				wire.MaxKind)
		}
		for _, template := range []string{templates.Read, templates.Write} {
			sample := Resource{Name: "x", ID: "x"} // also a template that no resource uses is read to its end
			if _, err := expand(nil, template, &sample); err != nil {
				return nil, fmt.Errorf("the kind %q: %w", kind, err)
			}
		}
		b.templates[kind] = templates
	}
	return b, nil
}

// add takes a resource in.
func (b *builder) add(r *Resource) error {
	switch {
	case !wire.IsName([]byte(r.Kind), wire.MaxKind):
		return fmt.Errorf("kind must be 1 to %d bytes without control characters", wire.MaxKind)
	case !wire.IsName([]byte(r.Name), wire.MaxName):
		return fmt.Errorf("name must be 1 to %d bytes without control characters", wire.MaxName)
	case r.ID != "" && !ascii.IsUUID(r.ID):
		return fmt.Errorf("id %.80q is not a UUID in lower case", r.ID)
	case r.Control != "" && !isRolePath(r.Control):
		return fmt.Errorf("control %.80q is not a role path such as \"root.meters.in-1\", of at most %d bytes",
			r.Control, wire.MaxRolePath)
	}
	templates, known := b.templates[r.Kind]
	if r.Control != "" { // CTL-86
		templates = Templates{}
	}
	if r.Read != "" {
		templates.Read = r.Read
	}
	if r.Write != "" {
		templates.Write = r.Write
	}
	if templates == (Templates{}) && r.Control == "" {
		if known {
			return errors.New("neither the resource nor its kind has a template to read or write")
		}
		return errors.New(
			`the kind is unknown: name it in "kinds", or give the resource a "read" or "write" of its own`)
	}
	if _, twice := b.kinds[r.Kind][r.Name]; twice {
		return errors.New("the resource is listed twice")
	}
	var e entry
	var err error
	if e.read, err = b.path(templates.Read, r); err != nil {
		return err
	}
	if e.write, err = b.path(templates.Write, r); err != nil {
		return err
	}
	if r.Control != "" && (templates.Read == "" || templates.Write == "") {
		role := span{uint32(len(b.paths)), uint32(len(b.paths) + len(r.Control))}
		if b.paths = append(b.paths, r.Control...); len(b.paths) > MaxDocument {
			return errPaths
		}
		if templates.Read == "" {
			e.read = role
		}
		if templates.Write == "" {
			e.write = role
		}
	}
	if b.kinds[r.Kind] == nil {
		b.kinds[r.Kind] = map[string]entry{}
	}
	b.kinds[r.Kind][r.Name] = e
	for _, key := range []string{r.ID, r.Control} {
		if _, listed := b.names[key]; key != "" && !listed {
			b.names[key] = name{r.Kind, r.Name}
		}
	}
	b.all = append(b.all, name{r.Kind, r.Name})
	return nil
}

var errPaths = fmt.Errorf("the paths of all resources are over %d bytes together", MaxDocument)

// isRolePath reports whether text can be a role path (CTL-1): roles parted by dots, none of them empty.
func isRolePath(text string) bool {
	return len(text) <= wire.MaxRolePath && !ascii.HasControl([]byte(text)) && text[0] != '/' &&
		!slices.Contains(strings.Split(text, "."), "")
}

// path makes the path of a resource and puts it with the others; none for an empty template.
func (b *builder) path(template string, r *Resource) (span, error) {
	from := len(b.paths)
	paths, err := expand(b.paths, template, r)
	if err != nil {
		return span{}, err
	}
	if len(paths) > MaxDocument {
		return span{}, errPaths
	}
	b.paths = paths
	return span{uint32(from), uint32(len(paths))}, nil
}

// table returns what was added.
func (b *builder) table() *Table {
	t := b.Table
	t.paths, t.all = slices.Clip(bytes.Clone(t.paths)), slices.Clip(t.all)
	return &t
}

// expand appends the path that a template stands for to dst; nothing for an empty template. A path that is not in
// normal form would be another path than the one that a request for it is judged by, and its claims would never match
// (PATH-8).
func expand(dst []byte, template string, r *Resource) ([]byte, error) {
	if template == "" {
		return dst, nil
	}
	if len(template) > maxTemplate {
		return nil, fmt.Errorf("the template %.80q… is over %d bytes", template, maxTemplate)
	}
	from := len(dst)
	for rest := template; ; {
		literal, behind, open := strings.Cut(rest, "{")
		if strings.Contains(literal, "}") {
			return refuse(template, "has a } without a { before it")
		}
		dst = append(dst, literal...)
		if !open {
			break
		}
		placeholder, behind, closed := strings.Cut(behind, "}")
		switch {
		case !closed:
			return refuse(template, "has a { without a } behind it")
		case placeholder == "id" && r.ID == "":
			return nil, fmt.Errorf("id is missing, which the template %q needs", template)
		case placeholder == "id":
			dst = append(dst, r.ID...)
		case placeholder == "name":
			dst = appendEncoded(dst, r.Name)
		default:
			return refuse(template, "has the unknown {"+placeholder+"} (known are {id} and {name})")
		}
		rest = behind
	}
	path := dst[from:]
	if len(path) > maxTemplate {
		return nil, fmt.Errorf("the path made of the template %q is over %d bytes", template, maxTemplate)
	}
	switch normal, ok := decide.Normalize(nil, path); {
	case !ok:
		return refuse(template, fmt.Sprintf("gives the path %q, which no request may have: it must start with /, with "+
			"no empty segment, no encoded slash, and nothing that two servers could read differently", path))
	case !bytes.Equal(normal, path):
		return refuse(template, fmt.Sprintf("gives the path %q, whose normal form is %q: that alone may stand here",
			path, normal))
	case new(decide.Rules).Find(path).Kind == decide.Root: // PATH-3; a resource must not get there by its name
		return refuse(template, fmt.Sprintf("gives the path %q, which all may read without a token", path))
	}
	return dst, nil
}

// refuse says what is wrong with a template: why goes on from its name.
func refuse(template, why string) ([]byte, error) {
	return nil, fmt.Errorf("the template %q %s", template, why)
}

// appendEncoded appends text as part of one path segment: what is not unreserved (RFC 3986 §2.3) is percent-encoded, so
// that a name cannot change the path's structure. A slash becomes %2F, which a path may not have (PATH-9).
func appendEncoded(dst []byte, text string) []byte {
	for _, c := range []byte(text) {
		if ascii.Unreserved(rune(c)) {
			dst = append(dst, c)
			continue
		}
		dst = ascii.AppendPercent(dst, c)
	}
	return dst
}
