package agent

import (
	"sync/atomic"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
)

// Peer is the process at the other end of a socket, which asks.
type Peer struct {
	UID int64  // -1 if unknown
	GID uint32 // if UID is known
	PID int32  // 0 if unknown
}

// recorder is what a Session needs to record its decisions.
type recorder struct {
	on    bool
	peer  Peer
	entry audit.Decision
	draft audit.Draft
	kid   []byte
	named []byte // the name of what was asked about, in the inventory
}

// NewSessionOf returns a Session for a caller, whose decisions are counted and recorded (OPS-2).
func (a *Agent) NewSessionOf(p Peer) *Session {
	caller := uint64(p.UID)<<32 | uint64(uint32(p.PID))
	return &Session{agent: a, asker: token.Asker{Caller: caller}, recorder: recorder{on: true, peer: p}}
}

// Audit has decisions recorded in l. It is called before the first question.
func (a *Agent) Audit(l *audit.Log) { a.audit = l }

// counts are how often each reason was given since the start: for what was answered, and in observe mode for what
// enforce would have answered.
type counts struct {
	answered, would    [wire.Reasons]atomic.Uint64
	remembered, judged atomic.Uint64 // questions with a token, by whether that was remembered
}

// Counts returns how often each reason was given since the start and, in observe mode, would have been given by
// enforce, by their numbers.
func (a *Agent) Counts() (answered, would [wire.Reasons]uint64) {
	for i := range answered {
		answered[i], would[i] = a.counts.answered[i].Load(), a.counts.would[i].Load()
	}
	return answered, would
}

// Tokens returns the cache's size and capacity, and the hits and
// misses since the start.
func (a *Agent) Tokens() (held, limit int, remembered, judged uint64) {
	held, limit = a.state.Load().verifier.Held()
	return held, limit, a.counts.remembered.Load(), a.counts.judged.Load()
}

// Gone returns how many of them no key in a set vouches for any more, by issuer.
func (a *Agent) Gone(set *keys.Set) map[string]int { return a.state.Load().verifier.Gone(set) }

// record counts and audits s.reply, the answer to r.
func (s *Session) record(r *wire.Request) {
	if !s.on {
		return
	}
	reply := &s.reply
	s.agent.counts.answered[reply.Reason].Add(1)
	if reply.Enforced != wire.Undecided {
		s.agent.counts.would[reply.Enforced].Add(1)
	}
	switch {
	case s.cached:
		s.agent.counts.remembered.Add(1)
	case s.raw != nil:
		s.agent.counts.judged.Add(1)
	}
	if s.agent.audit == nil {
		return
	}
	e := &s.entry
	*e = audit.Decision{
		Time: s.now.Now.UnixMicro(), Clock: s.now.State,
		UID: s.peer.UID, GID: s.peer.GID, PID: s.peer.PID,
		Question: r.Verb, Reason: reply.Reason, Enforced: reply.Enforced,
		Method: r.Method, Path: reply.Path, Answers: s.answers,
		Kind: r.Kind, Name: r.Name, Access: r.Access,
		Cached: s.cached, Reads: s.reads(r),
	}
	if r.Verb.Many() {
		e.Path, e.Targets = s.first, len(r.Targets)
	}
	if r.Verb == wire.Control {
		s.recordCommands(r)
		e.ListAllowed = s.agent.state.Load().listAllowed
	}
	if s.object != nil {
		e.Path = s.object
	}
	e.Resource = s.nameOf(r)
	if len(e.Path) == 0 && len(r.Targets) > 0 { // the target has no normal form
		e.Path = bare(r.Targets[0])
	}
	switch {
	case r.Verb == wire.Token:
		e.Name, e.Digest = r.Scope, s.own
	case s.token.Verified():
		s.kid = append(s.kid[:0], s.token.KeyID()...)
		e.Issuer, e.Subject, e.Client = reply.Issuer, reply.Subject, reply.ClientID
		e.JTI, e.KeyID, e.Digest = s.token.ID(), s.kid, s.token.Digest()
	case s.raw != nil:
		e.Digest, e.Claimed = token.DigestOf(s.raw), s.token.Issuer()
	}
	s.agent.audit.AppendBy(&s.draft, e)
}

// Act records what an administrator did (OPS-2), or what ended by itself: who it was, what it was about, what he wanted
// of it, and further words.
func (a *Agent) Act(who Peer, about wire.Verb, what, words string) {
	if a.audit == nil {
		return
	}
	now := a.clock()
	a.audit.Append(&audit.Decision{
		Time: now.Now.UnixMicro(), Clock: now.State, UID: who.UID, GID: who.GID, PID: who.PID,
		Question: about, Reason: wire.Administration, Method: []byte(what), Name: []byte(words),
	})
}

// reads reports whether the device is as it was after what r asks for. What a verified token is used for nobody has
// said.
func (s *Session) reads(r *wire.Request) bool {
	switch r.Verb {
	case wire.Decide, wire.DecideAll, wire.WatchToken, wire.Resource:
		return !s.opens && (s.access == decide.Read || s.access == decide.Preflight && r.Verb == wire.Decide)
	case wire.Token, wire.May:
		return true
	case wire.Control:
		return !s.writes()
	}
	return false
}

// nameOf returns the kind and name by which the inventory knows what a question is about, "meter/in-1", nil if it knows
// none: of a path by the id in it, of an object by its role path. A question about several things has one if it is
// about one of them alone, or denied for it.
func (s *Session) nameOf(r *wire.Request) []byte {
	table := s.agent.inventory.Load()
	path := s.entry.Path
	switch {
	case table == nil || r.Verb == wire.Resource || r.Verb.Many() && len(r.Targets) > 1:
		return nil
	case r.Verb == wire.Control && r.Model != nil:
		controls := &s.agent.state.Load().rules.Controls
		prefix, known := controls.Prefix(r.Model)
		if !known {
			return nil
		}
		_, s.role = controls.NewObject(prefix, path, s.role)
		path = s.role
	}
	kind, name, ok := table.NameOf(path)
	if !ok {
		return nil
	}
	s.named = append(append(append(s.named[:0], kind...), '/'), name...)
	return s.named
}
