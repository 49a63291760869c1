package discovery

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"nmosauthd/agent/config"
)

const (
	// minAgain is the minimum time between two discoveries, whatever TTL the records have.
	minAgain = 30 * time.Second
	// retryAgain is the maximum if nothing was found, or if a question remained unanswered.
	retryAgain = 5 * time.Minute

	// unicastTimeout bounds unicast DNS-SD as a whole: three name servers that are silent cost 12 s.
	unicastTimeout = 20 * time.Second
)

// DiscoverOptions say how to look for servers. The zero value looks by all means, in the domains that it can learn of.
type DiscoverOptions struct {
	// Mode says how to look, as Config.Discovers does. Empty means config.DiscoveryBoth.
	Mode config.DiscoveryMode
	// Domains are the domains to browse by unicast DNS-SD. If empty, those of the device's search list and of its host
	// name are browsed, and if they hold no server, those that the network names by RFC 6763 §11.
	Domains []string
	// Admit returns why an advertised server may not be used (DIS-6), or nil. If Admit is nil, any may.
	Admit func(*Server) error
	// NoMDNS says why mDNS is not used even if unicast DNS-SD finds none; "" if it may be (DIS-2).
	NoMDNS string
	// ResolvConf is as in Options, for the domains to browse and the name servers to ask. It defaults to that of the
	// Client.
	ResolvConf func() ([]byte, error)
	// HostName returns the device's host name, whose domain is browsed too. It may be nil.
	HostName func() string
	// Networks returns the device's addresses with the lengths of their prefixes, for the network to name domains by
	// if nothing else does. It defaults to those of its interfaces.
	Networks func() []netip.Prefix
	// Window and Interfaces are for mDNS, as in BrowseOptions.
	Window     time.Duration
	Interfaces []net.Interface

	service string // "": that of Authorization Servers
}

// Found is the outcome of one discovery.
type Found struct {
	Servers []Server      // in the order in which to try them, each issuer once
	Skipped []Skipped     // what else was advertised, in no order
	Again   time.Duration // how long this holds: discover again then (DIS-6); 30 s to 1 h
	// Answered are the domains that answered in full, without trailing dot: a server that is not among Servers is not
	// advertised there. For mDNS nothing proves absence, so its domain is included if anything was advertised in it.
	Answered []string
	silent   []string // the domains that did not answer in full
}

// admit removes servers that may not be used.
func (f *Found) admit(may func(*Server) error) {
	if may == nil {
		return
	}
	servers := f.Servers[:0]
	for i := range f.Servers {
		s := f.Servers[i]
		if err := may(&s); err != nil {
			f.Skipped = append(f.Skipped, Skipped{InstanceName(s.Instance), err})
		} else {
			servers = append(servers, s)
		}
	}
	f.Servers = servers
}

// Skipped is an advertisement that this device must not use.
type Skipped struct {
	Instance string // for people, safe to print
	Reason   error
}

// finish sorts the servers, and removes duplicates.
func (f *Found) finish() {
	Order(f.Servers, rand.IntN)
	first := make(map[string]string)
	servers := f.Servers[:0]
	for _, s := range f.Servers {
		if other, twice := first[s.IssuerURL()]; twice {
			f.Skipped = append(f.Skipped, Skipped{InstanceName(s.Instance), errors.New("the same server as " + other)})
			continue
		}
		first[s.IssuerURL()] = InstanceName(s.Instance)
		servers = append(servers, s)
	}
	f.Servers = servers
}

// Discover looks for Authorization Servers: by unicast DNS-SD (DIS-1), and by mDNS if every domain answers that it has
// none that may be used (DIS-2): a name server that is silent for a moment must not turn whoever is on the link into an
// issuer. It takes up to 25 s if name servers are silent. Servers for development count only if the Client
// allows http (DIS-3). If trace is not nil, it is called for each step, from the calling goroutine.
//
// An error means that no server was found and that not everything could be asked, so there may still be one. That
// nothing is advertised is not an error. Found.Again counts in either case. The addresses of the servers are
// remembered, for KeySet and ServerKeySet: those of the last look, and some of looks before.
func (c *Client) Discover(ctx context.Context, o DiscoverOptions, trace func(Step)) (Found, error) {
	t := tracer(trace)
	found := Found{Again: maxTTL}
	var errs []error
	mode := cmp.Or(o.Mode, config.DiscoveryBoth)
	if mode == config.DiscoveryBoth || mode == config.DiscoveryUnicast {
		var err error
		if found, err = c.unicast(ctx, o, t); err != nil {
			errs = append(errs, err)
		}
		found.admit(o.Admit)
	}
	none := mode == config.DiscoveryBoth && len(found.Servers) == 0
	if mode == config.DiscoveryMDNS || none && o.mayBrowse(&found, t) && ctx.Err() == nil {
		more, err := c.multicast(ctx, o, t)
		more.admit(o.Admit)
		found.Answered = append(found.Answered, more.Answered...)
		if err != nil {
			errs = append(errs, err)
		}
		found.Servers, found.Again = more.Servers, min(found.Again, more.Again)
		found.Skipped = append(found.Skipped, more.Skipped...)
	}
	t.leftOut(found.Skipped)
	for i := range found.Servers {
		t.step(Step{Kind: StepFound, Found: &found.Servers[i]})
	}
	if len(found.Servers) > 0 {
		c.remember(found.Servers)
		return found, nil
	}
	return found, errors.Join(errs...)
}

// DiscoverEST looks for EST servers as Discover does for others, by unicast DNS-SD alone: whoever is on the link could
// answer by mDNS, and what an EST server says makes roots (CERT-1). Their Selector is the label of the URL (CERT-3).
func (c *Client) DiscoverEST(ctx context.Context, o DiscoverOptions, trace func(Step)) (Found, error) {
	o.service = certService
	found, err := c.unicast(ctx, o, trace)
	tracer(trace).leftOut(found.Skipped)
	if len(found.Servers) > 0 {
		err = nil // which is about others that there may be
	}
	return found, err
}

// mayBrowse reports whether mDNS may be used in mode both; if not, it notes why (DIS-2).
func (o *DiscoverOptions) mayBrowse(found *Found, trace tracer) bool {
	why := o.NoMDNS
	if len(found.silent) > 0 {
		why = "no answer was had from " + strings.Join(found.silent, ", ")
	}
	if why != "" {
		trace.note("mDNS is not used: " + why)
	}
	return why == ""
}

// maxRemembered bounds the servers whose addresses are remembered.
const maxRemembered = 2 * maxInstances

// remember keeps the addresses of servers that were found, and those of others found before: a server that is not
// advertised for a while is still asked, and that of a host of mDNS no name server knows.
func (c *Client) remember(servers []Server) {
	all := slices.Clone(servers) // the caller may change its own
	if before := c.found.Load(); before != nil {
		for _, s := range *before {
			same := func(a Server) bool { return a.IssuerURL() == s.IssuerURL() }
			if len(all) < maxRemembered && !slices.ContainsFunc(all, same) {
				all = append(all, s)
			}
		}
	}
	c.found.Store(&all)
}

// Adopt takes over what another Client remembers of the servers that it found, so that a changed configuration does not
// lose it.
func (c *Client) Adopt(other *Client) { c.found.Store(other.found.Load()) }

// unicast looks for servers by unicast DNS-SD.
func (c *Client) unicast(ctx context.Context, o DiscoverOptions, trace tracer) (Found, error) {
	ctx, cancel := context.WithTimeout(ctx, unicastTimeout)
	defer cancel()
	if o.ResolvConf == nil {
		o.ResolvConf = c.options.ResolvConf
	}
	conf := readResolvConf(o.ResolvConf, trace)
	b := newBrowser(c.newResolver(c.nameServers(conf, trace), trace), trace, c.options.AllowHTTP)
	b.service = cmp.Or(o.service, b.service)

	domains := o.domains(conf, trace)
	for _, d := range domains {
		b.browse(ctx, d)
	}
	if len(o.Domains) == 0 && len(b.servers) == 0 {
		bases := domains
		if len(bases) == 0 {
			bases = o.reverseDomains()
		}
		if len(bases) == 0 {
			b.fail(
				errors.New(
					"no domain to browse: none is configured, and the device has no search list, domain or address"),
			)
		} else {
			trace.note("no server so far: which domains does the network have its hosts browse?")
		}
		for _, d := range b.enumerate(ctx, bases) {
			b.browse(ctx, d)
		}
	}
	return b.found(), wrap("discovery: unicast DNS-SD", errors.Join(b.errs...))
}

// multicast looks for servers by mDNS.
func (c *Client) multicast(ctx context.Context, o DiscoverOptions, trace tracer) (Found, error) {
	trace.note("mDNS on the local link")
	start := time.Now()
	found, err := c.browse(ctx,
		BrowseOptions{Window: o.Window, Interfaces: o.Interfaces, Development: c.options.AllowHTTP})
	step := Step{
		Kind: StepAsked, Query: "PTR " + service + "." + mdnsDomain, Server: "all hosts of the link", Network: "mdns",
		Outcome: Answered, Took: time.Since(start), Err: err,
	}
	found.Answered = nil
	switch {
	case err != nil:
		step.Outcome, found.Again = Unreachable, retryAgain
	case len(found.Servers)+len(found.Skipped) == 0:
		step.Outcome = Silent
	case len(found.silent) == 0: // else an answer was incomplete
		found.Answered = []string{mdnsDomain}
	}
	trace.step(step)
	return found, err
}
