package mint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Object is a JSON object whose members keep their order and may share a name, so that faults can be expressed that a
// map cannot hold.
type Object []Member

// Member is one name and its value. Both are written as they stand: Name is the text between the quotes, so it may
// hold an escape, and Value is JSON or whatever a test puts in its place.
type Member struct {
	Name  string
	Value json.RawMessage
}

// Set gives name the JSON form of value, in place where the name is there and at the end where not. It panics for a
// value that encoding/json refuses.
func (o *Object) Set(name string, value any) { o.SetRaw(name, string(marshal(value))) }

// SetRaw is Set with the value's text, which is not checked.
func (o *Object) SetRaw(name, value string) {
	i := slices.IndexFunc(*o, func(m Member) bool { return m.Name == name })
	if i < 0 {
		o.Add(name, value)
		return
	}
	(*o)[i].Value = json.RawMessage(value)
}

// Add appends a member even where its name is there already. The value's text is not checked.
func (o *Object) Add(name, value string) {
	*o = append(*o, Member{Name: name, Value: json.RawMessage(value)})
}

// Delete removes every member of that name.
func (o *Object) Delete(name string) {
	*o = slices.DeleteFunc(*o, func(m Member) bool { return m.Name == name })
}

// Get returns the first value of that name, nil where there is none.
func (o Object) Get(name string) json.RawMessage {
	for _, m := range o {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// Bytes returns the object's text, without white space.
func (o Object) Bytes() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(m.Name)
		b.WriteString(`":`)
		b.Write(m.Value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// marshal is json.Marshal without the escapes that are meant for HTML.
func marshal(value any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		panic(fmt.Errorf("mint: %w", err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
