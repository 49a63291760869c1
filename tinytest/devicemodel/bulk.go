package devicemodel

import (
	"encoding/json"
	"strings"
)

// bulk is what the methods of the bulk properties manager take. Whatever is left out is as IS-14 has it.
type bulk struct {
	Path               []string
	Recurse            bool
	IncludeDescriptors bool
	RestoreMode        int
	DataSet            struct {
		ValidationFingerprint any
		Values                []holder
	}
}

// holder is an NcObjectPropertiesHolder.
type holder struct {
	Path                  []string `json:"path"`
	DependencyPaths       []any    `json:"dependencyPaths"`
	AllowedMembersClasses []any    `json:"allowedMembersClasses"`
	Values                []held   `json:"values"`
	IsRebuildable         bool     `json:"isRebuildable"`
}

// held is an NcPropertyHolder.
type held struct {
	ID         ID  `json:"id"`
	Descriptor any `json:"descriptor"`
	Value      any `json:"value"`
}

// read reads the arguments.
func (b *bulk) read(arguments []byte) error {
	*b = bulk{Recurse: true}
	if err := decode(arguments, b); err != nil {
		return err
	}
	if b.RestoreMode != 0 {
		return fault(ParameterError, "restoreMode %d: there is Modify (0) only", b.RestoreMode)
	}
	return nil
}

// reached are the objects, found again under the same rules as for the question.
func (b *bulk) reached(m *Model, method ID, arguments []byte) ([]*Object, error) {
	if err := b.read(arguments); err != nil {
		return nil, err
	}
	target := m.byPath[strings.Join(b.Path, ".")]
	if target == nil {
		return nil, fault(ParameterError, "there is no %.100q", strings.Join(b.Path, "."))
	}
	return m.scope(target, method, *b), nil
}

func getBulk(m *Model, _ *Object, arguments []byte) (Result, error) {
	var b bulk
	all, err := b.reached(m, GetBulk, arguments)
	if err != nil {
		return Result{}, err
	}
	holders := []holder{}
	for _, o := range all {
		h := holder{Path: o.roles(), DependencyPaths: []any{}, AllowedMembersClasses: []any{}}
		for _, p := range properties(o) {
			one := held{ID: p.ID, Value: m.value(o, p.ID)}
			if b.IncludeDescriptors {
				one.Descriptor = p.descriptor()
			}
			h.Values = append(h.Values, one)
		}
		holders = append(holders, h)
	}
	return with(object{"validationFingerprint": nil, "values": holders})
}

func validateBulk(m *Model, _ *Object, arguments []byte) (Result, error) {
	return restore(m, arguments, false)
}
func setBulk(m *Model, _ *Object, arguments []byte) (Result, error) {
	return restore(m, arguments, true)
}

// restore sets what can be set, and says of each object what came, or would come, of it.
func restore(m *Model, arguments []byte, carryOut bool) (Result, error) {
	var b bulk
	all, err := b.reached(m, SetBulk, arguments)
	if err != nil {
		return Result{}, err
	}
	reports := []object{}
	for _, o := range all {
		for _, h := range b.DataSet.Values {
			if strings.Join(h.Path, ".") != o.Path {
				continue
			}
			notices := []object{}
			for _, one := range h.Values {
				p, err := findProperty(o, one.ID)
				if err == nil && !p.writable {
					err = fault(Readonly, "%s cannot be changed", p.name)
				}
				if err == nil {
					err = p.check(one.Value)
				}
				if err != nil {
					notices = append(notices,
						object{"id": one.ID, "name": p.name, "noticeType": 400, "noticeMessage": err.Error()})
				} else if carryOut {
					m.change(o, one.ID, one.Value, ValueChanged, nil, one.Value)
				}
			}
			reports = append(reports, object{"path": h.Path, "status": OK, "notices": notices, "statusMessage": nil})
		}
	}
	return with(reports)
}

// Bulk writes the arguments of a method of the bulk properties manager for one target: those of IS-14's body with the
// path that its URL has.
func Bulk(o *Object, arguments map[string]json.RawMessage) (json.RawMessage, error) {
	path, err := json.Marshal(o.roles())
	if err != nil {
		return nil, err
	}
	all := map[string]json.RawMessage{}
	for name, value := range arguments {
		if !strings.EqualFold(name, "path") { // the URL's is the one that was asked about
			all[name] = value
		}
	}
	all["path"] = path
	return json.Marshal(all)
}
