package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-json-experiment/json/jsontext"

	"nmosauthd/agent/ascii"
)

// Parse reads a document. The error is one line for people, which says where and what; the caller adds the source of
// the document. The Table does not refer to the document.
//
// It uses jsontext, as agent/token does: that refuses duplicate members and invalid UTF-8 and knows the position.
// go-jose's JSON, which is in the program too, ignores unknown members, so that a misspelt one would go unnoticed.
func Parse(document []byte) (*Table, error) {
	if len(document) > MaxDocument {
		return nil, fmt.Errorf("the document is over %d bytes", MaxDocument)
	}
	p := &parser{document: document, Decoder: jsontext.NewDecoder(bytes.NewBuffer(document))}
	kinds := map[string]Templates{}
	var resources []placed
	has := false
	err := p.object("the document", func(member string) error {
		switch member {
		case "kinds":
			return p.object("kinds", func(kind string) (err error) {
				if len(kinds) == maxKinds {
					return fmt.Errorf("there are more than %d kinds", maxKinds)
				}
				kinds[kind], err = p.templates(kind)
				return err
			})
		case "resources":
			has = true
			return p.array("resources", func() error {
				if len(resources) == MaxResources {
					return fmt.Errorf("there are more than %d resources", MaxResources)
				}
				r, err := p.resource()
				if err != nil {
					return fmt.Errorf("resource %d: %w", len(resources)+1, err)
				}
				resources = append(resources, r)
				return nil
			})
		}
		return fmt.Errorf("unknown member %.80q of the document (known are kinds and resources)", member)
	})
	if err == nil {
		err = p.end()
	}
	if err == nil && !has {
		err = errors.New("the document has no resources, not even an empty list")
	}
	if err != nil {
		return nil, p.locate(p.InputOffset(), err)
	}
	b, err := newBuilder(kinds)
	if err != nil {
		return nil, err
	}
	for i := range resources {
		r := &resources[i]
		if err := b.add(&r.Resource); err != nil {
			return nil, p.locate(r.offset, fmt.Errorf("resource %d, %.64s %.80q: %w", i+1, ascii.Line(r.Kind), r.Name,
				err))
		}
	}
	return b.table(), nil
}

// placed is a resource with its end in the document.
type placed struct {
	Resource
	offset int64
}

// parser reads a document from its front to its end. Its methods read one value each.
type parser struct {
	*jsontext.Decoder
	document []byte
}

// locate adds the line to an error, that of the fault itself if jsontext knows it.
func (p *parser) locate(offset int64, err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		offset = syntax.ByteOffset
		err = fmt.Errorf("not JSON with each member once: %w", syntax.Err)
	}
	line := 1 + bytes.Count(p.document[:min(offset, int64(len(p.document)))], []byte("\n"))
	return fmt.Errorf("line %d: %w", line, err)
}

// end reports whether nothing is left.
func (p *parser) end() error {
	switch _, err := p.ReadToken(); {
	case err == io.EOF:
		return nil
	case err != nil:
		return err
	}
	return errors.New("data after the end of the document")
}

// open reads the bracket that begins an object or a list.
func (p *parser) open(what string, bracket jsontext.Kind, is string) error {
	t, err := p.ReadToken()
	switch {
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err == nil && t.Kind() != bracket:
		return errors.New(what + " must be " + is)
	}
	return err
}

// object reads an object, with a call for each member to read its value.
func (p *parser) object(what string, value func(member string) error) error {
	if err := p.open(what, '{', "an object"); err != nil {
		return err
	}
	for p.PeekKind() != '}' {
		name, err := p.ReadToken()
		if err != nil {
			return err
		}
		if err = value(name.String()); err != nil {
			return err
		}
	}
	_, err := p.ReadToken()
	return err
}

// array reads a list, with a call for each value to read it.
func (p *parser) array(what string, value func() error) error {
	if err := p.open(what, '[', "a list"); err != nil {
		return err
	}
	for p.PeekKind() != ']' {
		if err := value(); err != nil {
			return err
		}
	}
	_, err := p.ReadToken()
	return err
}

// text reads non-empty text, or a whole number if that is allowed instead.
func (p *parser) text(member string, number bool) (string, error) {
	t, err := p.ReadToken()
	if err != nil {
		return "", err
	}
	switch text := t.String(); {
	case t.Kind() == '"' && text == "":
		return "", errors.New(member + " is empty")
	case t.Kind() == '"':
		return text, nil
	case t.Kind() == '0' && number && strings.Trim(text, "0123456789") == "":
		return text, nil
	case number:
		return "", errors.New(member + " must be text or a whole number")
	}
	return "", errors.New(member + " must be text")
}

func (p *parser) templates(kind string) (t Templates, err error) {
	err = p.object(fmt.Sprintf("the kind %.80q", kind), func(member string) (err error) {
		switch member {
		case "read":
			t.Read, err = p.text(member, false)
		case "write":
			t.Write, err = p.text(member, false)
		default:
			err = fmt.Errorf("unknown member %.80q of the kind %.80q (known are read and write)", member, kind)
		}
		return err
	})
	return t, err
}

func (p *parser) resource() (r placed, err error) {
	err = p.object("it", func(member string) (err error) {
		switch member {
		case "kind":
			r.Kind, err = p.text(member, false)
		case "name":
			r.Name, err = p.text(member, true)
		case "id":
			r.ID, err = p.text(member, false)
		case "read":
			r.Read, err = p.text(member, false)
		case "write":
			r.Write, err = p.text(member, false)
		case "control":
			r.Control, err = p.text(member, false)
		default:
			err = fmt.Errorf("unknown member %.80q (known are kind, name, id, read, write and control)", member)
		}
		return err
	})
	r.offset = p.InputOffset()
	switch {
	case err != nil:
	case r.Kind == "":
		err = errors.New("kind is missing")
	case r.Name == "":
		err = errors.New("name is missing")
	}
	return r, err
}

// Document returns the document that lists these resources, as Parse reads it.
func Document(resources []Resource) ([]byte, error) {
	for i, r := range resources { // go-jose's JSON would replace what is not UTF-8
		if !utf8.ValidString(strings.Join([]string{r.Kind, r.Name, r.ID, r.Read, r.Write, r.Control}, " ")) {
			return nil, fmt.Errorf("resource %d, %q %q, is not UTF-8", i+1, r.Kind, r.Name)
		}
	}
	return json.Marshal(map[string][]Resource{"resources": append([]Resource{}, resources...)})
}
