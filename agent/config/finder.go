package config

import (
	"reflect"
	"strings"
)

// finder finds the fields of a structure, each soonest after the one before, since most keys stand in their order.
type finder struct {
	reflect.Value
	next int
}

// field returns the field that has the name of a key as Go spells it: DNSServers for dns_servers.
func (f *finder) field(key string) reflect.Value {
	name := strings.ReplaceAll(key, "_", "")
	for range f.NumField() {
		i := f.next
		f.next = (i + 1) % f.NumField()
		if strings.EqualFold(f.Type().Field(i).Name, name) {
			return f.Field(i)
		}
	}
	panic("give " + key + " a field in config.go") // every test sees it
}
