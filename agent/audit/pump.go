package audit

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

const (
	stopPatience = 5 * time.Second // for a sink that is left out of the configuration
	syncEvery    = 5 * time.Second // a file is made sure of: each line would wear the flash
	reportEvery  = time.Minute     // of one trouble
	leastRetry   = time.Second     // before a sink that failed is opened again
	mostRetry    = time.Minute
)

// pump makes lines of the records in a queue, numbers and chains them, and brings them to one sink, on a goroutine
// of its own.
type pump struct {
	log      *Log
	name     string
	ready    chan struct{} // something to do
	replaced chan struct{} // the sink was replaced: skip the back-off of the old one
	quit     context.CancelFunc
	ended    context.Context // done when abandoned: nothing more is to be tried

	before uint64 // decisions that were sorted before it was there
	// closed when another of its name has ended, that may be at work in the same file; nil if none
	after <-chan struct{}
	done  chan struct{} // closed when it has ended

	mu      sync.Mutex
	state   pumpState
	room    sync.Cond
	queue   queue
	offered uint64
	kept    uint64
	dropped uint64
	untold  uint64 // dropped since the last report
	told    time.Time
	err     error
	since   time.Time
	alarm   bool // an error was reported, and not that it is over
	sink    Sink // to be used from now on
	chain   chain

	// Of the goroutine alone.
	open     Sink // that is open; nil if none
	body     []byte
	line     []byte // the body with its number and chain
	begun    string // settings of the sink in which the stream was opened
	closed   bool   // the last line closes the stream
	section  uint64 // decisions kept since the opening line
	last     uint64 // highest sequence number since then
	pending  span   // dropped here, to be told
	retry    time.Duration
	unsynced bool
}

// pumpState is how far a pump has come. None comes back.
type pumpState uint8

const (
	serving   pumpState = iota
	stopping            // what is held is written, then the stream is closed
	abandoned           // what is not written is counted as dropped, and nothing as kept any more
)

func newPump(l *Log, s Sink, limit int) *pump {
	p := &pump{
		log: l, name: s.Name(), sink: s,
		ready: make(chan struct{}, 1), replaced: make(chan struct{}, 1), done: make(chan struct{}),
	}
	p.room.L = &p.mu
	p.queue.resize(limit)
	p.ended, p.quit = context.WithCancel(l.aborted)
	return p
}

// put queues a record, or counts it as dropped if there is no room; or waits for room, if the Log does.
func (p *pump) put(r *Record) {
	p.mu.Lock()
	p.offered += r.Count
	// of one that was abandoned nobody asks for the figures any more
	for p.state != abandoned && !p.queue.put(r, false) {
		if !p.log.waits.Load() {
			p.drop(r.decisions())
			break
		}
		p.room.Wait()
	}
	signal(p.ready)
	p.mu.Unlock()
}

// lose counts decisions that were dropped before they came here.
func (p *pump) lose(s span) {
	p.mu.Lock()
	p.offered += s.count
	p.drop(s)
	signal(p.ready)
	p.mu.Unlock()
}

// drop is called with the lock held.
func (p *pump) drop(s span) {
	p.dropped += s.count
	p.untold += s.count
	p.queue.lost.add(s)
	if time.Since(p.told) >= reportEvery {
		p.tell(Trouble{Err: p.err})
	}
}

// tell reports, with the lock held.
func (p *pump) tell(t Trouble) {
	t.Sink, t.Dropped = p.name, p.untold
	select {
	case p.log.reports <- t:
		p.untold, p.told = 0, time.Now()
	default: // later, then: whoever takes the reports is stuck
	}
}

// replace makes p use another sink, unless that is set up as the one it uses.
func (p *pump) replace(s Sink, limit int) {
	p.mu.Lock()
	p.queue.resize(limit)
	if s.Settings() != p.sink.Settings() {
		p.sink = s
		signal(p.replaced)
	}
	p.room.Broadcast()
	signal(p.ready)
	p.mu.Unlock()
}

// wakeWaiters wakes blocked put calls.
func (p *pump) wakeWaiters() {
	p.mu.Lock()
	p.room.Broadcast()
	p.mu.Unlock()
}

// stop lets p end once all that it holds is written.
func (p *pump) stop() {
	p.mu.Lock()
	p.state = max(p.state, stopping)
	p.mu.Unlock()
	signal(p.ready)
}

// abandon gives up what is not written yet.
func (p *pump) abandon() {
	p.mu.Lock()
	p.state = abandoned
	left := p.offered - p.kept - p.dropped
	p.dropped += left
	p.untold += left
	if p.untold > 0 {
		p.tell(Trouble{Err: p.err})
	}
	p.room.Broadcast()
	p.mu.Unlock()
	p.quit()
}

func (p *pump) stats() SinkStats {
	p.mu.Lock()
	s := SinkStats{
		Name: p.name, Kept: p.kept, Dropped: p.dropped, QueuedBytes: p.queue.bytes(),
		Err: p.err, Since: p.since, Lines: p.chain.line,
	}
	if p.chain.line > 0 {
		s.Head = string(p.chain.head[:])
	}
	p.mu.Unlock()
	return s
}

// run is p's goroutine. At its end the sink is closed, then what is left is counted as dropped, and only then may
// another pump of its name open the same file.
func (p *pump) run() {
	defer close(p.done)
	defer p.abandon()
	defer p.shut("")
	if p.after != nil {
		select {
		case <-p.after:
		case <-p.ended.Done():
			return
		}
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	signal(p.ready) // so that a wrong path or a missing server shows at the start
	for {
		select {
		case <-p.ended.Done():
			return
		case <-timer.C:
			p.sync()
		case <-p.ready:
		}
		p.mu.Lock()
		waiting, state, sink := p.queue.n, p.state, p.sink
		p.mu.Unlock()
		if p.open != nil && p.open != sink && p.open.Settings() != sink.Settings() {
			p.shut("replaced")
		}
		if c, is := p.open.(checker); is && c.Stale() {
			p.shut("")
		}
		if waiting == 0 && state == serving {
			p.begin()
		}
		for range waiting {
			if !p.deliver() {
				return
			}
		}
		p.mu.Lock()
		if p.queue.n == 0 {
			p.pending.add(p.queue.takeLost())
		}
		empty := p.queue.idle()
		p.mu.Unlock()
		if !p.tellLost() {
			return
		}
		switch {
		case state == stopping && empty:
			p.shut("stopped")
			return
		case !empty:
			signal(p.ready)
		}
		switch _, syncs := p.open.(syncer); {
		case p.open == nil:
			timer.Reset(p.pause()) // tried again though nothing waits, so that the status says what is
		case syncs && !p.unsynced && waiting > 0:
			p.unsynced = true
			timer.Reset(syncEvery)
		}
	}
}

// deliver writes the first record of the queue, and before it what was lost, retrying as needed. It reports false
// once p is abandoned.
func (p *pump) deliver() bool {
	p.mu.Lock()
	s := p.queue.slot(0) // nobody else touches it while it is in use
	p.mu.Unlock()
	if p.pending.add(s.lost); !p.tellLost() {
		return false
	}
	for {
		err := p.begin()
		if err == nil {
			err = p.write(p.lineOf(&s.Record))
		}
		switch {
		case errors.Is(err, errTooLong):
			if !p.delivered(&s.Record, &p.dropped) {
				return false
			}
			return p.tellLost()
		case err == nil:
			return p.delivered(&s.Record, &p.kept)
		case !p.wait():
			return false
		}
	}
}

// delivered counts the first record of the queue as kept or dropped, and frees its slot. It reports false once p is
// abandoned, which has counted it.
func (p *pump) delivered(r *Record, as *uint64) bool {
	d := r.decisions()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == abandoned {
		return false
	}
	if *as += d.count; as == &p.kept {
		p.section += d.count
		p.last = max(p.last, d.last)
	} else {
		p.untold += d.count
		p.pending.add(d)
	}
	p.queue.drop(1)
	p.room.Signal()
	return true
}

// lineOf returns r's line without its end, short if the open sink takes no longer one.
func (p *pump) lineOf(r *Record) []byte {
	p.body = appendRecord(p.body[:0], r, MaxPath)
	if most := p.open.MaxLine(); most > 0 && len(p.body) > most {
		p.body = appendRecord(p.body[:0], r, shortText)
	}
	return p.body
}

// tellLost writes what was dropped.
func (p *pump) tellLost() bool {
	for p.pending.count > 0 {
		err := p.begin()
		if err == nil {
			body := appendNumber(p.event(nil, eventDropped), "count", p.pending.count)
			body = appendNumber(body, "first", p.pending.first)
			body = appendNumber(body, "last", p.pending.last)
			if err = p.write(body); err == nil {
				p.pending = span{}
			}
		}
		if err != nil && !p.wait() {
			return false
		}
	}
	return true
}

// begin makes sure that the sink is open and its stream begun.
func (p *pump) begin() error {
	if p.open != nil {
		return nil
	}
	p.mu.Lock()
	sink := p.sink
	p.mu.Unlock()
	tail, err := sink.Open(p.ended)
	if err != nil {
		sink.Close()
		p.failed(err)
		return err
	}
	p.open = sink
	if tail.Resumed && p.chain.line > 0 && sink.Settings() == p.begun {
		return nil
	}
	at, closed := p.chain, p.closed
	if tail.Found && (!tail.Before || at.line == 0) { // of a file that was taken away, its line numbers are missing
		at, closed = tail.chain, tail.Closed
	}
	body := appendWord(p.event(nil, eventOpen), "run", p.log.id)
	body, _ = appendText(body, "version", []byte(p.log.options.Version), MaxText)
	body = appendWord(body, "previous", string(at.previous()))
	if at.line > 0 {
		body = append(body, `,"closed":`...)
		body = strconv.AppendBool(body, closed)
	}
	if tail.Torn > 0 {
		body = appendNumber(body, "torn", uint64(tail.Torn))
	}
	p.setChain(at)
	p.section, p.last = 0, 0
	if err = p.writeLine(body); err == nil {
		p.begun = sink.Settings()
	}
	return err
}

// shut closes the stream, with a closing line if there is a reason to give, and the sink.
func (p *pump) shut(why string) {
	if p.open == nil {
		return
	}
	if why != "" {
		p.closing(why)
	}
	if p.open != nil {
		p.open.Close()
		p.open = nil
	}
}

// closing writes the line that closes the stream.
func (p *pump) closing(why string) error {
	body := appendWord(p.event(nil, eventClose), "why", why)
	body = appendNumber(body, "seq", p.last)
	body = appendNumber(body, "kept", p.section)
	return p.writeLine(body)
}

// write writes a line, in the next place if this one is full.
func (p *pump) write(body []byte) error {
	const end = len(`,"line":18446744073709551615`) + chainSize
	if r, is := p.open.(rotater); is && r.Full(len(body)+end) {
		if err := p.closing("full"); err != nil {
			return err
		}
		if err := r.Rotate(); err != nil {
			p.failed(err)
			return err
		}
		p.open.Close()
		p.open = nil
		if err := p.begin(); err != nil {
			return err
		}
	}
	return p.writeLine(body)
}

// writeLine appends one line to the open stream.
func (p *pump) writeLine(body []byte) error {
	var after chain
	p.line, after = p.chain.append(p.line[:0], body)
	if err := p.open.Write(p.line); err != nil {
		if !errors.Is(err, errTooLong) {
			p.failed(err)
		}
		return err
	}
	p.setChain(after)
	p.closed = field(body, "event") == eventClose
	p.worked()
	return nil
}

func (p *pump) setChain(c chain) {
	p.mu.Lock()
	p.chain = c
	p.mu.Unlock()
}

// sync lets the sink make sure of what it was given.
func (p *pump) sync() {
	p.unsynced = false
	if s, is := p.open.(syncer); is {
		if err := s.Sync(); err != nil {
			p.failed(err)
		}
	}
}

// failed closes the sink after an error, and reports it.
func (p *pump) failed(err error) {
	if p.open != nil {
		p.open.Close()
		p.open = nil
	}
	p.mu.Lock()
	if p.err == nil {
		p.since = time.Now()
	}
	p.err = err
	if time.Since(p.told) >= reportEvery {
		p.alarm = true
		p.tell(Trouble{Err: err})
	}
	p.mu.Unlock()
}

// worked says that a line was written.
func (p *pump) worked() {
	p.retry = 0
	p.mu.Lock()
	p.err, p.since = nil, time.Time{}
	if p.alarm {
		p.alarm = false
		p.tell(Trouble{Over: true})
	}
	p.mu.Unlock()
}

// wait waits before a sink that failed is tried again; false means that p is given up.
func (p *pump) wait() bool {
	timer := time.NewTimer(p.pause())
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.replaced:
		p.retry = 0
		return true
	case <-p.ended.Done():
		return false
	}
}

// pause returns how long to wait before the next attempt.
func (p *pump) pause() time.Duration {
	p.retry = min(max(2*p.retry, leastRetry), mostRetry)
	return p.retry/2 + rand.N(p.retry/2+1) // not all devices of a house at the same moment
}

func (p *pump) event(dst []byte, name string) []byte {
	now, clock := p.log.options.Now()
	dst = appendWord(append(dst, lineBegin...), "event", name)
	dst = appendTime(dst, "time", now.UnixMicro())
	return appendWord(dst, "clock", clock.String())
}
