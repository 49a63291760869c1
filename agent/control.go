package agent

import (
	"nmosauthd/agent/decide"
	"nmosauthd/agent/wire"
)

// control answers about commands and subscriptions on a device model (CTL-80 to CTL-84). The token is checked once. If
// it is good, each command has an answer of its own, and the first denial is that of the whole: for a good token, all
// denials have one status.
func (s *Session) control(st *state, r *wire.Request) wire.Reason {
	if fault, good := s.authenticate(st, r); !good {
		s.reply.ForAll = true
		return s.judgeAll(st, r, fault)
	}
	return s.judgeAll(st, r, wire.Undecided)
}

// judgeAll makes the verdicts: that which is known to hold for all, or, if it is Undecided, by what the token permits.
// It returns the first that denies, or else the last.
func (s *Session) judgeAll(st *state, r *wire.Request, all wire.Reason) (answer wire.Reason) {
	controls := &st.rules.Controls
	apis := controls.Claims
	overHTTP := string(r.API) == "configuration"
	if overHTTP {
		apis = decide.Configuration
	}
	prefix, known := controls.Prefix(r.Model)
	if r.Model != nil && !known && all == wire.Undecided {
		all = wire.PathClosed
	}
	s.grants.Use(apis, &s.token)
	var access decide.Access
	verdicts, role := s.verdicts, s.role
	for i := range r.Commands {
		c := &r.Commands[i]
		switch {
		case c.Like() < i:
			access = decide.Read
			if verdicts[c.Like()].Writes {
				access = decide.Write
			}
		case c.Subscribes():
			access = decide.Read
		case overHTTP: // a method is invoked by PATCH, which is write whatever the method does (CTL-62)
			access = decide.Write
		default:
			access = controls.CommandAccess(c.Class(), c.Level(), c.Index())
		}
		reason := all
		if all == wire.Undecided {
			var object decide.Object
			object, role = controls.NewObject(prefix, c.RolePath(), role)
			if len(r.Commands) == 1 {
				reason = decide.PermitObject(apis, access, object, false, &s.token)
			} else {
				reason = s.grants.Permit(access, object)
			}
		}
		verdicts = append(verdicts, wire.Verdict{Reason: reason, Writes: access == decide.Write})
		if i == 0 || answer == wire.OK {
			answer = reason
		}
	}
	s.verdicts, s.role = verdicts, role
	s.reply.Commands, s.reply.Verdicts = r.Commands, verdicts
	if !answer.Allowed() {
		answer = s.observeCommands(&st.rules, overHTTP, answer)
	}
	return answer
}

// observeCommands marks the denials that [enforce] lets pass (OPS-3), and returns the first that counts, or if none
// does the first.
func (s *Session) observeCommands(rules *decide.Rules, overHTTP bool, first wire.Reason) wire.Reason {
	place := decide.Place{Kind: decide.ModelObject}
	if overHTTP {
		place = decide.Place{Kind: decide.RolePath, API: decide.Configuration[0]}
	}
	if !rules.Observes(decide.Read, place) { // then nor is writing
		return first
	}
	counts, passes := wire.Undecided, false // the first that is not let pass; any that is
	for i := range s.verdicts {
		v := &s.verdicts[i]
		access := decide.Read
		if v.Writes {
			access = decide.Write
		}
		v.Observed = !v.Reason.Allowed() && rules.Observes(access, place)
		passes = passes || v.Observed
		if !v.Reason.Allowed() && !v.Observed && counts == wire.Undecided {
			counts = v.Reason
		}
	}
	if counts == wire.Undecided {
		s.observed = true
		return first
	}
	s.reply.ForAll = s.reply.ForAll && !passes
	return counts
}

// writes reports whether one of the commands is carried out by which the device may be another afterwards.
func (s *Session) writes() bool {
	for _, v := range s.verdicts {
		if v.Writes && (s.reply.Reason.Allowed() || v.Reason.Allowed() || v.Observed) {
			return true
		}
	}
	return false
}

// recordCommands completes the record of a question about commands (CTL-87): its path, method and access are those of
// the first that is denied, and not let pass if others are not (OPS-3), or else of the first.
func (s *Session) recordCommands(r *wire.Request) {
	e := &s.entry
	e.Targets, e.Commands, e.Verdicts = len(r.Commands), r.Commands, s.verdicts
	e.Kind, e.Name = r.API, r.Model
	first := 0
	for i, v := range s.verdicts {
		if !v.Reason.Allowed() && (s.observed || !v.Observed) {
			first = i
			break
		}
	}
	if len(s.verdicts) == 0 {
		return
	}
	c := &r.Commands[first]
	e.Path, e.Method, e.Access = c.RolePath(), subscribe, read
	if !c.Subscribes() {
		e.Method = c.Method()
	}
	if s.verdicts[first].Writes {
		e.Access = write
	}
}

var subscribe, read, write = []byte("subscribe"), []byte("read"), []byte("write")
