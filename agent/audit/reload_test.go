package audit

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/tinytest/spec"
)

// Other configurations come while many ask: for a sink that stays, whatever its settings, decisions kept and dropped
// are all decisions, exactly, and each stream is good.
func TestReconfigureUnderLoad(t *testing.T) {
	spec.Rules(t, "OPS-2")
	stays, moves := newTape(), []*tape{newTape()}
	stays.name, moves[0].name = "stays", "moves"
	l := New(options(stays, moves[0]))
	var asking sync.WaitGroup
	done := make(chan struct{})
	for a := range 4 {
		asking.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				r := allowed()
				if i%3 == 0 {
					r = deniedAt("/" + strconv.Itoa(i%(80*a+1)))
				}
				l.Append(&r)
				if i%50 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	var passing []*tape // those that come and go
	for i := range 100 {
		time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond)
		if i%3 == 0 {
			moves = append(moves, newTape())
			moves[len(moves)-1].name, moves[len(moves)-1].settings = "moves", strconv.Itoa(i)
		}
		o := options(stays, moves[len(moves)-1])
		o.Wait, o.QueueBytes, o.Repeat = i%5 == 0, 4096<<(i%4), time.Duration(i%3)*10*time.Millisecond
		if i%4 == 0 {
			passing = append(passing, newTape())
			passing[len(passing)-1].name = "passing"
			o.Sinks = append(o.Sinks, passing[len(passing)-1])
		}
		l.Reconfigure(o)
		s := l.Stats()
		s.Sinks = s.Sinks[:2]
		exact(t, s)
	}
	close(done)
	asking.Wait()
	closeLog(l)
	s := l.Stats()
	exact(t, s)
	if s.Pending != 0 || s.Sinks[0].Queued+s.Sinks[1].Queued != 0 {
		t.Errorf("got %+v, want nothing that waits", s)
	}
	var kept, dropped uint64
	check := func(all ...*tape) {
		t.Helper()
		kept, dropped = 0, 0
		for _, one := range all {
			if one.String() == "" {
				continue // replaced before it was used
			}
			v, err := Verify(strings.NewReader(one.String()))
			if err != nil || !v.Good() || !v.Closed {
				t.Errorf("got %v, %+v, want a good stream that is closed", err, v)
			}
			kept, dropped = kept+v.Decisions, dropped+v.Dropped
		}
	}
	check(stays)
	if kept != s.Sinks[0].Kept || dropped != s.Sinks[0].Dropped || kept+dropped != s.Appended {
		t.Errorf("%d and %d: %+v", kept, dropped, s)
	}
	check(moves...)
	if kept != s.Sinks[1].Kept || dropped != s.Sinks[1].Dropped || kept+dropped != s.Appended {
		t.Errorf("%d and %d: %+v", kept, dropped, s)
	}
	check(passing...)
}
