package decide

import (
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// A specifier and a role path, and whether the one matches the other, and all below it, too.
var roleRows = []struct {
	name, specifier, path string
	matches, covers       bool
}{
	{"CTL-1/as it is written", "root.a", "root.A", false, false},
	{"CTL-1/the same", "root.A", "root.A", true, false},
	{"CTL-12/below", "root.*", "root.receiver-monitors.monitor-01", true, true},
	{"CTL-12/the whole path", "root.a", "root.ab", false, false},
	{"CTL-12/a star inside", "root.*.gain", "root.tx-3.gain", true, false},
	{"CTL-12/a star crosses dots", "root.*.gain", "root.tx-3.left.gain", true, false},
	{"CTL-12/a star inside, another end", "root.*.gain", "root.tx-3.mute", false, false},
	{"CTL-12/a part of a role", "root.tx-*", "root.tx-3.gain", true, true},
	{"CTL-12/everything", "*", "root", true, true},
	{"CTL-12/no expression", "root.(a|b)", "root.a", false, false},
	{"CTL-13/the root block", "root.*", "root", true, true},
	{"CTL-13/two stars", "root.**", "root", true, true},
	{"CTL-13/another block", "root.tx-3.*", "root.tx-3", true, true},
	{"CTL-13/a name that begins alike", "root.tx-3.*", "root.tx-30", false, false},
	{"CTL-13/a dot alone", "root.", "root", false, false},
	{"CTL-13/a star before", "root.tx-*.*", "root.tx-3", true, false},
	{"CTL-13/nothing before the dot", ".*", "root", false, false},
	{"CTL-14/the object alone", "root.tx-3", "root.tx-3.gain", false, false},
	{"CTL-14/not what it is in", "root.tx-3.gain", "root.tx-3", false, false},
	{"CTL-17/as it is, not decoded", "root.a%20b", "root.a b", false, false},
	{"CTL-17/a space", "root.a b", "root.a b", true, false},
	{"CTL-18/empty", "", "root", false, false},
	{"CTL-18/of nothing", "*", "", false, false},
	{"CTL-64/a part of the last role", "root.t*", "root.tx-3", true, true},
	{"CTL-64/only below", "root.tx-3.g*", "root.tx-3", false, false},
	{"CTL-64/the path and more of its name", "root.tx-3*", "root.tx-3", true, true},
}

// slowMatch is CTL-12 to CTL-14 letter by letter, or what the draft has in their place.
func slowMatch(specifier, path string, draft Drafted) bool {
	if specifier == "" || path == "" {
		return false
	}
	if glob(specifier, path) || draft&DraftedBelow != 0 && glob(specifier+".*", path) {
		return true
	}
	head := strings.TrimRight(specifier, "*")
	return draft&DraftedRoot == 0 && head != specifier && strings.HasSuffix(head, ".") && glob(head[:len(head)-1], path)
}

func glob(pattern, text string) bool {
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		return glob(pattern[1:], text) || text != "" && glob(pattern, text[1:])
	}
	return text != "" && pattern[0] == text[0] && glob(pattern[1:], text[1:])
}

// slowCovers is CTL-64's own sentence; as drafted, a specifier without "*" covers what it matches, and one with it must
// match the object itself.
func slowCovers(specifier, path string, draft Drafted) bool {
	head := strings.TrimRight(specifier, "*")
	if head == specifier {
		return draft&DraftedBelow != 0 && slowMatch(specifier, path, draft)
	}
	return path != "" && strings.HasPrefix(path+".", head) && slowMatch(specifier, path, draft)
}

func TestRolePaths(t *testing.T) {
	for _, row := range roleRows {
		t.Run(row.name, func(t *testing.T) {
			s, p := []byte(row.specifier), []byte(row.path)
			if got := matchRole(s, p, 0); got != row.matches || slowMatch(row.specifier, row.path, 0) != row.matches {
				t.Errorf("%q matches %q: got %v, want %v", s, p, got, row.matches)
			}
			if got := coversRole(s, p, 0); got != row.covers || slowCovers(row.specifier, row.path, 0) != row.covers {
				t.Errorf("%q covers %q: got %v, want %v", s, p, got, row.covers)
			}
		})
	}
}

// draftRows are what the switches change, and what they leave as it is: the answers by our rules, without CTL-13,
// without CTL-14, and without either.
var draftRows = []struct {
	name, specifier, path string
	matches, covers       [4]bool
}{
	{"CTL-13/the root block", "root.*", "root", [4]bool{true, false, true, false}, [4]bool{true, false, true, false}},
	{"CTL-13/two stars", "root.**", "root", [4]bool{true, false, true, false}, [4]bool{true, false, true, false}},
	{"CTL-13/below", "root.*", "root.a", [4]bool{true, true, true, true}, [4]bool{true, true, true, true}},
	{"CTL-13/without the dot", "root*", "root", [4]bool{true, true, true, true}, [4]bool{true, true, true, true}},
	{"CTL-13/a star before", "root.t*.*", "root.tx", [4]bool{true, false, true, false}, [4]bool{}},
	{"CTL-14/below", "root.tx", "root.tx.gain", [4]bool{false, false, true, true}, [4]bool{false, false, true, true}},
	{"CTL-14/far below", "root", "root.tx.gain", [4]bool{false, false, true, true}, [4]bool{false, false, true, true}},
	{"CTL-14/itself", "root.tx", "root.tx", [4]bool{true, true, true, true}, [4]bool{false, false, true, true}},
	{"CTL-14/a name that begins alike", "root.tx", "root.tx-3.gain", [4]bool{}, [4]bool{}},
	{"CTL-14/above", "root.tx.gain", "root.tx", [4]bool{}, [4]bool{}},
	{"CTL-14/a star inside", "root.*.gain", "root.a.gain.left", [4]bool{false, false, true, true},
		[4]bool{false, false, true, true}},
	{"CTL-14/a star inside, the first is not it", "root.*.gain", "root.a.gains.gain.b",
		[4]bool{false, false, true, true}, [4]bool{false, false, true, true}},
	{"CTL-14/empty", "", "root.a", [4]bool{}, [4]bool{}},
}

func TestRolePathsAsDrafted(t *testing.T) {
	spec.Rules(t, "CTL-13", "CTL-14")
	for _, row := range draftRows {
		for i, draft := range []Drafted{0, DraftedRoot, DraftedBelow, DraftedRoot | DraftedBelow} {
			checkRole(t, row.specifier, row.path, draft)
			if got := slowMatch(row.specifier, row.path, draft); got != row.matches[i] {
				t.Errorf("%s, draft %d: matches: got %v, want %v", row.name, draft, got, row.matches[i])
			}
			if got := slowCovers(row.specifier, row.path, draft); got != row.covers[i] {
				t.Errorf("%s, draft %d: covers: got %v, want %v", row.name, draft, got, row.covers[i])
			}
		}
	}
}

// checkRole checks matching and covering, by our rules or by the draft's letter.
func checkRole(t *testing.T, specifier, path string, draft Drafted) {
	t.Helper()
	s, p := []byte(specifier), []byte(path)
	want := slowMatch(specifier, path, draft)
	if got := matchRole(s, p, draft); got != want {
		t.Errorf("%q matches %q, draft %d: got %v, want %v", s, p, draft, got, want)
	}
	if specifier != "" {
		if got := match([]grant{makeGrant(s)}, p, draft); got != want {
			t.Errorf("%q, made ready, matches %q, draft %d: got %v, want %v", s, p, draft, got, want)
		}
	}
	covers := coversRole(s, p, draft)
	if slow := slowCovers(specifier, path, draft); covers != slow {
		t.Errorf("%q covers %q, draft %d: got %v, want %v", s, p, draft, covers, slow)
	}
	if covers && (!matchRole(s, p, draft) || !matchRole(s, []byte(path+".x"), draft) ||
		!matchRole(s, []byte(path+".x.y"), draft)) {
		t.Errorf("%q covers %q, draft %d, and does not match all of it", s, p, draft)
	}
}

// Matching is what the rules say letter by letter, and what is covered is matched, with all below it; by each rule and
// without it.
func FuzzRolePath(f *testing.F) {
	spec.Rules(f, "CTL-12", "CTL-13", "CTL-14", "CTL-64")
	for _, row := range roleRows {
		f.Add(row.specifier, row.path)
	}
	for _, row := range draftRows {
		f.Add(row.specifier, row.path)
	}
	f.Fuzz(func(t *testing.T, specifier, path string) {
		if strings.Count(specifier, "*") > 4 || len(specifier)+len(path) > 200 {
			return // the twin takes too long
		}
		for draft := range DraftedTarget {
			checkRole(t, specifier, path, draft)
		}
	})
}

// Of several models an object is matched with its model's prefix or without (CTL-19).
func TestModels(t *testing.T) {
	spec.Rules(t, "CTL-19")
	for _, c := range []struct {
		specifier, prefix string
		matches, covers   bool
	}{
		{"a:root.tx-1", "a", true, false},
		{"b:root.tx-1", "a", false, false},
		{"root.tx-1", "a", true, false},
		{"a:root.tx-1", "", false, false},
		{"a:root.*", "a", true, true},
		{"*", "a", true, true},
		{"a:*", "a", true, true},
		{"*:root.tx-1", "b", true, false},
		{"a*", "ab", true, true},
		{"b:*", "ab", false, false},
	} {
		o, _ := (&Controls{}).NewObject([]byte(c.prefix), []byte("root.tx-1"), nil)
		if got := o.matchedBy([]byte(c.specifier)); got != c.matches {
			t.Errorf("%s matches root.tx-1 of %q: got %v, want %v", c.specifier, c.prefix, got, c.matches)
		}
		if got := o.coveredBy([]byte(c.specifier)); got != c.covers {
			t.Errorf("%s covers root.tx-1 of %q: got %v, want %v", c.specifier, c.prefix, got, c.covers)
		}
	}
}
