package token

import (
	"testing"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// Of refused tokens that share a row the last ones are remembered, each once; the oldest is forgotten first.
func TestRefusedRow(t *testing.T) {
	spec.Rules(t, "TOK-6")
	r, set := newRefused(), &keys.Set{Generation: 7}
	id := func(n int) identity { return identity{uint64(n), refusedSets * uint64(n)} }
	var put []int // in the row, that put longest ago first
	check := func() {
		t.Helper()
		for n := range 3 * refusedWays {
			e, ok := r.get(id(n))
			want := false
			for _, p := range put[max(0, len(put)-refusedWays):] {
				want = want || p == n
			}
			if ok != want || ok && (e.id != id(n) || e.generation != 7) {
				t.Errorf("after %v: got %+v, %v for %d; want %v", put, e, ok, n, want)
			}
		}
	}
	check()
	for n := range 2 * refusedWays {
		r.put(id(n), refusal{reason: wire.Signature}, set)
		put = append(put, n)
		check()
		r.put(id(n), refusal{reason: wire.KeyUnknown}, set) // judged again: no further place is taken
		check()
		if e, _ := r.get(id(n)); e.reason != wire.KeyUnknown {
			t.Errorf("got %v, want what was put last", e.reason)
		}
	}
	r.put(identity{1, 1}, refusal{reason: wire.Signature}, set) // in another row
	check()
}

// An empty row remembers no token, not even one whose identity is all zeros.
func TestNothingRefusedYet(t *testing.T) {
	spec.Rules(t, "TOK-6")
	if e, ok := newRefused().get(identity{}); ok {
		t.Errorf("got %+v, want nothing", e)
	}
}
