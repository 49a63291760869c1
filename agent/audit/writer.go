package audit

import (
	"context"
	"io"
	"sync"
)

// Writer is a sink that writes lines to an io.Writer: standard error, which the journal or the init system keeps. The
// lines stand there among those of the daemon's log, and are told from them by how they start.
type Writer struct {
	mu     sync.Mutex
	w      io.Writer
	torn   int64 // bytes behind the last whole line: of lines of which only a part was written
	within bool  // the last of them is not a line feed
}

// NewWriter returns a sink named "log". w gets one whole line at a time.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Name implements Sink.
func (w *Writer) Name() string { return "log" }

// Settings implements Sink. There are none: whatever writer comes later is the same standard error.
func (w *Writer) Settings() string { return "" }

// MaxLine implements Sink.
func (w *Writer) MaxLine() int { return 0 }

// Open implements Sink.
func (w *Writer) Open(context.Context) (Tail, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.torn == 0 {
		return Tail{Resumed: true}, nil
	}
	t := Tail{Torn: w.torn}
	if w.within {
		t.Torn++ // a line feed comes first
	}
	return t, nil
}

// Write implements Sink.
func (w *Writer) Write(line []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.within {
		if _, err := writeAll(w.w, []byte("\n")); err != nil {
			return err
		}
		w.torn++
		w.within = false
	}
	n, err := writeAll(w.w, line)
	if err == nil {
		w.torn = 0
		return nil
	}
	w.torn += int64(n)
	w.within = n > 0
	return err
}

// writeAll writes all of b. It returns no error if all was written, whatever else went wrong.
func writeAll(w io.Writer, b []byte) (n int, err error) {
	n, err = w.Write(b)
	switch {
	case n >= len(b):
		return n, nil
	case err == nil:
		err = io.ErrShortWrite
	}
	return n, err
}

// Close implements Sink. What it writes to stays open.
func (w *Writer) Close() error { return nil }
