package audit

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// gather is how long records wait for others, so that a busy daemon wakes one goroutine for many decisions.
const gather = 5 * time.Millisecond

// Options are the settings of a Log.
type Options struct {
	Sinks      []Sink        // each name once
	Wait       bool          // Append waits while a sink's queue is full; else records are dropped and counted
	QueueBytes int           // held for each sink, and as many before they are sorted to the sinks
	Repeat     time.Duration // equal denials within it are counted into one record; 0: never
	Rates      Rates         // what is beyond them is joined into records with a count
	RingBytes  int           // of records kept in memory, in a form of about half the length of their lines

	Version string                    // of the daemon, for the records that open a stream
	Now     func() (time.Time, Clock) // for records of the Log's own; nil: the system's clock, ClockUnset
	Observe func(*Record)             // is shown every decision, on the Log's goroutine; it must not keep the record or wait
	Report  func(Trouble)             // is told of troubles with a sink, at most once a minute for each while they last
}

// Trouble is what the daemon's own log says about a sink.
type Trouble struct {
	Sink    string
	Err     error  // what is wrong; nil where it is over, or where the sink just does not keep up
	Dropped uint64 // decisions not recorded there since the last report
	Over    bool   // the sink takes records again
}

// Log takes records and brings them to its sinks. Its methods may be called at the same time.
type Log struct {
	options Options // those that Reconfigure does not change
	id      string  // names this start of the daemon

	mu      sync.Mutex
	room    sync.Cond // for those who wait for room in queue
	queue   queue
	repeats repeats // of denials
	reads   repeats // of what is read beyond the budget
	callers callers
	scratch [2][]byte
	seq     uint64
	sorted  uint64 // decisions that the goroutine has taken to bring them to the sinks
	late    uint64 // decisions after the end
	wait    bool
	closed  bool

	wake    chan struct{} // something to do
	urgent  chan struct{} // and soon
	closing chan struct{}
	stopped chan struct{} // the goroutine has ended
	close   sync.Once

	waits          atomic.Bool                // as wait, for the pumps
	change         sync.Mutex                 // one Reconfigure at a time
	released       bool                       // Release was called: there is no Reconfigure any more
	left           map[string]<-chan struct{} // by name: closed when the last that was left out has ended
	pumps          atomic.Pointer[[]*pump]
	lost           atomic.Uint64 // decisions dropped before they were sorted
	observed       atomic.Uint64 // decisions that Observe was shown
	ring           ring
	reports        chan Trouble
	pumping        sync.WaitGroup
	abort          context.CancelFunc
	aborted        context.Context
	reportsClosed  chan struct{} // nothing is sent on reports any more
	reportsDrained chan struct{} // and Report was called for all
}

// New starts a Log. It must be closed.
func New(o Options) *Log {
	if o.Now == nil {
		o.Now = func() (time.Time, Clock) { return time.Now(), ClockUnset }
	}
	var id [8]byte
	rand.Read(id[:]) // never fails, by its documentation
	l := &Log{
		options: o, id: hex.EncodeToString(id[:]),
		scratch: [2][]byte{make([]byte, 0, maxRecord), make([]byte, 0, maxRecord)},
		repeats: newRepeats(repeatPlaces), reads: newRepeats(readPlaces),
		wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
		closing: make(chan struct{}), stopped: make(chan struct{}),
		left:    map[string]<-chan struct{}{},
		reports: make(chan Trouble, 16), reportsClosed: make(chan struct{}), reportsDrained: make(chan struct{}),
	}
	l.room.L = &l.mu
	l.reads.within = joinEvery
	l.aborted, l.abort = context.WithCancel(context.Background())
	l.pumps.Store(new([]*pump))
	l.reserve(o.QueueBytes)
	l.Reconfigure(o)
	go l.tellTroubles()
	go l.run()
	return l
}

// reserve makes the queue's buffers, so that no decision has to.
func (l *Log) reserve(limit int) {
	l.queue.limit = limit
	most := limit + 2*(itemHead+maxRecord) + lostSize
	l.queue.items = append(make([]byte, 0, most), l.queue.items...)
	l.queue.spare = make([]byte, 0, most)
}

// Append takes one decision's record, assigns its sequence number and returns it. It allocates nothing once as many different
// denials have come as are counted, and waits for nothing but, if Options.Wait says so, room in the queue.
func (l *Log) Append(r *Record) uint64 {
	l.mu.Lock()
	for !l.add(r) {
		l.room.Wait()
	}
	seq := l.seq
	l.mu.Unlock()
	r.Seq = seq
	return seq
}

// add counts or queues a record; false means that it must wait for room.
func (l *Log) add(r *Record) bool {
	seq := l.seq + 1
	if l.closed {
		l.seq, l.late = seq, l.late+1
		return true
	}
	r.Seq = seq
	record, key := r.append(l.scratch[0][:0])
	k := r.kindOf()
	counted := l.repeats.within > 0 && (k == stranger || k == denial)
	var hash uint64
	if counted {
		var place int
		if place, hash = l.repeats.find(record[:key]); place >= 0 {
			l.repeats.again(place, record, false)
			l.seq = seq
			return true
		}
	}
	var p *caller
	if k != change {
		if p = l.callers.of(r); !l.callers.within(p, k, r.Time) {
			return l.join(p, k, r, record)
		}
	}
	var victim []byte
	if counted {
		victim = l.repeats.victim()
	}
	if !l.put(victim, record) {
		return false
	}
	l.seq = seq
	if counted {
		l.repeats.begin(record[:key], hash)
	}
	if p != nil {
		p.spend(k)
	}
	return true
}

// put queues a victim, which may be nil, and the record behind it, or counts them as dropped; false means that they must wait.
func (l *Log) put(victim, record []byte) bool {
	need := len(record)
	if victim != nil {
		need += itemHead + len(victim)
	}
	idle := l.queue.used == 0 && l.queue.lost.count == 0
	fits := l.queue.room(need)
	if !fits && l.wait {
		return false
	}
	for _, item := range [...][]byte{victim, record} {
		switch {
		case item == nil:
		case fits:
			l.queue.put(itemRecord, item)
		default:
			l.queue.lost.add(lostOf(item))
		}
	}
	if idle {
		signal(l.wake)
	} else if l.queue.used > l.queue.limit/2 {
		signal(l.urgent)
	}
	return true
}

// join counts a decision beyond p's budget into a record with others (OPS-2); false means that it must wait for room. record is r
// in memory.
func (l *Log) join(p *caller, k kind, r *Record, record []byte) bool {
	if k != reading {
		if p.pending == 0 {
			signal(l.wake) // their time begins
		}
		p.join(r, l.show(record))
		l.seq = r.Seq
		return true
	}
	j := *r
	j.Joined, j.PID, j.GID, j.Subject, j.JTI, j.KeyID = ByPath, 0, 0, nil, nil, nil
	b, key := j.append(l.scratch[1][:0])
	place, hash := l.reads.find(b[:key])
	if place < 0 && l.reads.busy >= allPaths {
		j.Joined, j.Path, j.Targets, j.Answers, j.Kind, j.Name = ByClient, nil, 0, nil, nil, nil
		b, key = j.append(l.scratch[1][:0])
		place, hash = l.reads.find(b[:key])
	}
	if place < 0 {
		if victim := l.reads.victim(); victim != nil && !l.put(nil, victim) {
			return false
		}
		place = l.reads.begin(b[:key], hash)
		signal(l.wake) // its time begins
	}
	l.reads.again(place, b, j.Joined == ByClient && l.show(record))
	l.seq = r.Seq
	return true
}

// show queues a record for Observe alone, which is to see what a joined record leaves out, if there is room to spare.
func (l *Log) show(record []byte) bool {
	if l.options.Observe == nil || l.queue.used+itemHead+len(record)+lostSize > l.queue.limit/2 {
		return false
	}
	if l.queue.used == 0 {
		signal(l.wake)
	}
	l.queue.put(itemSeen, record)
	return true
}

// lostOf returns what is lost with a record.
func lostOf(record []byte) lost {
	l := lost{
		count: binary.LittleEndian.Uint64(record[atCount:]), first: binary.LittleEndian.Uint64(record[atFirst:]),
		last: binary.LittleEndian.Uint64(record[atSeq:]),
	}
	if l.count == 1 { // as Record.read has it
		l.first = l.last
	}
	return l
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run sorts records to the sinks until the Log is closed.
func (l *Log) run() {
	defer close(l.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var sums queue // those repeated
	for final := false; !final; {
		select {
		case <-l.closing:
			final = true
		case <-timer.C:
		case <-l.wake:
			select {
			case <-l.closing:
				final = true
			case <-l.urgent:
			case <-time.After(gather):
			}
		}
		l.mu.Lock()
		batch := l.queue.take()
		now := time.Now()
		due, held := l.repeats.due(&sums, now, final || l.repeats.within == 0)
		for _, more := range [...]func(*queue, time.Time, bool) (time.Time, uint64){l.reads.due, l.callers.due} {
			wake, n := more(&sums, now, final)
			if held += n; due.IsZero() || !wake.IsZero() && wake.Before(due) {
				due = wake
			}
		}
		l.sorted = l.seq - held
		pumps := *l.pumps.Load()
		l.closed = final
		l.mu.Unlock()
		l.deliver(pumps, batch)
		l.deliver(pumps, sums.items)
		sums = queue{items: sums.items[:0]}
		l.mu.Lock()
		l.queue.release(len(batch))
		l.queue.recycle(batch)
		l.room.Broadcast()
		again := l.queue.used > 0 || l.queue.lost.count > 0
		l.mu.Unlock()
		if again {
			signal(l.wake) // it was not idle, so nobody else did
		}
		if timer.Reset(time.Hour); !due.IsZero() {
			timer.Reset(max(time.Until(due), 0))
		}
	}
}

// deliver brings a batch to all who want it.
func (l *Log) deliver(pumps []*pump, batch []byte) {
	var r Record
	var line, short []byte
	for len(batch) > 0 {
		var kind byte
		var item []byte
		kind, item, batch = next(batch)
		if kind == itemLost {
			lost := readLost(item)
			l.lost.Add(lost.count)
			for _, p := range pumps {
				p.lose(lost)
			}
			l.ring.lose(lost)
			continue
		}
		r.read(item)
		if l.options.Observe != nil && r.unseen > 0 {
			count := r.Count
			r.Count = r.unseen
			l.options.Observe(&r)
			r.Count = count
			l.observed.Add(r.unseen)
		}
		if kind == itemSeen {
			continue
		}
		line, short = appendRecord(line[:0], &r, MaxPath), short[:0]
		l.ring.add(item, &r, line)
		for _, p := range pumps {
			body := line
			if most := p.most(); most > 0 && len(line) > most {
				if len(short) == 0 {
					short = appendRecord(short, &r, shortText)
				}
				body = short
			}
			p.put(lost{r.Count, r.First, r.Seq}, body)
		}
	}
}

// Reconfigure puts other sinks, limits and times into force. A sink whose name and settings stay goes on as it is; one with the
// name of another takes over what waits for that one; what waits for one that is left out is written within stopPatience.
func (l *Log) Reconfigure(o Options) {
	l.change.Lock()
	defer l.change.Unlock()
	if l.released {
		return
	}
	old := *l.pumps.Load()
	var pumps, begun []*pump
	for _, s := range o.Sinks {
		i := slices.IndexFunc(old, func(p *pump) bool { return p.name == s.Name() })
		if i < 0 {
			p := newPump(l, s, o.QueueBytes)
			pumps, begun = append(pumps, p), append(begun, p)
			continue
		}
		old[i].replace(s, o.QueueBytes)
		pumps = append(pumps, old[i])
	}
	l.mu.Lock()
	for _, p := range begun {
		p.before, p.after = l.sorted, l.left[p.name]
		l.pumping.Go(p.run)
	}
	l.pumps.Store(&pumps)
	l.mu.Unlock()
	for _, p := range old {
		if !slices.Contains(pumps, p) {
			p.stop()
			l.left[p.name] = p.done
			time.AfterFunc(stopPatience, p.abandon)
		}
	}
	l.ring.resize(o.RingBytes)
	l.mu.Lock()
	l.queue.limit = o.QueueBytes // its buffers grow where they must
	l.repeats.within = o.Repeat
	l.callers.rates = o.Rates
	l.wait = o.Wait
	l.room.Broadcast()
	l.mu.Unlock()
	l.sortWaiting(o.Wait)
	signal(l.wake)
}

// sortWaiting says whether the goroutine that sorts records to the sinks waits for room there.
func (l *Log) sortWaiting(wait bool) {
	l.waits.Store(wait)
	for _, p := range *l.pumps.Load() {
		p.wakeWaiters()
	}
}

// Release says that the daemon stops: no decision waits any more, whatever Options.Wait says, and Reconfigure does nothing. It
// comes before the daemon waits for its connections to end.
func (l *Log) Release() {
	l.change.Lock()
	defer l.change.Unlock()
	l.released = true
	l.mu.Lock()
	l.wait = false
	l.room.Broadcast()
	l.mu.Unlock()
}

// closeGrace is what the sinks have even where Close has no time left, so that those that work get what they can.
const closeGrace = 200 * time.Millisecond

// Close writes out what is held, pending repeats included, and closes the sinks. What is not written when ctx ends is counted as
// dropped. Records that come later are, too.
func (l *Log) Close(ctx context.Context) {
	l.close.Do(func() {
		l.Release()
		close(l.closing)
		select {
		case <-l.stopped:
		case <-ctx.Done():
			l.sortWaiting(false)
			<-l.stopped
		}
		for _, p := range *l.pumps.Load() {
			p.stop()
		}
		done := make(chan struct{})
		go func() {
			l.pumping.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-ctx.Done():
			select {
			case <-done:
			case <-time.After(closeGrace):
			}
		}
		l.abort()
		for _, p := range *l.pumps.Load() {
			p.abandon()
		}
		l.ring.end()
		close(l.reportsClosed)
		select { // what was dropped at the end is said, too
		case <-l.reportsDrained:
		case <-time.After(closeGrace):
		}
	})
}

// tellTroubles calls Report, which may be as slow as the sink that it reports on.
func (l *Log) tellTroubles() {
	defer close(l.reportsDrained)
	for {
		select {
		case t := <-l.reports:
			l.report(t)
		case <-l.reportsClosed:
			for {
				select {
				case t := <-l.reports:
					l.report(t)
				default:
					return
				}
			}
		}
	}
}

func (l *Log) report(t Trouble) {
	if l.options.Report != nil {
		l.options.Report(t)
	}
}

// Stats are the figures of a Log.
type Stats struct {
	Appended uint64 // decisions so far
	Pending  uint64 // of them, those that no sink was offered yet: those being counted, and what waits to be sorted
	Unseen   uint64 // of them, those that Options.Observe was not shown yet, and will be
	Lost     uint64 // of them, those dropped before they were sorted: no sink, watcher or observer has seen them
	Sinks    []SinkStats
}

// SinkStats are the figures of a sink. Kept, Dropped and Queued add up to Offered, which with Pending adds up to Appended for a
// sink that was there from the start.
type SinkStats struct {
	Name        string
	Offered     uint64 // decisions that were to be recorded there
	Kept        uint64
	Dropped     uint64
	Queued      uint64
	QueuedBytes int
	Err         error     // that it has now; nil: none
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
	defer l.mu.Unlock()
	s.Appended, s.Pending, s.Lost = l.seq, l.seq-l.sorted-l.late, lost+l.late
	s.Unseen = s.Appended - min(s.Appended, observed+s.Lost)
	for i, p := range pumps {
		f := &s.Sinks[i]
		f.Offered = l.sorted - p.before + l.late
		f.Dropped += l.late
		f.Queued = f.Offered - f.Kept - f.Dropped
	}
	return s
}
