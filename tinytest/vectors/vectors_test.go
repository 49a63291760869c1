package vectors_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"nmosauthd/tinytest/vectors"
)

// generated are the files as the tables have them: two seconds of signatures, once.
var generated = sync.OnceValues(func() ([]*vectors.File, error) { return vectors.Generate("") })

func allFiles(t *testing.T) []*vectors.File {
	t.Helper()
	files, err := generated()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// The files are what the tables say, and no name has gone.
func TestFilesAreGenerated(t *testing.T) {
	files := allFiles(t)
	kept := map[string]bool{}
	for _, f := range files {
		want, err := f.Text()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(f.Name + ".json")
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s.json is not what the tables say (%v): go run ./tinytest/cmd/vectors", f.Name, err)
		}
		kept[f.Name+".json"] = true
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") && !kept[e.Name()] {
			t.Errorf("%s: no table makes this file", e.Name())
		}
	}
	text, err := os.ReadFile("names.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := vectors.Names(files)
	if got := strings.Fields(string(text)); !slices.Equal(got, names) {
		for _, name := range got {
			if !slices.Contains(names, name) {
				t.Errorf("%s is in names.txt and no case has it: others know it by this name", name)
			}
		}
		t.Errorf("names.txt has %d names, the tables %d: go run ./tinytest/cmd/vectors", len(got), len(names))
	}
	if len(names) < 600 {
		t.Errorf("%d cases, want 600 or more", len(names))
	}
}

// The files fit the schema, every text is what JSON can hold, and every rule is one of rules.txt.
func TestFilesFitTheSchema(t *testing.T) {
	text, err := os.ReadFile("schema/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("../../scripts/conformance/rules.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, id := range regexp.MustCompile(`(?m)^[A-Z]+-[0-9]+`).FindAllString(string(rules), -1) {
		known[id] = true
	}
	for _, f := range allFiles(t) {
		text, err := f.Text()
		if err != nil {
			t.Fatal(err)
		}
		var file any
		if err := json.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		for _, fault := range fits(root, root, file, f.Name) {
			t.Error(fault)
		}
		if bytes.ContainsRune(text, utf8.RuneError) {
			t.Errorf("%s.json holds a character that stands for bytes that are not text", f.Name)
		}
		for id := range f.Rules {
			if !known[id] {
				t.Errorf("%s: rules.txt has no %s", f.Name, id)
			}
		}
	}
}

// The checker must see each kind of fault, or the test above says nothing.
func TestSchemaIsChecked(t *testing.T) {
	var schema map[string]any
	err := json.Unmarshal([]byte(`{"$defs": {"n": {"type": "integer"}}, "type": "object", "required": ["a"], "additionalProperties": false,
		"properties": {"a": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/n"}}, "b": {"enum": ["x", 2]}, "c": {"const": 1},
		"d": {"type": "string", "pattern": "^x", "minLength": 2}, "e": {"type": "object", "additionalProperties": {"type": "boolean"}}}}`), &schema)
	if err != nil {
		t.Fatal(err)
	}
	for document, faults := range map[string]int{
		`{"a": [1, 2], "b": 2, "c": 1, "d": "xy", "e": {"f": true}}`: 0,
		`[]`: 1, `{}`: 1, `{"a": []}`: 1, `{"a": [1.5, "x"]}`: 2, `{"a": [1], "z": 1}`: 1, `{"a": [1], "b": "y"}`: 1,
		`{"a": [1], "c": 2}`:    1,
		`{"a": [1], "d": "yx"}`: 1, `{"a": [1], "d": "x"}`: 1, `{"a": [1], "d": 1}`: 1, `{"a": [1], "e": {"f": 1}}`: 1,
	} {
		var value any
		if err := json.Unmarshal([]byte(document), &value); err != nil {
			t.Fatal(err)
		}
		if got := fits(schema, schema, value, "it"); len(got) != faults {
			t.Errorf("%s: %q, want %d faults", document, got, faults)
		}
	}
}

// fits returns what in a value does not fit a JSON Schema, of which it knows the words that ours uses.
func fits(root, schema map[string]any, value any, at string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, at+": "+fmt.Sprintf(format, args...)) }
	object, _ := value.(map[string]any)
	for _, word := range slices.Sorted(maps.Keys(schema)) {
		means := schema[word]
		switch word {
		case "$schema", "$id", "$defs", "title", "description":
		case "$ref":
			name := strings.TrimPrefix(means.(string), "#/$defs/")
			faults = append(faults, fits(root, root["$defs"].(map[string]any)[name].(map[string]any), value, at)...)
		case "type":
			kind := map[reflect.Kind]string{reflect.Map: "object", reflect.Slice: "array", reflect.String: "string",
				reflect.Bool: "boolean", reflect.Float64: "number"}[reflect.ValueOf(value).Kind()]
			if n, ok := value.(float64); ok && n == float64(int64(n)) {
				kind = "integer"
			}
			if kind != means {
				fault("a %s, want %v", kind, means)
			}
		case "required":
			for _, name := range means.([]any) {
				if _, has := object[name.(string)]; object != nil && !has {
					fault("lacks %v", name)
				}
			}
		case "properties":
			for name, s := range means.(map[string]any) {
				if member, has := object[name]; has {
					faults = append(faults, fits(root, s.(map[string]any), member, at+"/"+name)...)
				}
			}
		case "additionalProperties":
			properties, _ := schema["properties"].(map[string]any)
			for name, member := range object {
				if _, known := properties[name]; known {
					continue
				}
				if s, more := means.(map[string]any); more {
					faults = append(faults, fits(root, s, member, at+"/"+name)...)
				} else {
					fault("has %q", name)
				}
			}
		case "items":
			all, _ := value.([]any)
			for i, item := range all {
				faults = append(faults, fits(root, means.(map[string]any), item, fmt.Sprintf("%s/%d", at, i))...)
			}
		case "minItems":
			if all, is := value.([]any); is && len(all) < int(means.(float64)) {
				fault("%d items", len(all))
			}
		case "minLength":
			if s, is := value.(string); is && len(s) < int(means.(float64)) {
				fault("%q is too short", s)
			}
		case "pattern":
			if s, is := value.(string); is && !regexp.MustCompile(means.(string)).MatchString(s) {
				fault("%.50q does not match %v", s, means)
			}
		case "enum":
			if !slices.Contains(means.([]any), value) {
				fault("%v is not one of %v", value, means)
			}
		case "const":
			if value != means {
				fault("%v, want %v", value, means)
			}
		default:
			fault("the schema says %q, which this test does not know", word)
		}
	}
	return faults
}
