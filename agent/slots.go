package agent

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// maxOutside is how many connections of one socket may be without a slot. For one more another one is refused, at
	// the cost of the caller who has the most of them.
	maxOutside = 1024
	// maxWait is how long a question waits for a slot. No caller as shipped waits longer for an answer.
	maxWait = 3 * time.Second
	// quiet is how long a connection may ask nothing, or leave an answer lying, and keep its slot whoever waits.
	quiet = time.Second
	// recheck is how often the Server re-examines the slots while some wait.
	recheck = 100 * time.Millisecond
)

// slots are the places of the connections that a Server serves, and the connections that have none. It is under the
// Server's lock.
//
// A connection gets a slot when its first question is there. Callers, which are processes, share the slots: a free one
// goes to the caller who holds the fewest, and no caller holds all of them, so that nobody is shut out by somebody who
// opens many connections. While questions wait for a slot, connections that ask nothing give theirs up, first those of
// the caller who holds the most.
type slots struct {
	base     time.Time          // times are ns since then, by a clock that never jumps
	open     map[*Conn]struct{} // being served
	taken    int                // slots
	leaving  int                // slots of connections that have been told to give way
	callers  map[callerID]*caller
	silent   int         // connections without a question
	standing int         // connections whose question stands
	waiting  int         // connections whose question waits for a slot
	pressed  atomic.Bool // some wait
	timer    *time.Timer // looks again while some wait; nil if none do
}

// callerID tells callers apart. Those whom the kernel does not name, in another PID namespace, are one caller.
type callerID struct {
	uid int64
	pid int32
}

// caller is one who has connections.
type caller struct {
	id       callerID
	held     int     // slots
	standing int     // of them those whose question stands
	waiting  []*Conn // first come, first served
	silent   []*Conn
}

func (who *caller) outside() int { return len(who.waiting) + len(who.silent) }

func (s *Server) begin() {
	s.mu.Lock()
	s.base, s.open, s.callers = time.Now(), make(map[*Conn]struct{}), make(map[callerID]*caller)
	s.mu.Unlock()
}

// now returns the time, which is over zero.
func (s *slots) now() int64 { return int64(time.Since(s.base)) + 1 }

// quota is how many slots one caller may hold: a quarter stays free for others.
func (s *Server) quota() int { return max(1, s.Limit-max(1, s.Limit/4)) }

// enter takes c to the silent connections of its caller.
func (s *Server) enter(c *Conn) {
	id := callerID{c.Peer.UID, c.Peer.PID}
	who := s.callers[id]
	if who == nil {
		who = &caller{id: id}
		s.callers[id] = who
	}
	c.caller = who
	who.silent = append(who.silent, c)
	s.silent++
	if s.silent+s.waiting <= maxOutside {
		return
	}
	most := who
	for _, other := range s.callers {
		if other.outside() > most.outside() {
			most = other
		}
	}
	queue := most.silent
	if len(queue) == 0 {
		queue = most.waiting
	}
	newest := queue[len(queue)-1]
	s.sift(func(c *Conn) bool { return c == newest })
	s.Report(errTooMany)
}

// wait has c, in which there is a question now, wait for a slot behind the others of its caller. It reports whether c
// is still there.
func (s *Server) wait(c *Conn) bool {
	who := c.caller
	i := slices.Index(who.silent, c)
	if i < 0 {
		return false
	}
	who.silent = slices.Delete(who.silent, i, i+1)
	who.waiting = append(who.waiting, c)
	s.silent--
	s.waiting++
	c.asks, c.came = true, s.now()
	return true
}

// sift takes away the connections without a slot for which away is true, and closes them.
func (s *Server) sift(away func(*Conn) bool) {
	sift := func(queue *[]*Conn, n *int) {
		before := len(*queue)
		*queue = slices.DeleteFunc(*queue, func(c *Conn) bool {
			if !away(c) {
				return false
			}
			c.Conn.Close()
			s.served.Done()
			return true
		})
		*n -= before - len(*queue)
	}
	for _, who := range s.callers {
		sift(&who.silent, &s.silent)
		sift(&who.waiting, &s.waiting)
		s.forget(who)
	}
}

func (s *Server) forget(who *caller) {
	if who.held == 0 && who.outside() == 0 {
		delete(s.callers, who.id)
	}
}

// leave takes the slot of c back, if it has one.
func (s *Server) leave(c *Conn) {
	delete(s.open, c)
	if c.caller == nil {
		return
	}
	if c.stands {
		s.standing--
		c.caller.standing--
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
	for s.waiting > 0 && (s.Limit <= 0 || s.taken < s.Limit) {
		who := s.next()
		if who == nil {
			break // those who wait hold as many as they may
		}
		c := who.waiting[0]
		who.waiting = slices.Delete(who.waiting, 0, 1)
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
		s.timer = time.AfterFunc(recheck, s.lookAgain)
	}
}

// lookAgain finds connections that may give way because time has passed.
func (s *Server) lookAgain() {
	s.mu.Lock()
	s.timer = nil
	late := s.now() - int64(maxWait)
	before := s.waiting
	s.sift(func(c *Conn) bool { return c.asks && c.came < late })
	for range before - s.waiting {
		s.Report(errTooLate)
	}
	s.share()
	s.mu.Unlock()
}

// next returns the caller whose turn it is: of those who wait and may hold another slot the one who holds the fewest,
// and among such the one who has waited longest. It returns nil if there is none.
func (s *Server) next() (next *caller) {
	for _, who := range s.callers {
		if len(who.waiting) == 0 || s.Limit > 0 && who.held >= s.quota() {
			continue
		}
		if next == nil || cmp.Or(who.held-next.held, cmp.Compare(who.waiting[0].came, next.waiting[0].came)) < 0 {
			next = who
		}
	}
	return next
}

// press has as many connections give way as wait, if so many ask nothing. One that asked nothing for a while gives way
// to anybody, one that has just been answered to another of its caller, or to a caller who holds fewer slots: else a
// caller who asks all the time would never be without. One whose answer is not taken is cut off.
func (s *Server) press() {
	fewest := int(^uint(0) >> 1)
	for _, who := range s.callers {
		if len(who.waiting) > 0 {
			fewest = min(fewest, who.held)
		}
	}
	now := s.now()
	for s.leaving < s.waiting {
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
			case len(who.waiting) > 0, who.held > fewest+1, who.held > fewest && fewest == 0:
			default:
				continue
			}
			at := max(state, -state)
			if worst == nil || cmp.Or(worst.caller.held-c.caller.held, cmp.Compare(at, since)) < 0 {
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

// goes notes that c was told to leave its slot.
func (s *Server) goes(c *Conn) {
	if !c.leaving && c.caller != nil {
		c.leaving = true
		s.leaving++
	}
}

// stand notes that the question of c stands from now on, so that c keeps its slot however long it asks nothing. It
// reports false if as many stand as may: half of the slots, and half of those that one caller may hold, so that what
// stands leaves room for what is asked.
func (c *Conn) stand() bool {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.stands || c.caller == nil:
		return true
	case s.Limit > 0 && (s.standing >= s.Limit/2 || c.caller.standing >= s.quota()/2):
		return false
	}
	c.stands = true
	s.standing++
	c.caller.standing++
	return true
}
