package audit

// queue holds records in the order in which they came, in slots and a buffer for their texts that are made once: a
// record that is put in allocates nothing. It is not safe for concurrent use: its owner has a lock. What waits may
// be read without it, as long as it is not dropped from the front.
type queue struct {
	limit int    // bytes of slots and text that it should have
	size  int    // and those that it has
	slots []slot // used in turn
	front int    // the first in use
	n     int    // in use
	text  []byte // used in turn, each record's in one piece
	end   int    // of the last record's
	used  int    // bytes of text held
	lost  span   // decisions that found no room behind the last record
}

// slot is a place for a record. Its text is in the queue's buffer.
type slot struct {
	Record
	at      uint32 // offset of its text
	observe bool   // it is for Options.Observe alone: the decision was joined with others
	lost    span   // decisions that found no room before it
}

const (
	// slotBytes are what a slot takes: TestSlot holds it to that.
	slotBytes = 192
	// textBytes are what there is for a record's texts, on average. Common ones take about as much.
	textBytes = 192
)

// resize gives the queue so many bytes, for at least one record; as soon as what waits fits. 0 is a queue that
// takes none.
func (q *queue) resize(limit int) {
	q.limit = limit
	q.fit()
}

// fit brings the queue to its size.
func (q *queue) fit() {
	if q.limit == q.size {
		return
	}
	var slots, text int
	if q.limit > 0 {
		slots = max(q.limit/(slotBytes+textBytes), 1)
		text = max(q.limit-slots*slotBytes, maxTexts)
	}
	if q.n > slots || q.used+q.n > text {
		return
	}
	old := *q
	*q = queue{limit: old.limit, size: old.limit, slots: make([]slot, slots), text: make([]byte, text)}
	for i := range old.n {
		s := old.slot(i)
		q.lost = s.lost
		q.put(&s.Record, s.observe)
	}
	q.lost = old.lost
}

// slot returns the i-th in use.
func (q *queue) slot(i int) *slot { return &q.slots[(q.front+i)%len(q.slots)] }

// waiting returns the slots in use, in two parts since the slots are used in turn.
func (q *queue) waiting() [2][]slot {
	end := q.front + q.n
	return [2][]slot{q.slots[q.front:min(end, len(q.slots))], q.slots[:max(end-len(q.slots), 0)]}
}

// put copies a record to the end, if there is room; what was lost before it goes with it.
func (q *queue) put(r *Record, observe bool) bool {
	if q.n == len(q.slots) {
		return false
	}
	at, need := 0, max(len(r.text), 1) // so that front and end are the same only if the buffer is full
	if q.n > 0 {
		at = q.end
		start := int(q.slots[q.front].at)
		switch {
		case start >= at: // the free bytes are between the last record's and the first's
			if start-at < need {
				return false
			}
		case len(q.text)-at < need:
			if at = 0; start < need {
				return false
			}
		}
	}
	s := q.slot(q.n)
	s.Record.text = q.text[at:at:min(at+need, len(q.text))]
	s.Record.copy(r, 0)
	s.at, s.observe, s.lost = uint32(at), observe, q.takeLost()
	q.n++
	q.end = at + need
	q.used += len(r.text)
	return true
}

// drop frees the first slots.
func (q *queue) drop(n int) {
	for i := range n {
		q.used -= len(q.slot(i).text)
	}
	if q.n -= n; q.n > 0 {
		q.front = (q.front + n) % len(q.slots)
	} else {
		q.front = 0 // so that a queue in which little waits touches little memory
	}
	q.fit()
}

// idle reports whether nothing waits.
func (q *queue) idle() bool { return q.n == 0 && q.lost.count == 0 }

// half reports whether more than half of the room is taken.
func (q *queue) half() bool { return q.n > len(q.slots)/2 || q.used > len(q.text)/2 }

// bytes returns what the records that wait take.
func (q *queue) bytes() int { return q.n*slotBytes + q.used }

// takeLost returns, once, what was lost behind the last record.
func (q *queue) takeLost() span {
	l := q.lost
	q.lost = span{}
	return l
}

// records returns copies of those that wait.
func (q *queue) records() []Record {
	all, text := make([]Record, q.n), make([]byte, 0, q.used)
	for i := range all {
		r := &all[i]
		r.text = text[len(text):]
		r.copy(&q.slot(i).Record, 0)
		text = text[:len(text)+len(r.text)]
	}
	return all
}
