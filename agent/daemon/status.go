package daemon

import (
	"errors"
	"net"
	"runtime"
	"slices"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/status"
	"nmosauthd/agent/wire"
)

// namedServer serves one of the daemon's sockets.
type namedServer struct {
	name, path string
	listener   net.Listener
	*agent.Server
}

// errStarting is the answer before every source of a snapshot is set.
var errStarting = errors.New("the daemon is just starting")

// Status is GET /status.
func (d *daemon) Status() ([]byte, error) {
	if !d.health.ready.Load() {
		return nil, errStarting
	}
	return d.measured().JSON()
}

// Metrics is GET /metrics.
func (d *daemon) Metrics() ([]byte, error) {
	if !d.health.ready.Load() {
		return nil, errStarting
	}
	return d.measured().Metrics(), nil
}

// measured is a snapshot with the memory figures, which stop the world for some microseconds.
func (d *daemon) measured() *status.Status {
	s := d.snapshot()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	s.Memory = status.Memory{Resident: d.health.resident.Bytes(), Heap: memory.HeapAlloc}
	return s
}

// snapshot returns the daemon's status without memory figures.
func (d *daemon) snapshot() *status.Status {
	now := time.Now()
	c := d.inForce.Load()
	s := &status.Status{
		Time: status.At(now, now), Since: status.At(d.health.began, now),
		Version: d.version, Model: d.device.Name, Names: list(c.names), Mode: string(d.agent.Mode()),
		Observe: d.observation(), NotEnforced: c.NotEnforced(),
		Refused: deref(d.health.refused.Load()),
		Refresh: int64(c.Authorization.Refresh / time.Second),
		Errors:  d.health.troubles.last(now), Unlogged: d.queue.Dropped(),
	}
	clock := d.clock.Status()
	s.Clock = status.Clock{State: clock.State.String(), Why: clock.Why, Trusted: d.clock.trusts(clock.State)}
	d.showServers(s, c.Config, now)
	d.showAudit(s, now)
	d.showClient(s, now)
	d.showCerts(s, now)

	answered, would := d.agent.Counts()
	for r := wire.Reason(0); int(r) < wire.Reasons; r++ {
		s.Decisions = append(s.Decisions, status.Count{
			Reason: r.String(), Status: r.Info().Status, Answered: answered[r], Would: would[r],
		})
	}
	t := &s.Tokens
	t.Held, t.Limit, t.Remembered, t.Judged = d.agent.Tokens()
	for _, l := range d.servers {
		served, waiting, _ := l.Count()
		s.Sockets = append(s.Sockets, status.Socket{
			Name: l.name, Path: l.path, Open: served, Limit: l.Limit, Waiting: waiting,
		})
	}
	v := d.stock.status()
	s.Inventory = status.Inventory{
		Source: v.Source, Resources: v.Resources, Since: status.At(v.Since, now), Error: textOf(v.Refused),
	}
	s.State = status.State{Dir: d.startConfig.State.Dir, Error: deref(d.persisted.trouble.Load())}
	s.State.Kept = s.State.Dir != "" && s.State.Error == "" && d.persisted.safe.Load()
	s.Sandbox.Why = d.noSandboxReason
	if d.sandbox != nil {
		s.Sandbox.Landlock, s.Sandbox.Denied, s.Sandbox.NotDenied = d.sandbox.ABI, d.sandbox.InForce, d.sandbox.Lacking
	}
	s.Degraded = s.Health()
	s.Healthy = len(s.Degraded) == 0
	return s
}

// showServers fills in the authorization servers and what discovery found.
func (d *daemon) showServers(s *status.Status, c *config.Config, now time.Time) {
	found := d.finder.Found()
	s.Discovery = status.Discovery{
		Mode: string(c.Discovers()), Hosts: list(c.Discovery.Hosts), Found: []string{},
		Looked: status.At(found.Looked, now), Error: textOf(found.Err),
	}
	by := map[string]*agent.FoundStatus{}
	for i := range found.Servers {
		for _, issuer := range found.Servers[i].Issuers {
			s.Discovery.Found = append(s.Discovery.Found, issuer)
			by[issuer] = &found.Servers[i]
		}
	}
	configured := make([]string, len(c.Authorization.Servers))
	for i, issuer := range c.Authorization.Servers {
		configured[i] = keys.TrimIssuer(issuer)
	}
	s.Servers = []status.Server{}
	for _, k := range d.store.Status() {
		v := status.Server{
			Issuer: k.Issuer, Origin: status.Learned, Used: k.Used, KIDs: list(k.KIDs),
			Fetched: status.At(k.Fetched, now), Kept: k.Kept, Next: status.At(k.Next, now),
			Failing: k.Failing, Error: textOf(k.Err), Failed: status.At(k.Failed, now),
		}
		if date, ok := d.agent.ServerTime(k.Issuer); ok {
			v.Date, v.Ahead = status.Time(date.Unix()), int64(now.Sub(date).Round(time.Second)/time.Second)
			v.Difference = d.clock.Explain(date)
		}
		switch {
		case slices.Contains(configured, keys.TrimIssuer(k.Issuer)):
			v.Origin = status.Configured
		case by[k.Issuer] != nil:
			f := by[k.Issuer]
			v.Origin, v.Domain, v.Missing = status.Discovered, f.Domain, int64(f.Missing/time.Second)
			if f.URL != k.Issuer {
				v.At = f.URL
			}
		}
		s.Servers = append(s.Servers, v)
	}
}

// showAudit fills in what became of the records.
func (d *daemon) showAudit(s *status.Status, now time.Time) {
	h := &d.health
	h.counting.Lock()
	defer h.counting.Unlock()
	stats := d.audit.Stats()
	dropped := stats.Lost
	s.Audit.Recorded, s.Audit.Pending, s.Audit.Sinks = stats.Appended, stats.Pending, []status.Sink{}
	for i := range stats.Sinks {
		k := &stats.Sinks[i]
		dropped += k.Dropped
		s.Audit.Sinks = append(s.Audit.Sinks, status.Sink{
			Name: k.Name, Kept: k.Kept, Dropped: k.Dropped, Queued: k.Queued, QueuedBytes: k.QueuedBytes, Head: k.Head,
			Error: textOf(k.Err), Since: status.At(k.Since, now),
		})
	}
	if dropped > h.dropped {
		h.lost = now
	}
	h.dropped = dropped // smaller after a reload that removed a sink
	s.Audit.DroppedAt = status.At(h.lost, now)
}

// list returns a list that JSON shows as one even if there is nothing in it.
func list(all []string) []string {
	if all == nil {
		return []string{}
	}
	return all
}

// textOf returns the error's text, "" if nil.
//
//go:noinline // for flash
func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// deref is textOf for an error behind an atomic pointer.
func deref(err *error) string {
	if err == nil {
		return ""
	}
	return textOf(*err)
}
