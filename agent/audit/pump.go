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

// pump brings lines from a queue to one sink, on a goroutine of its own, and numbers and chains them.
type pump struct {
	log      *Log
	name     string
	ready    chan struct{} // something to do
	replaced chan struct{} // the sink was replaced: skip the back-off of the old one
	quit     context.CancelFunc
	ended    context.Context // nothing more is to be tried

	before uint64          // decisions that were sorted before it was there
	after  <-chan struct{} // closed when another of its name has ended, that may be at work in the same file; nil: there is none
	done   chan struct{}   // closed when it has ended

	mu       sync.Mutex
	room     sync.Cond
	queue    queue
	offered  uint64
	kept     uint64
	dropped  uint64
	untold   uint64 // dropped since the last report
	told     time.Time
	stopping bool // what is held is written, then the stream is closed
	gone     bool // given up: nothing is counted as kept any more
	err      error
	since    time.Time
	alarm    bool // an error was reported, and not that it is over
	sink     Sink // to be used from now on
	chain    chain

	// Of the goroutine alone.
	open     Sink // that is open; nil: none
	line     []byte
	begun    string // settings of the sink in which the stream was opened
	closed   bool   // the last line closes the stream
	section  uint64 // decisions kept since the opening line
	last     uint64 // highest sequence number since then
	pending  lost   // dropped here, to be told
	retry    time.Duration
	unsynced bool
}

func newPump(l *Log, s Sink, limit int) *pump {
	p := &pump{log: l, name: s.Name(), sink: s, ready: make(chan struct{}, 1), replaced: make(chan struct{}, 1), done: make(chan struct{})}
	p.room.L = &p.mu
	p.queue.limit = limit
	p.ended, p.quit = context.WithCancel(l.aborted)
	return p
}

// put queues the line of these decisions, or counts them as dropped where there is no room; or waits for room, where the Log does.
func (p *pump) put(l lost, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offered += l.count
	for !p.queue.room(len(body)) && p.log.waits.Load() && !p.gone {
		p.room.Wait()
	}
	switch {
	case p.gone: // it was left out, and nobody asks for its figures any more
	case !p.queue.room(len(body)):
		p.drop(l)
	default:
		p.queue.put(itemLine, body)
	}
	signal(p.ready)
}

// lose counts decisions that were dropped before they came here.
func (p *pump) lose(l lost) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offered += l.count
	p.drop(l)
	signal(p.ready)
}

// drop is called with the lock held.
func (p *pump) drop(l lost) {
	p.dropped += l.count
	p.untold += l.count
	p.queue.lost.add(l)
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

func (p *pump) most() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sink.MaxLine()
}

// replace makes p use another sink, unless that is set up as the one it uses.
func (p *pump) replace(s Sink, limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue.limit = limit
	if s.Settings() != p.sink.Settings() {
		p.sink = s
		signal(p.replaced)
	}
	p.room.Broadcast()
	signal(p.ready)
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
	p.stopping = true
	p.mu.Unlock()
	signal(p.ready)
}

// abandon gives up what is not written yet.
func (p *pump) abandon() {
	p.mu.Lock()
	p.gone = true
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
	defer p.mu.Unlock()
	s := SinkStats{
		Name: p.name, Kept: p.kept, Dropped: p.dropped, QueuedBytes: p.queue.used, Err: p.err, Since: p.since, Lines: p.chain.line,
	}
	if p.chain.line > 0 {
		s.Head = string(p.chain.head[:])
	}
	return s
}

// run is p's goroutine.
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
		batch := p.queue.take()
		stopping := p.stopping
		changed := p.open != nil && p.open.Settings() != p.sink.Settings()
		p.mu.Unlock()
		if changed {
			p.shut("replaced")
		}
		if c, is := p.open.(checker); is && c.Stale() {
			p.shut("")
		}
		if len(batch) == 0 && !stopping {
			p.begin()
		}
		for rest := batch; len(rest) > 0; {
			before := len(rest)
			var kind byte
			var item []byte
			kind, item, rest = next(rest)
			if !p.deliver(kind, item) {
				return
			}
			p.mu.Lock()
			p.queue.release(before - len(rest))
			p.room.Signal()
			p.mu.Unlock()
		}
		p.mu.Lock()
		p.queue.recycle(batch)
		empty := p.queue.used == 0 && p.queue.lost.count == 0
		p.mu.Unlock()
		switch {
		case stopping && empty:
			p.shut("stopped")
			return
		case !empty:
			signal(p.ready)
		}
		switch _, syncs := p.open.(syncer); {
		case p.open == nil:
			timer.Reset(p.pause()) // tried again though nothing waits, so that the status says what is
		case syncs && !p.unsynced && len(batch) > 0:
			p.unsynced = true
			timer.Reset(syncEvery)
		}
	}
}

// deliver writes one item of the queue, retrying as needed. It reports false once p is abandoned.
func (p *pump) deliver(kind byte, item []byte) bool {
	if kind == itemLost {
		p.pending.add(readLost(item))
		return p.tellLost()
	}
	l := decisionsOf(item)
	for {
		err := p.begin()
		if err == nil {
			err = p.write(item)
		}
		switch {
		case errors.Is(err, errTooLong):
			p.mu.Lock()
			if !p.gone {
				p.dropped += l.count
				p.untold += l.count
			}
			p.mu.Unlock()
			p.pending.add(l)
			return p.tellLost()
		case err == nil:
			p.section += l.count
			p.last = max(p.last, l.last)
			p.mu.Lock()
			defer p.mu.Unlock()
			if !p.gone {
				p.kept += l.count
			}
			return !p.gone
		case !p.wait():
			return false
		}
	}
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
				p.pending = lost{}
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
	if tail.Found && (!tail.Before || at.line == 0) { // of a file that was taken away, the numbers of its lines are missing
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

// shut closes the stream, with a closing line where there is a reason to give, and the sink.
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

// write writes a line, in the next place where this one is full.
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
	defer p.mu.Unlock()
	if p.err == nil {
		p.since = time.Now()
	}
	p.err = err
	if time.Since(p.told) >= reportEvery {
		p.alarm = true
		p.tell(Trouble{Err: err})
	}
}

// worked says that a line was written.
func (p *pump) worked() {
	p.retry = 0
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err, p.since = nil, time.Time{}
	if p.alarm {
		p.alarm = false
		p.tell(Trouble{Over: true})
	}
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
	return p.retry/2 + rand.N(p.retry/2+1) // not all devices of a house at once
}

func (p *pump) event(dst []byte, name string) []byte {
	now, clock := p.log.options.Now()
	dst = append(dst, lineStart...)
	dst = append(dst, `"event":"`...)
	dst = append(dst, name...)
	dst = append(dst, `","time":"`...)
	dst = append(appendTime(dst, now.UnixMicro()), '"')
	return appendWord(dst, "clock", clock.String())
}
