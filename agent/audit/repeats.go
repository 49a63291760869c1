package audit

import (
	"hash/maphash"
	"time"

	"nmosauthd/agent/wire"
)

const (
	// repeatPlaces is how many different denials are counted concurrently.
	repeatPlaces = 64
	// readPlaces is how many different things that clients read beyond the budget are counted concurrently. Over
	// allPaths of them the paths are left out.
	readPlaces = 128
	allPaths   = 96
	// reasonPlaces is how many different denials beyond the budget are: a caller, and the reason or what observe mode
	// says of it.
	reasonPlaces = (callerPlaces + 1) * wire.Reasons
)

// repeats counts decisions that are equal but for their tokens. What was counted within a time is one record at its
// end. It is not safe for concurrent use: the Log's lock is its own.
type repeats struct {
	seed   maphash.Seed
	within time.Duration // 0 if nothing is counted together
	most   int           // places
	hashes []uint64
	places []repeat // made when first needed
	oldest int      // the place to look at first for one to give up: they are filled in turn
	busy   int      // places in which something was counted
}

// repeat is a decision that may come again: its record without what tells tokens apart, with the Count of those
// that came since.
type repeat struct {
	Record
	used  bool
	until time.Time // zero: the time has not begun yet
}

func newRepeats(most int, within time.Duration) *repeats {
	return &repeats{seed: maphash.MakeSeed(), most: most, within: within}
}

// hashTexts returns the hash of the texts by which records are found.
func (r *repeats) hashTexts(record *Record) uint64 { return maphash.Bytes(r.seed, record.key()) }

// hash returns a record's hash, made from that of its texts.
func (r *repeats) hash(record *Record, ofTexts uint64) uint64 {
	return ofTexts + uint64(record.Reason)<<8 + uint64(record.Enforced)
}

// find returns the place of a record that equals this one, or -1. It looks first where one may be.
func (r *repeats) find(record *Record, hash uint64, first int) (place int) {
	if first < len(r.hashes) && r.is(first, record, hash) {
		return first
	}
	for i := range r.hashes {
		if r.is(i, record, hash) {
			return i
		}
	}
	return -1
}

// is reports whether a record that equals this one is counted in a place.
func (r *repeats) is(place int, record *Record, hash uint64) bool {
	return r.hashes[place] == hash && r.places[place].used && r.places[place].equals(record)
}

// again counts one more of what is in a place. seen says that Options.Observe is shown it.
func (r *repeats) again(place int, record *Record, seen bool) {
	p := &r.places[place]
	if p.Count == 0 {
		p.First, p.Since = record.Seq, record.Time
		r.busy++
	}
	p.Count++
	if !seen {
		p.unseen++
	}
	p.Seq, p.Time, p.Clock = record.Seq, record.Time, record.Clock
	p.cut |= record.cut &^ tokenTexts
}

// victim returns the place that must be emptied before another record can begin: nil if there is one in which
// nothing was counted.
func (r *repeats) victim() *repeat {
	if len(r.places) < r.most {
		r.oldest = len(r.places)
		return nil
	}
	for i := range r.places {
		if at := (r.oldest + i) % len(r.places); r.places[at].Count == 0 {
			r.oldest = at
			return nil
		}
	}
	return &r.places[r.oldest]
}

// empty forgets what was counted in a place.
func (r *repeats) empty(p *repeat) {
	p.Count, p.unseen = 0, 0
	r.busy--
}

// begin takes a place in which nothing was counted, for which victim has looked, and returns it.
func (r *repeats) begin(record *Record, hash uint64) (place int) {
	if place = r.oldest; place == len(r.places) {
		r.places, r.hashes = append(r.places, repeat{}), append(r.hashes, 0)
	}
	p := &r.places[place]
	p.copy(record, tokenTexts)
	p.Count, p.unseen, p.Digest, p.Cached = 0, 0, [16]byte{}, false
	p.used, p.until = true, time.Time{}
	r.hashes[place] = hash
	r.oldest = (place + 1) % r.most
	return place
}

// due copies to out a record whose time has ended, or any, and reports whether there was one; it goes on being
// counted. It brings wake forward to when to ask again.
func (r *repeats) due(out *Record, wake *time.Time, now time.Time, all bool) bool {
	for i := range r.places {
		p := &r.places[i]
		if !p.used {
			continue
		}
		if p.until.IsZero() {
			p.until = now.Add(r.within)
		}
		if all || !p.until.After(now) {
			if p.Count == 0 {
				p.used = false
				continue
			}
			out.copy(&p.Record, 0)
			r.empty(p)
			p.until = now.Add(r.within)
			return true
		}
		if wake.IsZero() || p.until.Before(*wake) {
			*wake = p.until
		}
	}
	return false
}
