package agent

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// maxWaiting is how many connections of one socket may wait for a slot. Further ones are refused, at the cost of the caller
	// who has most of them waiting.
	maxWaiting = 1024
	// maxWait is how long a connection waits. No caller as shipped waits longer for an answer.
	maxWait = 3 * time.Second
	// quiet is how long a connection may ask nothing, or leave an answer lying, and keep its slot whoever waits.
	quiet = time.Second
	// again is how often the Server looks around while some wait.
	again = 20 * time.Millisecond
	// probes is how many silent connections are looked at whenever a slot may be given.
	probes = 8
)

// slots are the places of the connections that a Server serves, and the connections that wait for one. It is under the
// Server's lock.
//
// Callers, which are processes, share the slots: a free one goes to the caller who holds the fewest, and no caller holds all of
// them, so that nobody is shut out by somebody who opens many connections. While questions wait, connections that ask nothing give
// way to them, first those of the caller who holds the most. Of the connections that wait, those with a question come first.
type slots struct {
	base    time.Time          // times are ns since then, by a clock that never jumps
	open    map[*Conn]struct{} // being served
	taken   int                // slots
	leaving int                // slots of connections that have been told to give way
	callers map[callerID]*caller
	waiting int
	asking  int         // of those that wait
	pressed atomic.Bool // some wait
	timer   *time.Timer // looks again while some wait; nil if none do
}

// callerID tells callers apart. Those whom the kernel does not name, in another PID namespace, are one caller.
type callerID struct {
	uid int64
	pid int32
}

// caller is one who holds slots or waits for them.
type caller struct {
	id   callerID
	held int // slots
	// Those that wait, and in which a question waits, or none that is known of. The first to come is the first to be served.
	asking, silent []*Conn
}

func (who *caller) waiting() int { return len(who.asking) + len(who.silent) }

func (s *Server) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base, s.open, s.callers = time.Now(), make(map[*Conn]struct{}), make(map[callerID]*caller)
}

// now returns the time, which is over zero.
func (s *slots) now() int64 { return int64(time.Since(s.base)) + 1 }

// quota is how many slots one caller may hold: a quarter stays free for others.
func (s *Server) quota() int { return max(1, s.Limit-max(1, s.Limit/4)) }

// wait has c wait behind the other connections of its caller.
func (s *Server) wait(c *Conn) {
	id := callerID{c.Peer.UID, c.Peer.PID}
	who := s.callers[id]
	if who == nil {
		who = &caller{id: id}
		s.callers[id] = who
	}
	c.caller = who
	s.waiting++
	who.silent = append(who.silent, c)
	s.probe(who, len(who.silent)-1)
	if s.waiting <= maxWaiting {
		return
	}
	most := who
	for _, other := range s.callers {
		if other.waiting() > most.waiting() {
			most = other
		}
	}
	queue := most.silent
	if len(queue) == 0 {
		queue = most.asking
	}
	newest := queue[len(queue)-1]
	s.sift(func(c *Conn) bool { return c == newest })
	s.Report(errTooMany)
}

// probe looks whether the i-th silent connection asks by now, and reports it.
func (s *Server) probe(who *caller, i int) bool {
	c := who.silent[i]
	if s.Ready != nil && !s.Ready(c.Conn) {
		return false
	}
	who.silent = slices.Delete(who.silent, i, i+1)
	who.asking = append(who.asking, c)
	s.asking++
	return true
}

// listen looks whether silent connections ask by now, at the first so many of each caller.
func (s *Server) listen(most int) {
	for _, who := range s.callers {
		for i, n := 0, 0; i < len(who.silent) && n < most; n++ {
			if !s.probe(who, i) {
				i++
			}
		}
	}
}

// sift takes away the waiting connections for which away is true, and closes them.
func (s *Server) sift(away func(*Conn) bool) {
	for _, who := range s.callers {
		before := len(who.asking)
		for _, queue := range []*[]*Conn{&who.asking, &who.silent} {
			*queue = slices.DeleteFunc(*queue, func(c *Conn) bool {
				if !away(c) {
					return false
				}
				c.Conn.Close()
				s.waiting--
				s.served.Done()
				return true
			})
		}
		s.asking -= before - len(who.asking)
		s.forget(who)
	}
}

func (s *Server) forget(who *caller) {
	if who.held == 0 && who.waiting() == 0 {
		delete(s.callers, who.id)
	}
}

// leave takes the slot of c back, if it has one.
func (s *Server) leave(c *Conn) {
	delete(s.open, c)
	if c.caller == nil {
		return
	}
	s.taken--
	c.caller.held--
	if c.leaving {
		s.leaving--
	}
	s.forget(c.caller)
}

// share gives free slots to connections that wait. If there are not enough, it has others give way.
func (s *Server) share() {
	if s.waiting > s.asking && s.pressed.Load() {
		s.listen(probes)
	}
	for s.waiting > 0 && (s.Limit <= 0 || s.taken < s.Limit) {
		who, queue := s.next()
		if who == nil {
			break // those who wait hold as many as they may
		}
		c := (*queue)[0]
		*queue = slices.Delete(*queue, 0, 1)
		if queue == &who.asking {
			s.asking--
		}
		s.waiting--
		s.taken++
		who.held++
		s.start(c)
	}
	s.pressed.Store(s.waiting > 0)
	if s.waiting == 0 {
		return
	}
	if !s.closed {
		s.press()
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(again, s.lookAgain)
	}
}

// lookAgain finds what only the time has made ready to give way.
func (s *Server) lookAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = nil
	late := s.now() - int64(maxWait)
	before := s.waiting
	s.sift(func(c *Conn) bool { return c.came < late })
	for range before - s.waiting {
		s.Report(errTooLate)
	}
	s.listen(maxWaiting)
	s.share()
}

// next returns the caller whose turn it is, and the queue of its next connection. Of those who may hold another slot, and have a
// question waiting or else a silent connection, it is the one who holds the fewest, and among such the one who has waited longest.
// It returns nil if there is none.
func (s *Server) next() (next *caller, queue *[]*Conn) {
	for _, who := range s.callers {
		from := &who.asking
		if len(*from) == 0 {
			from = &who.silent
		}
		if len(*from) == 0 || s.Limit > 0 && who.held >= s.quota() {
			continue
		}
		if next == nil || cmp.Or(min(len(next.asking), 1)-min(len(who.asking), 1), who.held-next.held,
			cmp.Compare((*from)[0].came, (*queue)[0].came)) < 0 {
			next, queue = who, from
		}
	}
	return next, queue
}

// press has as many connections give way as questions wait, if so many ask nothing. One that asked nothing for a while gives way to
// anybody, one that has just been answered to another of its caller, or to a caller who holds fewer slots: else a caller who asks
// all the time would never be without. One whose answer is not taken is cut off.
func (s *Server) press() {
	fewest := int(^uint(0) >> 1)
	for _, who := range s.callers {
		if len(who.asking) > 0 {
			fewest = min(fewest, who.held)
		}
	}
	now := s.now()
	for s.leaving < s.asking {
		var worst *Conn
		var since int64
		for c := range s.open {
			if c.leaving || c.caller == nil {
				continue
			}
			state := c.state.Load()
			long := max(state, -state)+int64(quiet) <= now
			switch who := c.caller; {
			case state == busy:
				continue
			case long:
			case state < 0, !c.asked.Load():
				continue
			case len(who.asking) > 0, who.held > fewest+1, who.held > fewest && fewest == 0:
			default:
				continue
			}
			if at := max(state, -state); worst == nil || cmp.Or(worst.caller.held-c.caller.held, cmp.Compare(at, since)) < 0 {
				worst, since = c, at
			}
		}
		if worst == nil {
			return
		}
		s.goes(worst)
		if worst.state.Load() < 0 {
			worst.Conn.Close()
			s.Report(errDeaf)
		} else {
			worst.finish()
		}
	}
}

// goes notes that c will leave its slot because it was told to.
func (s *Server) goes(c *Conn) {
	if !c.leaving && c.caller != nil {
		c.leaving = true
		s.leaving++
	}
}
