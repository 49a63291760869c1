package audit

import (
	"context"
	"io"
	"sync"
)

// Writer is a sink that writes lines to an io.Writer: standard error, which the journal or the init system keeps. The lines stand
// there among those of the daemon's log, and are told from them by how they start.
type Writer struct {
	mu   sync.Mutex
	w    io.Writer
	torn int64 // bytes of a line of which only a part was written
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
	return Tail{Torn: w.torn + 1}, nil // a line feed ends the part
}

// Write implements Sink.
func (w *Writer) Write(line []byte, _ Meta) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.torn > 0 {
		if _, err := w.w.Write([]byte("\n")); err != nil {
			return err
		}
		w.torn = 0
	}
	n, err := w.w.Write(line)
	switch {
	case n >= len(line):
		return nil
	case err == nil:
		err = io.ErrShortWrite
	}
	w.torn = int64(n)
	return err
}

// Close implements Sink. What it writes to stays open.
func (w *Writer) Close() error { return nil }
