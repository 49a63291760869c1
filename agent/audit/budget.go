package audit

import (
	"math"
	"time"

	"nmosauthd/agent/wire"
)

const (
	// callerPlaces is how many callers have a budget of their own at a time. Further ones share one.
	callerPlaces = 8
	// savedSeconds is how many seconds of its budget a caller can save up, so that what a controller does at its start
	// has its lines.
	savedSeconds = 10
	// joinEvery is how long decisions beyond a budget are counted before their record is written.
	joinEvery = 10 * time.Second
)

// Joined says what the decisions have in common that one record stands for, because they came faster than their
// caller's budget.
type Joined uint8

// What they have in common, in addition to the user who asked.
const (
	Alone    Joined = iota // all but the token: repeats of one denial, or just one decision
	ByReason               // the reason
	ByPath                 // the client, what it asked for, and the reason
	ByClient               // the client, the method and the reason
)

var joinedNames = [...]string{Alone: "", ByReason: "reason", ByPath: "path", ByClient: "client"}

// leftOut are the texts that those do not have in common, or that are too many.
var leftOut = [...]set{
	ByReason: 1<<texts - 1,
	ByPath:   tokenTexts | 1<<Subject,
	ByClient: tokenTexts | 1<<Subject | 1<<Path | 1<<denied | 1<<permitted | 1<<Kind | 1<<Name | 1<<Resource,
}

// join makes r what o has in common with others.
func (r *Record) join(o *Record, by Joined) {
	r.copy(o, leftOut[by])
	r.joinedBy(by)
}

// joinedBy is join but for the texts.
func (r *Record) joinedBy(by Joined) {
	r.Joined, r.GID, r.PID = by, 0, 0
	if by != ByPath {
		r.Targets, r.Allowed = 0, 0
	}
	if by == ByReason {
		r.Question = wire.NoVerb
	}
}

// kind is a kind of decision with a budget of its own, so that one cannot use up another's.
type kind uint8

const (
	stranger kind = iota // without a verified token: denied, or allowed to anybody
	denial               // with one, denied
	reading              // with one, and allowed to read
	kinds
	change = kinds // allowed, and the device may be another afterwards: never joined with others
)

// kind returns the kind of a decision (OPS-2).
func (d *Decision) kind() kind {
	switch allowed := d.Reason.Allowed(); {
	case !d.Reads && (allowed || d.Question == wire.Control): // of several commands some may be allowed
		return change
	case len(d.Client) == 0:
		return stranger
	case allowed && d.Enforced == wire.Undecided:
		return reading
	}
	return denial
}

// Rates are how many records of its own a caller gets each second; what is beyond is joined. 0 means no limit.
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

// callers are the budgets of those who ask. A caller is a user: processes are made as one likes. The Log's lock is
// its own.
type callers struct {
	rates  Rates
	places [callerPlaces + 1]caller // the last is of all who find no place, and of those whose user is not known
}

// caller has a budget for each kind of decision.
type caller struct {
	used    bool
	uid     int64
	budgets [kinds]bucket
}

// bucket is what is left of a budget. A full one says nothing, and so can be forgotten.
type bucket struct {
	left int64 // in millionths of a record
	at   int64 // then, in microseconds since 1970
}

const one = int64(time.Second / time.Microsecond) // a record

// fill brings the bucket up to a time. A clock that was set back gives nothing, one that was set forward no more
// than was saved up.
func (b *bucket) fill(now, rate int64) {
	passed := min(max(now-b.at, 0), savedSeconds*one)
	b.left, b.at = min(b.left+passed*rate, savedSeconds*one*rate), now
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
		*p = caller{used: true, uid: uid}
		for k := range kinds {
			p.budgets[k] = bucket{left: math.MaxInt64 / 2, at: r.Time} // full, whatever the rate
		}
	}
	return p
}

// idle reports whether a caller's place says nothing.
func (c *callers) idle(p *caller, now int64) bool {
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
