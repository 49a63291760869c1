package token

import (
	"bytes"
	"slices"
	"sync"

	"nmosauthd/agent/keys"
)

// Asker is one connection on whose behalf tokens are verified, one at a time. The zero value is ready to use.
type Asker struct {
	Caller uint64 // connections of one process have the same: they share its turns

	last uint64 // when it last had a turn; 0 if never
	turn chan *scratch
}

// turns allots the places for verifications fairly: a flood of forged tokens must not keep a good one from being
// verified, whoever sends it. While all places are taken, turns go round
//
//   - between kinds of tokens: those whose kid names a held key, which are quick to judge, get three of four turns;
//   - between callers;
//   - between a caller's connections that have had a turn lately and its others.
//
// So each waits for a bounded number of others, and none waits forever. The order within is first come, first served.
type turns struct {
	mu    sync.Mutex
	free  []*scratch // places not in use
	lines []*line    // those who wait; an empty line moves to spare
	spare []*line
	count uint64 // turns so far
	named int    // turns of the kind since the other had its last
}

// kind of a token.
type kind uint8

const (
	named kind = iota // its kid names a key that is held
	unnamed
	kinds
)

// namedTurns is how many turns the tokens with a known kid get for each of the others, if both wait.
const namedTurns = 3

// line is the queue of one caller's connections that bring tokens of one kind.
type line struct {
	caller uint64
	kind   kind
	since  uint64 // the turn at which it formed, or had its last
	// Connections without a recent turn, and those with one.
	fresh, regular []*Asker
	wasFresh       bool // its last turn went to a fresh connection
}

// lately is for how many turns a connection counts as regular after one of its own.
const lately = 256

func newTurns(places int) *turns {
	t := &turns{}
	for range places {
		t.free = append(t.free, new(scratch))
	}
	return t
}

// take returns a place if one is free.
func (t *turns) take() *scratch {
	t.mu.Lock()
	place := t.pop()
	t.mu.Unlock()
	return place
}

// pop is take, with the lock held.
func (t *turns) pop() *scratch {
	if len(t.free) == 0 {
		return nil
	}
	last := len(t.free) - 1
	place := t.free[last]
	t.free = t.free[:last]
	return place
}

// wait waits for a place.
func (t *turns) wait(by *Asker, k kind) *scratch {
	if by == nil {
		by = new(Asker)
	}
	if by.turn == nil {
		by.turn = make(chan *scratch, 1)
	}
	t.mu.Lock()
	if place := t.pop(); place != nil { // returned since take
		t.mu.Unlock()
		return place
	}
	l := t.line(by.Caller, k)
	if by.last == 0 || t.count-by.last > lately {
		l.fresh = append(l.fresh, by)
	} else {
		l.regular = append(l.regular, by)
	}
	t.mu.Unlock()
	return <-by.turn
}

// line returns the line of a caller, at its end if it is new. The lock is held.
func (t *turns) line(caller uint64, k kind) *line {
	for _, l := range t.lines {
		if l.caller == caller && l.kind == k {
			return l
		}
	}
	var l *line
	if last := len(t.spare) - 1; last >= 0 {
		l, t.spare = t.spare[last], t.spare[:last]
	} else {
		l = new(line)
	}
	l.caller, l.kind, l.since, l.wasFresh = caller, k, t.count, false
	t.lines = append(t.lines, l)
	return l
}

// give hands a place on to whoever's turn it is.
func (t *turns) give(place *scratch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.next()
	if l == nil {
		t.free = append(t.free, place)
		return
	}
	queue := &l.regular
	if l.wasFresh = len(l.fresh) > 0 && (!l.wasFresh || len(l.regular) == 0); l.wasFresh {
		queue = &l.fresh
	}
	by := (*queue)[0]
	*queue = slices.Delete(*queue, 0, 1)
	t.count++
	l.since, by.last = t.count, t.count
	if l.kind == named {
		t.named++
	} else {
		t.named = 0
	}
	t.lines = slices.DeleteFunc(t.lines, func(l *line) bool {
		empty := len(l.fresh)+len(l.regular) == 0
		if empty {
			t.spare = append(t.spare, l)
		}
		return empty
	})
	by.turn <- place
}

// next returns the line whose turn it is: of the kind whose turn it is, the one that has waited longest. It is nil if
// nobody waits.
func (t *turns) next() *line {
	var first [kinds]*line
	for _, l := range t.lines {
		if f := first[l.kind]; f == nil || l.since < f.since {
			first[l.kind] = l
		}
	}
	if first[named] == nil || first[unnamed] != nil && t.named >= namedTurns {
		return first[unnamed]
	}
	return first[named]
}

// place waits for a place to verify a token in. It is given back by turns.give.
func (v *Verifier) place(by *Asker, raw []byte, set *keys.Set) *scratch {
	if place := v.turns.take(); place != nil {
		return place
	}
	return v.turns.wait(by, v.peek.kind(raw, set))
}

// peek determines the kind of tokens, one at a time, without a place.
type peek struct {
	mu sync.Mutex
	scratch
}

func (p *peek) kind(raw []byte, set *keys.Set) kind {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := max(bytes.IndexByte(raw, '.'), 0)
	if text, _, ok := decode(p.room(end), raw[:end]); ok {
		var h header
		h, p.text, ok = p.json.header(text, p.text[:0])
		if ok && len(h.kid) > 0 && set.HoldsKID(h.kid) {
			return named
		}
	}
	return unnamed
}
