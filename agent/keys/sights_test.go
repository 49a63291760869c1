package keys

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"nmosauthd/tinytest/spec"
)

// sights does what its readable twin does: in each row a list, the one seen last at the front, of four at most.
func TestSightsAgainstTwin(t *testing.T) {
	spec.Rules(t, "KEY-6")
	random := rand.New(rand.NewPCG(1, 2))
	s := new(sights)
	s.init()
	twin := map[uint64][]sight{}
	for now := range uint64(20_000) {
		id := sightID{uint64(random.IntN(3)) + sightRows*uint64(random.IntN(2)), 1 + uint64(random.IntN(4))}
		row := twin[id[0]%sightRows]
		want := sight{id, now}
		if i := slices.IndexFunc(row, func(s sight) bool { return s.id == id }); i >= 0 {
			want = row[i]
			row = slices.Delete(row, i, i+1)
		}
		row = slices.Insert(row, 0, want)
		twin[id[0]%sightRows] = row[:min(len(row), 4)]
		if got := s.first(id, now); got != want.fetches {
			t.Fatalf("step %d: %v was first seen after %d fetches, want %d", now, id, got, want.fetches)
		}
	}
}

// Two tokens are told apart by either hash alone.
func TestIdentityOfTokens(t *testing.T) {
	spec.Rules(t, "KEY-6")
	s := new(sights)
	s.init()
	a, b := s.identify([]byte("a")), s.identify([]byte("b"))
	if a[0] == b[0] || a[1] == b[1] || a[0] == a[1] || a != s.identify([]byte("a")) {
		t.Errorf("got %x and %x, want four hashes that differ, and the same each time", a, b)
	}
}

// A store is made without a large stack: one that held a store would be copied, and kept by who made it.
func TestNewStoreNeedsLittleStack(t *testing.T) {
	grown := make(chan uint64)
	go func() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s := NewStore(nil, nil)
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(s)
		grown <- after.StackInuse - min(before.StackInuse, after.StackInuse)
	}()
	if got := <-grown; got >= 32<<10 {
		t.Errorf("the stack has grown by %d bytes for a store", got)
	}
}
