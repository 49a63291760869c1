// Package studio puts a whole pretend facility together: a name server, an authorization server, an IS-04 registry
// and a device, the latter two each with a real nmos-authd of its own, and the controllers that are asked for. All of
// it is real but for its purpose: TLS under the facility's own root, DNS-SD, sockets, the daemon's program.
//
//	f, err := studio.Start(ctx, "build/nmos-authd", studio.Options{})
//	defer f.Close()
//	err = errors.Join(f.AnnounceServer(), f.StartRegistry(ctx), f.StartDevice(ctx))
//	panel := f.Controller("Panel 1", studio.Anna)
//	err = panel.SignIn(ctx)
//
// Hosts have names in studio.example, which only the facility's name server knows.
package studio

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/controller"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/dnssd"
	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/estserver"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/registry"
)

// The names of the facility.
const (
	Domain       = "studio.example"
	AuthHost     = "auth." + Domain
	RegistryHost = "registry." + Domain
	ESTHost      = "est." + Domain
	DeviceHost   = "stagebox-1." + Domain
)

// The people of the facility.
var (
	Anna = controller.Person{Name: "anna", Password: "fader up"}       // may find, connect and watch
	Vito = controller.Person{Name: "vito", Password: "just visiting"}  // may look at connections alone
	Mona = controller.Person{Name: "mona", Password: "all in green"}   // may watch gains and meters, and turn nothing
	Sven = controller.Person{Name: "sven", Password: "gain before EQ"} // may turn the gains of the microphones
)

// Scope is what controllers ask for.
const Scope = "query connection events control"

// Claims are what a token holds, by API.
type Claims = map[string]mint.Permission

// Options are what Start needs to know. The zero value is good.
type Options struct {
	Life    time.Duration // of tokens; 0 means an hour
	Timeout time.Duration // of one question to a daemon; 0 means firmware.DefaultTimeout
	Logf    func(format string, a ...any)
	Decided func(reply firmware.Reply, took time.Duration) // of the device, see firmware.Options
	// Announced is called when the device has announced everything in the registry, Replaced when a token that the
	// registry had refused was replaced.
	Announced, Replaced func()
}

// Guarded is a daemon, with its configuration.
type Guarded struct {
	*daemon.Daemon
	config daemon.Config
}

// Studio is a running facility. Close it.
type Studio struct {
	DNS      *dnsserver.Server
	Server   *authserver.Server
	EST      *estserver.Server // nil before EnrolDevice
	Registry *registry.Registry
	Device   *firmware.Device
	// Of the device and of the registry.
	DeviceDaemon, RegistryDaemon *Guarded

	opt       Options
	program   string
	ca        *authserver.CA
	appeared  bool // the authorization server, in DNS-SD
	closers   []func() error
	stop      context.CancelFunc // of the announcement
	announced chan error         // how it ended

	mu     sync.Mutex
	claims map[string]Claims // by person; "" is a client by itself
}

// Start starts everything but what needs the authorization server, in this order: AnnounceServer, StartRegistry,
// StartDevice, AnnounceDevice.
func Start(ctx context.Context, program string, o Options) (f *Studio, err error) {
	f = &Studio{opt: o, program: program, claims: map[string]Claims{
		"": {"registration": {
			Read: []string{"health/nodes/*", "resource/*"}, Write: []string{"health/nodes/*", "resource", "resource/*"},
		}},
		Anna.Name: {
			"query": {Read: []string{"*"}, Write: []string{"subscriptions"}}, "events": {Read: []string{"sources/*"}},
			"connection": {Read: []string{"*"}, Write: []string{"single/receivers/*"}},
		},
		Vito.Name: {"connection": {Read: []string{"*"}}},
		Mona.Name: {"query": {Read: []string{"*"}}, "control": {Read: []string{"root.*"}}},
		Sven.Name: {"query": {Read: []string{"*"}}, "control": {
			Read: []string{"root.*"}, Write: []string{"root.mic-1.gain", "root.mic-2.gain"},
		}},
	}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if f.ca, err = authserver.NewCA("Studio Example root"); err != nil {
		return f, err
	}
	if f.DNS, err = dnsserver.Start(dnsserver.Options{}); err != nil {
		return f, err
	}
	f.closers = append(f.closers, f.DNS.Close)
	f.Server, err = authserver.Start(authserver.Options{
		Host: AuthHost, CA: f.ca, Audience: []string{"*." + Domain}, Life: o.Life, Policy: f.policy,
		Scopes: []string{"connection", "control", "events", "node", "query", "registration"},
		Users: map[string]string{
			Anna.Name: Anna.Password, Vito.Name: Vito.Password, Mona.Name: Mona.Password, Sven.Name: Sven.Password,
		},
	})
	if err != nil {
		return f, err
	}
	f.closers = append(f.closers, f.Server.Close)
	return f, nil
}

// policy answers for the authorization server's administrator.
func (f *Studio) policy(_ authserver.RegisteredClient, person, api string) (mint.Permission, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.claims[person][api]
	return p, ok
}

// Permit changes what a person's tokens hold from now on.
func (f *Studio) Permit(person string, claims Claims) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.claims[person] = claims
}

// AnnounceServer lets the authorization server appear in DNS-SD.
func (f *Studio) AnnounceServer() error {
	f.appeared = true
	return f.DNS.SetZone(f.zone())
}

// zone is what the name server knows.
func (f *Studio) zone() string {
	service := func(name, host, port, text string) string {
		return fmt.Sprintf("%[1]s PTR 1.%[1]s\n1.%[1]s SRV 0 0 %[3]s %[2]s.\n"+
			"1.%[1]s TXT \"api_proto=https\" \"pri=10\" %[4]s\n", name, host, port, text)
	}
	zone := "$ORIGIN " + Domain + ".\n"
	if f.appeared {
		zone += service("_nmos-auth._tcp", AuthHost, f.Server.Port(), `"api_ver=v1.0"`)
	}
	if f.EST != nil {
		zone += service("_nmos-certs._tcp", ESTHost, f.EST.Port(), "")
	}
	for _, host := range []string{AuthHost, ESTHost, RegistryHost, DeviceHost} {
		zone += host + ". A 127.0.0.1\n"
	}
	if f.Registry != nil {
		for _, name := range []string{"_nmos-register._tcp", "_nmos-query._tcp"} {
			zone += service(name, RegistryHost, f.Registry.Port(), `"api_ver=v1.3" "api_auth=true"`)
		}
	}
	return zone
}

// newDir makes a folder for a daemon.
func (f *Studio) newDir() (daemon.Dir, error) {
	dir, err := daemon.NewDir()
	if err != nil {
		return dir, err
	}
	f.closers = append(f.closers, dir.Remove)
	return dir, os.Mkdir(dir.File("state"), 0o700)
}

// start starts a daemon for a host, in its folder. Without caFile it has the facility's root from the beginning.
func (f *Studio) start(ctx context.Context, dir daemon.Dir, host, caFile, more string) (*Guarded, error) {
	g := &Guarded{config: daemon.Config{
		Names: []string{host}, CAPEM: f.ca.PEM(), Admin: true, State: dir.File("state"),
		Discovery: fmt.Sprintf("mode = \"unicast\"\ndomains = [%q]\ndns_servers = [%q]", Domain, f.DNS.Addr()),
		Sockets:   fmt.Sprintf("view = %q", dir.View()),
		More:      "retry = \"1s\"\n" + more,
	}}
	if caFile != "" {
		g.config.CAPEM, g.config.CAFile = nil, caFile
	}
	err := dir.Write(g.config)
	if err == nil {
		g.Daemon, err = daemon.Start(ctx, f.program, dir)
	}
	if err != nil {
		return nil, err
	}
	f.closers = append(f.closers, g.Stop)
	return g, nil
}

// guard starts a daemon for a host, and returns what its API's TLS needs.
func (f *Studio) guard(ctx context.Context, host, more string) (*Guarded, *tls.Config, error) {
	dir, err := f.newDir()
	if err != nil {
		return nil, nil, err
	}
	g, err := f.start(ctx, dir, host, "", more)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := f.ca.Issue(time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0), host)
	if err != nil {
		return nil, nil, err
	}
	if err := g.WaitLog(ctx, 0, "keys fetched"); err != nil {
		return nil, nil, err
	}
	return g, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}, nil
}

// SetMode puts another mode into force.
func (g *Guarded) SetMode(ctx context.Context, mode string) error {
	g.config.Mode = mode
	after := len(g.Log())
	if err := errors.Join(g.Write(g.config), g.Signal(syscall.SIGHUP)); err != nil {
		return err
	}
	return g.WaitLog(ctx, after, "configuration reread")
}

// StartRegistry starts the registry and its daemon, which must find the authorization server, and announces it.
func (f *Studio) StartRegistry(ctx context.Context) error {
	g, config, err := f.guard(ctx, RegistryHost, "")
	if err != nil {
		return err
	}
	f.RegistryDaemon = g
	// Its clock goes at a tenth of the pace, so that a busy machine does not miss heartbeats: what ends by them is
	// tested with the registry.
	began := time.Now()
	slow := func() time.Time { return began.Add(time.Since(began) / 10) }
	f.Registry, err = registry.Start(registry.Options{
		Socket: g.Authz(), TLS: config, Host: RegistryHost, Timeout: f.opt.Timeout, Logf: f.opt.Logf,
		Now: slow,
	})
	if err != nil {
		return err
	}
	f.closers = append(f.closers, f.Registry.Close)
	return f.DNS.SetZone(f.zone())
}

// deviceKeys is what the device's daemon has in its configuration beside what all have.
const deviceKeys = "[client]\nscopes = [\"registration\"]\n[control]\ncommands = \"asked\"\n"

// StartDevice starts the device, and its daemon unless EnrolDevice has.
func (f *Studio) StartDevice(ctx context.Context) error {
	var config *tls.Config
	var err error
	g := f.DeviceDaemon
	if g == nil {
		g, config, err = f.guard(ctx, DeviceHost, deviceKeys)
	} else {
		config, err = f.deviceTLS(), g.WaitLog(ctx, 0, "keys fetched")
	}
	if err != nil {
		return err
	}
	f.DeviceDaemon = g
	f.Device, err = firmware.Start(firmware.Options{
		Socket: g.Authz(), TLS: config, Host: DeviceHost, Live: true, Timeout: f.opt.Timeout, Logf: f.opt.Logf,
		Decided: f.opt.Decided,
	})
	if err != nil {
		return err
	}
	f.closers = append(f.closers, f.Device.Close)
	return nil
}

// Command runs a subcommand of the daemon's program for one of the daemons, and returns what it says.
func (f *Studio) Command(ctx context.Context, g *Guarded, words ...string) (string, error) {
	text, err := exec.CommandContext(ctx, f.program, append(words, "--config", g.ConfigFile())...).CombinedOutput()
	if err != nil {
		return string(text), fmt.Errorf("nmos-authd %s: %w\n%s", strings.Join(words, " "), err, text)
	}
	return string(text), nil
}

// Missing returns the claims that a daemon's report of what was observed has for those without a token, once it has so
// many path specifiers: a decision is in the report a moment after it was made.
func (f *Studio) Missing(ctx context.Context, g *Guarded, specifiers int) (Claims, error) {
	for {
		text, err := f.Command(ctx, g, "observe", "report", "--json")
		if err != nil {
			return nil, err
		}
		var report struct {
			Controllers []struct {
				Token  string
				Claims Claims
			}
		}
		if err := json.Unmarshal([]byte(text), &report); err != nil {
			return nil, err
		}
		claims, n := Claims{}, 0
		for _, one := range report.Controllers {
			if one.Token != "none" {
				continue
			}
			for name, p := range one.Claims {
				claims[strings.TrimPrefix(name, "x-nmos-")] = p
				n += len(p.Read) + len(p.Write)
			}
		}
		switch {
		case n == specifiers:
			return claims, nil
		case n > specifiers:
			return nil, fmt.Errorf("the report has %d specifiers, want %d: %s", n, specifiers, text)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the report has %d specifiers, want %d: %w: %s", n, specifiers, ctx.Err(), text)
		case <-time.After(20 * time.Millisecond): // between two reports
		}
	}
}

// RegisterDevice has the device's daemon register it as a client now, and returns what the subcommand says. That does
// not wait for as long as a busy machine may take to make a key.
func (f *Studio) RegisterDevice(ctx context.Context) (string, error) {
	for {
		text, err := f.Command(ctx, f.DeviceDaemon, "client", "register")
		if err == nil || ctx.Err() != nil || !strings.Contains(text, "still being tried") {
			return text, err
		}
	}
}

// AnnounceDevice has the device announce itself in the registry, as soon as it has a token of its own, until it is
// stopped.
func (f *Studio) AnnounceDevice() {
	announcing, stop := context.WithCancel(context.Background())
	f.stop, f.announced = stop, make(chan error, 1)
	go func() {
		f.announced <- f.Device.Announce(announcing, firmware.Announcement{
			Resolver: f.Resolver(), Domain: Domain, Roots: f.ca.Pool(), Heartbeat: time.Second,
			Announced: func(string) { call(f.opt.Announced) }, Replaced: func() { call(f.opt.Replaced) },
		})
	}()
	f.closers = append(f.closers, f.StopAnnouncing)
}

func call(hook func()) {
	if hook != nil {
		hook()
	}
}

// StopAnnouncing ends the device's heartbeats. The error is why they ended before.
func (f *Studio) StopAnnouncing() error {
	f.stop()
	err := <-f.announced
	f.announced <- nil // for the next who asks
	return err
}

// Resolver finds what the facility's name server knows.
func (f *Studio) Resolver() dnssd.Resolver { return dnssd.Resolver{Server: f.DNS.Addr()} }

// Client reaches the facility's hosts.
func (f *Studio) Client() *http.Client { return f.Resolver().Client(f.ca.Pool()) }

// Controller returns a controller before which a person sits; without a name it has no tokens.
func (f *Studio) Controller(name string, person controller.Person) *controller.Controller {
	c := controller.New(controller.Options{
		Resolver: f.Resolver(), Domain: Domain, Roots: f.ca.Pool(), Name: name, Scope: Scope, Person: person,
		NoTokens: person.Name == "", Logf: f.opt.Logf,
	})
	f.closers = append(f.closers, c.Close)
	return c
}

// Close ends everything, the last started first.
func (f *Studio) Close() error {
	var faults []error
	for len(f.closers) > 0 {
		last := len(f.closers) - 1
		faults = append(faults, f.closers[last]())
		f.closers = f.closers[:last]
	}
	return errors.Join(faults...)
}
