package config

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
)

// fields calls visit for each field of a Config that is a value, not a section.
func fields(c *Config, visit func(name string, field reflect.Value)) {
	var walk func(name string, v reflect.Value)
	walk = func(name string, v reflect.Value) {
		if v.Kind() == reflect.Array {
			for i := range v.Len() {
				walk(fmt.Sprint(name, ".", i), v.Index(i))
			}
			return
		}
		if v.Kind() != reflect.Struct {
			visit(name, v)
			return
		}
		for i := range v.NumField() {
			walk(name+"."+v.Type().Field(i).Name, v.Field(i))
		}
	}
	walk("Config", reflect.ValueOf(c).Elem())
}

// other sets a field to another value than it has.
func other(field reflect.Value) {
	switch field.Kind() {
	case reflect.String:
		field.SetString(field.String() + "/other")
	case reflect.Bool:
		field.SetBool(!field.Bool())
	case reflect.Slice:
		field.Set(reflect.Append(field, reflect.Zero(field.Type().Elem())))
	default:
		field.SetInt(field.Int() + int64(time.Second))
	}
}

// Each field of Config is the value of one key, and each key has a field.
func TestEveryFieldHasAKey(t *testing.T) {
	reached := map[string]bool{}
	n := 0
	fields(Default(), func(string, reflect.Value) { n++ })
	for i := range n {
		c, j := Default(), 0
		var name string
		fields(c, func(field string, v reflect.Value) {
			if j == i {
				name = field
				other(v)
			}
			j++
		})
		var changed []string
		before := Keys(Default())
		for i, k := range Keys(c) {
			if !reflect.DeepEqual(k.Get(), before[i].Get()) {
				changed = append(changed, k.String())
			}
		}
		if len(changed) != 1 {
			t.Errorf("got %q as the keys of %s, want one: give it a row in Keys", changed, name)
			continue
		}
		if reached[changed[0]] {
			t.Errorf("%s is the key of two fields", changed[0])
		}
		reached[changed[0]] = true
	}
	for _, k := range Keys(new(Config)) {
		if !reached[k.String()] {
			t.Errorf("%s has no field of its own", &k)
		}
	}
}

// Each key has a name of its own, a default that its own checks let pass, and a path if it has a place.
func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Keys(Default()) {
		if k.Name == "" || seen[k.String()] {
			t.Errorf("%q stands twice, or has no name", &k)
		}
		seen[k.String()] = true
		places := 0
		for _, trait := range []Traits{SocketPlace, RootsPlace, ReadPlace, WritePlace, PrivatePlace, SharedPlace} {
			if k.Traits&trait != 0 {
				places++
			}
		}
		if _, text := k.Get().(string); places > 1 || places == 1 && !text {
			t.Errorf("%s has %d places and the value %v, want at most one, and a path", &k, places, k.Get())
		}
	}
}

// What takes effect after a restart alone is named when it changes, and nothing else is.
func TestNeedRestart(t *testing.T) {
	want := []string{"[sockets] authz", "[sockets] http", "[sockets] admin", "[sockets] view", "[sockets] group",
		"[sockets] admin_group", "[sockets] view_group",
		"[state] dir", "[limits] connections", "[certificates] folder", "[sandbox] landlock"}
	c := Default()
	if got := c.NeedRestart(Default()); len(got) > 0 {
		t.Errorf("got %q without a change, want none", got)
	}
	fields(c, func(_ string, v reflect.Value) { other(v) })
	if got := c.NeedRestart(Default()); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
