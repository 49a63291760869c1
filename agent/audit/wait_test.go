package audit

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// askStuck has four goroutines append so many records, with wait, to a Log whose sink is stuck. done is closed when all
// have.
func askStuck(records int) (l *Log, stuck *tape, done chan struct{}) {
	stuck = newTape()
	stuck.stuck = make(chan struct{})
	o := options(stuck)
	o.Wait, o.QueueBytes = true, 4096
	l, done = New(o), make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for range records / 4 {
				r := allowed()
				l.Append(&r)
			}
		})
	}
	go func() { asking.Wait(); close(done) }()
	return l, stuck, done
}

// With wait no record is dropped while a sink is stuck, decisions wait, and go on when it does; Release lets them go
// without it.
func TestWait(t *testing.T) {
	for _, released := range []bool{false, true} {
		l, stuck, done := askStuck(800)
		select {
		case <-done:
			t.Fatal("nobody waited for a sink that is stuck")
		case <-time.After(100 * time.Millisecond):
		}
		s := l.Stats()
		exact(t, s)
		if s.Sinks[0].Dropped != 0 || s.Appended == 800 {
			t.Errorf("while waiting: %+v", s)
		}
		if released {
			l.Release()
			<-done
			close(stuck.stuck)
		} else {
			close(stuck.stuck)
			<-done
		}
		closeLog(l)
		s = l.Stats()
		exact(t, s)
		if s.Appended != 800 || released != (s.Sinks[0].Dropped > 0) {
			t.Errorf("released: %v: %+v", released, s)
		}
	}
}

// With wait and a sink that is stuck forever, Close ends when its time is over, though decisions wait, and all are
// counted.
func TestWaitEnds(t *testing.T) {
	l, stuck, done := askStuck(400)
	defer close(stuck.stuck)
	for l.Stats().Appended == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	l.Close(ctx)
	<-done
	s := l.Stats()
	exact(t, s)
	if s.Appended != 400 || s.Sinks[0].Dropped != s.Appended {
		t.Errorf("got %+v, want all of 400 dropped", s)
	}
}

// A record that comes while others are sorted needs no third to be sorted, and many together are sorted in one go.
func TestNoneIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		o := options(out)
		var l *Log
		o.Observe = func(r *Record) {
			if r.Seq == 1 {
				second := allowed()
				l.Append(&second)
			}
		}
		l = New(o)
		r := allowed()
		l.Append(&r)
		time.Sleep(time.Second)
		if s := l.Stats(); s.Sinks[0].Kept != 2 {
			t.Errorf("got %+v, want 2 kept", s)
		}
		for range 200 { // over half of the queue
			l.Append(&r)
		}
		synctest.Wait() // without time to gather
		if s := l.Stats(); s.Pending > 100 {
			t.Errorf("got %+v, want 100 pending at most", s)
		}
		closeLog(l)
	})
}

// A stuck sink costs itself alone, and Close leaves it behind when its time is over.
func TestStuckSinkIsAlone(t *testing.T) {
	stuck, good := newTape(), newTape()
	stuck.name = "stuck"
	var mu sync.Mutex
	var told []Trouble
	o := options(stuck, good)
	o.Report = func(r Trouble) { mu.Lock(); told = append(told, r); mu.Unlock() }
	l := New(o)
	for stuck.String() == "" { // opened
		time.Sleep(time.Millisecond)
	}
	stuck.set(func() { stuck.stuck = make(chan struct{}) })
	for i := range 2000 {
		r := allowed()
		l.Append(&r)
		// as fast as the good one can follow, so that all that is lost is lost by the other
		for i%50 == 0 || i == 1999 {
			if s := l.Stats(); s.Pending+s.Sinks[1].Queued == 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	l.Close(ctx)
	s := l.Stats()
	exact(t, s)
	if s.Sinks[0].Kept != 0 || s.Sinks[0].Dropped != 2000 || s.Sinks[1].Kept != 2000 {
		t.Errorf("got %+v, want 2000 dropped by the stuck sink and 2000 kept by the other", s)
	}
	mu.Lock() // the daemon ends now: what is not told yet never is
	defer mu.Unlock()
	var dropped uint64
	for _, r := range told {
		dropped += r.Dropped
	}
	if len(told) < 2 || len(told) > 20 || dropped != 2000 { // one a minute, and the last
		t.Errorf("got reports of %d dropped, want some of 2000: %+v", dropped, told)
	}
	close(stuck.stuck) // too late
	for closed := false; !closed; time.Sleep(time.Millisecond) {
		stuck.set(func() { closed = stuck.closed > 0 })
	}
	exact(t, l.Stats())
	if again := l.Stats(); again.Sinks[0].Dropped != 2000 {
		t.Errorf("%+v, and later %+v", s.Sinks[0], again.Sinks[0])
	}
}

// What is dropped is said at most once a minute, and that it is over.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		out.err = errTape
		var told []Trouble
		o := options(out)
		o.QueueBytes, o.Repeat = 4096, 0
		o.Report = func(r Trouble) { told = append(told, r) }
		l := New(o)
		for range 600 { // ten minutes
			for range 2 {
				r := allowed()
				l.Append(&r)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if len(told) < 9 || len(told) > 12 || told[0].Err != errTape {
			t.Errorf("%d reports in ten minutes: %+v", len(told), told)
		}
		s := l.Stats()
		if s.Sinks[0].Err != errTape || s.Sinks[0].Since.IsZero() {
			t.Errorf("got %+v, want the error %v, and since when", s, errTape)
		}
		out.set(func() { out.err = nil })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if last := told[len(told)-1]; !last.Over || last.Err != nil {
			t.Errorf("the end was told as %+v", last)
		}
		closeLog(l)
		synctest.Wait()
		s = l.Stats()
		exact(t, s)
		var dropped uint64
		for _, r := range told {
			dropped += r.Dropped
		}
		kept, lost := sum(t, out.String())
		if s.Sinks[0].Err != nil || dropped != s.Sinks[0].Dropped || kept != s.Sinks[0].Kept || lost != dropped ||
			kept == 0 || lost == 0 {
			t.Errorf("told %d, in the stream %d and %d: %+v", dropped, kept, lost, s)
		}
	})
}

// A sink that is down at the start is tried again though nothing waits, and one that comes and goes is not reported
// each time.
func TestSinkComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		out.err = errTape
		var told []Trouble
		o := options(out)
		o.Report = func(r Trouble) { told = append(told, r) }
		l := New(o)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(told); n < 4 || n > 11 || l.Stats().Sinks[0].Err != errTape {
			t.Errorf("%d reports in ten minutes", n)
		}
		out.set(func() { out.err = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if last := told[len(told)-1]; !last.Over || l.Stats().Sinks[0].Err != nil || l.Stats().Sinks[0].Lines != 1 {
			t.Errorf("got %+v, %+v, want that it is over, and a line", last, l.Stats())
		}
		told = nil
		for i := range 600 {
			out.set(func() {
				if out.err = nil; i%2 == 0 {
					out.err = errTape
				}
			})
			r := allowed()
			l.Append(&r)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := len(told); n < 2 || n > 22 {
			t.Errorf("%d reports of ten minutes in which it came and went", n)
		}
		closeLog(l)
		exact(t, l.Stats())
	})
}

// Another configuration: a sink that stays goes on, one that is set up otherwise takes over what waits, one that is
// left out ends.
func TestReconfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stays, moves, broken, leaves, useless := newTape(), newTape(), newTape(), newTape(), newTape()
		stays.name, moves.name, broken.name, leaves.name, useless.name = "stays", "moves", "other", "leaves", "useless"
		broken.err, useless.err = errTape, errTape
		l := New(options(stays, moves, broken, leaves, useless))
		add := func(n int) {
			for range n {
				r := allowed()
				l.Append(&r)
			}
			time.Sleep(10 * time.Millisecond)
		}
		add(10)
		same, moved, other, comes := newTape(), newTape(), newTape(), newTape()
		same.name, moved.name, other.name, comes.name = "stays", "moves", "other", "comes"
		moved.settings, other.settings = "another server", "another server"
		moved.err = errTape // at first
		l.Reconfigure(options(same, moved, other, comes))
		time.Sleep(10 * time.Millisecond)
		if kept, _ := sum(t, other.String()); kept != 10 {
			t.Errorf("what waited for the broken sink is not with the other immediately: %d", kept)
		}
		moved.set(func() { moved.err = nil })
		add(10)
		exact(t, Stats{Appended: 10, Sinks: l.Stats().Sinks[3:]})
		time.Sleep(stopPatience)
		var tried int
		useless.set(func() { tried = useless.opened })
		time.Sleep(time.Hour)
		useless.set(func() {
			if useless.opened != tried {
				t.Error("one that failed and was left out is tried forever")
			}
		})
		closeLog(l)
		for _, c := range []struct {
			name string
			tape *tape
			want uint64
		}{
			{"stays", stays, 20}, {"the same again", same, 0},
			{"moves", moves, 10}, {"moved", moved, 10},
			{"broken", broken, 0}, {"other", other, 20},
			{"leaves", leaves, 10}, {"comes", comes, 10},
		} {
			kept, dropped := sum(t, c.tape.String())
			v, _ := Verify(strings.NewReader(c.tape.String()))
			if kept != c.want || dropped != 0 || c.want > 0 && (!v.Good() || !v.Closed || len(v.Notes) > 0) {
				t.Errorf("%s has %d decisions, want %d; %+v", c.name, kept, c.want, v)
			}
		}
		for _, f := range l.Stats().Sinks {
			if f.Kept != f.Offered || f.Queued != 0 {
				t.Errorf("got %+v, want all that was offered kept", f)
			}
		}
		time.Sleep(time.Minute)
	})
}
