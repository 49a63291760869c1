package audit

import (
	"context"
	"encoding/binary"
	"iter"
	"slices"
	"sync"
)

// ring keeps the last lines in memory.
type ring struct {
	mu    sync.Mutex
	limit int
	from  int    // of lines that are kept
	lines []byte // items, each first and last sequence number and the line without its end
}

const ringHead = 16

func (r *ring) resize(limit int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limit = limit
	r.trim()
}

func (r *ring) add(first, last uint64, line []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = binary.LittleEndian.AppendUint32(r.lines, uint32(ringHead+len(line)))
	r.lines = append(r.lines, itemLine)
	r.lines = binary.LittleEndian.AppendUint64(r.lines, first)
	r.lines = binary.LittleEndian.AppendUint64(r.lines, last)
	r.lines = append(r.lines, line...)
	r.trim()
}

// trim forgets the oldest lines over the limit. What they took is used again once it is as much as is kept.
func (r *ring) trim() {
	for len(r.lines)-r.from > r.limit {
		_, _, rest := next(r.lines[r.from:])
		r.from = len(r.lines) - len(rest)
	}
	if r.from > len(r.lines)/2 {
		r.lines = append(r.lines[:0], r.lines[r.from:]...)
		r.from = 0
	}
}

func (r *ring) all() iter.Seq2[lost, []byte] {
	return func(yield func(lost, []byte) bool) {
		for rest := r.lines[r.from:]; len(rest) > 0; {
			var item []byte
			_, item, rest = next(rest)
			l := lost{first: binary.LittleEndian.Uint64(item), last: binary.LittleEndian.Uint64(item[8:])}
			if !yield(l, item[ringHead:]) {
				return
			}
		}
	}
}

// Records returns the lines in memory that are about decisions after this sequence number, oldest first, each with a line feed.
// They are not numbered and chained, which is a matter of each sink.
func (l *Log) Records(after uint64) []byte {
	l.ring.mu.Lock()
	defer l.ring.mu.Unlock()
	var out []byte
	for span, line := range l.ring.all() {
		if span.last > after {
			out = append(append(out, line...), "}\n"...)
		}
	}
	return out
}

// Find returns the line in memory about a decision, without a line feed. Where equal ones were counted into one record, it may be
// one of several within which the number lies.
func (l *Log) Find(seq uint64) (line []byte, ok bool) {
	l.ring.mu.Lock()
	defer l.ring.mu.Unlock()
	for span, held := range l.ring.all() {
		if span.last == seq || span.first <= seq && seq <= span.last && !ok {
			line, ok = append(append(line[:0], held...), '}'), true
			if span.last == seq {
				break
			}
		}
	}
	return line, ok
}

// watcherBytes are held for a watcher that does not keep up.
const watcherBytes = 64 << 10

// watchers are those who look on.
type watchers struct {
	mu    sync.Mutex
	all   []*Watcher
	ended bool
}

// Watcher gets the lines of records as they are made. One goroutine at a time uses it.
type Watcher struct {
	list  *watchers
	match func(*Record) bool
	ready chan struct{}
	over  chan struct{}

	queue queue // under the list's lock
	batch []byte
	rest  []byte
}

// Watch returns a Watcher of the records that match; nil: of all. match is called on the Log's goroutine and must not keep the
// record. The Watcher must be closed.
func (l *Log) Watch(match func(*Record) bool) *Watcher {
	w := &Watcher{list: &l.watch, match: match, ready: make(chan struct{}, 1), over: make(chan struct{})}
	w.queue.limit = watcherBytes
	l.watch.mu.Lock()
	defer l.watch.mu.Unlock()
	if l.watch.ended {
		close(w.over)
	} else {
		l.watch.all = append(l.watch.all, w)
	}
	return w
}

// Next waits for the next line, which is valid until the next call and has no line feed. Before it, missed decisions were left
// out, since the caller did not keep up; then line may be nil. ok is false once ctx or the Log has ended.
func (w *Watcher) Next(ctx context.Context) (line []byte, missed uint64, ok bool) {
	for len(w.rest) == 0 {
		w.list.mu.Lock()
		if w.batch != nil {
			w.queue.release(len(w.batch))
			w.queue.recycle(w.batch)
		}
		w.batch = w.queue.take()
		w.rest = w.batch
		w.list.mu.Unlock()
		if len(w.rest) > 0 {
			break
		}
		select {
		case <-w.ready:
		case <-w.over:
			w.list.mu.Lock()
			empty := w.queue.used == 0
			w.list.mu.Unlock()
			if empty {
				return nil, 0, false
			}
		case <-ctx.Done():
			return nil, 0, false
		}
	}
	kind, item, rest := next(w.rest)
	w.rest = rest
	if kind == itemLost {
		return nil, readLost(item).count, true
	}
	return item, 0, true
}

// Close ends the watching.
func (w *Watcher) Close() {
	w.list.mu.Lock()
	defer w.list.mu.Unlock()
	w.list.all = slices.DeleteFunc(w.list.all, func(o *Watcher) bool { return o == w })
}

func (ws *watchers) put(r *Record, line []byte) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.all {
		switch {
		case w.match != nil && !w.match(r):
			continue
		case w.queue.room(len(line) + 1):
			w.queue.put(itemLine, line, []byte("}"))
		default:
			w.queue.lost.add(lost{r.Count, r.First, r.Seq})
		}
		signal(w.ready)
	}
}

func (ws *watchers) lose(l lost) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.all {
		w.queue.lost.add(l)
		signal(w.ready)
	}
}

func (ws *watchers) end() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.ended = true
	for _, w := range ws.all {
		close(w.over)
	}
	ws.all = nil
}
