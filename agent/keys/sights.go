package keys

import "hash/maphash"

// sights remembers, for tokens that no held key verifies, how many fetches had begun when each was first seen (KEY-6).
// Two seeded hashes, 128 bits, stand for a token: without the seeds nobody can find another one with both. It has a
// fixed size. In a full row the token seen longest ago is forgotten, and counts as new if it is seen again.
type sights struct {
	seeds [2]maphash.Seed
	rows  [sightRows][sightsInRow]sight
}

const (
	sightRows   = 256
	sightsInRow = 4
)

type sight struct {
	id      sightID
	fetches uint64
}

type sightID [2]uint64

// init makes the seeds. It takes a pointer since a stack that holds the rows, too, would have to grow for them.
func (s *sights) init() { s.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()} }

func (s *sights) identify(token []byte) sightID {
	return sightID{maphash.Bytes(s.seeds[0], token), maphash.Bytes(s.seeds[1], token)}
}

// first returns how many fetches had begun when the token was first seen; that is now if it is not remembered.
func (s *sights) first(id sightID, now uint64) uint64 {
	row := &s.rows[id[0]%sightRows]
	found := sight{id, now}
	at := sightsInRow - 1
	for i := range row {
		if row[i].id == id {
			found, at = row[i], i
			break
		}
	}
	copy(row[1:at+1], row[:at])
	row[0] = found
	return found.fetches
}
