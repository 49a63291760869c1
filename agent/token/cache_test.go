package token

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/spec"
)

// slowCache is the readable twin of cache: a list, that used longest ago first.
type slowCache struct {
	entries []slowEntry
	size    int
}

type slowEntry struct {
	raw     string
	expires int64
}

func (c *slowCache) get(raw string) bool {
	i := slices.IndexFunc(c.entries, func(e slowEntry) bool { return e.raw == raw })
	if i < 0 {
		return false
	}
	e := c.entries[i]
	c.entries = append(slices.Delete(c.entries, i, i+1), e)
	return true
}

func (c *slowCache) put(e slowEntry, now int64) {
	if slices.ContainsFunc(c.entries, func(old slowEntry) bool { return old.raw == e.raw }) {
		return
	}
	if len(c.entries) == c.size {
		victim := max(0, slices.IndexFunc(c.entries, func(e slowEntry) bool { return e.expires <= now }))
		c.entries = slices.Delete(c.entries, victim, victim+1)
	}
	c.entries = append(c.entries, e)
}

// The cache does what its twin does, with hashes chosen so that most tokens collide: some in all bits, some in the
// bucket.
func TestCacheAgainstTwin(t *testing.T) {
	spec.Rules(t, "TOK-6")
	random := rand.New(rand.NewPCG(1, 2))
	set := &keys.Set{Generation: 1}
	for size := 1; size <= 9; size++ {
		c, twin := newCache(size), &slowCache{size: size}
		hash := func(n int) uint64 { return uint64(n%3) + uint64(n%2*len(c.heads)) }
		for step := range 4000 {
			n := random.IntN(3 * size)
			now := int64(step)
			raw := fmt.Sprint("token-", n)
			var tok Token
			got := c.get([]byte(raw), hash(n), set, &tok)
			if want := twin.get(raw); (got == held) != want {
				t.Fatalf("size %d, step %d: get %s: %v", size, step, raw, got)
			}
			if got == held {
				if string(tok.text) != raw || !tok.verified {
					t.Fatalf("size %d, step %d: got %q for %q", size, step, tok.text, raw)
				}
				continue
			}
			tok = Token{verified: true, expires: maxTime, text: []byte(raw)}
			if !slices.ContainsFunc(twin.entries, func(e slowEntry) bool { return e.expires != maxTime }) {
				tok.expires = now + int64(random.IntN(40)) // one at a time: which of several goes first is open
			}
			c.put([]byte(raw), hash(n), set, &tok, now)
			c.put([]byte(raw), hash(n), set, &tok, now) // another connection was slower
			twin.put(slowEntry{raw, tok.expires}, now)
			checkChains(t, c)
		}
	}
}

// A new key set makes entries be looked at again: those of an issuer that is gone are removed, wherever they stand in a
// chain.
func TestCacheDropsIssuersThatAreGone(t *testing.T) {
	spec.Rules(t, "KEY-7")
	const size = 8
	for order := range 20 {
		random := rand.New(rand.NewPCG(3, uint64(order)))
		c := newCache(size)
		for n := range size {
			c.put([]byte{byte(n)}, uint64(n%2), &keys.Set{Generation: 1}, &Token{verified: true, expires: 1}, 0)
		}
		for left, n := range random.Perm(size) {
			var tok Token
			if got := c.get([]byte{byte(n)}, uint64(n%2), &keys.Set{Generation: 2}, &tok); got != missing ||
				tok.verified {
				t.Fatalf("entry %d: %v, verified %v", n, got, tok.verified)
			}
			if c.used != size-1-left {
				t.Fatalf("%d in use, want %d", c.used, size-1-left)
			}
			checkChains(t, c)
		}
	}
}

// checkChains walks all chains: each slot in use is in the chain of its hash, once, and no other slot is.
func checkChains(t *testing.T, c *cache) {
	t.Helper()
	seen := make([]bool, len(c.slots))
	total := 0
	for h, i := range c.heads {
		for ; i != none; i = c.slots[i].next {
			if int(i) >= c.used || seen[i] || c.head(c.slots[i].hash) != &c.heads[h] {
				t.Fatalf("slot %d (of %d in use) is in chain %d", i, c.used, h)
			}
			seen[i] = true
			total++
		}
	}
	if total != c.used {
		t.Fatalf("%d slots in chains, %d in use", total, c.used)
	}
}
