package daemon

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// gate is a standard error whose reader takes nothing until the gate is opened.
type gate struct {
	opened chan struct{}
	bytes.Buffer
}

func (g *gate) Write(b []byte) (int, error) {
	<-g.opened
	return g.Buffer.Write(b)
}

// Nobody who logs waits for a standard error that is stuck. What does not fit is dropped, counted, and said once there
// is room.
func TestLogNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{opened: make(chan struct{})}
		q := NewLogQueue(g)
		log, _ := newLogger(q)
		const lines = 5000
		began := time.Now()
		for i := range lines {
			log.Warn("line", zap.Int("number", i))
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("logging to a stuck standard error took %v, want no time at all", took)
		}
		dropped := q.Dropped()
		if dropped == 0 || dropped >= lines {
			t.Fatalf("got %d of %d lines dropped, want some, not all", dropped, lines)
		}
		q.Flush(time.Second)
		if took := time.Since(began); took < time.Second || took > 2*time.Second {
			t.Errorf("Flush of a stuck standard error took %v, want 1 s", took)
		}
		close(g.opened)
		q.Flush(time.Second)
		synctest.Wait()
		written := strings.Count(g.String(), `"message":"line"`)
		if uint64(written)+dropped != lines {
			t.Errorf("got %d lines written and %d dropped, want %d in all", written, dropped, lines)
		}
		said := uint64(0) // in one line or several: some may be dropped before the first Write is stuck
		for _, report := range regexp.MustCompile(`too slow","lines":(\d+)}`).FindAllStringSubmatch(g.String(), -1) {
			n, _ := strconv.ParseUint(report[1], 10, 64)
			said += n
		}
		if said != dropped {
			t.Errorf("got reports of %d lines dropped, want %d", said, dropped)
		}
		log.Warn("afterwards")
		q.Flush(time.Second)
		if got := g.String(); !strings.HasSuffix(got, `"message":"afterwards"}`+"\n") || q.Dropped() != dropped {
			t.Errorf("got %q at the end and %d dropped, want the line and %d",
				got[max(0, len(got)-300):], q.Dropped(), dropped)
		}
	})
}

// What the daemon says at its end stands behind the lines of the log.
func TestFlushKeepsOrder(t *testing.T) {
	var b bytes.Buffer
	q := NewLogQueue(&b)
	log, level := newLogger(q)
	log.Info("first")
	level.Store(int32(zap.WarnLevel))
	log.Info("not at this level")
	fmt.Fprint(q, "nmos-authd: one\n")
	q.Flush(time.Minute)
	want := "\"message\":\"first\"}\nnmos-authd: one\n"
	if got := b.String(); !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want it to end with %q", got, want)
	}
}
