package token

import (
	"hash/maphash"
	"sync"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/wire"
)

// refused remembers tokens that cost a signature check and failed for good, so that one that is sent repeatedly costs
// no further one. It is separate from the cache: a flood of forged tokens evicts other forged ones, never a good one.
// It keeps no text: two independent seeded hashes, 128 bits, stand for the token; nobody can find another token with
// both without the seeds. An entry holds for one key set; with the next, the token is verified again.
type refused struct {
	seed maphash.Seed
	mu   sync.Mutex
	all  []refusal // refusedWays of each set, one set after another
}

const (
	refusedSets = 32
	refusedWays = 4
)

// identity stands for one token.
type identity [2]uint64

type refusal struct {
	id         identity
	generation uint64
	reason     wire.Reason
	missing    bool // no key of the set verifies it; only then are kid and issuer set
	kid        keys.KID
	issuer     string
}

func newRefused() *refused {
	return &refused{seed: maphash.MakeSeed(), all: make([]refusal, refusedSets*refusedWays)}
}

func (r *refused) identify(raw []byte, hash uint64) identity {
	return identity{hash, maphash.Bytes(r.seed, raw)}
}

// set returns the set of a token.
func (r *refused) set(id identity) []refusal {
	at := id[1] % refusedSets * refusedWays
	return r.all[at : at+refusedWays]
}

func (r *refused) get(id identity) (refusal, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.set(id) {
		if e.id == id && e.reason != wire.Undecided {
			return e, true
		}
	}
	return refusal{}, false
}

func (r *refused) put(id identity, e refusal, set *keys.Set) {
	e.id, e.generation = id, set.Generation
	r.mu.Lock()
	defer r.mu.Unlock()
	own := r.set(id)
	for i := range own {
		if own[i].id == id {
			own[i] = e
			return
		}
	}
	copy(own[1:], own) // the oldest goes
	own[0] = e
}
