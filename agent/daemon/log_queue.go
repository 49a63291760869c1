package daemon

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// logQueueBytes bounds the lines of the log that wait for standard error, in bytes.
const logQueueBytes = 64 << 10

// LogQueue stands between the log and standard error, whose reader (the journal, procd, a pipe) may be slow or stuck: whoever logs
// never waits for it. Lines that do not fit are dropped and counted, and the count is logged as soon as there is room. It is safe
// for concurrent use.
type LogQueue struct {
	out io.Writer

	mu      sync.Mutex
	waiting []byte // whole lines
	dropped int    // lines, since the last one that said so
	total   uint64 // lines dropped since the start
	writing bool   // a goroutine runs drain
}

// NewLogQueue writes to out.
func NewLogQueue(out io.Writer) *LogQueue { return &LogQueue{out: out} }

// Write takes one line. It never fails and never waits for standard error.
func (q *LogQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting)+len(line) > logQueueBytes {
		q.dropped++
		q.total++
	} else {
		q.waiting = append(q.waiting, line...)
	}
	if !q.writing {
		q.writing = true
		go q.drain()
	}
	return len(line), nil
}

// Sync implements zapcore.WriteSyncer. It does not wait: zap calls it before a panic or an exit, of which the daemon has none.
func (q *LogQueue) Sync() error { return nil }

// Dropped returns how many lines were dropped since the start.
func (q *LogQueue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}

// Flush waits until everything logged before is written, but no longer than patience.
func (q *LogQueue) Flush(patience time.Duration) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		q.mu.Lock()
		done := !q.writing
		q.mu.Unlock()
		if done {
			return
		}
	}
}

// drain writes until nothing waits.
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
		q.out.Write(lines) // what fails here has no other place to be reported in
	}
}
