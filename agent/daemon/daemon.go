// Package daemon is the running daemon: it connects the other packages with the platform and the device, starts them,
// reloads the configuration, keeps the state on flash, and reports its health. It decides nothing itself (agent does),
// and only the command line imports it.
package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"nmosauthd/agent"
	"nmosauthd/agent/admin"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/discovery"
	"nmosauthd/agent/httpauth"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/observe"
	"nmosauthd/platform"
)

// drainTime is how long the daemon, told to stop, waits for requests that have arrived.
const drainTime = 5 * time.Second

// FlushTime is how long the daemon, as it ends, waits for the last lines of its log to be written.
const FlushTime = time.Second

// inForceConfig is the configuration in force.
type inForceConfig struct {
	*config.Config
	names []string
}

// daemon is the parts put together.
type daemon struct {
	file        string
	version     string
	device      *Device
	log         *zap.Logger
	level       *atomic.Int32
	queue       *LogQueue      // in front of standard error
	startConfig *config.Config // sockets and sandbox are fixed by it
	client      atomic.Pointer[discovery.Client]
	store       *keys.Store
	finder      *agent.Servers
	persisted   *persisted
	stock       *inventories
	clock       *clock
	times       timeKeeper // that clock
	agent       *agent.Agent
	audit       *audit.Log // nil before it runs
	own         *ownClient
	certs       *ownCerts

	observer *observe.Observer
	inForce  atomic.Pointer[inForceConfig]
	health   health

	observing observing

	given           map[string]*os.File // sockets from the service manager, not yet taken over
	servers         []namedServer
	socketPlaces    []platform.Place  // folders of the sockets that the daemon made
	sandbox         *platform.Sandbox // nil if not in force
	noSandboxReason string            // why sandbox is nil
}

// Run runs the daemon with the configuration in a file until a signal ends it. version is for log and status; queue
// takes the log.
func Run(file, version string, queue *LogQueue) error {
	// Who writes a configuration and starts the daemon may send SIGHUP before it serves, which would end it.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP)
	platform.SaveMemory()
	background, slow := platform.Background()
	d, err := newDaemon(file, version, queue, background)
	if err != nil {
		return err
	}
	return d.run(signals, slow)
}

// newDaemon makes the parts. background verifies new tokens; nil if nothing does.
func newDaemon(file, version string, queue *LogQueue, background func(func())) (*daemon, error) {
	dev, err := DetectDevice()
	if err != nil {
		return nil, err
	}
	c, names, err := dev.LoadConfig(file)
	if err != nil {
		return nil, err
	}
	d := &daemon{file: file, version: version, device: dev, startConfig: c, clock: newClock(), queue: queue}
	d.health.changed = make(chan struct{}, 1)
	d.times = d.clock.Clock
	d.log, d.level = newLogger(queue)
	d.log = d.health.troubles.watch(d.log)
	d.store = keys.NewStore(d.fetchKeys, func(e keys.Event) {
		d.keysFetched(e)
		d.own.lookNow()
	})
	d.persisted = newPersisted(c.State.Dir, dev, d.log)
	d.finder = agent.NewServers(d.store, func(found []agent.FoundServer) {
		d.persisted.keepServers(found, d.store.Set())
	}, func(e agent.ServerEvent) {
		d.logServer(e)
		d.own.lookNow()
	})
	d.agent = agent.New(c, names, d.store, d.clock.now)
	d.agent.VerifyBy(background)
	d.own = d.newOwnClient()
	if err := d.apply(c, names); err != nil {
		return nil, err
	}
	d.configureClient(readSecrets(&c.Client))
	d.recall()
	d.certs = d.newOwnCerts()
	d.stock = newInventories(d.agent, dev.inventory(), d.persisted, d.log)
	d.stock.configure(c.Inventory.File)
	return d, nil
}

// recall loads what was kept before the restart, so that the first decision needs no network (KEY-3).
func (d *daemon) recall() {
	d.persisted.recallTime(d.times)
	good := d.persisted.load()
	d.recallObserve()
	d.finder.Remember(d.persisted.loadServers(good.Servers))
	for _, h := range good.Issuers {
		d.store.Hold(h)
	}
}

// clockEvent logs what happened to the clock. With the right time, certificates may become valid, and what was due in
// an hour by the old time may be long overdue.
func (d *daemon) clockEvent(e platform.ClockEvent) {
	d.clock.logEvent(d.log, e)
	d.agent.Rejudge()
	d.observing.alarm.Ring()
	d.healthChanged()
	if e.Renewed() {
		d.finder.LookNow()
		d.store.RenewNow()
	}
}

// dated takes the Date of an issuer's server. It is for display, and bounds only what the issuer's own tokens may say
// of the time (OPS-1).
func (d *daemon) dated(issuer string, date time.Time) {
	d.agent.Dated(issuer, date)
	if why := d.clock.Explain(date); d.clock.worthSaying(issuer, why != "", date) {
		d.log.Warn(why, fields(nil, "issuer", issuer)...)
	}
}

// keysFetched logs an attempt to fetch keys, and keeps the keys it brought.
func (d *daemon) keysFetched(e keys.Event) {
	logKeys(d.log, e)
	d.healthChanged()
	if e.Err == nil {
		d.finder.Fetched(e.Issuer)
		d.persisted.keep(d.store.Set())
	}
}

// apply applies a configuration, except for its sockets.
func (d *daemon) apply(c *config.Config, names []string) error {
	level, err := zapcore.ParseLevel(c.Log.Level)
	if err != nil {
		return err
	}
	d.level.Store(int32(level))
	platform.LimitMemory(c.Limits.MemoryBytes)
	client := NewClient(c, d.clock.NotBefore, func() []*tls.Certificate { return d.certs.Certificates() })
	if before := d.client.Load(); before != nil {
		client.Adopt(before)
	}
	d.client.Store(client)
	d.clock.configure(c.Clock)
	d.inForce.Store(&inForceConfig{c, names})
	d.agent.Configure(c, names)
	d.finder.Configure(agent.KeyPolicy(c), finder(c, client, d.log), c.Admits)
	if d.audit != nil {
		d.audit.Reconfigure(d.auditOptions(c))
	}
	return nil
}

// examine logs whom a configuration trusts, and what is wrong with it on this device.
func (d *daemon) examine(c *config.Config, names []string) {
	d.log.Info(c.DiscoveryTrust())
	warnings, wrong := Examine(c, names)
	if wrong != nil {
		// Not fatal: the file may be on a disk that is mounted later, and is read again at each connection.
		d.log.Error("no authorization server can be used", fields(wrong)...)
	}
	for _, w := range warnings {
		d.log.Warn("configuration", fields(nil, "warning", w)...)
	}
}

// run serves until a signal ends it; signals has SIGHUP already. slow says why verifications do not give way.
func (d *daemon) run(signals chan os.Signal, slow func() error) error {
	if _, err := takeStdLog(d.log); err != nil {
		return err
	}
	warn(d.log, "not hardened", platform.Harden())
	filtered := platform.DenyCalls()
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	failed := make(chan error, 3)
	d.startAudit()
	defer d.closeAudit()
	d.openHealth()
	defer d.closeHealth()
	if err := d.listen(failed); err != nil {
		d.close()
		return err
	}
	// What the first answers do not need is done behind them.
	warn(d.log, "threads that verify tokens have the priority of all others; a flood of forged ones delays answers",
		slow())
	if held := d.store.Set().Issuers(); len(held) > 0 {
		d.log.Info("keys from before the restart are held", zap.Int("issuers", len(held)))
	}
	d.examine(d.startConfig, d.inForce.Load().names)
	d.own.identity()
	d.startCerts()
	d.confine(filtered)
	ctx, cancel := context.WithCancel(context.Background())
	var background sync.WaitGroup
	background.Go(func() { d.persisted.keepTime(ctx, d.times) })
	background.Go(func() { d.store.Run(ctx) })
	background.Go(func() { d.finder.Run(ctx) })
	background.Go(func() { d.runClient(ctx) })
	background.Go(func() { d.own.Run(ctx) })
	background.Go(func() { d.certs.Run(ctx) })
	background.Go(func() {
		d.clock.Run(ctx, func(e platform.ClockEvent) {
			d.clockEvent(e)
			d.own.ClockChanged()
			d.certs.ClockChanged()
		})
	})
	background.Go(func() { d.runObserve(ctx) })
	background.Go(func() { d.stock.watch(ctx) })
	renamed := make(chan []string)
	background.Go(func() { d.device.watchNames(ctx, nil, renamed) })
	watched, unwatch := context.WithCancel(ctx)
	if w := newWatchdog(d.startConfig.Sockets.Authz, d.log); w != nil {
		background.Go(func() { w.run(watched) })
	}
	d.clock.logStatus(d.log)
	c := d.inForce.Load()
	d.log.Info("serving", zap.String("version", d.version), zap.String("model", d.device.Name),
		zap.String("mode", string(c.Mode)), zap.Strings("names", c.names),
		zap.Strings("servers", c.Authorization.Servers), zap.String("authz", c.Sockets.Authz),
		zap.String("http", c.Sockets.HTTP), zap.String("admin", c.Sockets.Admin))
	d.certs.awaitHandOver()
	d.startHealth() // before Ready: whoever is told that the daemon serves may ask for its status
	d.notify(platform.Ready())

	var err error
	for err == nil {
		select {
		case err = <-failed:
		case names := <-renamed:
			d.rename(names)
		case s := <-signals:
			if s != syscall.SIGHUP {
				d.log.Info("stopping", fields(nil, "signal", s.String())...)
				d.notify(platform.Stopping())
				err = errStop
				break
			}
			d.notify(platform.Reloading())
			d.reload()
			d.notify(platform.Ready())
		}
	}
	unwatch()
	d.stopHealth()
	d.audit.Release()
	d.close()
	cancel()
	background.Wait()
	d.persisted.stop()
	d.log.Info("stopped")
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

var errStop = errors.New("told to stop")

// notify logs that the service manager could not be told.
func (d *daemon) notify(err error) { warn(d.log, "cannot notify the service manager", err) }

// reload reads the configuration again. A broken one changes nothing.
func (d *daemon) reload() {
	c, names, err := d.device.LoadConfig(d.file)
	if err == nil {
		err = d.outside(c)
	}
	var own secrets
	if err == nil {
		own, err = readSecrets(&c.Client)
	}
	if err == nil {
		if err = d.apply(c, names); err == nil {
			d.examine(c, names)
			d.configureClient(own, nil)
			d.configureCerts()
			d.stock.configure(c.Inventory.File)
			for _, s := range d.servers {
				s.Readmit() // allow_uids may name fewer users
			}
		}
		if late := c.NeedRestart(d.startConfig); len(late) > 0 {
			d.log.Warn(strings.Join(late, ", ")+": a change takes effect after a restart",
				fields(nil, "file", d.file)...)
		}
	}
	d.health.refused.Store(&err)
	d.healthChanged()
	if err != nil {
		for _, mistake := range config.Mistakes(err) { // a line each
			d.log.Error("configuration not reread; the old one stays in force", fields(mistake)...)
		}
		return
	}
	d.log.Info("configuration reread", fields(nil, "file", d.file, "mode", string(c.Mode))...)
}

// listen opens the sockets and serves them. An error that ends the service of a socket goes to failed.
func (d *daemon) listen(failed chan<- error) error {
	c := d.startConfig.Sockets
	if err := d.takeSockets(); err != nil {
		return err
	}
	administration := httpauth.NewServer(admin.Handler(d), true, d.report(c.Admin))
	viewing := httpauth.NewServer(admin.View(d, d), true, d.report(c.View))
	report := d.report(c.HTTP)
	questions := func(conn *agent.Conn) error { // a web server's
		return httpauth.NewServer(httpauth.Handler(d.session(conn.Peer), d.own.JWKS), false, report).ServeConn(conn)
	}
	packets := func(conn *agent.Conn) error {
		session := d.session(conn.Peer)
		session.HandOut(tokensFor{d, conn})
		return goneCaller(conn.Peer, session.ServePackets(conn))
	}
	requests := func(conn *agent.Conn) error { return administration.ServeConn(conn) }
	for _, s := range []socket{
		{authzSocket, c.Authz, c.Group, d.admit, packets},
		{httpSocket, c.HTTP, c.Group, d.admit, questions},
		{adminSocket, c.Admin, c.AdminGroup, nil, requests},
		{viewSocket, c.View, c.ViewGroup, nil, func(conn *agent.Conn) error { return viewing.ServeConn(conn) }},
	} {
		if s.path == "" {
			continue
		}
		if err := d.open(s, failed); err != nil {
			return err
		}
	}
	d.leaveSockets()
	return nil
}

// goneCaller replaces the error of writing to a caller that hung up: "broken pipe" says neither who nor when.
func goneCaller(peer agent.Peer, err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("a caller (pid %d) went away before its answer", peer.PID)
	}
	return err
}

// socket is one of the daemon's sockets.
type socket struct {
	name, path, group string                 // not opened if path is empty
	admit             func(agent.Peer) error // nil admits everyone who may open the file
	handle            func(*agent.Conn) error
}

// open opens one socket and serves it.
func (d *daemon) open(s socket, failed chan<- error) error {
	l, err := d.listener(s.name, s.path, s.group)
	if err != nil {
		return err
	}
	server := &agent.Server{
		Handle: s.handle, Report: d.report(s.path), Limit: d.startConfig.Limits.Connections,
		PeerOf: peerOf, Await: platform.AwaitReadable, Yield: platform.Yield, Own: own, Admit: s.admit,
	}
	d.servers = append(d.servers, namedServer{s.name, s.path, l, server})
	go func() {
		if err := server.Serve(l); err != nil {
			failed <- fmt.Errorf("%s: %w", s.path, err)
		}
	}()
	return nil
}

// report returns the function that logs errors of a socket's connections.
//
//go:noinline // for flash
func (d *daemon) report(path string) func(error) {
	r := &reporter{log: d.log, socket: path}
	return r.report
}

// admit refuses users that allow_uids does not name.
func (d *daemon) admit(peer agent.Peer) error {
	allowed := d.inForce.Load().Sockets.AllowUIDs
	switch {
	case len(allowed) == 0:
		return nil
	case peer.UID < 0:
		return errors.New("unknown user may not ask: allow_uids names those who may")
	case !slices.Contains(allowed, uint32(peer.UID)):
		return fmt.Errorf("user %d may not ask: allow_uids does not name it", peer.UID)
	}
	return nil
}

// peerOf returns who asks on a connection.
func peerOf(conn net.Conn) (agent.Peer, error) {
	uid, gid, pid, err := platform.PeerOf(conn)
	return agent.Peer{UID: int64(uid), GID: gid, PID: pid}, err
}

// close stops listening, answers the requests that have arrived, and closes the connections.
func (d *daemon) close() {
	for _, s := range d.servers {
		if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
			warn(d.log, "cannot close a socket", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var drained sync.WaitGroup
	for _, server := range d.servers {
		drained.Go(func() { server.Shutdown(ctx) })
	}
	drained.Wait()
	if ctx.Err() != nil {
		d.log.Warn("connections were cut: their requests did not end in time", zap.Duration("waited", drainTime))
	}
}
