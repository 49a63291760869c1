package token

import (
	"sync"
	"sync/atomic"

	"nmosauthd/agent/keys"
)

// Bounds are what verified tokens have shown of the time since the start, issuer by issuer (OPS-1): it is not before
// the greatest iat of an issuer, for that issuer's tokens. It moves by tokens whose signature was verified alone,
// counts for no other issuer, and ends with the process. It is safe for concurrent use; the zero value is ready.
type Bounds struct {
	mu    sync.Mutex
	named map[string]*bound // by the issuer's name without a trailing slash
}

// bound belongs to one issuer. Times are in microseconds.
type bound struct {
	greatest atomic.Int64 // iat; noTime if none
	// dated is what the greatest iat must not be beyond, less the time run: the issuer's own Date, as it runs on, and
	// plausible. maxTime if the server sends none.
	dated atomic.Int64
}

const (
	// plausible is how far beyond its server's own Date, or a synchronised clock, an iat may be to count: one token
	// that its server dated wrongly would else make all others of that issuer expired.
	plausible = 5 * 60 * 1_000_000
	// maxBounds is how many issuers without keys are kept.
	maxBounds = 64
)

// of returns the bound of an issuer. The number of issuers without a key in held is limited.
func (b *Bounds) of(issuer []byte, held *keys.Set) *bound {
	name := keys.TrimIssuer(issuer)
	b.mu.Lock()
	defer b.mu.Unlock()
	if one := b.named[string(name)]; one != nil {
		return one
	}
	if len(b.named) >= maxBounds {
		for n := range b.named {
			if held.Issuer([]byte(n)) == nil {
				delete(b.named, n)
			}
		}
	}
	if b.named == nil {
		b.named = map[string]*bound{}
	}
	one := &bound{}
	one.greatest.Store(noTime)
	one.dated.Store(maxTime)
	b.named[string(name)] = one
	return one
}

// Dated takes the Date that an issuer's server sent with its keys, in microseconds since 1970, at a time run.
func (b *Bounds) Dated(issuer string, date, run int64, held *keys.Set) {
	b.of([]byte(issuer), held).dated.Store(date - run + plausible)
}

// Date returns the present time by the Date that an issuer's server sent last; ok is false if it sent none.
func (b *Bounds) Date(issuer string, run int64) (date int64, ok bool) {
	b.mu.Lock()
	one := b.named[keys.TrimIssuer(issuer)]
	b.mu.Unlock()
	if one == nil {
		return 0, false
	}
	dated := one.dated.Load()
	return dated + run - plausible, dated != maxTime
}

// raise takes the iat of a verified token, unless it is not plausible by its server's Date.
func (b *bound) raise(iat, run int64) {
	for b != nil && iat != noTime {
		greatest, latest := b.greatest.Load(), b.dated.Load()+run
		if iat > latest || iat <= greatest && greatest <= latest || b.greatest.CompareAndSwap(greatest, iat) {
			return
		}
	}
}

// reached returns the time that has certainly been reached by the issuer's tokens; noTime if unknown.
func (b *bound) reached(run int64) int64 {
	if b == nil {
		return noTime
	}
	if greatest := b.greatest.Load(); greatest <= b.dated.Load()+run {
		return greatest
	}
	return noTime
}
