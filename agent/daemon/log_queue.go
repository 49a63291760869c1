package daemon

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// logQueueBytes bounds the queued lines, in bytes.
const logQueueBytes = 64 << 10

// LogQueue queues the log's lines for standard error, whose reader (the journal, procd, a pipe) may be slow or stuck,
// so that logging never blocks. Lines that do not fit are dropped and counted, and the count is logged as soon as there
// is room. It is safe for concurrent use.
type LogQueue struct {
	out io.Writer

	mu      sync.Mutex
	waiting []byte // whole lines
	dropped int    // lines, since the last report of them
	writing bool   // a goroutine runs drain

	total atomic.Uint64 // lines dropped since the start
}

// NewLogQueue writes to out.
func NewLogQueue(out io.Writer) *LogQueue { return &LogQueue{out: out} }

// Write queues one line. It never fails or blocks.
func (q *LogQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting)+len(line) > logQueueBytes {
		q.dropped++
		q.total.Add(1)
	} else {
		q.waiting = append(q.waiting, line...)
	}
	if !q.writing {
		q.writing = true
		go q.drain()
	}
	return len(line), nil
}

// Sync implements zapcore.WriteSyncer. It does not wait: zap calls it only before a panic or exit of its own, which the
// daemon does not use.
func (q *LogQueue) Sync() error { return nil }

// Dropped returns how many lines were dropped since the start.
func (q *LogQueue) Dropped() uint64 { return q.total.Load() }

// Flush waits until everything logged before is written, but no longer than timeout.
func (q *LogQueue) Flush(timeout time.Duration) {
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(time.Millisecond) {
		q.mu.Lock()
		done := !q.writing
		q.mu.Unlock()
		if done {
			return
		}
	}
}

// drain writes until the queue is empty.
func (q *LogQueue) drain() {
	var lines []byte
	for {
		q.mu.Lock()
		lines, q.waiting = q.waiting, lines[:0]
		dropped := q.dropped
		q.dropped = 0
		q.writing = len(lines) > 0 || dropped > 0
		writing := q.writing
		q.mu.Unlock()
		if !writing {
			return
		}
		if dropped > 0 {
			lines = fmt.Appendf(lines, `{"level":"warn","time":"%s","message":"lines of the log dropped: `+
				`standard error is too slow","lines":%d}`+"\n", time.Now().UTC().Format(logTime), dropped)
		}
		q.out.Write(lines) // an error has nowhere to be reported
	}
}
