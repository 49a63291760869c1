package status

import (
	"io"
	"strconv"
	"strings"
)

// Permitted is something that a token permits.
type Permitted struct {
	Kind   string `json:"kind,omitempty"` // of a resource, none for a path
	Name   string `json:"name"`
	Access string `json:"access"` // read, write or read-write
}

// WritePermitted writes what the token of a client permits, for people: a line each, the access first.
func WritePermitted(w io.Writer, client string, all []Permitted) error {
	t := &text{}
	t.row("token of", strconv.Quote(client))
	kind := ""
	for i, p := range all {
		name := p.Name
		if p.Kind != "" {
			name = strconv.Quote(name)
		}
		switch {
		case i == 0 && p.Kind == "":
			t.row("paths")
		case p.Kind != kind:
			t.row("resources", strconv.Quote(p.Kind))
		}
		kind = p.Kind
		t.row(" "+strings.Replace(p.Access, "-", " ", 1), name)
	}
	if len(all) == 0 {
		t.row("", "nothing on this device")
	}
	_, err := w.Write(t.b)
	return err
}
