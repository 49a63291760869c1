package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"nmosauthd/agent/alarm"
	"nmosauthd/agent/discovery"
)

// slot is how it stands with the certificate of one kind.
type slot struct {
	kind    KeyKind
	now     bool      // it is asked for without regard to when it is due: an operator's wish
	begin   bool      // and from the beginning
	next    time.Time // not before this, after a failure
	tries   int       // failures in a row
	quick   int       // of these, those since less than a day was left
	err     error
	failed  time.Time
	revoked bool
	short   int // certificates in a row that were revoked within a day of their coming
}

// step does what is due and returns how long to wait for what comes next.
func (c *Client) step(ctx context.Context) time.Duration {
	c.mu.Lock()
	w := c.wishes
	c.wishes = wishes{}
	c.mu.Unlock()
	c.config = c.configured.Load()
	phase, next := c.do(ctx, w)
	c.show(phase, next)
	if ctx.Err() != nil {
		return next
	}
	for _, told := range w.told {
		told <- c.outcome()
	}
	return next
}

// outcome is what came of a wish.
func (c *Client) outcome() error {
	if c.kept != nil && len(c.kept.Waiting) > 0 {
		return errAgree
	}
	return cmp.Or(c.err, c.unsaved, c.handErr)
}

var errAgree = errors.New("somebody has to agree to it at the EST server; it is asked again by itself")

// do is what step does. It returns where it stands, too.
func (c *Client) do(ctx context.Context, w wishes) (Phase, time.Duration) {
	if err := c.load(); err != nil {
		return Unreadable, c.stop(err, mostBackOff)
	}
	c.tidy(w)
	if c.unsaved != nil {
		if err := c.save(); err != nil {
			c.saveTries++
			return Unsaved, c.stop(err, alarm.BackOff(c.saveTries, firstBackOff, mostBackOff))
		}
		c.saveTries, c.err = 0, nil
	}
	wait := c.handOver()
	if !c.config.Enabled {
		return Disabled, wait
	}
	if err := c.config.check(); err != nil {
		return Misconfigured, c.stop(err, cmp.Or(wait, time.Hour))
	}
	now := time.Now()
	if c.place.IsZero() {
		most := startSpread
		if len(c.kept.Pairs) == 0 {
			most = firstSpread
		}
		c.place = now.Add(rand.N(most))
	}
	next, phase := c.place.Sub(now), Starting
	if next <= 0 {
		c.lists(ctx)
		if due, look := c.due(now); len(due) > 0 || look {
			c.attempt(ctx, due, look)
			wait = c.handOver()
		}
		next, phase = c.next(time.Now()), NoServer
	}
	if wait > 0 {
		next = min(next, wait)
	}
	if c.unsaved != nil {
		next = min(next, firstBackOff)
	}
	if p := c.phase(); p >= Expired || phase != Starting {
		phase = p
	}
	return phase, next
}

// stop notes and reports why nothing can be done.
func (c *Client) stop(err error, wait time.Duration) time.Duration {
	if c.err == nil || c.err.Error() != err.Error() {
		c.o.Report(Event{Kind: EventFailure, Err: err, Again: wait})
	}
	c.err, c.failed = err, time.Now()
	return wait
}

// tidy makes what the worker knows fit the configuration and what happened.
func (c *Client) tidy(w wishes) {
	now := time.Now()
	if w.network {
		c.lookAt = now.Add(rand.N(netSpread))
	}
	if w.clock && !c.place.IsZero() && !c.place.After(now) && len(c.kept.Pairs) > 0 &&
		!slices.ContainsFunc(c.kept.Pairs, c.ended) {
		c.place = now.Add(rand.N(netSpread))
	}
	if w.changed {
		c.lookAt, c.handed = now, false // other roots may count
	}
	if w.retry {
		c.place, c.lookAt, c.handNext = now, now, time.Time{}
	}
	kinds := slices.Clone(c.config.Kinds)
	for _, p := range slices.Clone(c.kept.Pairs) {
		switch {
		case slices.Contains(kinds, p.Kind):
		case p.Installed:
			kinds = append(kinds, p.Kind)
		case c.config.Enabled: // it is not wanted any more
			c.kept.drop(p.Kind)
			c.unsaved, c.handed = errUnsaved, false
		}
	}
	slots := make([]*slot, 0, len(kinds))
	for _, k := range kinds {
		slots = append(slots, c.slot(k))
	}
	c.slots = slots
	again := w.changed || w.retry || w.network
	if again {
		clear(c.rests)
	}
	for _, s := range c.slots {
		if again {
			s.next, s.quick = time.Time{}, 0
		}
		s.now = s.now || w.renew
		s.begin = s.begin || w.enrol
		if p := c.kept.pair(s.kind); p != nil && !p.expired && c.ended(p) {
			p.expired = true
			c.o.Report(Event{Kind: EventExpired, Key: s.kind, Text: describe(p.leaf)})
		}
	}
}

// slot returns that of a kind, a new one if there is none.
func (c *Client) slot(kind KeyKind) *slot {
	for _, s := range c.slots {
		if s.kind == kind {
			return s
		}
	}
	return &slot{kind: kind}
}

var errUnsaved = errors.New("the certificates are not stored yet")

// ended reports whether a certificate is over, as far as that can be known.
func (c *Client) ended(p *pair) bool {
	wall, trusted := c.o.Clock()
	return trusted && wall.After(p.leaf.NotAfter)
}

// due returns the certificates that are asked for now, and whether the roots are.
func (c *Client) due(now time.Time) (due []*slot, look bool) {
	for _, s := range c.slots {
		if at := c.dueAt(s, now); !at.IsZero() && !at.After(now) {
			due = append(due, s)
		}
	}
	return due, !c.lookAt.After(now)
}

// next returns how long it is until anything is due.
func (c *Client) next(now time.Time) time.Duration {
	left := min(c.lookAt.Sub(now), c.listAt.Sub(now), 12*time.Hour) // the clock may be set without a word
	for _, s := range c.slots {
		if at := c.dueAt(s, now); !at.IsZero() {
			left = min(left, at.Sub(now))
		}
	}
	return max(left, 100*time.Millisecond)
}

var (
	errNoServer = errors.New("no EST server is configured or found")
	errResting  = errors.New("the EST servers asked to be left alone for a while")
)

// attempt asks one server after the other until all is done (CERT-7), but for those that want to be left alone.
func (c *Client) attempt(ctx context.Context, due []*slot, look bool) {
	servers, err := c.servers(ctx, due)
	failure := cmp.Or(err, errResting)
	for _, s := range due {
		s.err = failure
	}
	rest := time.Duration(0) // of all servers
	for i, server := range servers {
		c.server = server.base()
		left := time.Until(c.rests[c.server])
		if left <= 0 {
			delete(c.rests, c.server)
			looked, err := c.visit(ctx, server, due)
			if ctx.Err() != nil {
				return
			}
			look = look && !looked
			if failure = err; err != nil && i < len(servers)-1 {
				c.o.Report(Event{Kind: EventFailure, Server: c.server, Err: err}) // now the next
			}
			due = slices.DeleteFunc(due, func(s *slot) bool { return s.err == nil })
			if len(due) == 0 && !look {
				c.err = nil
				return
			}
			var refused *statusError
			if left = 0; errors.As(err, &refused) && refused.retry > 0 {
				left = refused.retry
				c.rests[c.server] = time.Now().Add(left)
			}
		}
		if i == 0 || left < rest {
			rest = left
		}
	}
	now := time.Now()
	if look {
		c.lookTries++
		most := mostRest
		if len(c.kept.Pairs) == 0 {
			most = mostBackOff
		}
		c.lookAt = now.Add(max(alarm.BackOff(c.lookTries, firstBackOff, most), rest))
	}
	var said error
	for _, s := range due {
		c.fail(s, now, rest)
		if said == nil || said.Error() != s.err.Error() {
			said = s.err
			again := c.dueAt(s, now).Sub(now)
			c.o.Report(Event{Kind: EventFailure, Server: c.server, Key: s.kind, Err: s.err, Again: max(again, 0)})
		}
	}
	if said == nil {
		said = failure
		c.o.Report(Event{Kind: EventFailure, Server: c.server, Err: failure, Again: c.lookAt.Sub(now)})
	}
	c.err, c.failed = said, now
}

// servers returns the servers in order; the one that a request waits at comes first.
func (c *Client) servers(ctx context.Context, due []*slot) ([]Server, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	all, err := c.o.Servers(ctx)
	if len(all) == 0 {
		c.server = ""
		return nil, cmp.Or(err, errNoServer)
	}
	all = slices.Clone(all[:min(len(all), mostServers)])
	for _, s := range due {
		w := c.kept.wait(s.kind)
		if w == nil {
			continue
		}
		if i := slices.IndexFunc(all, func(server Server) bool { return server.url("") == w.Server }); i > 0 {
			first := all[i]
			copy(all[1:], all[:i])
			all[0] = first
		}
		break
	}
	return all, nil
}

// visit asks one server for its roots, and then for the certificates that are due. It notes for each how that ended.
func (c *Client) visit(ctx context.Context, server Server, due []*slot) (looked bool, err error) {
	if err := c.meet(ctx, server, due); err != nil {
		for _, s := range due {
			s.err = err
		}
		return false, err
	}
	for _, s := range due {
		err = cmp.Or(err, s.err)
	}
	return true, err
}

// meet is visit; an error is one with the roots.
func (c *Client) meet(ctx context.Context, server Server, due []*slot) error {
	installed, err := c.o.Installed()
	if err != nil {
		return wrap("the roots that were installed cannot be read", err)
	}
	c.lookAtMaker()
	a, first := c.anchors(installed), false
	if a == nil {
		if first = true; !c.config.TrustFirst && c.config.Fingerprint == "" {
			return errNoRoot
		}
		if a, err = c.firstContact(ctx, server); err != nil {
			return err
		}
	}
	s := c.open(server, a, c.identity(due).show)
	defer func() { s.close() }()
	roots, links, err := s.getRoots(ctx)
	if err != nil {
		return err
	}
	if err := c.adopt(s, roots, links, installed, first); err != nil {
		return s.failed("cacerts", err)
	}
	s.anchors = c.anchors(installed) // the connection was checked by them
	want, asked := attributes{}, false
	for i, sl := range due {
		id := c.identity(due[i:])
		if id.show != s.identity {
			s.close()
			s = c.open(server, s.anchors, id.show)
		}
		if !asked {
			if want, sl.err = s.attributes(ctx); sl.err != nil {
				continue
			}
			asked = true
		}
		sl.err = c.enrol(ctx, s, sl, id, want)
	}
	return nil
}

// identity is by what a certificate is asked for (CERT-26, CERT-41).
type identity struct {
	show      *tls.Certificate // to the server; nil for none
	operation string
	renews    *pair // nil if it does not
}

// identity returns that for the first of the certificates that are due, or if none is for the roots.
func (c *Client) identity(due []*slot) identity {
	begin := false
	var p *pair
	if len(due) > 0 {
		begin, p = due[0].begin, c.kept.pair(due[0].kind)
	} else if len(c.kept.Pairs) > 0 {
		p = c.kept.Pairs[0]
	}
	if p != nil && !begin && !c.ended(p) && !c.foreign(p) && c.fits(p.leaf) == nil && discovery.IsClients(p.leaf) {
		return identity{p.identity, "simplereenroll", p}
	}
	return identity{c.makers, "simpleenroll", nil}
}
