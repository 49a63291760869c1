package agent

import (
	"bytes"
	"time"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
)

// Session answers questions one after another, in buffers of its own that it keeps: once they have grown to the
// questions that come, answering allocates nothing. It must not be used by two goroutines concurrently.
type Session struct {
	agent   *Agent
	request wire.Request
	reply   wire.Reply
	token   token.Token
	path    []byte
	first   []byte // decide-all: the path of the first target
	query   []byte // a token decoded from a query

	answers []wire.Answer // decide-all: one a target
	targets []byte        // of the answers

	list     []byte         // may: the lines of the reply
	verdicts []wire.Verdict // control: one a command
	grants   decide.Grants  // control: of the token
	role     []byte         // control: the role path of one, behind its model's prefix

	now           Time          // of the question
	access        decide.Access // that it asks for
	raw           []byte        // its token; nil if none
	checked, good bool          // the token was; and it is
	fault         wire.Reason   // why it is not
	cached        bool          // it was remembered
	left          time.Duration // until the permission ends; 0 if it does not end by itself
	object        []byte        // resource: the role path that it stands for; nil if none
	observed      bool          // the denial is one that [enforce] lets pass (OPS-3)
	opens         bool          // a control socket is asked for, through which the device can be changed (PATH-15)

	// stand takes a place among the standing questions; false if there is none. nil if nothing bounds them.
	stand func() bool

	ownTokens OwnTokens    // nil if the caller gets none
	own       token.Digest // of the device's own token that the reply carries; zero if none

	asker    token.Asker
	recorder // for the decisions of a caller
}

// NewSession returns a Session whose decisions are neither recorded nor counted: nobody acts on them.
func (a *Agent) NewSession() *Session { return &Session{agent: a} }

// Packet answers one packet of authz.sock and appends the reply to dst. limit is in bytes; a longer packet is refused.
func (s *Session) Packet(dst, packet []byte, limit int) []byte {
	if fault := s.request.Parse(packet, limit); fault != wire.Undecided {
		reply := s.Refuse(fault)
		reply.ID, reply.Detail = s.request.ID, s.request.Fault
		return reply.Append(dst)
	}
	return s.Ask(&s.request).Append(dst)
}

// PacketLimit returns the length of the longest packet, in bytes.
func (s *Session) PacketLimit() int { return s.agent.state.Load().packetLimit }

// Refuse answers a malformed request.
func (s *Session) Refuse(fault wire.Reason) *wire.Reply {
	s.begin()
	s.reply = wire.Reply{Reason: fault, ExpiresIn: -1}
	s.record(&wire.Request{})
	return &s.reply
}

// begin resets the per-request state.
func (s *Session) begin() {
	s.now, s.raw, s.cached, s.opens, s.left, s.object = s.agent.clock(), nil, false, false, 0, nil
	s.checked, s.good, s.fault, s.observed = false, false, wire.Undecided, false
	s.access = decide.NoAccess
	s.first, s.answers, s.targets, s.verdicts = s.first[:0], s.answers[:0], s.targets[:0], s.verdicts[:0]
	s.own = token.Digest{}
	s.token.Reset()
}

// Ask answers one question. The reply borrows from r and from s, until the next question.
func (s *Session) Ask(r *wire.Request) *wire.Reply {
	reply := s.judge(r)
	if r.Verb != wire.Ping {
		s.record(r)
	}
	return reply
}

// judge is Ask, but for the record.
func (s *Session) judge(r *wire.Request) *wire.Reply {
	st := s.agent.state.Load()
	s.begin()
	s.access = accessOf(r)
	s.reply = wire.Reply{Verb: r.Verb, ID: r.ID, Realm: st.realm, ExpiresIn: -1}
	reply := &s.reply
	if r.Verb == wire.Token {
		reply.Reason = s.ownToken(r)
		return reply
	}
	var reason wire.Reason
	if r.Verb == wire.May {
		reason = s.may(st, r)
	} else {
		reason = s.answer(st, r)
	}
	if s.token.Verified() {
		reply.ClientID, reply.Subject, reply.Issuer = s.token.Client(), s.token.Subject(), s.token.Issuer()
	}
	if !reason.Allowed() && r.Verb != wire.May && (s.observed || s.agent.Mode() == config.ModeObserve) { // OPS-3
		reply.Enforced, reason = reason, wire.Observed
		reply.Answers = nil
	}
	if r.Verb == wire.WatchToken && reason.Allowed() && s.stand != nil && !s.stand() {
		reply.Enforced, reason = wire.Undecided, wire.WatchLimit
		reply.Answers, reply.RetryAfter = nil, watchRetry
	}
	reply.Reason = reason
	return reply
}

// accessOf returns what a question about requests, or about a resource, wants to do.
func accessOf(r *wire.Request) decide.Access {
	switch {
	case r.Verb == wire.Resource && string(r.Access) == "read", r.Verb.Many() && len(r.Method) == 0:
		return decide.Read
	case r.Verb == wire.Resource && string(r.Access) == "write":
		return decide.Write
	case r.Verb == wire.Resource:
		return decide.NoAccess
	}
	return decide.MethodAccess(r.Method)
}

// answer decides, and fills in the rest of the reply.
func (s *Session) answer(st *state, r *wire.Request) wire.Reason {
	if r.Verb == wire.Ping {
		return wire.OK
	}
	if st.mode == config.ModeOff { // OPS-3
		switch r.Verb {
		case wire.Decide:
			s.path, _ = decide.Normalize(s.path[:0], r.Targets[0])
			if st.rules.Find(s.path).Kind != decide.TooLong { // as in the other modes
				s.reply.Path = s.path
			}
		case wire.Resource:
			if table := s.agent.inventory.Load(); table != nil {
				path, _ := table.Find(r.Kind, r.Name, s.access == decide.Write)
				s.leadsTo(path)
			}
		case wire.Control:
			s.judgeAll(st, r, wire.ModeOff)
		}
		return wire.ModeOff
	}
	switch r.Verb {
	case wire.Verify:
		if fault, good := s.authenticate(st, r); !good {
			s.observed = st.rules.Observes(decide.NoAccess, decide.Place{})
			return fault
		}
		return wire.OK
	case wire.Decide:
		return s.decide(st, r)
	case wire.DecideAll, wire.WatchToken:
		return s.decideAll(st, r)
	case wire.Resource:
		return s.resource(st, r)
	case wire.Control:
		return s.control(st, r)
	}
	return wire.Undecided
}

// decide answers for one target.
func (s *Session) decide(st *state, r *wire.Request) wire.Reason {
	if s.access == decide.Preflight && string(r.Targets[0]) == "*" {
		return wire.Public // RFC 9110 §9.3.7: asks about the server as a whole
	}
	early, place := s.withoutToken(st, r, r.Targets[0])
	s.reply.Configuration = decide.InConfiguration(s.path) || len(s.path) == 0 && decide.InConfiguration(r.Targets[0])
	if early.Answer() != wire.PathTooLong { // nobody routes on it, and web servers take no header of that length
		s.reply.Path = s.path
	}
	if !early.TokenNeeded() {
		return early.Answer()
	}
	return s.permit(st, r, place)
}

// permit answers for what needs a token. The token of a question is checked once.
func (s *Session) permit(st *state, r *wire.Request, place decide.Place) wire.Reason {
	if !s.checked {
		s.fault, s.good = s.authenticate(st, r)
		s.checked = true
	}
	reason := s.fault
	if s.good {
		reason = st.rules.Permit(s.access, place, &s.token)
	}
	s.observed = !reason.Allowed() && st.rules.Observes(s.access, place)
	return reason
}

// decideAll answers for all sources of a socket (PATH-12): allowed only if each is. The token is checked once, when a
// target is met that needs it.
func (s *Session) decideAll(st *state, r *wire.Request) wire.Reason {
	all, observed := wire.Public, false
	for i, target := range r.Targets {
		early, place := s.withoutToken(st, r, target)
		reason := early.Answer()
		s.observed = false
		if early.TokenNeeded() {
			reason = s.permit(st, r, place)
		}
		if i == 0 {
			s.first = append(s.first, s.path...)
		}
		s.answers = append(s.answers, wire.Answer{Target: s.shown(target), Allowed: reason.Allowed(),
			Observed: s.observed})
		switch {
		case all.Allowed() && reason != wire.Public:
			all, observed = reason, s.observed // the first denial, else OK if a token was needed
		case observed && !reason.Allowed() && !s.observed: // one that counts
			all, observed = reason, false
		}
	}
	s.observed = observed
	s.reply.Answers = s.answers
	return all
}

// shown returns a target as the answer names it: without its query. A control character, which no value of a reply
// holds, becomes one that makes the target ambiguous, as that does.
func (s *Session) shown(target []byte) []byte {
	start := len(s.targets)
	for _, c := range bare(target) {
		if c < ' ' || c == 0x7f {
			c = '\\'
		}
		s.targets = append(s.targets, c)
	}
	return s.targets[start:]
}

// bare returns a target without its query, which may hold the token.
func bare(target []byte) []byte {
	path, _, _ := bytes.Cut(target, []byte("?"))
	return path
}

// inventoryRetry is how long a caller should wait for an inventory that was not read yet.
const inventoryRetry = 2 // seconds

// resource answers for a resource of the device as decide does for the path that it stands for. One that is not there
// is denied only to a good token, as a closed path is (PATH-11): nobody without one learns which names there are.
func (s *Session) resource(st *state, r *wire.Request) wire.Reason {
	table := s.agent.inventory.Load()
	if table == nil {
		s.reply.RetryAfter = inventoryRetry
		return wire.InventoryPending
	}
	path, known := table.Find(r.Kind, r.Name, s.access == decide.Write)
	if !known {
		s.observed = st.rules.Observes(s.access, decide.Place{})
		if fault, good := s.authenticate(st, r); !good {
			return fault
		}
		return wire.ResourceUnknown
	}
	s.leadsTo(path)
	place := st.rules.Find(path) // each time: the configuration may change, and then what the path leads to
	s.opens = place.Kind == decide.Control
	if early := decide.WithoutToken(s.access, place); !early.TokenNeeded() {
		return early.Answer()
	}
	return s.permit(st, r, place)
}

// leadsTo notes what a resource stands for: a path, which the reply has, or the role path of an object.
func (s *Session) leadsTo(path []byte) {
	if len(path) > 0 && path[0] != '/' {
		s.object = path
		return
	}
	s.reply.Path = path
}

// withoutToken normalises a target into s.path and answers as far as no token takes part.
func (s *Session) withoutToken(st *state, r *wire.Request, target []byte) (early decide.Early, place decide.Place) {
	path, ok := decide.Normalize(s.path[:0], target)
	s.path = path
	switch {
	case s.access == decide.NoAccess:
		return decide.Final(wire.Method), place
	case !ok:
		return decide.Final(wire.AmbiguousPath), place
	}
	place = st.rules.Find(path)
	s.opens = s.opens || place.Kind == decide.Control
	if decide.IsHandshake(r) {
		place = place.Socket()
	}
	place = place.Query(target)
	return decide.WithoutToken(s.access, place), place
}

// maxLeft bounds how far ahead a timer is set, in microseconds: a token may say any time.
const maxLeft = int64(24 * time.Hour / time.Microsecond)

// clockRetry is how long a caller should wait for a clock that is not set.
const clockRetry = 5 // seconds

// authenticate finds the request's token and checks it into s.token. Unless it is good, fault says why, and denies;
// for a good one fault is Undecided: a good token is not yet an answer.
func (s *Session) authenticate(st *state, r *wire.Request) (fault wire.Reason, good bool) {
	fault, raw, query := decide.Credentials(r, s.query)
	s.query = query
	if fault != wire.Undecided {
		return fault, false
	}
	if len(raw) <= token.MaxBytes {
		s.raw = raw
	}
	clock := token.Clock{
		Now: s.now.Now.UnixMicro(), Trusted: s.now.Trusted, Unsynchronised: s.now.State == audit.ClockUnsynchronised,
		Run: s.now.Run.Microseconds(),
	}
	outcome, prospect, wait := s.check(st, raw, clock)
	s.cached = outcome.Hit
	switch {
	case outcome.Missing: // KEY-6
		switch prospect {
		case keys.Untrusted:
			return wire.IssuerUntrusted, false
		case keys.Awaited, keys.Stale:
			s.reply.RetryAfter = int((wait + time.Second - 1) / time.Second)
			return wire.KeysPending, false
		}
	case outcome.Reason == wire.OK:
		left := s.token.Expires() + st.leeway - clock.Now - outcome.Later
		s.reply.ExpiresIn = max(0, left) / int64(time.Second/time.Microsecond)
		s.left = time.Duration(max(1, min(left, maxLeft))) * time.Microsecond
		return wire.Undecided, true
	case outcome.Reason == wire.ClockUntrusted:
		s.reply.RetryAfter = clockRetry
	}
	return outcome.Reason, false
}

// check checks a token into s.token, and once more if other keys came meanwhile. If no held key verifies it, p says
// whether its key may still come, and wait how long that may take.
func (s *Session) check(st *state, raw []byte, clock token.Clock) (
	o token.Outcome, p keys.Prospect, wait time.Duration,
) {
	for range 2 {
		set := s.agent.keys.Set()
		o = st.verifier.CheckFor(&s.asker, raw, clock, set, &s.token)
		if !o.Missing {
			return o, p, wait
		}
		if p, wait = s.agent.keys.Seek(set, s.token.Issuer(), raw, o.KID); p != keys.Stale {
			return o, p, wait
		}
	}
	return o, p, wait
}
