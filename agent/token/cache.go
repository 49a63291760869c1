package token

import (
	"bytes"
	"sync"

	"nmosauthd/agent/keys"
)

// cache remembers verified tokens in a fixed number of slots, found by a seeded hash and confirmed by a full compare,
// so that no two tokens can be taken for one another. A slot keeps its buffers when it is given to another token, so
// that a full cache allocates nothing more; each grows to the longest token it held, at most MaxBytes and the payload's
// part of that.
type cache struct {
	mu    sync.Mutex
	heads []int32 // by hash: the first slot of the chain, or none
	slots []slot
	used  int      // slots in use; the rest follow
	tick  uint64   // of the last use
	ticks []uint64 // when each slot was last used; beside the slots, so that the least is found in few cache lines
	// soonest is not after the first exp of the tokens held: before it none has expired.
	soonest int64
}

const none = int32(-1)

type slot struct {
	hash       uint64
	generation uint64 // of the set in which its key was last seen
	next       int32
	raw        []byte
	token      Token
}

func newCache(slots int) *cache {
	heads := 1
	for heads < 2*slots {
		heads *= 2
	}
	c := &cache{
		heads: make([]int32, heads), slots: make([]slot, slots), ticks: make([]uint64, slots), soonest: maxTime,
	}
	for i := range c.heads {
		c.heads[i] = none
	}
	return c
}

// lookup is the result of get.
type lookup int

const (
	missing lookup = iota
	held
	keyGone // it was held, but its key has left the set: it was removed
)

func (c *cache) head(hash uint64) *int32 { return &c.heads[hash&uint64(len(c.heads)-1)] }

// get copies the verified token into t, if it is held and its key is still in set (KEY-7).
func (c *cache) get(raw []byte, hash uint64, set *keys.Set, t *Token) lookup {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := *c.head(hash)
	for i != none && (c.slots[i].hash != hash || !bytes.Equal(c.slots[i].raw, raw)) {
		i = c.slots[i].next
	}
	if i == none {
		return missing
	}
	s := &c.slots[i]
	if s.generation != set.Generation {
		issuer := set.Issuer(s.token.Issuer())
		if issuer == nil {
			c.remove(i)
			return missing
		}
		if !issuer.Holds(&s.token.key) {
			t.claimIssuer(issuer.Name)
			c.remove(i)
			return keyGone
		}
		s.generation = set.Generation
	}
	c.tick++
	c.ticks[i] = c.tick
	t.copyFrom(&s.token)
	return held
}

// put remembers a verified token, in place of the one used longest ago, an expired one first.
func (c *cache) put(raw []byte, hash uint64, set *keys.Set, t *Token, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := *c.head(hash); i != none; i = c.slots[i].next {
		if c.slots[i].hash == hash && bytes.Equal(c.slots[i].raw, raw) {
			return // another connection has put it already
		}
	}
	if c.used == len(c.slots) {
		c.remove(c.victim(now))
	}
	i := int32(c.used)
	c.used++
	s := &c.slots[i]
	c.tick++
	c.ticks[i] = c.tick
	c.soonest = min(c.soonest, t.expires)
	s.hash, s.generation = hash, set.Generation
	s.raw = append(s.raw[:0], raw...)
	s.token.copyFrom(t)
	head := c.head(hash)
	s.next, *head = *head, i
}

// victim returns the slot to give to another token, when all are in use.
func (c *cache) victim(now int64) int32 {
	if c.soonest <= now { // one has expired, if it is still there
		soonest := maxTime
		for i := range c.slots {
			expires := c.slots[i].token.expires
			if expires <= now {
				return int32(i)
			}
			soonest = min(soonest, expires)
		}
		c.soonest = soonest
	}
	oldest, least := 0, c.ticks[0]
	for i, tick := range c.ticks {
		if tick < least {
			oldest, least = i, tick
		}
	}
	return int32(oldest)
}

// held returns how many tokens are remembered.
func (c *cache) held() int {
	c.mu.Lock()
	n := c.used
	c.mu.Unlock()
	return n
}

// gone is Verifier.Gone.
func (c *cache) gone(set *keys.Set) map[string]int {
	c.mu.Lock()
	n := map[string]int{}
	for i := range c.slots[:c.used] {
		t := &c.slots[i].token
		if issuer := set.Issuer(t.Issuer()); issuer == nil || !issuer.Holds(&t.key) {
			n[string(keys.TrimIssuer(t.Issuer()))]++
		}
	}
	c.mu.Unlock()
	return n
}

// remove frees slot i. The last slot in use takes its place, so that those in use stay together.
func (c *cache) remove(i int32) {
	c.unlink(i)
	c.used--
	last := int32(c.used)
	if i != last {
		p := c.link(last)
		c.slots[i], c.slots[last] = c.slots[last], c.slots[i]
		c.ticks[i] = c.ticks[last]
		*p = i
	}
	c.slots[last].token.verified = false
}

func (c *cache) unlink(i int32) { *c.link(i) = c.slots[i].next }

// link returns what points to slot i.
func (c *cache) link(i int32) *int32 {
	p := c.head(c.slots[i].hash)
	for *p != i {
		p = &c.slots[*p].next
	}
	return p
}
