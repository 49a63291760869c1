package audit

import (
	"bytes"
	"context"
	"slices"
	"sync"
)

// ring keeps the last records in memory, and tells the watchers of each. One lock is for both, so that a watcher who begins with
// those in memory gets each record once.
type ring struct {
	mu       sync.Mutex
	limit    int
	from     int    // of records that are kept
	items    []byte // each as in a queue
	watchers []*Watcher
	ended    bool
}

func (r *ring) resize(limit int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limit = limit
	r.trim()
}

// add takes a record, in its form in memory and as a line without its end.
func (r *ring) add(item []byte, record *Record, line []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := queue{items: r.items}
	q.put(itemRecord, item)
	r.items = q.items
	r.trim()
	for _, w := range r.watchers {
		if w.match == nil || w.match(record) {
			w.put(record, line)
		}
	}
}

// trim forgets the oldest records over the limit. What they took is used again once it is as much as is kept.
func (r *ring) trim() {
	for len(r.items)-r.from > r.limit {
		_, _, rest := next(r.items[r.from:])
		r.from = len(r.items) - len(rest)
	}
	if r.from > len(r.items)/2 {
		r.items = append(r.items[:0], r.items[r.from:]...)
		r.from = 0
	}
}

// linesOf returns the lines of the last records that match.
func linesOf(items []byte, most int, match func(*Record) bool) (lines []byte) {
	var record Record
	var at []int
	for rest := items; len(rest) > 0; {
		start := len(items) - len(rest)
		var item []byte
		_, item, rest = next(rest)
		if record.read(item); match == nil || match(&record) {
			at = append(at, start)
		}
	}
	for _, start := range at[max(0, len(at)-most):] {
		_, item, _ := next(items[start:])
		record.read(item)
		lines = append(appendRecord(lines, &record, MaxPath), "}\n"...)
	}
	return lines
}

// Last returns the lines of the last records in memory that match, nil: of all. They are oldest first, each has a line feed, and
// there are at most so many. They are not numbered and chained, which is a matter of each sink.
func (l *Log) Last(most int, match func(*Record) bool) []byte {
	l.ring.mu.Lock()
	items := bytes.Clone(l.ring.items[l.ring.from:])
	l.ring.mu.Unlock() // no record waits until they are lines
	return linesOf(items, most, match)
}

// Find returns the line about a decision in memory, without a line feed. Where equal ones were counted into one record, it may be
// one of several within which the number lies.
func (l *Log) Find(seq uint64) (line []byte, ok bool) {
	exact := false
	line = l.Last(1, func(r *Record) bool {
		exact = exact || r.Seq == seq
		return r.Seq == seq || !exact && r.First <= seq && seq <= r.Seq
	})
	return bytes.TrimSuffix(line, []byte("\n")), len(line) > 0
}

const (
	// MaxWatchers is how many may look on at a time.
	MaxWatchers = 8
	// watcherBytes are held for a watcher that does not keep up.
	watcherBytes = 64 << 10
)

// Watcher gets the lines of records as they are made. One goroutine at a time uses it.
type Watcher struct {
	ring  *ring
	match func(*Record) bool
	ready chan struct{}
	first []byte // of those in memory when it began
	taken []byte // the caller's

	// Under the ring's lock.
	text   []byte
	missed lost
}

// Watch returns a Watcher of the records that match, nil: of all. It begins with the last so many in memory. match is called on
// the Log's goroutine, too, and must not keep the record. The Watcher must be closed; it is nil where there are MaxWatchers.
func (l *Log) Watch(last int, match func(*Record) bool) *Watcher {
	r := &l.ring
	w := &Watcher{ring: r, match: match, ready: make(chan struct{}, 1)}
	r.mu.Lock()
	if len(r.watchers) == MaxWatchers {
		r.mu.Unlock()
		return nil
	}
	r.watchers = append(r.watchers, w)
	items := bytes.Clone(r.items[r.from:])
	r.mu.Unlock()
	w.first = linesOf(items, last, match)
	return w
}

// Next waits for lines and returns those that there are, each with a line feed. They are valid until the next call. Where the
// caller does not keep up, decisions are left out, and a line says how many: {"audit":1,"event":"missed","count":57}. ok is false
// once ctx or the Log has ended.
func (w *Watcher) Next(ctx context.Context) (lines []byte, ok bool) {
	if len(w.first) > 0 {
		lines, w.first = w.first, nil
		return lines, true
	}
	for {
		w.ring.mu.Lock()
		w.tell()
		w.taken, w.text = w.text, w.taken[:0]
		ended := w.ring.ended
		w.ring.mu.Unlock()
		if len(w.taken) > 0 {
			return w.taken, true
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
	defer w.ring.mu.Unlock()
	w.ring.watchers = slices.DeleteFunc(w.ring.watchers, func(o *Watcher) bool { return o == w })
}

// put is called with the lock held.
func (w *Watcher) put(r *Record, line []byte) {
	if len(w.text)+len(line) > watcherBytes {
		w.missed.add(lost{r.Count, r.First, r.Seq})
	} else {
		w.tell()
		w.text = append(append(w.text, line...), "}\n"...)
	}
	signal(w.ready)
}

// tell puts in what was missed.
func (w *Watcher) tell() {
	if w.missed.count > 0 {
		w.text = appendNumber(append(w.text, `{"audit":1,"event":"missed"`...), "count", w.missed.count)
		w.text = append(w.text, "}\n"...)
		w.missed = lost{}
	}
}

// lose tells the watchers of decisions that were dropped before they came here.
func (r *ring) lose(l lost) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.watchers {
		w.missed.add(l)
		signal(w.ready)
	}
}

func (r *ring) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	for _, w := range r.watchers {
		signal(w.ready)
	}
}
