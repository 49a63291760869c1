package audit

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"time"
)

const (
	// repeatPlaces is how many different denials are counted at once.
	repeatPlaces = 64
	// readPlaces is how many different things that clients read beyond the budget are counted at once. Over allPaths of them the
	// paths are left out.
	readPlaces = 128
	allPaths   = 96
)

// repeats counts decisions that are equal but for their tokens. What was counted within a time is one record at its end. It is not
// safe for concurrent use: the Log's lock is its own.
type repeats struct {
	seed   maphash.Seed
	within time.Duration // 0: nothing is counted together
	hashes []uint64
	places []repeat
	oldest int // the place to look at first for one to give up: they are filled in turn
	busy   int // places in which something was counted
}

// repeat is a decision that may come again.
type repeat struct {
	used   bool
	record []byte    // up to the token's texts; its head is that of those counted
	until  time.Time // zero: the time has not begun yet
}

func (r *repeat) count() uint64 { return binary.LittleEndian.Uint64(r.record[atCount:]) }

func newRepeats(places int) repeats {
	return repeats{seed: maphash.MakeSeed(), hashes: make([]uint64, places), places: make([]repeat, places)}
}

// find returns the place of a record that equals this one, or -1, and the hash of what makes it so.
func (r *repeats) find(record []byte) (place int, hash uint64) {
	hash = maphash.Bytes(r.seed, record[atKey:])
	for i, h := range r.hashes {
		if h == hash && r.places[i].used && bytes.Equal(r.places[i].record[atKey:], record[atKey:]) {
			return i, hash
		}
	}
	return -1, hash
}

// again counts one more of what is in a place. seen says that Options.Observe is shown it.
func (r *repeats) again(place int, record []byte, seen bool) {
	held := r.places[place].record
	n := binary.LittleEndian.Uint64(held[atCount:])
	if n == 0 {
		copy(held[atFirst:], record[atSeq:atTime])
		copy(held[atSince:], record[atTime:atCount])
		r.busy++
	}
	binary.LittleEndian.PutUint64(held[atCount:], n+1)
	if !seen {
		binary.LittleEndian.PutUint64(held[atUnseen:], binary.LittleEndian.Uint64(held[atUnseen:])+1)
	}
	copy(held[atSeq:], record[atSeq:atCount])
	held[atClock] = record[atClock]
	cut := binary.LittleEndian.Uint16(held[atCut:]) | binary.LittleEndian.Uint16(record[atCut:])&(1<<textToken-1)
	binary.LittleEndian.PutUint16(held[atCut:], cut)
}

// victim returns the record that must go out before another can take a place: nil if there is a place in which nothing was counted.
func (r *repeats) victim() []byte {
	for i := range r.places {
		if at := (r.oldest + i) % len(r.places); !r.places[at].used || r.places[at].count() == 0 {
			r.oldest = at
			return nil
		}
	}
	return r.places[r.oldest].record
}

// begin takes the place of the victim, which has gone out, and returns it.
func (r *repeats) begin(record []byte, hash uint64) (place int) {
	place = r.oldest
	p := &r.places[place]
	if p.used && p.count() > 0 {
		r.busy--
	}
	p.used, p.until = true, time.Time{}
	p.record = append(p.record[:0], record...)
	clear(p.record[atCount:atClock])
	p.record[atCached] = 0
	cut := binary.LittleEndian.Uint16(p.record[atCut:]) & (1<<textToken - 1)
	binary.LittleEndian.PutUint16(p.record[atCut:], cut)
	r.hashes[place] = hash
	r.oldest = (place + 1) % len(r.places)
	return place
}

// due appends to out, as items, the records whose time has ended, or all of them. It returns when to ask again, the zero time where
// nothing is counted, and how many decisions are held. What was repeated goes on being counted.
func (r *repeats) due(out *queue, now time.Time, all bool) (wake time.Time, held uint64) {
	for i := range r.places {
		p := &r.places[i]
		if !p.used {
			continue
		}
		if p.until.IsZero() {
			p.until = now.Add(r.within)
		}
		if all || !p.until.After(now) {
			if p.count() == 0 {
				p.used = false
				continue
			}
			start := out.begin(itemRecord)
			out.items = append(out.items, p.record...)
			out.end(start)
			clear(p.record[atCount:atDigest])
			r.busy--
			p.until = now.Add(r.within)
		}
		held += p.count()
		if wake.IsZero() || p.until.Before(wake) {
			wake = p.until
		}
	}
	return wake, held
}
