package devicemodel

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// call is one command of a test, with the status and the value that are wanted, as JSON; "" for no value.
type call struct {
	path, method, arguments string
	status                  Status
	value                   string
}

func (c call) check(t *testing.T, m *Model) {
	t.Helper()
	id, ok := ParseMethod(c.method)
	o := m.FindPath(c.path)
	if !ok || o == nil {
		t.Fatalf("there is no %s or %s", c.path, c.method)
	}
	r := m.Invoke(o, id, json.RawMessage(c.arguments))
	value := ""
	if r.HasValue {
		text, err := json.Marshal(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		value = string(text)
	}
	if r.Status != c.status || (c.value != "*" && value != c.value) || (r.Status >= 300) != (r.Message != "") {
		t.Errorf("%s %s %s: got %d %s %s, want %d %s",
			c.path, c.method, c.arguments, r.Status, value, r.Message, c.status, c.value)
	}
}

const gain = "root.mic-1.gain"

// The methods of every object, on a gain whose third property is a sequence, and what is told of each change.
func TestProperties(t *testing.T) {
	m := New("Stage box")
	var told []string
	stop := m.Listen(func(c Change) {
		told = append(told, fmt.Sprintf("%d %s %d %v %v", c.OID, c.Property.Property(), c.Type, c.Value, c.Item))
	})
	const level, presets = `"id":{"level":3,"index":1}`, `"id":{"level":3,"index":3}`
	for _, c := range []call{
		{gain, "1m1", `{` + level + `}`, OK, "0"},
		{gain, "1m2", `{` + level + `,"value":-6.5}`, OK, ""},
		{gain, "1m1", `{` + level + `}`, OK, "-6.5"},
		{gain, "1m2", `{` + level + `,"value":null}`, ParameterError, ""},
		{gain, "1m2", `{` + level + `,"value":"loud"}`, ParameterError, ""},
		{gain, "1m2", `{` + level + `,"value":[1]}`, ParameterError, ""},
		{gain, "1m2", `{` + level + `}`, ParameterError, ""},
		{gain, "1m2", `{` + level + `,"value":1,"more":2}`, ParameterError, ""},
		{gain, "1m2", `"nonsense"`, ParameterError, ""},
		{gain, "1m2", ``, PropertyNotImplemented, ""},
		{gain, "1m2", `{"id":{"level":1,"index":5},"value":"x"}`, Readonly, ""},
		{gain, "1m2", `{"id":{"level":1,"index":6},"value":null}`, OK, ""},
		{gain, "1m1", `{"id":{"level":9,"index":9}}`, PropertyNotImplemented, ""},
		{gain, "9m9", `{}`, MethodNotImplemented, ""},
		{gain, "1m3", `{` + presets + `,"index":2}`, OK, "10"},
		{gain, "1m3", `{` + presets + `,"index":3}`, IndexOutOfBounds, ""},
		{gain, "1m3", `{` + presets + `,"index":-1}`, IndexOutOfBounds, ""},
		{gain, "1m3", `{` + presets + `}`, IndexOutOfBounds, ""},
		{gain, "1m3", `{` + level + `,"index":0}`, ParameterError, ""},
		{gain, "1m4", `{` + presets + `,"index":0,"value":-20}`, OK, ""},
		{gain, "1m5", `{` + presets + `,"value":20}`, OK, "3"},
		{gain, "1m5", `{` + presets + `,"value":"x"}`, ParameterError, ""},
		{gain, "1m6", `{` + presets + `,"index":1}`, OK, ""},
		{gain, "1m7", `{` + presets + `}`, OK, "3"},
		{gain, "1m1", `{` + presets + `}`, OK, "[-20,10,20]"},
		{gain, "1m2", `{` + presets + `,"value":[1,"x"]}`, ParameterError, ""},
		{gain, "1m2", `{` + presets + `,"value":1}`, ParameterError, ""},
		{gain, "1m2", `{` + presets + `,"value":[]}`, OK, ""},
		{"root.receiver-monitors.monitor-01", "1m2", `{"id":{"level":3,"index":3},"value":-1}`, ParameterError, ""},
		{"root.receiver-monitors.monitor-01", "1m2", `{"id":{"level":3,"index":3},"value":5}`, OK, ""},
		{"root.meters.mic-1", "1m2", `{` + level + `,"value":-1}`, Readonly, ""},
	} {
		c.check(t, m)
	}
	m.SetLevel("mic-2", -12)
	stop()
	m.SetLevel("mic-2", -13)
	want := []string{"41 3p1 0 -6.5 <nil>", "41 1p6 0 <nil> <nil>", "41 3p3 2 -20 0", "41 3p3 1 20 3",
		"41 3p3 3 <nil> 1", "41 3p3 0 [] <nil>", "11 3p3 0 5 <nil>", "32 3p1 0 -12 <nil>"}
	if !slices.Equal(told, want) {
		t.Errorf("told\n%q, want\n%q", told, want)
	}
}

// Searching, describing, counting: which class has which method under one number (CTL-42) is in the calls.
func TestMethods(t *testing.T) {
	m := New("Stage box")
	member := func(role string, oid int, class string, owner int) string {
		return fmt.Sprintf(`{"classId":%s,"constantOid":true,"description":null,"oid":%d,"owner":%d,"role":"%s","userLabel":null}`,
			class, oid, owner, role)
	}
	first, second := member("mic-1", 31, "[1,2,0,2]", 30), member("mic-2", 32, "[1,2,0,2]", 30)
	counters := func(value int) string {
		return fmt.Sprintf(`[{"description":null,"name":"interface-1","value":%d}]`, value)
	}
	for _, c := range []call{
		{"root.meters", "2m1", `{"recurse":false}`, OK, "[" + first + "," + second + "]"},
		{"root.meters", "2m2", `{"path":["mic-2"]}`, OK, "[" + second + "]"},
		{"root.meters", "2m2", `{"path":["mic-3"]}`, OK, "[]"},
		{"root", "2m2", `{"path":["meters","mic-1"]}`, OK, "[" + first + "]"},
		{"root.meters", "2m3", `{"role":"MIC","caseSensitive":false,"matchWholeString":false,"recurse":true}`, OK,
			"[" + first + "," + second + "]"},
		{"root.meters", "2m3", `{"role":"mic","caseSensitive":true,"matchWholeString":true,"recurse":true}`, OK, "[]"},
		{"root", "2m4", `{"classId":[1,2,0,2],"includeDerived":false,"recurse":true}`,
			OK, "[" + first + "," + second + "]"},
		{"root", "2m4", `{"classId":[1,2,0,2],"includeDerived":false,"recurse":false}`, OK, "[]"},
		{"root.meters", "2m4", `{"classId":[1,2],"includeDerived":true,"recurse":false}`, OK,
			"[" + first + "," + second + "]"},
		{"root.ClassManager", "3m1", `{"classId":[1,2,0,2],"includeInherited":true}`, OK, "*"},
		{"root.ClassManager", "3m1", `{"classId":[7]}`, ParameterError, ""},
		{"root.ClassManager", "3m2", `{"name":"NcRating"}`, ParameterError, ""},
		{"root.sender-monitors.monitor-01", "4m1", `{}`, OK, counters(7)},
		{"root.sender-monitors.monitor-01", "4m2", `{}`, OK, ""},
		{"root.sender-monitors.monitor-01", "4m1", `{}`, OK, counters(0)},
		{"root.receiver-monitors.monitor-01", "4m2", `{}`, OK, "*"},
		{"root.receiver-monitors.monitor-01", "4m3", `{}`, OK, ""},
		{"root.sender-monitors.monitor-01", "4m3", `{}`, MethodNotImplemented, ""},
	} {
		c.check(t, m)
	}
	if n := len(m.Objects()); n != 16 {
		t.Errorf("there are %d objects, want 16", n)
	}
	for _, o := range m.Objects() {
		if m.Find(o.OID) != o || m.FindPath(o.Path) != o || m.Describe(o) == nil {
			t.Errorf("%s is not found by what it says of itself", o.Path)
		}
		for _, id := range m.Properties(o) {
			if r := m.Invoke(o, MethodGet,
				json.RawMessage(fmt.Sprintf(`{"id":{"level":%d,"index":%d}}`, id.Level, id.Index))); r.Status != OK {
				t.Errorf("%s %s: %+v", o.Path, id.Property(), r)
			}
			if m.DescribeProperty(o, id) == nil {
				t.Errorf("%s %s is not described", o.Path, id.Property())
			}
		}
	}
}

// What a command reaches is what it then reads or sets.
func TestReach(t *testing.T) {
	spec.Rules(t, "CTL-43")
	values := func(paths ...string) string {
		var list []string
		for _, path := range paths {
			list = append(list, fmt.Sprintf(`{"path":["%s"],"values":[{"id":{"level":1,"index":6},"value":"Drums"}]}`,
				strings.ReplaceAll(path, ".", `","`)))
		}
		return `"dataSet":{"validationFingerprint":null,"values":[` + strings.Join(list, ",") + `]}`
	}
	const manager = "root.BulkPropertiesManager"
	for _, row := range []struct {
		path, method, arguments string
		want                    []string
		sets                    int // labels
	}{
		{gain, "1m2", `{}`, []string{gain}, 0},
		{gain, "3m3", `{"path":["root"]}`, []string{gain}, 0},
		{manager, "1m1", `{"path":["root"]}`, []string{manager}, 0},
		{manager, "3m1", `{"path":["root","mic-1"]}`, []string{"root.mic-1", gain}, 0},
		{manager, "3m1", `{"path":["root","mic-1"],"recurse":false}`, []string{"root.mic-1"}, 0},
		{manager, "3m1", `{"PATH":["root","mic-1"],"Recurse":false}`, []string{"root.mic-1"}, 0},
		{manager, "3m1", `{"path":["root","nobody"]}`, []string{manager}, 0},
		{manager, "3m1", `nonsense`, []string{manager}, 0},
		{manager, "3m3", `{"path":["root"],` + values(gain, "root.meters", "root.nobody") + `}`,
			[]string{"root.meters", gain}, 2},
		{manager, "3m3", `{"path":["root","mic-1"],` + values(gain, "root.meters") + `}`, []string{gain}, 1},
		{manager, "3m3", `{"path":["root","mic-1"],"recurse":false,` + values(gain, "root.meters") + `}`,
			[]string{"root.mic-1"}, 0},
		{manager, "3m3", `{"path":["root"],` + values() + `}`, []string{"root"}, 0},
		{manager, "3m3", `{"path":["root"],"restoreMode":1,` + values(gain) + `}`, []string{manager}, 0},
		{manager, "3m2", `{"path":["root"],` + values(gain, "root.meters") + `}`, []string{"root.meters", gain}, 0},
	} {
		m := New("Stage box")
		id, _ := ParseMethod(row.method)
		o := m.FindPath(row.path)
		var got []string
		for _, one := range m.Reach(o, id, json.RawMessage(row.arguments)) {
			got = append(got, one.Path)
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s %s %s reaches %q, want %q", row.path, row.method, row.arguments, got, row.want)
		}
		m.Invoke(o, id, json.RawMessage(row.arguments))
		sets := 0
		for _, one := range m.Objects() {
			if m.Invoke(one, MethodGet, json.RawMessage(`{"id":{"level":1,"index":6}}`)).Value == "Drums" {
				sets++
			}
		}
		if sets != row.sets {
			t.Errorf("%s %s %s sets %d labels, want %d", row.path, row.method, row.arguments, sets, row.sets)
		}
	}
}

// The path of the URL is the one that was asked about: no body takes its place.
func TestBulkPath(t *testing.T) {
	spec.Rules(t, "CTL-65")
	m := New("Stage box")
	arguments, err := Bulk(m.FindPath(gain), map[string]json.RawMessage{
		"path": json.RawMessage(`["root"]`), "Path": json.RawMessage(`["root"]`), "recurse": json.RawMessage("true"),
	})
	if err != nil || string(arguments) != `{"path":["root","mic-1","gain"],"recurse":true}` {
		t.Errorf("got %s, %v", arguments, err)
	}
}
