package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"nmosauthd/agent/alarm"
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
}

// step does what is due and returns how long to wait for what comes next.
func (c *Client) step(ctx context.Context) time.Duration {
	c.mu.Lock()
	config, w := c.config, c.wishes
	c.wishes = wishes{}
	c.mu.Unlock()
	if err := c.load(); err != nil {
		return c.stop(Unreadable, err, mostBackOff)
	}
	c.tidy(config, w)
	if c.unsaved {
		if err := c.save(); err != nil {
			c.saveTries++
			return c.stop(Unsaved, err, alarm.BackOff(c.saveTries, firstBackOff, mostBackOff))
		}
		c.saveTries, c.err = 0, nil
	}
	wait := c.handOver(config)
	if !config.Enabled {
		c.show(config, Disabled, 0)
		return wait
	}
	if err := config.check(); err != nil {
		return c.stop(Misconfigured, err, cmp.Or(wait, time.Hour))
	}
	now := time.Now()
	if c.place.IsZero() {
		most := startSpread
		if len(c.kept.Pairs) == 0 {
			most = firstSpread
		}
		c.place = now.Add(rand.N(most))
	}
	if left := c.place.Sub(now); left > 0 {
		if wait > 0 {
			left = min(left, wait)
		}
		p := c.phase(config)
		if p < Expired {
			p = Starting
		}
		c.show(config, p, left)
		return left
	}
	c.lists(ctx, config)
	due, look := c.due(config, now)
	if len(due) > 0 || look {
		c.attempt(ctx, config, due, look)
		wait = c.handOver(config)
	}
	next := c.next(config, time.Now())
	if wait > 0 {
		next = min(next, wait)
	}
	if c.unsaved {
		next = min(next, firstBackOff)
	}
	c.show(config, c.phase(config), next)
	return next
}

// stop notes and reports why nothing can be done.
func (c *Client) stop(p Phase, err error, wait time.Duration) time.Duration {
	same := c.err != nil && c.err.Error() == err.Error()
	c.err, c.failed = err, time.Now()
	c.mu.Lock()
	c.status.Phase, c.status.Err, c.status.Failed = p, err, c.failed
	c.mu.Unlock()
	if !same {
		c.o.Report(Event{Kind: EventFailure, Err: err, Again: wait})
	}
	return wait
}

// tidy makes what the worker knows fit the configuration and what happened.
func (c *Client) tidy(config Config, w wishes) {
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
		c.place, c.handNext = now, time.Time{}
		c.lookAt = now
	}
	kinds := slices.Clone(config.Kinds)
	for _, p := range slices.Clone(c.kept.Pairs) {
		switch {
		case slices.Contains(kinds, p.Kind):
		case p.Installed:
			kinds = append(kinds, p.Kind)
		case config.Enabled: // it is not wanted any more
			c.kept.drop(p.Kind)
			c.unsaved, c.handed = true, false
		}
	}
	c.slots = slices.DeleteFunc(c.slots, func(s *slot) bool { return !slices.Contains(kinds, s.kind) })
	for _, k := range kinds {
		if !slices.ContainsFunc(c.slots, func(s *slot) bool { return s.kind == k }) {
			c.slots = append(c.slots, &slot{kind: k})
		}
	}
	for _, s := range c.slots {
		if w.changed || w.retry || w.network {
			s.next, s.quick = time.Time{}, 0
		}
		s.now = s.now || w.enrol || w.renew
		s.begin = s.begin || w.enrol
		if p := c.kept.pair(s.kind); p != nil && !p.expired && c.ended(p) {
			p.expired = true
			c.o.Report(Event{Kind: EventExpired, Key: s.kind, Text: describe(p.leaf)})
		}
	}
}

// ended reports whether a certificate is over, as far as that can be known.
func (c *Client) ended(p *pair) bool {
	wall, trusted := c.o.Clock()
	return trusted && wall.After(p.leaf.NotAfter)
}

// due returns the certificates that are asked for now, and whether the roots are.
func (c *Client) due(config Config, now time.Time) (due []*slot, look bool) {
	for _, s := range c.slots {
		if at := c.dueAt(config, s, now); !at.IsZero() && !at.After(now) {
			due = append(due, s)
		}
	}
	return due, !c.lookAt.After(now)
}

// next returns how long it is until anything is due.
func (c *Client) next(config Config, now time.Time) time.Duration {
	first := c.lookAt
	for _, s := range c.slots {
		if at := c.dueAt(config, s, now); !at.IsZero() && at.Before(first) {
			first = at
		}
	}
	if !c.listAt.IsZero() && c.listAt.Before(first) {
		first = c.listAt
	}
	return min(max(first.Sub(now), 100*time.Millisecond), 12*time.Hour) // the clock may be set without a word
}

// attempt asks one server after the other until all is done (CERT-7).
func (c *Client) attempt(ctx context.Context, config Config, due []*slot, look bool) {
	servers, err := c.servers(ctx, due)
	failure := err
	for _, s := range due {
		s.err = err
	}
	for i, server := range servers {
		c.server = server.base()
		looked, err := c.visit(ctx, config, server, due)
		if ctx.Err() != nil {
			return
		}
		if looked {
			look = false
		}
		if failure = err; err != nil && i < len(servers)-1 {
			c.o.Report(Event{Kind: EventFailure, Server: c.server, Err: err}) // now the next
		}
		due = slices.DeleteFunc(due, func(s *slot) bool { return s.err == nil })
		if len(due) == 0 && !look {
			break
		}
	}
	now := time.Now()
	if look {
		c.lookTries++
		most := mostRest
		if len(c.kept.Pairs) == 0 {
			most = mostBackOff
		}
		c.lookAt = now.Add(max(alarm.BackOff(c.lookTries, firstBackOff, most), retryOf(failure)))
	}
	if len(due) == 0 && !look {
		c.err = nil
		return
	}
	var said error
	for _, s := range due {
		c.fail(config, s, now)
		if said == nil || said.Error() != s.err.Error() {
			said = s.err
			again := c.dueAt(config, s, now).Sub(now)
			c.o.Report(Event{Kind: EventFailure, Server: c.server, Key: s.kind, Err: s.err, Again: max(again, 0)})
		}
	}
	if said == nil {
		said = failure
		c.o.Report(Event{Kind: EventFailure, Server: c.server, Err: failure, Again: c.lookAt.Sub(now)})
	}
	c.err, c.failed = said, now
}

var errNoServer = errors.New("no EST server is configured or found")

// servers returns the servers in order; the one that a request waits at comes first.
func (c *Client) servers(ctx context.Context, due []*slot) ([]Server, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	all, err := c.o.Servers(ctx)
	if len(all) == 0 {
		c.server = ""
		if err == nil {
			err = errNoServer
		}
		return nil, err
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
func (c *Client) visit(ctx context.Context, config Config, server Server, due []*slot) (looked bool, err error) {
	defer func() {
		if !looked {
			for _, s := range due {
				s.err = err
			}
		}
	}()
	installed, err := c.o.Installed()
	if err != nil {
		return false, fmt.Errorf("the roots that were installed cannot be read: %w", err)
	}
	c.lookAtMaker()
	a, first := c.anchors(config, installed), false
	if a == nil {
		if first = true; !config.TrustFirst && config.Fingerprint == "" {
			return false, errNoRoot
		}
		if a, err = c.firstContact(ctx, config, server); err != nil {
			return false, err
		}
	}
	identity, _, _ := c.identity(config, due)
	s := c.open(server, a, identity)
	defer func() { s.close() }()
	roots, links, err := s.getRoots(ctx)
	if err != nil {
		return false, err
	}
	if err := c.adopt(config, s, roots, links, installed, first); err != nil {
		return false, fmt.Errorf("cacerts at %s: %w", server.base(), err)
	}
	s.anchors = c.anchors(config, installed) // the connection was checked by them
	want, asked := attributes{}, false
	for _, sl := range due {
		identity, operation, old := c.identity(config, []*slot{sl})
		if identity != s.identity {
			s.close()
			s = c.open(server, s.anchors, identity)
		}
		if !asked {
			if want, sl.err = s.attributes(ctx); sl.err != nil {
				continue
			}
			asked = true
		}
		sl.err = c.enrol(ctx, config, s, sl, operation, old, want)
	}
	for _, sl := range due {
		err = cmp.Or(err, sl.err)
	}
	return true, err
}

// identity returns what is shown to the server for the first of the certificates that are due, by which operation it is
// asked for, and which pair that renews; nil for the maker's or none (CERT-26, CERT-41).
func (c *Client) identity(config Config, due []*slot) (*tls.Certificate, string, *pair) {
	begin := false
	var p *pair
	if len(due) > 0 {
		begin, p = due[0].begin, c.kept.pair(due[0].kind)
	} else if len(c.kept.Pairs) > 0 {
		p = c.kept.Pairs[0]
	}
	if p != nil && !begin && !c.ended(p) && !c.foreign(p) && fits(p.leaf, config) == nil {
		return p.identity, "simplereenroll", p
	}
	return c.makers, "simpleenroll", nil
}
