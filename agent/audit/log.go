package audit

import (
	"context"
	"crypto/rand"
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
	Repeat     time.Duration // equal denials within it are counted into one record; 0 disables it
	Rates      Rates         // what is beyond them is joined into records with a count
	RingBytes  int           // for the last records, kept in memory

	Version string                    // of the daemon, for the records that open a stream
	Now     func() (time.Time, Clock) // for records of the Log's own; if nil, the system's clock and ClockUnset
	// is shown every decision, on the Log's goroutine; must not keep the record or wait
	Observe func(*Record)
	Report  func(Trouble) // is told of troubles with a sink, at most once a minute for each while they last
}

// Trouble is what the daemon's own log says about a sink.
type Trouble struct {
	Sink    string
	Err     error  // what is wrong; nil if it is over, or if the sink just does not keep up
	Dropped uint64 // decisions not recorded there since the last report
	Over    bool   // the sink takes records again
}

// Log takes records and brings them to its sinks. Its methods may be called at the same time.
type Log struct {
	options Options // those that Reconfigure does not change
	id      string  // names this start of the daemon

	mu      sync.Mutex
	state   state
	room    sync.Cond // for those who wait for room in queue
	queue   queue
	repeats *repeats // of denials
	reads   *repeats // of what is read beyond the budget
	reasons *repeats // of what is denied beyond it
	callers callers
	shown   Record // to Observe; of the goroutine alone
	seq     uint64
	sorted  uint64 // decisions that the goroutine has taken to bring them to the sinks
	late    uint64 // decisions after the end
	wait    bool

	wake    chan struct{} // something to do
	urgent  chan struct{} // and soon
	closing chan struct{} // Close was called
	stopped chan struct{} // the goroutine has ended
	close   sync.Once

	waits          atomic.Bool                // as wait, for the pumps
	change         sync.Mutex                 // one Reconfigure at a time
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

// state is how far a Log has come. None comes back.
type state uint8

const (
	running  state = iota
	released       // the daemon stops: no decision waits, and there is no Reconfigure any more
	ended          // all that came before is being brought to the sinks; what comes later is counted as dropped
)

// New starts a Log. It must be closed.
func New(o Options) *Log {
	if o.Now == nil {
		o.Now = func() (time.Time, Clock) { return time.Now(), ClockUnset }
	}
	if o.Report == nil {
		o.Report = func(Trouble) {}
	}
	var id [8]byte
	rand.Read(id[:]) // never fails, by its documentation
	l := &Log{
		options: o, id: hex.EncodeToString(id[:]),
		repeats: newRepeats(repeatPlaces, o.Repeat),
		reads:   newRepeats(readPlaces, joinEvery),
		reasons: newRepeats(reasonPlaces, joinEvery),
		wake:    make(chan struct{}, 1), urgent: make(chan struct{}, 1),
		closing: make(chan struct{}), stopped: make(chan struct{}),
		left:    map[string]<-chan struct{}{},
		reports: make(chan Trouble, 16), reportsClosed: make(chan struct{}), reportsDrained: make(chan struct{}),
	}
	l.room.L = &l.mu
	l.aborted, l.abort = context.WithCancel(context.Background())
	l.pumps.Store(new([]*pump))
	l.Reconfigure(o)
	go l.tellTroubles()
	go l.run()
	return l
}

// Append is AppendBy for one who tells of few.
func (l *Log) Append(d *Decision) uint64 { return l.AppendBy(new(Draft), d) }

// AppendBy takes one decision, assigns its sequence number and returns it. It allocates nothing once as many different
// denials have come as are counted, and waits for nothing but, if Options.Wait says so, room in the queue.
func (l *Log) AppendBy(w *Draft, d *Decision) uint64 {
	w.set(d)
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.add(w, d.kind()) {
		l.room.Wait()
	}
	return l.seq
}

// add counts or queues a decision; false means that it must wait for room.
func (l *Log) add(w *Draft, k kind) bool {
	if l.state == ended {
		l.seq, l.late = l.seq+1, l.late+1
		return true
	}
	r := &w.record
	r.Seq, r.First = l.seq+1, l.seq+1
	if !l.count(w, k) {
		return false
	}
	l.seq = r.Seq
	return true
}

// count counts a record with others, or queues it; false means that it must wait for room.
func (l *Log) count(w *Draft, k kind) bool {
	r := &w.record
	counted := l.repeats.within > 0 && (k == stranger || k == denial)
	var hash uint64
	if counted {
		hash = l.repeats.hash(r, l.repeats.hashTexts(r))
		if place := l.repeats.find(r, hash, 0); place >= 0 {
			l.repeats.again(place, r, false)
			return true
		}
	}
	var p *caller
	if k != change {
		if p = l.callers.of(r); !l.callers.within(p, k, r.Time) {
			return l.join(p, k, w)
		}
	}
	if counted && !l.makePlace(l.repeats) || !l.put(r) {
		return false
	}
	if counted {
		l.repeats.begin(r, hash)
	}
	if p != nil {
		p.spend(k)
	}
	return true
}

// makePlace queues the record of a place that another shall take, if there is none free; false means that it must
// wait for room.
func (l *Log) makePlace(r *repeats) bool {
	victim := r.victim()
	if victim == nil {
		return true
	}
	if !l.put(&victim.Record) {
		return false
	}
	r.empty(victim)
	return true
}

// put queues a record or counts it as dropped; false means that it must wait for room.
func (l *Log) put(r *Record) bool {
	idle := l.queue.idle()
	if !l.queue.put(r, false) {
		if l.wait {
			return false
		}
		l.queue.lost.add(r.decisions())
	}
	if idle {
		signal(l.wake)
	} else if l.queue.half() {
		signal(l.urgent)
	}
	return true
}

// join counts a decision beyond p's budget into a record with others (OPS-2); false means that it must wait for room.
func (l *Log) join(p *caller, k kind, w *Draft) bool {
	by, into := ByPath, l.reads
	switch {
	case k != reading:
		by, into = ByReason, l.reasons
	case w.by == ByClient && into.busy >= allPaths: // as that before, which had the same texts
		by = ByClient
	}
	j, hash := w.join(by, into)
	if by == ByReason {
		j.UID = p.uid
	}
	place := into.find(j, hash, w.place)
	if place < 0 && by == ByPath && into.busy >= allPaths {
		by = ByClient
		j, hash = w.join(by, into)
		place = into.find(j, hash, w.place)
	}
	if place < 0 {
		if !l.makePlace(into) {
			return false
		}
		place = into.begin(j, hash)
		signal(l.wake) // its time begins
	}
	w.place = place
	into.again(place, j, by != ByPath && l.show(&w.record))
	return true
}

// show queues a record for Observe alone, which is to see what a joined record leaves out, if there is room to spare.
func (l *Log) show(r *Record) bool {
	idle := l.queue.idle()
	if l.options.Observe == nil || l.queue.half() || !l.queue.put(r, true) {
		return false
	}
	if idle {
		signal(l.wake)
	}
	return true
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
		l.sort(final)
		wake := l.sortDue(final)
		if timer.Reset(time.Hour); !wake.IsZero() {
			timer.Reset(max(time.Until(wake), 0))
		}
	}
}

// sort brings what waits to the sinks. If it is final, the Log has ended: all that is appended later is too late.
func (l *Log) sort(final bool) {
	l.mu.Lock()
	if final {
		l.state = ended
	}
	batch, last, n := l.queue.waiting(), l.queue.takeLost(), l.queue.n
	for _, part := range batch {
		for i := range part {
			if l.sorted += part[i].lost.count; !part[i].observe {
				l.sorted += part[i].Count
			}
		}
	}
	l.sorted += last.count
	pumps := *l.pumps.Load()
	l.mu.Unlock()
	for _, part := range batch { // without the lock: nobody else touches slots that are in use
		for i := range part {
			s := &part[i]
			l.lose(pumps, s.lost)
			l.deliver(pumps, &s.Record, s.observe)
		}
	}
	l.lose(pumps, last)
	l.mu.Lock()
	l.queue.drop(n)
	l.room.Broadcast()
	again := !l.queue.idle()
	l.mu.Unlock()
	if again {
		signal(l.wake) // it was not idle, so nobody else did
	}
}

// sortDue brings records to the sinks that stand for several decisions and whose time has ended, or all. It returns
// when to ask again, the zero time if nothing is counted.
func (l *Log) sortDue(all bool) time.Time {
	now := time.Now()
	var r Record
	for {
		l.mu.Lock()
		var found bool
		var wake time.Time
		for _, of := range [...]*repeats{l.repeats, l.reads, l.reasons} {
			if !found {
				found = of.due(&r, &wake, now, all || of.within == 0)
			}
		}
		if found {
			l.sorted += r.Count
		}
		pumps := *l.pumps.Load()
		l.mu.Unlock()
		if !found {
			return wake
		}
		l.deliver(pumps, &r, false)
	}
}

// deliver brings a record to all who want it, or to Observe alone.
func (l *Log) deliver(pumps []*pump, r *Record, observe bool) {
	if l.options.Observe != nil && r.unseen > 0 {
		l.shown = *r // a slot may be read by others
		l.shown.Count = r.unseen
		l.options.Observe(&l.shown)
		l.observed.Add(r.unseen)
	}
	if observe {
		return
	}
	l.ring.add(r)
	for _, p := range pumps {
		p.put(r)
	}
}

// lose tells all of decisions that found no room.
func (l *Log) lose(pumps []*pump, s span) {
	if s.count == 0 {
		return
	}
	l.lost.Add(s.count)
	for _, p := range pumps {
		p.lose(s)
	}
	l.ring.lose(s)
}

// Reconfigure puts other sinks, limits and times into force. A sink whose name and settings stay goes on as it is;
// one with the name of another takes over what waits for that one; what waits for one that is left out is written
// within stopPatience.
func (l *Log) Reconfigure(o Options) {
	l.change.Lock()
	defer l.change.Unlock()
	l.mu.Lock()
	state := l.state
	l.mu.Unlock()
	if state != running {
		return
	}
	old := *l.pumps.Load()
	var pumps, begun []*pump
	for _, s := range o.Sinks {
		var p *pump
		if i := slices.IndexFunc(old, func(p *pump) bool { return p.name == s.Name() }); i >= 0 {
			p = old[i]
			p.replace(s, o.QueueBytes)
		} else {
			p = newPump(l, s, o.QueueBytes)
			begun = append(begun, p)
		}
		pumps = append(pumps, p)
	}
	l.ring.resize(o.RingBytes)
	l.mu.Lock()
	for _, p := range begun {
		p.before, p.after = l.sorted, l.left[p.name]
		l.pumping.Go(p.run)
	}
	l.pumps.Store(&pumps)
	l.queue.resize(o.QueueBytes)
	l.repeats.within = o.Repeat
	l.callers.rates = o.Rates
	l.wait = o.Wait
	l.room.Broadcast()
	l.mu.Unlock()
	for _, p := range old {
		if !slices.Contains(pumps, p) {
			p.stop()
			l.left[p.name] = p.done
			time.AfterFunc(stopPatience, p.abandon)
		}
	}
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

// tellTroubles calls Report, which may be as slow as the sink that it reports on.
func (l *Log) tellTroubles() {
	defer close(l.reportsDrained)
	for {
		select {
		case t := <-l.reports:
			l.options.Report(t)
		case <-l.reportsClosed:
			for len(l.reports) > 0 {
				l.options.Report(<-l.reports)
			}
			return
		}
	}
}
