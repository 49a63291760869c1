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
	"nmosauthd/tinytest/spec"
)

// Many concurrent askers, with a sink that works, one that never returns, one that fails always and one that fails at
// times and writes parts of lines: decisions kept and dropped are all decisions, exactly, for each of them, and its
// lines say so too.
func TestCountsAreExact(t *testing.T) {
	spec.Rules(t, "OPS-2")
	t.Run("no budget", func(t *testing.T) { testCounts(t, Rates{}) })
	t.Run("budget", func(t *testing.T) { testCounts(t, Rates{Denials: 1, Allows: 10}) })
}

func testCounts(t *testing.T, rates Rates) {
	good, stuck, broken, moody := newTape(), newTape(), newTape(), newTape()
	good.name, stuck.name, broken.name, moody.name = "good", "stuck", "broken", "moody"
	stuck.stuck = make(chan struct{})
	defer close(stuck.stuck)
	broken.err = errTape
	o := options(good, stuck, broken, moody)
	o.QueueBytes = 16 << 10
	o.Repeat, o.Rates = 20*time.Millisecond, rates
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
				r.UID, r.Time, r.Reads = int64(a%2), time.Now().UnixMicro(), i%10 > 0
				l.Append(&r)
				if i%500 == 0 {
					moody.set(func() {
						moody.err, moody.short = nil, 0
						if i%1000 == 0 {
							moody.err, moody.short = errTape, 40
						}
					})
					time.Sleep(time.Millisecond)
					exact(t, l.Stats())
				}
			}
		})
	}
	asking.Wait()
	moody.set(func() { moody.err = nil })
	// What the end has time for must not depend on the machine.
	for deadline, queued := time.Now().Add(time.Minute), uint64(1); queued > 0 &&
		time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		s := l.Stats()
		queued = s.Pending + s.Sinks[0].Queued + s.Sinks[3].Queued
	}
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
			t.Errorf("%s: the stream says %d kept and %d dropped, closed: %v; the figures %+v",
				f.Name, v.Decisions, v.Dropped, v.Closed, f)
		}
		if f.Name == "good" && f.Kept == 0 {
			t.Error("nothing was kept where nothing was wrong")
		}
	}
}

// Equal denials are one record, whose count is theirs; what is different in any field that matters is not counted with
// them.
func TestRepeatedDenials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		l := New(options(out))
		for i := range 1000 {
			r := deniedAt("/a")
			r.Time = int64(i)
			r.JTI = fmt.Append(nil, i) // another token each time
			r.Digest[0], r.Cached = byte(i+1), i%2 == 0
			if i > 500 {
				r.Clock = ClockUnsynchronised
			}
			l.Append(&r)
		}
		time.Sleep(time.Second)
		if kept, _ := sum(t, out.String()); kept != 1 {
			t.Errorf("%d decisions after a second, want the first alone", kept)
		}
		if s := l.Stats(); s.Pending != 999 || s.Sinks[0].Kept != 1 {
			t.Errorf("got %+v, want 999 pending and 1 kept", s)
		}
		time.Sleep(10 * time.Second)
		got := lines(t, out.String())
		if len(got) != 3 {
			t.Fatalf("got %d lines, want 3:\n%s", len(got), out)
		}
		last := got[2]
		if fmt.Sprint([]any{last["count"], last["first"], last["seq"], last["since"], last["time"], last["clock"],
			last["jti"], last["digest"], last["cached"]}) !=
			"[999 2 1000 1970-01-01T00:00:00.000001Z 1970-01-01T00:00:00.000999Z unsynchronised <nil> <nil> <nil>]" {
			t.Errorf("got %v, want the 999 others in one record, without what tells tokens apart", last)
		}
		// It goes on being counted while it goes on: one record each time, and after a time without any it is new
		// again.
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
			t.Errorf("%d lines, want one more immediately", n)
		}
		closeLog(l)
		if kept, _ := sum(t, out.String()); kept != 1026 || l.Stats().Sinks[0].Kept != 1026 {
			t.Errorf("%d decisions of 1026, %+v", kept, l.Stats())
		}
	})
	for name, change := range map[string]func(*Decision){
		"uid": func(r *Decision) { r.UID++ }, "gid": func(r *Decision) { r.GID++ }, "pid": func(r *Decision) {
			r.PID++
		}, "question": func(r *Decision) { r.Question = wire.Verify }, "reason": func(r *Decision) {
			r.Reason = wire.PathClosed
		}, "would": func(r *Decision) { r.Enforced = wire.Expired }, "method": func(r *Decision) {
			r.Method = []byte("PUT")
		}, "path": func(r *Decision) { r.Path = []byte("/b") }, "denied": func(r *Decision) {
			r.Answers = []wire.Answer{
				{Target: []byte("/c")}}
		},
		"targets": func(r *Decision) { r.Targets = 3 }, "permitted": func(r *Decision) {
			r.Answers = []wire.Answer{{Target: []byte("/c"), Allowed: true}}
		}, "kind": func(r *Decision) { r.Kind = []byte("meter") }, "name": func(r *Decision) { r.Name = []byte("1") },
		"access": func(r *Decision) { r.Access = []byte("read") }, "issuer": func(r *Decision) { r.Issuer = nil },
		"subject": func(r *Decision) { r.Subject = nil }, "client": func(r *Decision) { r.Client = nil },
		"allowed": func(r *Decision) { r.Reason = wire.OK },
		// Texts side by side must not be taken for each other.
		"shifted": func(r *Decision) { r.Kind, r.Answers = []byte("x\n"), nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			out := newTape()
			l := New(options(out))
			r := deniedAt("/a")
			if name == "shifted" {
				r.Answers = []wire.Answer{{Target: []byte("x")}}
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
				t.Errorf("%s: got %d decisions, want 2", name, kept)
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

// A flood of one denial takes one place in the queue, though the sink is stuck, and a record that comes behind it is
// not lost.
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
		t.Errorf("got %+v, want 100001 kept and none dropped", s)
	}
}
