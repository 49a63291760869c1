package audit

import "time"

// Stats are the figures of a Log.
type Stats struct {
	Appended uint64 // decisions so far
	Pending  uint64 // of them, those that no sink was offered yet: those being counted, and what waits to be sorted
	Unseen   uint64 // of them, those that Options.Observe was not shown yet, and will be
	Lost     uint64 // of them, those dropped before they were sorted: no sink, watcher or observer has seen them
	Sinks    []SinkStats
}

// SinkStats are the figures of a sink. Kept, Dropped and Queued add up to Offered, which with Pending adds up to
// Appended for a sink that was there from the start.
type SinkStats struct {
	Name        string
	Offered     uint64 // decisions that were to be recorded there
	Kept        uint64
	Dropped     uint64
	Queued      uint64
	QueuedBytes int
	Err         error     // that it has now, or nil
	Since       time.Time // of the error
	Lines       uint64    // of the stream
	Head        string    // of the chain
}

// Stats returns the figures as they are now.
func (l *Log) Stats() Stats {
	var s Stats
	pumps := *l.pumps.Load()
	for _, p := range pumps { // first: what comes to a sink meanwhile counts as queued there
		s.Sinks = append(s.Sinks, p.stats())
	}
	observed, lost := l.observed.Load(), l.lost.Load()
	l.mu.Lock()
	s.Appended, s.Pending, s.Lost = l.seq, l.seq-l.sorted-l.late, lost+l.late
	s.Unseen = s.Appended - min(s.Appended, observed+s.Lost)
	for i, p := range pumps {
		f := &s.Sinks[i]
		f.Offered = l.sorted - p.before + l.late
		f.Dropped += l.late
		f.Queued = f.Offered - f.Kept - f.Dropped
	}
	l.mu.Unlock()
	return s
}
