package audit

import (
	"io"
	"testing"
)

// BenchmarkAppend is what the record of a decision costs the decision: the queue is full most of the time, since
// nothing but this runs. BenchmarkAppendRepeated is a denial that comes again.
func BenchmarkAppend(b *testing.B) {
	l := New(options(NewWriter(io.Discard)))
	defer closeLog(l)
	r := allowed()
	var draft Draft
	b.ReportAllocs()
	for b.Loop() {
		l.AppendBy(&draft, &r)
	}
}

func BenchmarkAppendRepeated(b *testing.B) {
	l := New(options(NewWriter(io.Discard)))
	defer closeLog(l)
	r := deniedAt("/x-nmos/connection/v1.1/single/senders")
	var draft Draft
	b.ReportAllocs()
	for b.Loop() {
		l.AppendBy(&draft, &r)
	}
}

// BenchmarkLine is what the same record costs off the decision's path: its text, and the chain of one sink.
func BenchmarkLine(b *testing.B) {
	r := recorded(allowed())
	var body, line []byte
	var c chain
	for b.Loop() {
		body = appendRecord(body[:0], r, MaxPath)
		line, c = c.append(line[:0], body)
	}
	b.SetBytes(int64(len(line)))
}
