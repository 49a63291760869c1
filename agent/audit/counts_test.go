package audit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/wire"
)

// Many askers at once, with a sink that works, one that never returns, one that fails always and one that fails at times and
// writes parts of lines: decisions kept and dropped are all decisions, exactly, for each of them, and its lines say so too.
func TestCountsAreExact_OPS2(t *testing.T) {
	good, stuck, broken, moody := newTape(), newTape(), newTape(), newTape()
	good.name, stuck.name, broken.name, moody.name = "good", "stuck", "broken", "moody"
	stuck.stuck = make(chan struct{})
	defer close(stuck.stuck)
	broken.err = errTape
	o := options(good, stuck, broken, moody)
	o.QueueBytes = 16 << 10
	o.Repeat = 20 * time.Millisecond
	var seen uint64
	o.Observe = func(r *Record) { seen += r.Count }
	l := New(o)
	const askers, each = 8, 4000
	var asking sync.WaitGroup
	for a := range askers {
		asking.Go(func() {
			random := rand.New(rand.NewPCG(uint64(a), 1))
			for i := range each {
				r := allowed()
				switch random.IntN(4) {
				case 0: // the same again and again
					r = deniedAt("/same")
				case 1: // more different ones than there are places
					r = deniedAt(fmt.Sprintf("/%d/%s", random.IntN(200), strings.Repeat("a", random.IntN(1500))))
				}
				r.UID = int64(a % 2)
				l.Append(&r)
				if i%500 == 0 {
					moody.set(func() {
						moody.err, moody.short = nil, 0
						if i%1000 == 0 {
							moody.err, moody.short = errTape, 40
						}
					})
					time.Sleep(time.Millisecond)
					for _, f := range l.Stats().Sinks {
						if f.Kept+f.Dropped+f.Queued != f.Offered {
							t.Errorf("%+v", f)
						}
					}
				}
			}
		})
	}
	asking.Wait()
	moody.set(func() { moody.err = nil })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	l.Close(ctx)
	late := allowed()
	l.Append(&late)
	s := l.Stats()
	exact(t, s)
	if s.Appended != askers*each+1 || s.Pending != 0 || seen+s.Lost != s.Appended {
		t.Errorf("%+v, %d observed", s, seen)
	}
	for i, tape := range []*tape{good, stuck, broken, moody} {
		f := s.Sinks[i]
		t.Logf("%s: kept %d, dropped %d of %d", f.Name, f.Kept, f.Dropped, f.Offered)
		if f.Queued != 0 {
			t.Errorf("%s: %d are queued after the end", f.Name, f.Queued)
		}
		if f.Name == "stuck" || f.Name == "broken" {
			if f.Kept != 0 || f.Dropped != s.Appended {
				t.Errorf("%s: kept %d, dropped %d of %d", f.Name, f.Kept, f.Dropped, s.Appended)
			}
			continue
		}
		text := tape.String()
		v, err := Verify(strings.NewReader(text))
		if err != nil || !v.Good() {
			t.Fatalf("%s: %v, %v", f.Name, v.Faults, err)
		}
		// The one that came after the end is the only one that the stream cannot tell of.
		if v.Decisions != f.Kept || v.Dropped != f.Dropped-1 || !v.Closed {
			t.Errorf("%s: the stream says %d kept and %d dropped, closed: %v; the figures %+v", f.Name, v.Decisions, v.Dropped, v.Closed, f)
		}
		if f.Name == "good" && f.Kept == 0 {
			t.Error("nothing was kept where nothing was wrong")
		}
	}
}

// Equal denials are one record, whose count is theirs; what is different in any field that matters is not counted with them.
func TestRepeatedDenials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		l := New(options(out))
		for i := range 1000 {
			r := deniedAt("/a")
			r.Time = int64(i)
			r.JTI = fmt.Append(nil, i) // another token each time
			r.Digest[0], r.Cached = byte(i), i%2 == 0
			l.Append(&r)
		}
		time.Sleep(time.Second)
		if kept, _ := sum(t, out.String()); kept != 1 {
			t.Errorf("%d decisions after a second, want the first alone", kept)
		}
		if s := l.Stats(); s.Pending != 999 || s.Sinks[0].Kept != 1 {
			t.Errorf("%+v", s)
		}
		time.Sleep(10 * time.Second)
		got := lines(t, out.String())
		if len(got) != 3 {
			t.Fatalf("%s", out)
		}
		last := got[2]
		if fmt.Sprint([]any{last["count"], last["first"], last["seq"], last["since"], last["time"], last["jti"], last["digest"], last["cached"]}) !=
			"[999 2 1000 1970-01-01T00:00:00.000001Z 1970-01-01T00:00:00.000999Z <nil> <nil> <nil>]" {
			t.Errorf("%v", last)
		}
		// It goes on being counted while it goes on: one record each time, and after a time without any it is new again.
		for range 25 {
			r := deniedAt("/a")
			l.Append(&r)
			time.Sleep(time.Second)
		}
		time.Sleep(30 * time.Second)
		if n := len(lines(t, out.String())); n != 6 {
			t.Errorf("%d lines after 25 more in 25 s, want 3 more: %s", n, out)
		}
		r := deniedAt("/a")
		l.Append(&r)
		time.Sleep(time.Second)
		if n := len(lines(t, out.String())); n != 7 {
			t.Errorf("%d lines, want one more at once", n)
		}
		closeLog(l)
		if kept, _ := sum(t, out.String()); kept != 1026 || l.Stats().Sinks[0].Kept != 1026 {
			t.Errorf("%d decisions of 1026, %+v", kept, l.Stats())
		}
	})
	for name, change := range map[string]func(*Record){
		"uid": func(r *Record) { r.UID++ }, "gid": func(r *Record) { r.GID++ }, "pid": func(r *Record) { r.PID++ }, "question": func(r *Record) { r.Question = wire.Verify },
		"reason": func(r *Record) { r.Reason = wire.PathClosed }, "would": func(r *Record) { r.Enforced = wire.Expired },
		"method": func(r *Record) { r.Method = []byte("PUT") }, "path": func(r *Record) { r.Path = []byte("/b") },
		"denied": func(r *Record) { r.Denied = []byte("denied=/c\n") }, "targets": func(r *Record) { r.Targets = 3 },
		"kind": func(r *Record) { r.Kind = []byte("meter") }, "name": func(r *Record) { r.Name = []byte("1") },
		"access": func(r *Record) { r.Access = []byte("read") }, "issuer": func(r *Record) { r.Issuer = nil },
		"subject": func(r *Record) { r.Subject = nil }, "client": func(r *Record) { r.Client = nil },
		"allowed": func(r *Record) { r.Reason = wire.OK },
		// Texts side by side must not be taken for each other.
		"shifted": func(r *Record) { r.Kind, r.Denied = []byte("x"), nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			out := newTape()
			l := New(options(out))
			r := deniedAt("/a")
			if name == "shifted" {
				r.Denied = []byte("x")
			}
			l.Append(&r)
			change(&r)
			l.Append(&r)
			closeLog(l)
			for _, m := range lines(t, out.String()) {
				if m["count"] != nil || m["event"] == nil && m["seq"] == nil {
					t.Errorf("two that differ in %s were counted together: %v", name, m)
				}
			}
			if kept, _ := sum(t, out.String()); kept != 2 {
				t.Errorf("%s: %d", name, kept)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		o := options(out)
		o.Repeat = 0
		l := New(o)
		for range 5 {
			r := deniedAt("/a")
			l.Append(&r)
		}
		time.Sleep(time.Second)
		if n := len(lines(t, out.String())); n != 6 {
			t.Errorf("with repeat = 0s %d lines, want one each", n)
		}
		closeLog(l)
	})
}

// More different denials than are counted at a time: those that make place come out with their count.
func TestRepeatsMakePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		l := New(options(out))
		const different, each = repeatPlaces + 10, 3
		for i := range different {
			for range each {
				r := deniedAt(fmt.Sprint("/", i))
				l.Append(&r)
			}
		}
		time.Sleep(time.Second)
		if n := len(lines(t, out.String())); n != 1+different+10 {
			t.Errorf("%d lines", n)
		}
		closeLog(l)
		if kept, _ := sum(t, out.String()); kept != different*each {
			t.Errorf("%d decisions", kept)
		}
	})
}

// A flood of one denial takes one place in the queue, though the sink is stuck, and a record that comes behind it is not lost.
func TestFloodTakesNoPlace(t *testing.T) {
	stuck := newTape()
	stuck.stuck = make(chan struct{})
	o := options(stuck)
	o.QueueBytes, o.Repeat = 4096, time.Hour
	l := New(o)
	for range 100_000 {
		r := deniedAt("/a")
		l.Append(&r)
	}
	r := allowed()
	l.Append(&r)
	close(stuck.stuck)
	closeLog(l)
	s := l.Stats()
	exact(t, s)
	if s.Sinks[0].Kept != 100_001 || s.Sinks[0].Dropped != 0 {
		t.Errorf("%+v", s)
	}
}

// With wait no record is dropped while a sink is stuck, decisions wait, and go on when it does; Release lets them go without it.
func TestWait(t *testing.T) {
	for _, released := range []bool{false, true} {
		stuck := newTape()
		stuck.stuck = make(chan struct{})
		o := options(stuck)
		o.Wait, o.QueueBytes = true, 4096
		l := New(o)
		const askers, each = 4, 200
		var asking sync.WaitGroup
		for range askers {
			asking.Go(func() {
				for range each {
					r := allowed()
					l.Append(&r)
				}
			})
		}
		done := make(chan struct{})
		go func() { asking.Wait(); close(done) }()
		select {
		case <-done:
			t.Fatal("nobody waited for a sink that is stuck")
		case <-time.After(100 * time.Millisecond):
		}
		if s := l.Stats(); s.Sinks[0].Dropped != 0 || s.Appended == askers*each {
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
		s := l.Stats()
		exact(t, s)
		if s.Appended != askers*each || released != (s.Sinks[0].Dropped > 0) {
			t.Errorf("released: %v: %+v", released, s)
		}
	}
}

// A stuck sink costs itself alone, and Close leaves it behind when its time is over.
func TestStuckSinkIsAlone(t *testing.T) {
	stuck, good := newTape(), newTape()
	stuck.name = "stuck"
	stuck.stuck = make(chan struct{})
	defer close(stuck.stuck)
	var mu sync.Mutex
	var told []Trouble
	o := options(stuck, good)
	o.Report = func(r Trouble) { mu.Lock(); told = append(told, r); mu.Unlock() }
	l := New(o)
	for i := range 2000 {
		r := allowed()
		l.Append(&r)
		for i%50 == 0 { // as fast as the good one can follow, so that all that is lost is lost by the other
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
		t.Errorf("%+v", s)
	}
	for range 100 {
		mu.Lock()
		n := len(told)
		mu.Unlock()
		if n > 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	mu.Lock()
	defer mu.Unlock()
	var dropped uint64
	for _, r := range told {
		dropped += r.Dropped
	}
	if len(told) != 2 || dropped != 2000 {
		t.Errorf("reported %+v", told)
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
			t.Errorf("%+v", s)
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
		if s.Sinks[0].Err != nil || dropped != s.Sinks[0].Dropped || kept != s.Sinks[0].Kept || lost != dropped || kept == 0 || lost == 0 {
			t.Errorf("told %d, in the stream %d and %d: %+v", dropped, kept, lost, s)
		}
	})
}

// A sink that is down at the start is tried again though nothing waits, and one that comes and goes is not reported each time.
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
			t.Errorf("%+v, %+v", last, l.Stats())
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

// Another configuration: a sink that stays goes on, one that is set up otherwise takes over what waits, one that is left out ends.
func TestReconfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stays, broken, leaves := newTape(), newTape(), newTape()
		stays.name, broken.name, leaves.name = "stays", "other", "leaves"
		broken.err = errTape
		l := New(options(stays, broken, leaves))
		add := func(n int) {
			for range n {
				r := allowed()
				l.Append(&r)
			}
			time.Sleep(10 * time.Millisecond)
		}
		add(10)
		same, other, comes := newTape(), newTape(), newTape()
		same.name, other.name, comes.name = "stays", "other", "comes"
		other.settings = "another server"
		l.Reconfigure(options(same, other, comes))
		time.Sleep(10 * time.Millisecond)
		if kept, _ := sum(t, other.String()); kept != 10 {
			t.Errorf("what waited for the broken sink is not with the other at once: %d", kept)
		}
		add(10)
		closeLog(l)
		for _, c := range []struct {
			name string
			tape *tape
			want uint64
		}{{"stays", stays, 20}, {"the same again", same, 0}, {"broken", broken, 0}, {"other", other, 20}, {"leaves", leaves, 10}, {"comes", comes, 10}} {
			kept, dropped := sum(t, c.tape.String())
			v, _ := Verify(strings.NewReader(c.tape.String()))
			if kept != c.want || dropped != 0 || c.want > 0 && (!v.Good() || !v.Closed) {
				t.Errorf("%s has %d decisions, want %d; %+v", c.name, kept, c.want, v)
			}
		}
		for _, f := range l.Stats().Sinks {
			if f.Kept != f.Offered || f.Queued != 0 {
				t.Errorf("%+v", f)
			}
		}
		time.Sleep(time.Minute)
	})
}

// Records in memory: those that fit, found by number, the repeated ones too.
func TestRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.RingBytes = 4096
		l := New(o)
		for range 100 {
			r := allowed()
			l.Append(&r)
		}
		for range 3 {
			r := deniedAt("/b")
			l.Append(&r)
		}
		time.Sleep(time.Minute)
		all := lines(t, string(l.Last(1000, nil)))
		if len(all) < 10 || len(all) > 40 || all[0]["seq"] != float64(104-len(all)) && all[len(all)-1]["count"] != 2.0 {
			t.Errorf("%d lines: %v", len(all), all)
		}
		if got := lines(t, string(l.Last(2, nil))); len(got) != 2 || got[0]["seq"] != 101.0 || got[1]["seq"] != 103.0 {
			t.Errorf("the last two: %v", got)
		}
		served := func(r *Record) bool { return r.Reason.Allowed() }
		if got := lines(t, string(l.Last(2, served))); len(got) != 2 || got[0]["seq"] != 99.0 || got[1]["seq"] != 100.0 {
			t.Errorf("the last two served: %v", got)
		}
		if got := l.Last(0, nil); len(got) != 0 {
			t.Errorf("the last none: %s", got)
		}
		for seq, want := range map[uint64]float64{100: 100, 101: 101, 102: 103, 103: 103} {
			line, ok := l.Find(seq)
			if got := lines(t, string(line)); !ok || len(got) != 1 || got[0]["seq"] != want {
				t.Errorf("%d is %s", seq, line)
			}
		}
		for _, seq := range []uint64{0, 1, 104} {
			if line, ok := l.Find(seq); ok {
				t.Errorf("%d is %s", seq, line)
			}
		}
		l.Reconfigure(Options{QueueBytes: 4096, RingBytes: 200})
		if n := len(lines(t, string(l.Last(1000, nil)))); n != 1 {
			t.Errorf("%d records in 200 bytes", n)
		}
		closeLog(l)
	})
}

// A watcher gets what it asks for, once, those in memory first; one that is slow is told how many it missed.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Repeat, o.RingBytes = 0, 64<<10
		l := New(o)
		r, d := allowed(), deniedAt("/b")
		l.Append(&r)
		l.Append(&r)
		synctest.Wait()
		time.Sleep(time.Second)
		all, denials := l.Watch(1, nil), l.Watch(10, func(r *Record) bool { return !r.Reason.Allowed() })
		l.Append(&r)
		l.Append(&d)
		ctx := t.Context()
		next := func(w *Watcher) (members []map[string]any) {
			t.Helper()
			text, ok := w.Next(ctx)
			if !ok {
				t.Fatal("it ended early")
			}
			return lines(t, string(text))
		}
		if got := next(all); len(got) != 1 || got[0]["seq"] != 2.0 {
			t.Errorf("of those before: %v", got)
		}
		if got := next(all); len(got) != 2 || got[0]["seq"] != 3.0 || got[1]["seq"] != 4.0 {
			t.Errorf("then: %v", got)
		}
		if got := next(denials); len(got) != 1 || got[0]["path"] != "/b" {
			t.Errorf("denials: %v", got)
		}
		const many = 2000
		for i := range many {
			l.Append(&r)
			if i%20 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		time.Sleep(time.Second)
		var got, missed uint64
		for got+missed < many {
			for _, line := range next(all) {
				switch line["event"] {
				case nil:
					got++
				case "missed":
					missed += uint64(line["count"].(float64))
				default:
					t.Errorf("%v", line)
				}
			}
		}
		if missed == 0 || got < 100 || got+missed != many || l.Stats().Lost != 0 {
			t.Errorf("got %d, missed %d", got, missed)
		}
		denials.Close()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, ok := all.Next(short); ok {
			t.Error("a line after the last")
		}
		var more []*Watcher
		for w := l.Watch(0, nil); w != nil; w = l.Watch(0, nil) {
			more = append(more, w)
		}
		if len(more) != MaxWatchers-1 {
			t.Errorf("%d more watchers", len(more))
		}
		for _, w := range more {
			w.Close()
		}
		closeLog(l)
		if _, ok := all.Next(ctx); ok {
			t.Error("a line after the end")
		}
		if _, ok := l.Watch(0, nil).Next(ctx); ok {
			t.Error("a line for one who comes after the end")
		}
	})
}
