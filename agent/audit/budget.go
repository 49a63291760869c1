package audit

import (
	"math"
	"time"

	"nmosauthd/agent/wire"
)

const (
	// callerPlaces is how many callers have a budget of their own at a time. Further ones share one.
	callerPlaces = 8
	// savedSeconds is how many seconds of its budget a caller can save up, so that what a controller does at its start has its lines.
	savedSeconds = 10
	// joinEvery is how long decisions beyond a budget are counted before their record is written.
	joinEvery = 10 * time.Second
)

// Joined says what the decisions have in common that one record stands for, because they came faster than their caller's budget.
type Joined uint8

// What they have in common besides the user who asked.
const (
	Alone    Joined = iota // all but the token: repeats of one denial, or just one decision
	ByReason               // the reason
	ByPath                 // the client, what it asked for, and the reason
	ByClient               // the client, the method and the reason
)

var joinedNames = [...]string{Alone: "", ByReason: "reason", ByPath: "path", ByClient: "client"}

// kind is a kind of decision with a budget of its own, so that one cannot use up another's.
type kind uint8

const (
	stranger kind = iota // without a verified token: denied, or allowed to anybody
	denial               // with one, denied
	reading              // with one, and allowed to read
	kinds
	change = kinds // allowed, and the device may be another afterwards: never joined with others
)

// kindOf returns the kind of a decision (OPS-2).
func (r *Record) kindOf() kind {
	switch allowed := r.Reason.Allowed(); {
	case allowed && !r.Reads:
		return change
	case len(r.Client) == 0:
		return stranger
	case allowed && r.Enforced == wire.Undecided:
		return reading
	}
	return denial
}

// Rates are how many records of its own a caller gets each second; what is beyond is joined. 0 is no limit.
type Rates struct {
	Denials int // of what is denied, or would be, with a verified token, and as many of what is answered without one
	Allows  int // of what a verified token may read
}

func (r *Rates) of(k kind) int64 {
	if k == reading {
		return int64(r.Allows)
	}
	return int64(r.Denials)
}

// callers are the budgets of those who ask. A caller is a user: processes are made as one likes. The Log's lock is its own.
type callers struct {
	rates  Rates
	places [callerPlaces + 1]caller // the last is of all who find no place, and of those whose user is not known
}

// caller is a budget, and what is beyond it.
type caller struct {
	used    bool
	uid     int64
	budgets [kinds]bucket
	tallies *tallies // made when first needed
	pending int      // tallies that are not zero
	until   time.Time
}

// bucket is what is left of a budget. A full one says nothing, and so can be forgotten.
type bucket struct {
	left int64 // in millionths of a record
	at   int64 // then, in microseconds since 1970
}

const one = int64(time.Second / time.Microsecond) // a record

// fill brings the bucket up to a time. A clock that was set back gives nothing, one that was set forward no more than was saved up.
func (b *bucket) fill(now, rate int64) {
	passed := min(max(now-b.at, 0), savedSeconds*one)
	b.left, b.at = min(b.left+passed*rate, savedSeconds*one*rate), now
}

// tallies are counted by the reason and by what observe mode says of it.
type tallies [2 * wire.Reasons]tally

// tally are decisions of one caller for one reason.
type tally struct {
	count, unseen uint64 // unseen: of them, those that Options.Observe was not shown
	first, last   uint64
	since, time   int64
	clock         Clock
}

// of returns the caller of a record, at its time.
func (c *callers) of(r *Record) *caller {
	for i := range c.places[:callerPlaces] {
		if p := &c.places[i]; p.used && p.uid == r.UID {
			return p
		}
	}
	free := 0
	for free < callerPlaces && (r.UID < 0 || c.places[free].used && !c.idle(&c.places[free], r.Time)) {
		free++
	}
	p := &c.places[free]
	if !p.used || free < callerPlaces {
		uid := r.UID
		if free == callerPlaces {
			uid = -1
		}
		*p = caller{used: true, uid: uid, tallies: p.tallies}
		for k := range kinds {
			p.budgets[k] = bucket{left: math.MaxInt64 / 2, at: r.Time} // full, whatever the rate
		}
	}
	return p
}

// idle reports whether a caller's place says nothing.
func (c *callers) idle(p *caller, now int64) bool {
	if p.pending > 0 {
		return false
	}
	for k := range kinds {
		rate := c.rates.of(k)
		if p.budgets[k].fill(now, rate); p.budgets[k].left < savedSeconds*one*rate {
			return false
		}
	}
	return true
}

// within reports whether a decision of a kind has a record of its own, as far as p's budget goes.
func (c *callers) within(p *caller, k kind, now int64) bool {
	rate := c.rates.of(k)
	if rate == 0 {
		return true
	}
	p.budgets[k].fill(now, rate)
	return p.budgets[k].left >= one
}

func (p *caller) spend(k kind) { p.budgets[k].left -= one }

// join counts a decision for its reason alone.
func (p *caller) join(r *Record, seen bool) {
	if p.tallies == nil {
		p.tallies = new(tallies)
	}
	at := int(r.Reason)
	if r.Enforced != wire.Undecided {
		at = wire.Reasons + int(r.Enforced)
	}
	s := &p.tallies[at]
	if s.count == 0 {
		*s = tally{first: r.Seq, since: r.Time}
		p.pending++
	}
	s.count++
	if !seen {
		s.unseen++
	}
	s.last, s.time, s.clock = r.Seq, r.Time, r.Clock
}

// due appends to out the records whose time has ended, or all, as repeats.due does.
func (c *callers) due(out *queue, now time.Time, all bool) (wake time.Time, held uint64) {
	for i := range c.places {
		p := &c.places[i]
		if p.pending == 0 {
			continue
		}
		if p.until.IsZero() {
			p.until = now.Add(joinEvery)
		}
		ends := all || !p.until.After(now)
		for at := range p.tallies {
			s := &p.tallies[at]
			if s.count == 0 {
				continue
			}
			if !ends {
				held += s.count
				continue
			}
			r := Record{
				Seq: s.last, Time: s.time, Clock: s.clock, UID: p.uid, Reason: wire.Reason(at), Joined: ByReason,
				Count: s.count, First: s.first, Since: s.since, unseen: s.unseen,
			}
			if at >= wire.Reasons {
				r.Reason, r.Enforced = wire.Observed, wire.Reason(at-wire.Reasons)
			}
			start := out.begin(itemRecord)
			out.items, _ = r.append(out.items)
			out.end(start)
			s.count = 0
			p.pending--
		}
		if ends {
			p.until = time.Time{}
		} else if wake.IsZero() || p.until.Before(wake) {
			wake = p.until
		}
	}
	return wake, held
}
