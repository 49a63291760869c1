package audit

import "encoding/binary"

// queue is a bounded number of bytes that wait. It is not safe for concurrent use: its owner has a lock.
type queue struct {
	limit int    // bytes held, those taken and not yet released included
	used  int    // of them
	items []byte // waiting: each four bytes of length, a kind, and itself
	spare []byte // to take the place of items while those are worked on
	lost  lost   // what did not fit behind the last item
}

// lost are decisions that found no room: how many, and between which sequence numbers.
type lost struct{ count, first, last uint64 }

func (l *lost) add(m lost) {
	if l.count == 0 || m.first < l.first {
		l.first = m.first
	}
	l.last = max(l.last, m.last)
	l.count += m.count
}

// Kinds of items.
const (
	itemRecord = 'r' // a record, in the Log's queue
	itemSeen   = 's' // a record for Options.Observe alone, in the Log's queue: the decision was joined with others
	itemLine   = 'l' // a line, in that of a sink
	itemLost   = 'd' // a lost
)

const (
	itemHead = 5             // bytes before an item
	lostSize = itemHead + 24 // bytes of an item of kind itemLost
)

// room reports whether n more bytes fit. One item always does, however long, into a queue that is empty.
func (q *queue) room(n int) bool {
	if q.used == 0 {
		return true
	}
	if q.lost.count > 0 {
		n += lostSize
	}
	return q.used+itemHead+n <= q.limit
}

// begin starts an item at the end of the queue, behind what tells of those lost, and returns where.
func (q *queue) begin(kind byte) int {
	q.tell()
	start := len(q.items)
	q.items = append(q.items, 0, 0, 0, 0, kind)
	return start
}

// end ends the item that was begun at start.
func (q *queue) end(start int) {
	binary.LittleEndian.PutUint32(q.items[start:], uint32(len(q.items)-start-itemHead))
	q.used += len(q.items) - start
}

// tell puts what was lost into the queue, behind the items that came before.
func (q *queue) tell() {
	if q.lost.count == 0 {
		return
	}
	l := q.lost
	q.lost = lost{}
	start := q.begin(itemLost)
	q.items = binary.LittleEndian.AppendUint64(q.items, l.count)
	q.items = binary.LittleEndian.AppendUint64(q.items, l.first)
	q.items = binary.LittleEndian.AppendUint64(q.items, l.last)
	q.end(start)
}

func readLost(b []byte) lost {
	return lost{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])}
}

// take returns all that waits. It counts as held until it is released, and is given back to recycle.
func (q *queue) take() []byte {
	q.tell()
	batch := q.items
	q.items, q.spare = q.spare[:0], nil
	return batch
}

func (q *queue) release(n int) { q.used -= n }

func (q *queue) recycle(batch []byte) { q.spare = batch[:0] }

// next splits the first item off a batch.
func next(batch []byte) (kind byte, item, rest []byte) {
	end := itemHead + int(binary.LittleEndian.Uint32(batch))
	return batch[4], batch[itemHead:end:end], batch[end:]
}

// put appends an item; room must have been asked for.
func (q *queue) put(kind byte, item []byte) {
	start := q.begin(kind)
	q.items = append(q.items, item...)
	q.end(start)
}
