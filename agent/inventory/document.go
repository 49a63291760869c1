package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"nmosauthd/agent/ascii"
)

// Parse reads a document. The error is one line for people, which says where and what; the caller adds where the document is
// from. The Table holds nothing of the document.
//
// It reads by jsontext, as agent/token does: that refuses doubled members and broken UTF-8 and knows where it is. go-jose's JSON,
// which is in the program too, passes over members that it does not know, so that a misspelt one would do nothing.
func Parse(document []byte) (*Table, error) {
	if len(document) > MaxDocument {
		return nil, fmt.Errorf("it is over %d bytes", MaxDocument)
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
		return fmt.Errorf("the document has %.80q; there are kinds and resources", member)
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
			return nil, p.locate(r.offset, fmt.Errorf("resource %d, %.64s %.80q: %w", i+1, ascii.Line(r.Kind), r.Name, err))
		}
	}
	return b.table(), nil
}

// placed is a resource and where it ends in the document.
type placed struct {
	Resource
	offset int64
}

// parser reads a document from its front to its end. Its methods read one value each.
type parser struct {
	*jsontext.Decoder
	document []byte
}

// locate puts the line into an error, that of the fault itself where jsontext knows it.
func (p *parser) locate(offset int64, err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		offset = syntax.ByteOffset
		err = fmt.Errorf("it is not JSON with each member once: %w", syntax.Err)
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
	return errors.New("something stands behind the document's end")
}

// open reads the bracket that begins an object or a list.
func (p *parser) open(what string, bracket jsontext.Kind, is string) error {
	t, err := p.ReadToken()
	switch {
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err == nil && t.Kind() != bracket:
		return fmt.Errorf("%s must be %s", what, is)
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

// text reads text that is not empty, or a whole number where that may stand for it.
func (p *parser) text(member string, number bool) (string, error) {
	t, err := p.ReadToken()
	if err != nil {
		return "", err
	}
	switch text := t.String(); {
	case t.Kind() == '"' && text == "":
		return "", fmt.Errorf("%s is empty", member)
	case t.Kind() == '"':
		return text, nil
	case t.Kind() == '0' && number && strings.Trim(text, "0123456789") == "":
		return text, nil
	case number:
		return "", fmt.Errorf("%s must be text or a whole number", member)
	}
	return "", fmt.Errorf("%s must be text", member)
}

func (p *parser) templates(kind string) (t Templates, err error) {
	err = p.object(fmt.Sprintf("the kind %.80q", kind), func(member string) (err error) {
		switch member {
		case "read":
			t.Read, err = p.text(member, false)
		case "write":
			t.Write, err = p.text(member, false)
		default:
			err = fmt.Errorf("the kind %.80q has %.80q; there are read and write", kind, member)
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
		default:
			err = fmt.Errorf("it has %.80q; there are kind, name, id, read and write", member)
		}
		return err
	})
	r.offset = p.InputOffset()
	switch {
	case err != nil:
	case r.Kind == "":
		err = errors.New("it has no kind")
	case r.Name == "":
		err = errors.New("it has no name")
	}
	return r, err
}

// Document returns the document that lists these resources, as Parse reads it.
func Document(resources []Resource) ([]byte, error) {
	b := []byte("{\"resources\": [")
	for i, r := range resources {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, "\n  {"...)
		for j, m := range []struct{ name, value string }{
			{"kind", r.Kind}, {"name", r.Name}, {"id", r.ID}, {"read", r.Read}, {"write", r.Write},
		} {
			if m.value == "" && j > 1 {
				continue
			}
			if j > 0 {
				b = append(b, ", "...)
			}
			b = append(append(append(b, '"'), m.name...), "\": "...)
			var err error
			if b, err = jsontext.AppendQuote(b, m.value); err != nil {
				return nil, fmt.Errorf("resource %d, %q %q: its %s: %w", i+1, r.Kind, r.Name, m.name, err)
			}
		}
		b = append(b, '}')
	}
	return append(b, "\n]}\n"...), nil
}
