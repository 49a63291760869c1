// Package observe gathers from the audit's records which controllers do what, and what of it enforce denies or would
// deny, and reports what would have to change: the claims that are missing, and what no claim fixes. With it a facility
// switches on authorization without a dark screen. OBSERVE.md beside this file describes the report.
//
// It is fed beside the decision's path and holds no more than its limits, whatever is sent; what it leaves out it
// counts. It never sees a token and keeps nothing across a restart.
package observe

import (
	"bytes"
	"strings"
	"sync"
	"time"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/decide"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/wire"
)

// Limits bound what an Observer holds. No controller takes more than a quarter of it, and all without a verified token
// no more than half, so that one that asks for everything, or anybody without a token, leaves room for the others.
type Limits struct {
	Controllers int
	Accesses    int // of all controllers: different paths, times reading and writing, times the reasons given
	Bytes       int // of their texts
}

// DefaultLimits keep an Observer within about 1.1 MB.
var DefaultLimits = Limits{Controllers: 256, Accesses: 4096, Bytes: 256 << 10}

const (
	share     = 4 // the part of the limits that is one controller's, as a divisor
	strangers = 2 // that of all without a verified token
)

// held is what is held, of all or of some.
type held struct {
	accesses int
	bytes    int
}

// room reports whether an access of so many bytes more fits into a part of the limits.
func (h *held) room(bytes int, l Limits, divisor int) bool {
	return h.accesses < l.Accesses/divisor && h.bytes+bytes <= l.Bytes/divisor
}

func (h *held) put(bytes int) {
	h.accesses++
	h.bytes += bytes
}

// Observer gathers. Its methods may be called at the same time.
type Observer struct {
	limits Limits

	mu          sync.Mutex
	since       time.Time
	after       uint64 // sequence number of the last decision before that
	lost        uint64 // by the audit's count then
	total       figures
	unlisted    uint64 // decisions for controllers that there was no room for
	controllers map[who]*controller
	accesses    map[access]*figures
	all         held
	strangers   held // of all, what is of controllers without a verified token
}

// figures count decisions.
type figures struct {
	decisions uint64
	would     uint64 // of them, those that enforce would have denied
	denied    uint64 // of them, those that were
	off       uint64 // of them, those that nobody looked at (mode off)
	first     int64  // microseconds since 1970
	last      int64
}

func (f *figures) add(r *audit.Record) {
	if f.decisions == 0 {
		f.first = r.Since
	}
	f.first, f.last = min(f.first, r.Since), max(f.last, r.Time)
	f.decisions += r.Count
	switch {
	case r.Enforced != wire.Undecided:
		f.would += r.Count
	case r.Reason == wire.ModeOff:
		f.off += r.Count
	case !r.Reason.Allowed():
		f.denied += r.Count
	}
}

// Token says what came with the requests of a controller.
type Token string

// What came.
const (
	Verified Token = "verified" // a token of its own, which was verified
	None     Token = "none"     // no token: the controller is unknown
	Refused  Token = "refused"  // one that was not verified; or the request was denied before that
)

// who tells controllers apart: by what a verified token says; else by the process's user who asked for them.
type who struct {
	token          Token
	client, issuer string
	uid            int64
}

// controller is what is known of one.
type controller struct {
	who
	figures
	held
	unlisted uint64 // decisions about accesses that there was no room for, or whose path is not known
	hidden   uint64 // decisions about more targets than the audit has room to name
}

// access is one thing that a controller did, and the reason given.
type access struct {
	of       *controller
	verb     string // "read", "write", "verify", or a method that is neither
	path     string // normalised; unchanged if that is impossible
	model    string // whose object a role path is of; "" if the question names no model
	resource string // what the inventory calls it, "kind name"; "" if unknown
	reason   wire.Reason
}

// New returns an Observer.
func New(l Limits) *Observer {
	o := &Observer{limits: l}
	o.Reset(time.Now(), audit.Stats{})
	return o
}

// Reset forgets everything and restarts observation now, with these figures of the audit.
func (o *Observer) Reset(now time.Time, s audit.Stats) {
	o.mu.Lock()
	o.since, o.after, o.lost = now, s.Appended, s.Lost
	o.total, o.unlisted, o.all, o.strangers = figures{}, 0, held{}, held{}
	o.controllers, o.accesses = map[who]*controller{}, map[access]*figures{}
	o.mu.Unlock()
}

// Observe takes a record, as audit.Options.Observe hands it over.
func (o *Observer) Observe(r *audit.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	// decided before, and sorted only now; or about nobody's request
	if r.Seq <= o.after || r.Question == wire.Token || r.Question >= wire.May {
		return
	}
	o.total.add(r)
	reason := judged(r)
	if reason == wire.Public || reason == wire.ModeOff {
		return // nobody needs anything for it
	}
	c := o.controller(r, reason)
	if c == nil {
		o.unlisted += r.Count
		return
	}
	c.add(r)
	a := access{of: c, verb: verbOf(r), reason: reason}
	if r.Question.Many() {
		o.several(a, r)
		return
	}
	a.resource = strings.Replace(string(r.Text(audit.Resource)), "/", " ", 1)
	if r.Question == wire.Resource {
		a.resource = string(r.Text(audit.Kind)) + " " + string(r.Text(audit.Name))
	}
	if r.Question == wire.Control {
		a.model = string(r.Text(audit.Name))
		o.commands(a, r)
		return
	}
	o.add(&a, r.Text(audit.Path), r)
}

// judged returns what enforce says.
func judged(r *audit.Record) wire.Reason {
	if r.Enforced != wire.Undecided {
		return r.Enforced
	}
	return r.Reason
}

// verbOf names what was to be done.
func verbOf(r *audit.Record) string {
	method := r.Text(audit.Method)
	switch {
	case r.Question == wire.Verify:
		return "verify"
	case hasAccess(r) && string(r.Text(audit.Access)) == "write":
		return "write"
	case hasAccess(r), r.Question.Many() && len(method) == 0:
		return "read"
	}
	switch decide.MethodAccess(method) {
	case decide.Read:
		return "read"
	case decide.Write:
		return "write"
	}
	return string(method)
}

// hasAccess reports whether the question says by itself what is to be done, or the daemon has found it out.
func hasAccess(r *audit.Record) bool {
	return r.Question == wire.Resource || r.Question == wire.Control
}

// accessOf is the reverse.
func accessOf(verb string) decide.Access {
	switch verb {
	case "read":
		return decide.Read
	case "write":
		return decide.Write
	}
	return decide.NoAccess
}

// controller returns the controller r belongs to; nil if there is no room for it, or its name was cut off and may be
// that of several.
func (o *Observer) controller(r *audit.Record, reason wire.Reason) *controller {
	var c *controller
	var id who
	switch client, issuer := r.Text(audit.Client), r.Text(audit.Issuer); {
	case len(client) == 0:
		id = who{token: Refused, uid: r.UID}
		if reason == wire.NoToken {
			id.token = None
		}
		c = o.controllers[id]
	case len(client) >= whole || len(issuer) >= whole:
		return nil
	default:
		c = o.controllers[who{token: Verified, client: string(client), issuer: string(issuer)}]
	}
	if c != nil {
		return c
	}
	if id.token == "" {
		id = who{token: Verified, client: string(r.Text(audit.Client)), issuer: string(r.Text(audit.Issuer))}
	}
	need := len(id.client) + len(id.issuer)
	if len(o.controllers) < o.limits.Controllers && o.all.bytes+need <= o.limits.Bytes {
		c = &controller{who: id, held: held{bytes: need}}
		o.controllers[id] = c
		o.all.bytes += need
	}
	return c
}

// whole is the length up to which the audit has certainly not cut a text off, not even in the middle of a character.
const whole = audit.MaxText - 3

// several takes a question about several targets. The record names them, as far as there is room in it.
func (o *Observer) several(a access, r *audit.Record) {
	denied := a.reason
	named := 0
	for target, allowed := range r.Answers {
		named++
		path, ok := decide.Normalize(nil, target)
		if !ok {
			path = target
		}
		if a.reason = denied; allowed {
			a.reason = wire.OK
		}
		o.add(&a, path, r)
	}
	if named < int(r.Targets) {
		a.of.hidden += r.Count
	}
}

// commands takes a question about commands on a device model. The record names those denied, as far as there is room in
// it, and perhaps those allowed: the access that each needs, "subscribe" or method and class, the role path, and if it
// is denied the status and reason.
func (o *Observer) commands(a access, r *audit.Record) {
	denied, resource, named := a.reason, a.resource, 0
	for command, allowed := range r.Answers {
		named++
		verb, rest, _ := bytes.Cut(command, []byte(" "))
		word, role, _ := bytes.Cut(rest, []byte(" "))
		if string(word) != "subscribe" {
			_, role, _ = bytes.Cut(role, []byte(" "))
		}
		a.verb, a.reason = string(verb), wire.OK
		if !allowed {
			a.reason = denied
			for range 2 {
				role = role[:max(bytes.LastIndexByte(role, ' '), 0)]
			}
		}
		if a.resource = resource; !bytes.Equal(role, r.Text(audit.Path)) {
			a.resource = "" // it is that of the first
		}
		o.add(&a, pathOf(role, r), r)
	}
	if named < int(r.Targets) {
		a.of.hidden += r.Count
	}
}

// pathOf returns the path by which IS-14 has the object of a command that came that way, else its role path.
func pathOf(role []byte, r *audit.Record) []byte {
	if string(r.Text(audit.Kind)) != "configuration" {
		return role
	}
	return []byte(explain.ConfigurationPath(string(r.Text(audit.Name)), string(role)))
}

// add counts an access to a path, if there is room for it and the path is as it came: neither cut off nor rid of a
// token.
func (o *Observer) add(a *access, path []byte, r *audit.Record) {
	c := a.of
	if len(path) >= audit.MaxPath || bytes.Contains(path, []byte(audit.Cleaned)) {
		c.unlisted += r.Count
		return
	}
	// which allocates nothing for one that is there
	f := o.accesses[access{c, a.verb, string(path), a.model, a.resource, a.reason}]
	if f == nil {
		a.path = string(path)
		need := len(a.verb) + len(a.path) + len(a.model) + len(a.resource)
		if !o.all.room(need, o.limits, 1) || !c.room(need, o.limits, share) ||
			c.token != Verified && !o.strangers.room(need, o.limits, strangers) {
			c.unlisted += r.Count
			return
		}
		f = new(figures)
		o.accesses[*a] = f
		o.all.put(need)
		c.put(need)
		if c.token != Verified {
			o.strangers.put(need)
		}
	}
	f.add(r)
}
