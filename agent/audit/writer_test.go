package audit

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipe is standard error with a reader who does not always keep up.
type pipe struct {
	mu   sync.Mutex
	text bytes.Buffer
	room int
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(b), p.room)
	p.text.Write(b[:n])
	p.room -= n
	if n < len(b) {
		return n, errors.New("resource temporarily unavailable")
	}
	return n, nil
}

func (p *pipe) give(room int) { p.mu.Lock(); p.room = room; p.mu.Unlock() }

// Standard error takes a part of a line: the line is written again, and the stream says what the part is.
func TestWriterTorn(t *testing.T) {
	for room := 0; room < 700; room += 9 {
		synctest.Test(t, func(t *testing.T) {
			p := &pipe{room: room}
			l := New(options(NewWriter(p)))
			for range 3 {
				r := allowed()
				l.Append(&r)
			}
			time.Sleep(10 * time.Second)
			p.give(20) // again only a part
			time.Sleep(10 * time.Second)
			p.give(1 << 20)
			time.Sleep(time.Minute)
			closeLog(l)
			exact(t, l.Stats())
			for _, mixed := range []bool{false, true} {
				v := Verifier{Mixed: mixed}
				v.Read("", bytes.NewReader(p.text.Bytes()))
				if r := v.Report(); !r.Good() || r.Decisions != 3 || !r.Closed {
					t.Fatalf("room for %d bytes, mixed: %v: %+v\n%s", room, mixed, r, p.text.String())
				}
			}
		})
	}
}

// A record longer than the queue is kept where nothing else waits.
func TestOneRecordAlwaysFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		o := options(out)
		o.QueueBytes = 100
		l := New(o)
		for range 3 {
			r := allowed()
			l.Append(&r)
			time.Sleep(time.Second)
		}
		closeLog(l)
		if s := l.Stats(); s.Sinks[0].Kept != 3 {
			t.Errorf("got %+v, want 3 kept", s)
		}
	})
}

// A text is not cut within a character.
func TestCutBetweenCharacters(t *testing.T) {
	for shift := range 4 {
		r := allowed()
		r.Client = []byte(strings.Repeat("a", shift) + strings.Repeat("😀", 100))
		held := recorded(r)
		if got := string(held.Text(Client)); !strings.HasPrefix(string(r.Client), got) ||
			strings.TrimRight(got, "😀") != strings.Repeat("a", shift) || held.cut == 0 {
			t.Errorf("got %q, want the beginning of %q, cut behind a whole character", got, r.Client)
		}
	}
}
