package token

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"nmosauthd/tinytest/spec"
)

// waiter is one connection in line for a place.
type waiter struct {
	name string
	*Asker
	kind kind
}

// order has the waiters wait, one after the other, for the one place there is, and returns in which order they get it.
func order(t *testing.T, turns *turns, waiters ...waiter) (served []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		place := turns.take()
		if place == nil {
			t.Fatal("got no place, want one: nobody has it")
		}
		for _, w := range waiters {
			if w.turn != nil {
				w.turn = make(chan *scratch, 1) // a bubble has channels of its own
			}
			go func() {
				place := turns.wait(w.Asker, w.kind)
				served = append(served, w.name)
				turns.give(place)
			}()
			synctest.Wait()
		}
		turns.give(place)
		synctest.Wait()
	})
	return served
}

// Turns go round between callers, between kinds of token, three to one, and between new connections and others.
func TestOrderOfTurns(t *testing.T) {
	spec.Rules(t, "ANS-5")
	// of returns n new connections of a caller.
	of := func(n int, caller uint64, k kind) (all []waiter) {
		for range n {
			all = append(all, waiter{fmt.Sprint(caller, []string{"n", "u"}[k]), &Asker{Caller: caller}, k})
		}
		return all
	}
	for _, c := range []struct {
		name    string
		waiters []waiter
		want    []string
	}{
		{"one caller, as they come", []waiter{{"a", &Asker{}, named}, {"b", &Asker{}, named}, {"c", &Asker{}, named}},
			[]string{"a", "b", "c"}},
		{"callers in turn", slices.Concat(of(3, 1, named), of(2, 2, named), of(1, 3, named)),
			[]string{"1n", "2n", "3n", "1n", "2n", "1n"}},
		{"three tokens with a known kid for each other", slices.Concat(of(3, 1, unnamed), of(7, 2, named)),
			[]string{"2n", "2n", "2n", "1u", "2n", "2n", "2n", "1u", "2n", "1u"}},
		{"of one caller, too", slices.Concat(of(2, 1, named), of(5, 1, unnamed)),
			[]string{"1n", "1n", "1u", "1u", "1u", "1u", "1u"}},
		{"the others alone, in turn by caller", slices.Concat(of(2, 1, unnamed), of(2, 2, unnamed)),
			[]string{"1u", "2u", "1u", "2u"}},
	} {
		if got := order(t, newTurns(1), c.waiters...); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// A connection is regular for so many turns after one of its own, and new again after them; new ones and regular ones
// alternate.
func TestRegularConnections(t *testing.T) {
	spec.Rules(t, "ANS-5")
	for turnsSince, want := range map[int][]string{
		lately:     {"new", "regular", "new", "new"}, // it came last, and has its turn before other new ones
		lately + 1: {"new", "new", "new", "regular"},
	} {
		turns := newTurns(1)
		regular := &Asker{}
		waiters := []waiter{{"", regular, named}}
		for range turnsSince {
			waiters = append(waiters, waiter{"", &Asker{}, named})
		}
		order(t, turns, waiters...)
		got := order(t, turns, waiter{"new", &Asker{}, named}, waiter{"new", &Asker{}, named},
			waiter{"new", &Asker{}, named}, waiter{"regular", regular, named})
		if !slices.Equal(got, want) {
			t.Errorf("%d turns after its own: got %v, want %v", turnsSince, got, want)
		}
	}
}

// A place that is given back before anybody waits is free: as many have a turn at the same time as there are places.
func TestPlacesAreGivenBack(t *testing.T) {
	spec.Rules(t, "ANS-5")
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(2)
		for range 3 {
			// by take, and by wait, which finds that it was given back meanwhile
			first, second := turns.take(), turns.wait(nil, named)
			if first == nil || second == nil || first == second {
				t.Fatalf("got places %p and %p, want two", first, second)
			}
			if third := turns.take(); third != nil {
				t.Fatal("got a third place, want two in all")
			}
			turns.give(first)
			turns.give(second)
		}
	})
}
