package audit

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Records in memory: those that fit, found by number, the repeated ones too.
func TestRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.RingBytes = 4096
		l := New(o)
		if first, last := l.Remembered(); first != 0 || last != 0 {
			t.Errorf("at first: got %d to %d remembered, want 0 and 0", first, last)
		}
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
		if len(all) < 10 || len(all) > 40 || all[0]["seq"] != float64(103-len(all)) || all[len(all)-1]["count"] != 2.0 {
			t.Errorf("%d lines: %v", len(all), all)
		}
		if got := lines(t, string(l.Last(2, nil))); len(got) != 2 || got[0]["seq"] != 101.0 || got[1]["seq"] != 103.0 {
			t.Errorf("the last two: %v", got)
		}
		served := func(r *Record) bool { return r.Reason.Allowed() }
		if got := lines(t, string(l.Last(2, served))); len(got) != 2 || got[0]["seq"] != 99.0 ||
			got[1]["seq"] != 100.0 {
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
		if first, last := l.Remembered(); first != uint64(103-len(all)) || last != 103 {
			t.Errorf("got %d to %d remembered, want %d to 103", first, last, 103-len(all))
		}
		for _, seq := range []uint64{0, 1, 104} {
			if line, ok := l.Find(seq); ok {
				t.Errorf("%d is %s", seq, line)
			}
		}
		for _, path := range []string{"/c", "/c", "", "/c"} { // another between those that are counted
			r := deniedAt(path)
			if path == "" {
				r = allowed()
			}
			l.Append(&r)
		}
		time.Sleep(time.Minute)
		for seq, want := range map[uint64]float64{104: 104, 105: 107, 106: 106, 107: 107} {
			line, ok := l.Find(seq)
			if got := lines(t, string(line)); !ok || len(got) != 1 || got[0]["seq"] != want {
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

// Who asks for the records in memory, all of them, keeps no other from its sink.
func TestLastHoldsNothingUp(t *testing.T) {
	out := newTape()
	l := New(options(out))
	r := allowed()
	l.Append(&r)
	kept := func(*Record) bool {
		r := allowed()
		l.Append(&r)
		before := len(out.String())
		for range 60_000 {
			if time.Sleep(time.Millisecond); len(out.String()) > before {
				return true
			}
		}
		return false
	}
	for range 60_000 {
		if time.Sleep(time.Millisecond); len(l.Last(1, nil)) > 0 {
			break
		}
	}
	if len(l.Last(1, kept)) == 0 {
		t.Error("no record came to the sink while others were read")
	}
	closeLog(l)
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
					t.Errorf("got %v, want a record, or how many were missed", line)
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
