package daemon

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/observe"
	"nmosauthd/platform"
)

// auditTime is how long the daemon, as it ends, waits for queued records to be written.
const auditTime = 3 * time.Second

// startAudit records every decision from now on (OPS-2).
func (d *daemon) startAudit() {
	o := d.auditOptions(d.startConfig)
	o.Version = d.version
	o.Now = func() (time.Time, audit.Clock) {
		now := d.clock.now()
		return now.Now, now.State
	}
	o.Report = d.auditTrouble
	d.observer = observe.New(observe.DefaultLimits)
	o.Observe = d.observer.Observe
	d.audit = audit.New(o)
	d.agent.Audit(d.audit)
}

// auditOptions returns the audit's options by a configuration.
func (d *daemon) auditOptions(c *config.Config) audit.Options {
	o := audit.Options{
		Wait:       c.Audit.Full == config.AuditWait,
		QueueBytes: c.Audit.QueueBytes,
		Repeat:     c.Audit.Repeat,
		Rates:      audit.Rates{Denials: c.Audit.DenyRate, Allows: c.Audit.AllowRate},
		RingBytes:  c.Audit.RingBytes,
	}
	for _, sink := range c.Audit.Sinks {
		switch sink {
		case config.AuditLog:
			o.Sinks = append(o.Sinks, audit.NewWriter(os.Stderr))
		case config.AuditFile:
			f := &platform.LogFile{Path: c.Audit.File, Files: c.Audit.Files}
			o.Sinks = append(o.Sinks, audit.NewFile(f, c.Audit.File, c.Audit.FileBytes, c.Audit.Files))
		case config.AuditSyslog:
			o.Sinks = append(o.Sinks, d.syslog(c))
		}
	}
	return o
}

// syslog returns the sink that writes to the configured server.
func (d *daemon) syslog(c *config.Config) audit.Sink {
	o := audit.SyslogOptions{
		App: "nmos-authd", PID: os.Getpid(), Dial: d.dial,
		// Of the configuration in force at the time.
		Roots: func() (*x509.CertPool, error) { return d.client.Load().Roots() },
		Now:   d.clock.NotBefore,
	}
	o.Network, o.Address, _ = strings.Cut(c.Audit.Syslog, "://") // valid: config checked it
	if names := d.inForce.Load().names; len(names) > 0 {
		o.Host = names[0]
	}
	return audit.NewSyslog(o)
}

// dial connects as the authorization servers' client does: through the configured name servers.
func (d *daemon) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return d.client.Load().Dial(ctx, network, address)
}

// auditTrouble logs what is wrong with a sink, but none of its records.
func (d *daemon) auditTrouble(t audit.Trouble) {
	d.healthChanged()
	level, text := zap.ErrorLevel, "audit: decisions were not recorded; the sink is too slow"
	switch {
	case t.Over:
		level, text = zap.InfoLevel, "audit: decisions are recorded again"
	case t.Err != nil:
		text = "audit: decisions are not recorded"
	}
	d.log.Log(level, text, append(fields(t.Err, "sink", t.Sink), zap.Uint64("dropped", t.Dropped))...)
}

// closeAudit writes the records that are still queued.
func (d *daemon) closeAudit() {
	if d.audit == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), auditTime)
	defer cancel()
	d.audit.Close(ctx)
}

// session returns what answers the requests of a connection. Those of the daemon's own watchdog are not recorded:
// nobody acts on the answers.
func (d *daemon) session(peer agent.Peer) *agent.Session {
	if own(peer) {
		return d.agent.NewSession()
	}
	return d.agent.NewSessionOf(peer)
}
