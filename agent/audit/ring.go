package audit

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
)

// ring keeps the last records in memory, and tells the watchers of each. One lock is for both, so that a watcher
// who begins with those in memory gets each record once.
type ring struct {
	mu       sync.Mutex
	kept     queue
	watchers []*Watcher
	ended    bool
}

func (r *ring) resize(limit int) {
	r.mu.Lock()
	for r.kept.resize(limit); r.kept.size != limit; {
		r.kept.drop(1)
	}
	r.mu.Unlock()
}

// add takes a record.
func (r *ring) add(record *Record) {
	r.mu.Lock()
	for !r.kept.put(record, false) && r.kept.n > 0 {
		r.kept.drop(1)
	}
	for _, w := range r.watchers {
		if w.match == nil || w.match(record) {
			if !w.queue.put(record, false) {
				w.queue.lost.add(record.decisions())
			}
			signal(w.ready)
		}
	}
	r.mu.Unlock()
}

// linesOf returns the lines of the last records that match.
func linesOf(records []Record, most int, match func(*Record) bool) (lines []byte) {
	var wanted []*Record
	for i := range records {
		if r := &records[i]; match == nil || match(r) {
			wanted = append(wanted, r)
		}
	}
	for _, r := range wanted[max(0, len(wanted)-most):] {
		lines = append(appendRecord(lines, r, MaxPath), "}\n"...)
	}
	return lines
}

// Last returns the lines of the last records in memory that match, nil matching all. They are oldest first, each has a
// line feed, and there are at most so many. They are not numbered and chained, which is a matter of each sink.
func (l *Log) Last(most int, match func(*Record) bool) []byte {
	l.ring.mu.Lock()
	records := l.ring.kept.records()
	l.ring.mu.Unlock() // no record waits until they are lines
	return linesOf(records, most, match)
}

// Find returns the line about a decision in memory, without a line feed. Where equal ones were counted into one
// record, it may be one of several within which the number lies.
func (l *Log) Find(seq uint64) (line []byte, ok bool) {
	exact := false
	line = l.Last(1, func(r *Record) bool {
		exact = exact || r.Seq == seq
		return r.Seq == seq || !exact && r.First <= seq && seq <= r.Seq
	})
	return bytes.TrimSuffix(line, []byte("\n")), len(line) > 0
}

// Remembered returns the numbers of the first and the last decision in memory; 0 and 0 if there is none.
func (l *Log) Remembered() (first, last uint64) {
	l.ring.mu.Lock()
	for _, r := range l.ring.kept.records() {
		if from := cmp.Or(r.First, r.Seq); first == 0 || from < first {
			first = from
		}
		last = max(last, r.Seq)
	}
	l.ring.mu.Unlock()
	return first, last
}

const (
	// MaxWatchers is how many may look on at a time.
	MaxWatchers = 8
	// watcherBytes are held for a watcher, until it asks for them.
	watcherBytes = 64 << 10
)

// Watcher gets the lines of records as they are made. One goroutine at a time uses it.
type Watcher struct {
	ring  *ring
	match func(*Record) bool
	ready chan struct{}
	first []byte // lines of those in memory when it began
	lines []byte // the caller's
	queue queue  // under the ring's lock; what is lost there was missed
}

// Watch returns a Watcher of the records that match, nil matching all. It begins with the last so many in memory. match
// is called on the Log's goroutine, too, and must not keep the record. The Watcher must be closed; it is nil if
// there are MaxWatchers.
func (l *Log) Watch(last int, match func(*Record) bool) *Watcher {
	r := &l.ring
	w := &Watcher{ring: r, match: match, ready: make(chan struct{}, 1)}
	r.mu.Lock()
	if len(r.watchers) == MaxWatchers {
		r.mu.Unlock()
		return nil
	}
	w.queue.resize(watcherBytes)
	r.watchers = append(r.watchers, w)
	records := r.kept.records()
	r.mu.Unlock()
	w.first = linesOf(records, last, match)
	return w
}

// Next waits for lines and returns those that there are, each with a line feed. They are valid until the next call.
// Where the caller does not keep up, decisions are left out, and a line says how many:
// {"audit":1,"event":"missed","count":57}. ok is false once ctx or the Log has ended.
func (w *Watcher) Next(ctx context.Context) (lines []byte, ok bool) {
	if len(w.first) > 0 {
		lines, w.first = w.first, nil
		return lines, true
	}
	for {
		w.ring.mu.Lock()
		batch, n, lost, ended := w.queue.waiting(), w.queue.n, w.queue.takeLost(), w.ring.ended
		w.ring.mu.Unlock()
		w.lines = w.lines[:0]
		for _, part := range batch {
			for i := range part {
				w.tell(part[i].lost)
				w.lines = append(appendRecord(w.lines, &part[i].Record, MaxPath), "}\n"...)
			}
		}
		w.tell(lost)
		w.ring.mu.Lock()
		w.queue.drop(n)
		w.ring.mu.Unlock()
		if len(w.lines) > 0 {
			return w.lines, true
		}
		if ended {
			return nil, false
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return nil, false
		}
	}
}

// Close ends the watching.
func (w *Watcher) Close() {
	w.ring.mu.Lock()
	w.ring.watchers = slices.DeleteFunc(w.ring.watchers, func(o *Watcher) bool { return o == w })
	w.ring.mu.Unlock()
}

// tell adds a line about decisions that were missed.
func (w *Watcher) tell(s span) {
	if s.count > 0 {
		w.lines = appendWord(append(w.lines, lineBegin...), "event", "missed")
		w.lines = appendNumber(w.lines, "count", s.count)
		w.lines = append(w.lines, "}\n"...)
	}
}

// lose tells the watchers of decisions that were dropped before they came here.
func (r *ring) lose(l span) {
	r.mu.Lock()
	for _, w := range r.watchers {
		w.queue.lost.add(l)
		signal(w.ready)
	}
	r.mu.Unlock()
}

func (r *ring) end() {
	r.mu.Lock()
	r.ended = true
	for _, w := range r.watchers {
		signal(w.ready)
	}
	r.mu.Unlock()
}
