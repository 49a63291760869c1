package devicemodel

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Status is an NcMethodStatus.
type Status int

// The statuses in use.
const (
	OK                     Status = 200
	BadCommandFormat       Status = 400
	Unauthorized           Status = 401
	BadOid                 Status = 404
	Readonly               Status = 405
	IndexOutOfBounds       Status = 414
	ParameterError         Status = 417
	MethodNotImplemented   Status = 501
	PropertyNotImplemented Status = 502
	NotReady               Status = 503
)

// Result is what came of a method: an NcMethodResult, with the value of those that have one, or with an error.
type Result struct {
	Status   Status
	Value    any
	HasValue bool
	Message  string // of an error
}

// MarshalJSON writes what there is.
func (r Result) MarshalJSON() ([]byte, error) {
	o := object{"status": r.Status}
	if r.HasValue {
		o["value"] = r.Value
	}
	if r.Message != "" {
		o["errorMessage"] = r.Message
	}
	return json.Marshal(o)
}

// Fault is the result of what went wrong.
func Fault(s Status, message string) Result { return Result{Status: s, Message: message} }

// methodError is an error with its status.
type methodError struct {
	status  Status
	message string
}

func (e *methodError) Error() string { return e.message }

func fault(s Status, format string, a ...any) error {
	return &methodError{s, fmt.Sprintf(format, a...)}
}

func with(value any) (Result, error) { return Result{Status: OK, Value: value, HasValue: true}, nil }

// Invoke carries out a method.
func (m *Model) Invoke(o *Object, id ID, arguments json.RawMessage) Result {
	all := methods(o)
	i := slices.IndexFunc(all, func(m method) bool { return m.ID == id })
	if i < 0 {
		return Fault(MethodNotImplemented, o.Path+" has no method "+id.Method())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := all[i].run(m, o, arguments)
	var known *methodError
	if errors.As(err, &known) {
		return Fault(known.status, known.message)
	}
	return r
}

// Methods are the ids of an object's methods, Properties those of its properties.
func (m *Model) Methods(o *Object) (ids []ID) {
	for _, one := range methods(o) {
		ids = append(ids, one.ID)
	}
	return ids
}

// Properties are the ids of an object's properties.
func (m *Model) Properties(o *Object) (ids []ID) {
	for _, one := range properties(o) {
		ids = append(ids, one.ID)
	}
	return ids
}

// Describe is an object's class, with all that it inherits.
func (m *Model) Describe(o *Object) any {
	all := ancestors(o.Class)
	return all[len(all)-1].descriptor(true)
}

// DescribeProperty describes one property, nil if there is none.
func (m *Model) DescribeProperty(o *Object, id ID) any {
	p, err := findProperty(o, id)
	if err != nil {
		return nil
	}
	return p.descriptor()
}

// item is what the methods of properties take.
type item struct {
	ID    ID
	Index *int
	Value json.RawMessage
}

// of reads the arguments and finds the property. The value is read into value unless that is nil.
func of(o *Object, arguments []byte, sequence, write bool, value *any) (property, item, error) {
	var i item
	if err := decode(arguments, &i); err != nil {
		return property{}, i, err
	}
	p, err := findProperty(o, i.ID)
	switch {
	case err != nil:
		return p, i, err
	case sequence && !p.sequence:
		return p, i, fault(ParameterError, "%s is not a sequence", p.name)
	case write && !p.writable:
		return p, i, fault(Readonly, "%s cannot be changed", p.name)
	case value == nil:
		return p, i, nil
	case len(i.Value) == 0 || json.Unmarshal(i.Value, value) != nil:
		return p, i, fault(ParameterError, "there is no value for %s", p.name)
	}
	whole := *value
	if sequence {
		whole = []any{*value}
	}
	return p, i, p.check(whole)
}

// check reports whether a property can have this value.
func (p property) check(value any) error {
	if list, ok := value.([]any); ok && p.sequence {
		p.sequence = false
		for _, one := range list {
			if err := p.check(one); err != nil {
				return err
			}
		}
		return nil
	}
	ok := false
	switch v := value.(type) {
	case nil:
		ok = p.nullable
	case string:
		ok = p.kind == "NcString"
	case bool:
		ok = p.kind == "NcBoolean"
	case float64:
		ok = p.kind == "NcFloat32" || p.kind == "NcUint32" && v >= 0 && v < 1<<32 && v == float64(uint32(v))
	}
	if !ok || p.sequence {
		return fault(ParameterError, "this is not a value of %s: %.50v", p.name, value)
	}
	return nil
}

func get(m *Model, o *Object, arguments []byte) (Result, error) {
	p, _, err := of(o, arguments, false, false, nil)
	if err != nil {
		return Result{}, err
	}
	return with(m.value(o, p.ID))
}

func set(m *Model, o *Object, arguments []byte) (Result, error) {
	var value any
	p, _, err := of(o, arguments, false, true, &value)
	if err != nil {
		return Result{}, err
	}
	m.change(o, p.ID, value, ValueChanged, nil, value)
	return Result{Status: OK}, nil
}

// items are a sequence and the place in it that the arguments name.
func items(m *Model, o *Object, p property, i item) (list []any, at int, err error) {
	list, _ = m.value(o, p.ID).([]any)
	if i.Index == nil || *i.Index < 0 || *i.Index >= len(list) {
		return nil, 0, fault(IndexOutOfBounds, "%s has %d items", p.name, len(list))
	}
	return slices.Clone(list), *i.Index, nil
}

func getItem(m *Model, o *Object, arguments []byte) (Result, error) {
	p, i, err := of(o, arguments, true, false, nil)
	if err != nil {
		return Result{}, err
	}
	list, at, err := items(m, o, p, i)
	if err != nil {
		return Result{}, err
	}
	return with(list[at])
}

func setItem(m *Model, o *Object, arguments []byte) (Result, error) {
	var value any
	p, i, err := of(o, arguments, true, true, &value)
	if err != nil {
		return Result{}, err
	}
	list, at, err := items(m, o, p, i)
	if err != nil {
		return Result{}, err
	}
	list[at] = value
	m.change(o, p.ID, list, ItemChanged, at, value)
	return Result{Status: OK}, nil
}

// sequenceLimit is how long a sequence may become.
const sequenceLimit = 1000

func addItem(m *Model, o *Object, arguments []byte) (Result, error) {
	var value any
	p, _, err := of(o, arguments, true, true, &value)
	if err != nil {
		return Result{}, err
	}
	list, _ := m.value(o, p.ID).([]any)
	if len(list) >= sequenceLimit {
		return Result{}, fault(ParameterError, "%s is full", p.name)
	}
	list = append(slices.Clone(list), value)
	m.change(o, p.ID, list, ItemAdded, len(list)-1, value)
	return with(len(list) - 1)
}

func removeItem(m *Model, o *Object, arguments []byte) (Result, error) {
	p, i, err := of(o, arguments, true, true, nil)
	if err != nil {
		return Result{}, err
	}
	list, at, err := items(m, o, p, i)
	if err != nil {
		return Result{}, err
	}
	m.change(o, p.ID, slices.Delete(list, at, at+1), ItemRemoved, at, nil)
	return Result{Status: OK}, nil
}

func getLength(m *Model, o *Object, arguments []byte) (Result, error) {
	p, _, err := of(o, arguments, true, false, nil)
	if err != nil {
		return Result{}, err
	}
	list, _ := m.value(o, p.ID).([]any)
	return with(len(list))
}

func getMembers(_ *Model, o *Object, arguments []byte) (Result, error) {
	var a struct{ Recurse bool }
	if err := decode(arguments, &a); err != nil {
		return Result{}, err
	}
	if a.Recurse {
		return with(members(o.below()[1:]))
	}
	return with(members(o.members))
}

func findByPath(m *Model, o *Object, arguments []byte) (Result, error) {
	var a struct{ Path []string }
	if err := decode(arguments, &a); err != nil {
		return Result{}, err
	}
	found := m.byPath[o.Path+"."+strings.Join(a.Path, ".")]
	if found == nil {
		return with([]any{})
	}
	return with(members([]*Object{found}))
}

// find lists a block's members, or with recurse all below, that are as asked.
func find(o *Object, recurse bool, fits func(*Object) bool) (Result, error) {
	all := slices.Clone(o.members)
	if recurse {
		all = o.below()[1:]
	}
	return with(members(slices.DeleteFunc(all, func(o *Object) bool { return !fits(o) })))
}

func findByRole(_ *Model, o *Object, arguments []byte) (Result, error) {
	var a struct {
		Role                                     string
		CaseSensitive, MatchWholeString, Recurse bool
	}
	if err := decode(arguments, &a); err != nil {
		return Result{}, err
	}
	return find(o, a.Recurse, func(o *Object) bool {
		role, want := o.Role, a.Role
		if !a.CaseSensitive {
			role, want = strings.ToLower(role), strings.ToLower(want)
		}
		return role == want || !a.MatchWholeString && strings.Contains(role, want)
	})
}

func findByClass(_ *Model, o *Object, arguments []byte) (Result, error) {
	var a struct {
		ClassID                 []int
		IncludeDerived, Recurse bool
	}
	if err := decode(arguments, &a); err != nil {
		return Result{}, err
	}
	return find(o, a.Recurse, func(o *Object) bool {
		return slices.Equal(o.Class, a.ClassID) ||
			a.IncludeDerived && len(o.Class) > len(a.ClassID) && slices.Equal(o.Class[:len(a.ClassID)], a.ClassID)
	})
}

func getClass(_ *Model, _ *Object, arguments []byte) (Result, error) {
	var a struct {
		ClassID          []int
		IncludeInherited bool
	}
	if err := decode(arguments, &a); err != nil {
		return Result{}, err
	}
	i := slices.IndexFunc(classes, func(c *class) bool { return slices.Equal(c.id, a.ClassID) })
	if i < 0 {
		return Result{}, fault(ParameterError, "there is no such class: %v", a.ClassID)
	}
	return with(classes[i].descriptor(a.IncludeInherited))
}

func getDatatype(_ *Model, _ *Object, arguments []byte) (Result, error) {
	var a struct {
		Name             string
		IncludeInherited bool
	}
	if err := decode(arguments, &a); err != nil {
		return Result{}, err
	}
	return Result{}, fault(ParameterError, "the data type %.50q is not described here", a.Name)
}

func getCounters(_ *Model, o *Object, _ []byte) (Result, error) {
	return with(slices.Clone(o.counters))
}

func resetCounters(_ *Model, o *Object, _ []byte) (Result, error) {
	reset := make([]any, len(o.counters))
	for i, c := range o.counters {
		reset[i] = object{"name": c.(object)["name"], "value": 0.0, "description": nil}
	}
	o.counters = reset
	return Result{Status: OK}, nil
}
