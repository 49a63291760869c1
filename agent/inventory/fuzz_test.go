package inventory_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"nmosauthd/agent/decide"
	"nmosauthd/agent/inventory"
)

// slowForm is the document as reflection reads it.
type slowForm struct {
	Kinds     *map[string]slowTemplates `json:"kinds"`
	Resources *[]slowResource           `json:"resources"`
}

type slowTemplates struct {
	Read  *string `json:"read"`
	Write *string `json:"write"`
}

type slowResource struct {
	Kind    *string         `json:"kind"`
	Name    *jsontext.Value `json:"name"`
	ID      *string         `json:"id"`
	Read    *string         `json:"read"`
	Write   *string         `json:"write"`
	Control *string         `json:"control"`
}

var (
	plainName   = regexp.MustCompile(`^[^\x00-\x1f\x7f]+$`)
	uuid        = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	rolePath    = regexp.MustCompile(`^[^./\x00-\x1f\x7f][^.\x00-\x1f\x7f]*(\.[^.\x00-\x1f\x7f]+)*$`)
	wholeNumber = regexp.MustCompile(`^[0-9]+$`)
	wellBraced  = regexp.MustCompile(`^([^{}]|\{id\}|\{name\})*$`)
)

// slowTable is the readable twin of Parse and Find: the paths by "kind\x00name\x00read", or false for a document with a
// mistake. It leaves the sizes out.
func slowTable(document []byte) (map[string]string, bool) {
	var form slowForm
	if json.Unmarshal(document, &form, json.RejectUnknownMembers(true)) != nil ||
		form.Resources == nil || hasNull(document) {
		return nil, false
	}
	type templates = map[string]string // by access
	kinds := map[string]templates{}
	for kind, t := range inventory.Kinds() {
		kinds[kind] = templates{"read": t.Read, "write": t.Write}
	}
	text := func(s *string) (string, bool) {
		if s == nil {
			return "", true
		}
		return *s, *s != ""
	}
	path := func(template, name, id string) (string, bool) {
		if template == "" {
			return "", true
		}
		if !wellBraced.MatchString(template) || strings.Contains(template, "{id}") && id == "" {
			return "", false
		}
		encoded := ""
		for _, c := range []byte(name) {
			if strings.IndexByte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~", c) >= 0 {
				encoded += string(rune(c))
			} else {
				encoded += fmt.Sprintf("%%%02X", c)
			}
		}
		p := strings.ReplaceAll(strings.ReplaceAll(template, "{id}", id), "{name}", encoded)
		normal, ok := decide.Normalize(nil, []byte(p))
		return p, ok && string(normal) == p && strings.Trim(p, "/") != "" && strings.Trim(p, "/") != "x-nmos"
	}
	if form.Kinds != nil {
		for kind, t := range *form.Kinds {
			read, ok1 := text(t.Read)
			write, ok2 := text(t.Write)
			_, ok3 := path(read, "x", "x")
			_, ok4 := path(write, "x", "x")
			if !ok1 || !ok2 || !ok3 || !ok4 || !plainName.MatchString(kind) {
				return nil, false
			}
			kinds[kind] = templates{"read": read, "write": write}
		}
	}
	paths := map[string]string{}
	for _, r := range *form.Resources {
		if r.Kind == nil || r.Name == nil {
			return nil, false
		}
		name := string(*r.Name)
		if !wholeNumber.MatchString(name) && json.Unmarshal(*r.Name, &name) != nil {
			return nil, false
		}
		id, ok := text(r.ID)
		if !ok || id != "" && !uuid.MatchString(id) || !plainName.MatchString(*r.Kind) || !plainName.MatchString(name) {
			return nil, false
		}
		control, ok := text(r.Control)
		if !ok || control != "" && !rolePath.MatchString(control) {
			return nil, false
		}
		some := false
		for access, own := range map[string]*string{"read": r.Read, "write": r.Write} {
			template, ok := text(own)
			if !ok {
				return nil, false
			}
			if template == "" && control == "" {
				template = kinds[*r.Kind][access]
			}
			p, ok := path(template, name, id)
			if template == "" {
				p = control
			}
			key := *r.Kind + "\x00" + name + "\x00" + access
			if _, twice := paths[key]; twice || !ok {
				return nil, false
			}
			paths[key] = p
			some = some || p != ""
		}
		if !some {
			return nil, false
		}
	}
	return paths, true
}

// hasNull reports whether a null stands anywhere: reflection takes it for a member that is absent.
func hasNull(document []byte) bool {
	dec := jsontext.NewDecoder(strings.NewReader(string(document)))
	for {
		token, err := dec.ReadToken()
		if err != nil {
			return false
		}
		if token.Kind() == 'n' {
			return true
		}
	}
}

// A document is read as its twin reads it, or refused if that refuses it, and every path is one that a request could
// have.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(many(3)))
	for _, s := range []string{
		`{"resources": []}`, `{"resources": [{"kind": "a", "name": "..", "read": "/{name}"}]}`,
		`{"resources": [{"kind": "a", "name": "x", "read": "/{name}{id}{"}]}`, `{"resources": [null]}`,
		`{"resources": [], "kinds": null}`,
		`{"resources": [{"kind": "a", "name": "x-nmos", "read": "/{name}"}]}`,
		`{"resources": [{"kind": "sender", "name": 1}]}`,
		`{"kinds": {"sender": {}}, "resources": [{"kind": "sender", "name": 1}]}`,
		`{"resources": [{"kind": "a", "name": 1, "read": "/x"}, {"kind": "a", "name": "1", "read": "/x"}]}`,
		`{"resources": [{"kind": "a", "name": "x", "control": "root.a b"}, {"kind": "a", "name": "y", "control": "b:root", "read": "/x"}]}`, `{"resources": [{"kind": "a", "name": "x", "control": "root..a"}]}`, `{"resources": [{"kind": "a", "name": "x", "control": "/a"}]}`,
		`{"resources": [{"kind": "meter", "name": "\u0031", "id": "` + sourceID + `"}]} `,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		if len(document) > 1024 {
			return // the twin knows no sizes
		}
		table, err := inventory.Parse(document)
		want, good := slowTable(document)
		if (err == nil) != good {
			t.Fatalf("%q: %v; its twin reads it: %v", document, err, good)
		}
		if err != nil {
			return
		}
		for key, path := range want {
			kind, rest, _ := strings.Cut(key, "\x00")
			name, access, _ := strings.Cut(rest, "\x00")
			if path == "" {
				path = "-"
			}
			if got := find(table, kind, name, access == "write"); got != path {
				t.Errorf("%q: %s %q %s is %s, its twin says %s", document, kind, name, access, got, path)
			}
		}
		if table.Len() != len(want)/2 {
			t.Errorf("%q: %d resources, its twin has %d", document, table.Len(), len(want)/2)
		}
	})
}
