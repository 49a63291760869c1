// Package devicemodel is a small device model (MS-05-02): a root block, the managers, two receiver monitors, a sender
// monitor, and two microphone inputs, each with a gain and a level meter.
//
// It knows nothing of permissions. Whoever carries a command out asks before, about what [Model.Reach] names.
//
// Limits: the tree never changes; datasets are restored in the mode Modify only; for tests and demonstrations.
package devicemodel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ID is the id of a property, a method or an event: the level of the class that defines it, and its index there.
type ID struct {
	Level int `json:"level"`
	Index int `json:"index"`
}

func (id ID) text(kind string) string { return fmt.Sprint(id.Level, kind, id.Index) }

// parseID reads "4m1", kind being "m".
func parseID(text, kind string) (id ID, ok bool) {
	level, index, found := strings.Cut(text, kind)
	_, err := fmt.Sscan(level+" "+index, &id.Level, &id.Index)
	return id, found && err == nil && id.text(kind) == text
}

// ParseMethod reads "4m1".
func ParseMethod(text string) (ID, bool) { return parseID(text, "m") }

// ParseProperty reads "4p1".
func ParseProperty(text string) (ID, bool) { return parseID(text, "p") }

// Method writes a method's id: "4m1".
func (id ID) Method() string { return id.text("m") }

// Property writes a property's id: "4p1".
func (id ID) Property() string { return id.text("p") }

// Object is one object of the model. What can be read from it here never changes.
type Object struct {
	OID   int
	Role  string
	Path  string // its role path, dots between the roles
	Class []int

	owner    *Object
	members  []*Object
	values   map[ID]any
	counters []any // of a monitor
}

// ClassID is the class as the decision socket has it, such as "1.2.2.1".
func (o *Object) ClassID() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(o.Class), " ", "."), "[]")
}

// below returns the object and all that is below it.
func (o *Object) below() []*Object {
	all := []*Object{o}
	for _, member := range o.members {
		all = append(all, member.below()...)
	}
	return all
}

func (o *Object) roles() []string { return strings.Split(o.Path, ".") }

// Change is the data of the event 1e1, PropertyChanged, with the object that it is of.
type Change struct {
	OID      int
	Property ID
	Type     ChangeType
	Value    any
	Item     any // the index of the sequence's item; nil if the change is not of one
}

// ChangeType is an NcPropertyChangeType.
type ChangeType int

// The types of changes.
const (
	ValueChanged ChangeType = iota
	ItemAdded
	ItemChanged
	ItemRemoved
)

// Model is a device model. Its methods may be called from any number of goroutines.
type Model struct {
	byOID  map[int]*Object
	byPath map[string]*Object
	root   *Object

	mu        sync.Mutex
	listeners map[int]func(Change)
	next      int
}

// New returns the model of a device with this name.
func New(name string) *Model {
	m := &Model{byOID: map[int]*Object{}, byPath: map[string]*Object{}, listeners: map[int]func(Change){}}
	m.root = m.add(nil, 1, "root", classBlock, nil)
	m.add(m.root, 2, "ClassManager", classClassManager, nil)
	m.add(m.root, 3, "DeviceManager", classDeviceManager, map[ID]any{
		{3, 1}: "v1.0.0", {3, 2}: object{"name": "nmos-authd", "organizationId": nil, "website": nil},
		{3, 3}: object{
			"name": name, "key": "stage-box", "revisionLevel": "1", "brandName": nil, "uuid": nil, "description": nil,
		},
		{3, 4}: "1", {3, 6}: name, {3, 8}: object{"generic": 1.0, "deviceSpecificDetails": nil}, {3, 9}: 1.0,
	})
	m.add(m.root, 4, "BulkPropertiesManager", classBulkPropertiesManager, nil)
	receivers := m.add(m.root, 10, "receiver-monitors", classBlock, nil)
	m.addMonitor(receivers, 11, "monitor-01", classReceiverMonitor, 2)
	m.addMonitor(receivers, 12, "monitor-02", classReceiverMonitor, 2)
	m.addMonitor(m.add(m.root, 20, "sender-monitors", classBlock, nil), 21, "monitor-01", classSenderMonitor, 1)
	meters := m.add(m.root, 30, "meters", classBlock, nil)
	for i, mic := range []string{"mic-1", "mic-2"} {
		m.add(m.add(m.root, 40+10*i, mic, classBlock, nil), 41+10*i, "gain", classGain, map[ID]any{
			PropertyGain: 0.0, {3, 2}: false, {3, 3}: []any{-10.0, 0.0, 10.0},
		})
		m.add(meters, 31+i, mic, classMeter, map[ID]any{PropertyLevel: -60.0})
	}
	return m
}

func (m *Model) add(owner *Object, oid int, role string, of *class, values map[ID]any) *Object {
	o := &Object{OID: oid, Role: role, Path: role, Class: of.id, owner: owner, values: map[ID]any{}}
	if owner != nil {
		o.Path = owner.Path + "." + role
		owner.members = append(owner.members, o)
	}
	for _, p := range properties(o) {
		switch { // what is not null at first
		case p.kind == "NcBoolean":
			o.values[p.ID] = true
		case p.kind == "NcUint32" || strings.HasSuffix(p.kind, "Status"):
			o.values[p.ID] = 1.0
		}
	}
	maps.Copy(o.values, values)
	m.byOID[oid], m.byPath[o.Path] = o, o
	return o
}

// addMonitor adds a monitor that has counted something, so that a reset shows.
func (m *Model) addMonitor(owner *Object, oid int, role string, of *class, counters int) {
	o := m.add(owner, oid, role, of, map[ID]any{{3, 3}: 3.0})
	for i := range counters {
		o.counters = append(o.counters,
			object{"name": fmt.Sprint("interface-", i+1), "value": 7.0 + float64(i), "description": nil})
	}
}

// Find returns the object of a number, nil for none.
func (m *Model) Find(oid int) *Object { return m.byOID[oid] }

// FindPath returns the object of a role path, nil for none.
func (m *Model) FindPath(path string) *Object { return m.byPath[path] }

// Objects returns all of them, each block before what is in it.
func (m *Model) Objects() []*Object { return m.root.below() }

// Listen has every change told to a function, which must not wait and not call the model, until stop is called.
func (m *Model) Listen(told func(Change)) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	n := m.next
	m.listeners[n] = told
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.listeners, n)
	}
}

// SetLevel sets what the meter of an input reads, in dBFS.
func (m *Model) SetLevel(mic string, dBFS float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.byPath["root.meters."+mic]; o != nil {
		m.change(o, PropertyLevel, dBFS, ValueChanged, nil, dBFS)
	}
}

// change sets a property and tells of it. The lock is held.
func (m *Model) change(o *Object, id ID, whole any, what ChangeType, item, value any) {
	o.values[id] = whole
	for _, told := range m.listeners {
		told(Change{OID: o.OID, Property: id, Type: what, Value: value, Item: item})
	}
}

// value is a property's. The lock is held.
func (m *Model) value(o *Object, id ID) any {
	switch id {
	case ID{1, 1}:
		return o.Class
	case ID{1, 2}:
		return o.OID
	case ID{1, 3}:
		return true
	case ID{1, 4}:
		if o.owner == nil {
			return nil
		}
		return o.owner.OID
	case ID{1, 5}:
		return o.Role
	}
	switch {
	case isA(o, classBlock) && id == ID{2, 2}:
		return members(o.members)
	case isA(o, classClassManager) && id == ID{3, 1}:
		var all []any
		for _, c := range classes {
			all = append(all, c.descriptor(false))
		}
		return all
	case isA(o, classClassManager) && id == ID{3, 2}:
		return []any{}
	}
	return o.values[id]
}

// Snapshot is all that commands could change, as text to compare.
func (m *Model) Snapshot() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := object{}
	for _, o := range m.root.below() {
		values := object{"counters": o.counters}
		for _, p := range properties(o) {
			values[p.Property()] = m.value(o, p.ID)
		}
		all[o.Path] = values
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // all of it came from JSON or from here
	}
	return string(text)
}

// Reach returns the objects to which a command reaches (CTL-43): the object itself, or those whose properties the bulk
// properties manager would read or restore. There is always one, so that there is something to ask about.
func (m *Model) Reach(o *Object, method ID, arguments json.RawMessage) []*Object {
	if isA(o, classBulkPropertiesManager) && method.Level == 3 {
		var bulk bulk
		if bulk.read(arguments) == nil {
			if target := m.byPath[strings.Join(bulk.Path, ".")]; target != nil {
				return m.scope(target, method, bulk)
			}
		}
	}
	return []*Object{o}
}

// scope is the target and, if it is asked for, what is below, cut with the dataset if there is one.
func (m *Model) scope(target *Object, method ID, b bulk) []*Object {
	all := []*Object{target}
	if b.Recurse {
		all = target.below()
	}
	if method == GetBulk {
		return all
	}
	named := slices.DeleteFunc(slices.Clone(all), func(o *Object) bool {
		return !slices.ContainsFunc(b.DataSet.Values,
			func(h holder) bool { return strings.Join(h.Path, ".") == o.Path })
	})
	if len(named) == 0 {
		return []*Object{target}
	}
	return named
}

// decode reads arguments, which must be as they should and nothing more. None are an empty object.
func decode(arguments json.RawMessage, into any) error {
	if len(arguments) == 0 {
		arguments = json.RawMessage("{}")
	}
	d := json.NewDecoder(bytes.NewReader(arguments))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fault(ParameterError, "the arguments: %v", err)
	}
	return nil
}
