package audit

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// A slot takes what the package counts for it, so that a queue takes the memory that it is configured to.
func TestSlot(t *testing.T) {
	if got := int(reflect.TypeFor[slot]().Size()); got > slotBytes || got < slotBytes-16 {
		t.Errorf("a slot takes %d bytes, want at most %d and not much less", got, slotBytes)
	}
	for _, limit := range []int{1, 4 << 10, 64 << 10, 16 << 20} {
		var q queue
		q.resize(limit)
		if got := len(q.slots)*slotBytes + len(q.text); got > max(limit, slotBytes+maxTexts, 10*slotBytes+maxTexts) ||
			len(q.text) < maxTexts {
			t.Errorf("a queue of %d bytes takes %d", limit, got)
		}
	}
}

// A queue holds the same as a slice would, whatever comes and goes, wherever its buffers begin again and whatever size
// it is given.
func TestQueueIsAQueue(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 2))
	var q queue
	q.resize(8 << 10)
	type entry struct {
		seq     uint64
		path    string
		before  span
		observe bool
	}
	var want []entry
	var lost span
	var r Record
	full, dropped := 0, 0
	for seq := uint64(1); seq < 50_000; seq++ {
		switch random.IntN(40) {
		case 0:
			q.resize([]int{1, 4 << 10, 8 << 10, 20 << 10}[random.IntN(4)])
		default:
			path := strings.Repeat("x", random.IntN(1<<random.IntN(11)))
			r.Set(seq, &Decision{Path: fmt.Append(nil, path), JTI: []byte("j")})
			if observe := seq%7 == 0; q.put(&r, observe) {
				want = append(want, entry{seq, path, lost, observe})
				lost = span{}
			} else {
				lost.add(r.decisions())
				q.lost.add(r.decisions())
				if full++; q.n == 0 {
					t.Fatalf("no room in an empty queue of %d bytes", q.size)
				}
			}
		}
		if random.IntN(3) == 0 {
			n := random.IntN(q.n + 1)
			q.drop(n)
			want, dropped = want[n:], dropped+n
		}
		if q.n == 0 && q.front != 0 {
			t.Fatalf("an empty queue goes on at slot %d, want 0: it would come to touch all of its memory", q.front)
		}
		copies := q.records()
		i := 0
		for _, part := range q.waiting() {
			for j := range part {
				s := &part[j]
				got := entry{s.Seq, string(s.Text(Path)), s.lost, s.observe}
				if i >= len(want) || got != want[i] || string(copies[i].Text(Path)) != want[i].path ||
					string(copies[i].Text(JTI)) != "j" {
					t.Fatalf("record %d: got %+v, copied %q, want %+v",
						i, got, copies[i].Text(Path), want[min(i, len(want)-1)])
				}
				i++
			}
		}
		if i != len(want) || q.lost != lost {
			t.Fatalf("%d records and %+v lost, want %d and %+v", i, q.lost, len(want), lost)
		}
	}
	if full < 100 || dropped < 1000 {
		t.Errorf("full %d times, and %d taken: too few to show anything", full, dropped)
	}
}
