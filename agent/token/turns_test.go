package token

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/tinytest/spec"
)

// crowd is a Verifier's turns with one place, in virtual time: a verification takes a millisecond.
type crowd struct {
	*turns
	mu     sync.Mutex
	served map[*Asker]int
	all    int
	ends   bool
}

// verify has a turn and returns how many others had one meanwhile.
func (c *crowd) verify(by *Asker, k kind) (others int) {
	c.mu.Lock()
	before := c.all
	c.mu.Unlock()
	place := c.take()
	if place == nil {
		place = c.wait(by, k)
	}
	time.Sleep(time.Millisecond)
	c.mu.Lock()
	others = c.all - before
	c.all++
	c.served[by]++
	c.mu.Unlock()
	c.give(place)
	return others
}

func (c *crowd) ending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ends
}

// end lets everybody have a last turn.
func (c *crowd) end() {
	c.mu.Lock()
	c.ends = true
	c.mu.Unlock()
	time.Sleep(time.Second)
}

// flood has connections of a caller bring one token after another.
func (c *crowd) flood(connections int, caller uint64, k kind) (all []*Asker) {
	for range connections {
		by := &Asker{Caller: caller}
		all = append(all, by)
		go func() {
			for {
				if c.verify(by, k); c.ending() {
					return
				}
			}
		}()
	}
	return all
}

// Behind a flood, whoever sends it and whatever the tokens are, the next token of anybody else has its turn soon.
func TestTurns(t *testing.T) {
	spec.Rules(t, "ANS-5")
	const most = 10
	type flood struct {
		connections int
		caller      uint64
		kind        kind
	}
	for _, c := range []struct {
		name   string
		floods []flood
		by     Asker
		kind   kind
	}{
		{"another process", []flood{{64, 1, named}}, Asker{Caller: 2}, named},
		{"another process, both without kid", []flood{{64, 1, unnamed}}, Asker{Caller: 2}, unnamed},
		{"the same process, they without kid", []flood{{64, 1, unnamed}}, Asker{Caller: 1}, named},
		{"the same process, it without kid", []flood{{64, 1, named}}, Asker{Caller: 1}, unnamed},
		{"the same process, a new connection", []flood{{64, 1, named}}, Asker{Caller: 1}, named},
		{"many processes of each kind",
			[]flood{{16, 1, named}, {16, 2, named}, {16, 3, unnamed}, {16, 4, unnamed}, {64, 5, named}},
			Asker{Caller: 6}, named},
		{"all together", []flood{{32, 1, named}, {32, 1, unnamed}, {32, 2, named}, {32, 2, unnamed}},
			Asker{Caller: 2}, named},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				crowd := &crowd{turns: newTurns(1), served: make(map[*Asker]int)}
				for _, f := range c.floods {
					crowd.flood(f.connections, f.caller, f.kind)
				}
				time.Sleep(time.Second)
				worst := 0
				for range 10 {
					by := Asker{Caller: c.by.Caller} // as a web server connects for each question
					worst = max(worst, crowd.verify(&by, c.kind))
					time.Sleep(100 * time.Millisecond)
				}
				if worst > most {
					t.Errorf("%d others had their turn first, want at most %d", worst, most)
				}
				crowd.end()
			})
		})
	}
}

// Nobody starves: not an old connection behind new ones, nor a token without kid behind those that have one, nor the
// connection of a caller with many.
func TestNobodyStarves(t *testing.T) {
	spec.Rules(t, "ANS-5")
	synctest.Test(t, func(t *testing.T) {
		crowd := &crowd{turns: newTurns(1), served: make(map[*Asker]int)}
		all := crowd.flood(32, 1, named)
		all = append(all, crowd.flood(8, 1, unnamed)...)
		all = append(all, crowd.flood(8, 2, unnamed)...)
		for caller := range uint64(4) {
			go func() { // as a web server connects for each question
				for !crowd.ending() {
					crowd.verify(&Asker{Caller: 1 + caller%2}, named)
				}
			}()
		}
		time.Sleep(4 * time.Second)
		crowd.mu.Lock()
		for i, by := range all {
			if n := crowd.served[by]; n < 10 {
				t.Errorf("connection %d had %d of %d turns, want at least 10", i, n, crowd.all)
			}
		}
		crowd.mu.Unlock()
		crowd.end()
	})
}
