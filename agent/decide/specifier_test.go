package decide

import (
	"testing"

	"nmosauthd/agent/wildcard"
	"nmosauthd/tinytest/spec"
)

var specifiers = []struct {
	specifier, rest string
	want            bool
}{
	{"single/senders", "single/senders", true},
	{"single/senders/", "single/senders", true},
	{"single/senders/*", "single/senders", true}, // it matches single/senders/
	{"single/senders/**", "single/senders", true},
	{"*/", "single", true},
	{"single/senders//", "single/senders", false},
	{"single/sender", "single/senders", false},
	{"single/senders/*x", "single/senders", false},
	{"single/senders*/", "single/senders", true},
	{"*", "single", true},
	{"**", "", true},
	{"/", "", true},
	{"", "", true},
	{"", "a", false},
	{"a/*/", "a", false},
	{"a/*/", "a/b", true},
	{"a*b*", "a/b", true},
}

// compareMatches compares matches with what PATH-7 says: the path with or without a slash at its end.
func compareMatches(t *testing.T, specifier, rest string) bool {
	t.Helper()
	s := []byte(specifier)
	want := wildcard.Match(s, []byte(rest)) || wildcard.Match(s, []byte(rest+"/"))
	got := matches(s, []byte(rest))
	if got != want {
		t.Errorf("specifier %q, path %q: %v", specifier, rest, got)
	}
	return got
}

func TestSpecifiers(t *testing.T) {
	spec.Rules(t, "PATH-6", "PATH-7")
	for _, c := range specifiers {
		if got := compareMatches(t, c.specifier, c.rest); got != c.want {
			t.Errorf("specifier %q, path %q: %v", c.specifier, c.rest, got)
		}
	}
}

func FuzzSpecifier(f *testing.F) {
	spec.Rules(f, "PATH-7")
	for _, c := range specifiers {
		f.Add(c.specifier, c.rest)
	}
	f.Fuzz(func(t *testing.T, specifier, rest string) { compareMatches(t, specifier, rest) })
}
