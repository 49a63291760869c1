package decide_test

import (
	"testing"

	"nmosauthd/agent/decide"
)

// What a command needs, by the class of its object and its method.
func TestCommandAccess(t *testing.T) {
	const r, w = decide.Read, decide.Write
	vendor, ok := decide.ParseMethod("1.2.0.1:3m1")
	if !ok || !vendor.Valid() {
		t.Fatal("1.2.0.1:3m1 is not read as a method of a class")
	}
	plain, letter := &decide.Controls{Reading: []decide.Method{vendor}}, &decide.Controls{Letter: true}
	never := &decide.Controls{Letter: true, NoGets: true}
	for _, c := range []struct {
		name, class, method string
		want, letter        decide.Access
	}{
		{"CTL-3/a child has what its parent has", "1.2.2.1", "1m1", r, r},
		{"CTL-4/a key is not a level", "1.2.0.1", "1m3", r, r},
		{"CTL-4/a key before the level", "1.2.0.2.1", "4m1", w, w},
		{"CTL-4/of a vendor's own kind of receiver monitor", "1.2.2.1.-132131.1", "4m1", r, w},
		{"CTL-5/above the class", "1.2", "3m1", w, w},
		{"CTL-40/Get", "1", "1m1", r, r},
		{"CTL-40/GetSequenceLength of a block", "1.1", "1m7", r, r},
		{"CTL-40/GetMemberDescriptors", "1.1", "2m1", r, w},
		{"CTL-41/a vendor's method", "1.2.0.2", "3m1", w, w},
		{"CTL-41/one that is said to read", "1.2.0.1", "3m1", r, w},
		{"CTL-41/of a child of that class", "1.2.0.1.1", "3m1", r, w},
		{"CTL-41/the next of that class", "1.2.0.1", "3m2", w, w},
		{"CTL-41/the class is not known", "-", "1m1", w, w},
		{"CTL-41/a method that there is not", "1", "1m8", w, w},
		{"CTL-41/an index that wraps", "1", "1m33", w, w},
		{"CTL-41/the class of an older draft", "1.2.3", "3m1", w, w},
		{"CTL-42/receiver monitor", "1.2.2.1", "4m2", r, w},
		{"CTL-42/sender monitor", "1.2.2.2", "4m2", w, w},
		{"CTL-42/class manager", "1.3.2", "3m2", r, w},
		{"CTL-42/bulk properties manager", "1.3.3", "3m2", w, w},
		{"CTL-43/backup", "1.3.3", "3m1", r, w},
		{"CTL-43/restore", "1.3.3", "3m3", w, w},
		{"CTL-44/FindMembersByClassId", "1.1", "2m4", r, w},
		{"CTL-45/GetControlClass", "1.3.2", "3m1", r, w},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, ok := decide.ParseMethod("1:" + c.method)
			if !ok {
				t.Fatalf("%s is not read as a method", c.method)
			}
			if got := plain.CommandAccess([]byte(c.class), m.Level, m.Index); got != c.want {
				t.Errorf("%s of %s: got access %d, want %d", c.method, c.class, got, c.want)
			}
			if got := letter.CommandAccess([]byte(c.class), m.Level, m.Index); got != c.letter {
				t.Errorf("%s of %s by the letter: got access %d, want %d", c.method, c.class, got, c.letter)
			}
			if got := never.CommandAccess([]byte(c.class), m.Level, m.Index); got != w {
				t.Errorf("%s of %s by the letter for Get, too: got access %d, want %d", c.method, c.class, got, w)
			}
		})
	}
}
