package discovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxInstances bounds the instances that one discovery examines, over all domains. A facility has a handful.
	maxInstances = 64
	// maxTargets bounds the SRV records of one instance. It has one, as a rule (RFC 6763 §5).
	maxTargets = 8
	// maxErrors bounds the errors that are reported.
	maxErrors = 8
)

// asker answers questions: a resolver asks name servers, and mDNS uses what the link has said.
type asker interface {
	resolve(ctx context.Context, name string, kind uint16, zone string) (resolved, error)
	addresses(ctx context.Context, host, zone string) (resolved, error)
}

// browser collects the servers of one discovery by DNS-SD (DIS-1, DIS-2, RFC 6763).
type browser struct {
	asker       asker
	service     string // that is looked for
	trace       tracer
	development bool
	browsed     map[string]bool     // domains, and whether each has answered in full
	browsing    string              // the domain being browsed
	seen        map[string]bool     // instances
	hosts       map[string]*answers // hosts that were asked for
	servers     []Server
	skipped     []Skipped
	positive    time.Duration // how long what was found holds
	negative    time.Duration // how long it holds that there was nothing
	errs        []error       // why the result may be incomplete
}

// answers is the result of looking up a host's addresses.
type answers struct {
	records []*resource
	err     error // why there are none, or none are known
	none    bool  // the host has no address
}

func newBrowser(a asker, trace tracer, development bool) *browser {
	return &browser{
		asker: a, service: service, trace: trace, development: development,
		browsed: make(map[string]bool), seen: make(map[string]bool), hosts: make(map[string]*answers),
		positive: maxTTL, negative: maxTTL,
	}
}

// browse looks for the instances of the service in one domain (RFC 6763 §4.1).
func (b *browser) browse(ctx context.Context, domain string) {
	if _, twice := b.browsed[domain]; twice || len(b.browsed) >= maxDomains {
		return
	}
	b.browsed[domain], b.browsing = true, domain
	defer func() { b.browsing = "" }()
	got, err := b.asker.resolve(ctx, canonical(b.service+"."+domain), dns.TypePTR, domain)
	if err != nil {
		b.fail(err)
		return
	}
	if len(got.records) == 0 {
		b.negative = min(b.negative, got.ttl)
		return
	}
	b.positive = min(b.positive, got.ttl)
	for i, ptr := range got.records {
		if len(b.seen) >= maxInstances {
			more := len(got.records) - i
			b.leaveOut(undot(domain), fmt.Errorf("%d more instances: %d are looked at", more, maxInstances))
			b.browsed[domain] = false
			return
		}
		b.instance(ctx, ptr, got.extra)
	}
}

// instance examines one instance of the service. Its records are taken from the additional section, or else asked for
// (RFC 6763 §12.1).
func (b *browser) instance(ctx context.Context, ptr *resource, extra []*resource) {
	label, domain, ok := cutInstance(ptr.target, b.service)
	if !ok {
		b.leaveOut(undot(ptr.target), errors.New("the name is not <instance>."+b.service+".<domain>"))
		return
	}
	name := canonical(ptr.target)
	if b.seen[name] {
		return
	}
	b.seen[name] = true
	instance := InstanceName(label)
	srv, more, err := b.records(ctx, name, dns.TypeSRV, domain, extra)
	if err != nil {
		b.leaveOut(instance, err)
		return
	}
	extra = append(slices.Clone(extra), more...)
	txt, more, err := b.records(ctx, name, dns.TypeTXT, domain, extra)
	if err != nil {
		b.leaveOut(instance, err)
		return
	}
	extra = append(extra, more...)
	for _, s := range srv[:min(len(srv), maxTargets)] {
		b.target(ctx, Record{
			Instance: label,
			Host:     s.target,
			Port:     s.port,
			Priority: s.priority,
			Weight:   s.weight,
			TXT:      txt[0].txt,
			TTL:      min(ptr.ttl, s.ttl, txt[0].ttl),
		}, domain, extra)
	}
}

// records returns the records of an instance, one or more.
func (b *browser) records(
	ctx context.Context, name string, kind uint16, domain string, extra []*resource,
) (records, more []*resource, err error) {
	if records = pick(extra, name, kind); len(records) > 0 {
		return records, nil, nil
	}
	got, err := b.asker.resolve(ctx, name, kind, domain)
	switch {
	case err != nil:
		b.fail(err)
		return nil, nil, err
	case len(got.records) == 0:
		b.positive = min(b.positive, got.ttl) // the fault may be fixed
		err := errors.New("no " + kindName(kind) + " record: " + got.outcome.String())
		if !got.outcome.definite() { // mDNS has no negative answer
			b.fail(err)
		}
		return nil, nil, err
	}
	return got.records, got.extra, nil
}

// pick returns the records of a name and kind, in their order; of addresses those that can be connected to.
func pick(records []*resource, name string, kind uint16) []*resource {
	var picked []*resource
	for _, r := range records {
		if r.name == name && r.kind == kind && (!r.addr.IsValid() || usable(r.addr)) {
			picked = append(picked, r)
		}
	}
	return picked
}

// target checks one SRV record of an instance with its TXT record, and finds the addresses of its host.
func (b *browser) target(ctx context.Context, r Record, domain string, extra []*resource) {
	b.positive = min(b.positive, r.TTL)
	instance := InstanceName(r.Instance)
	if r.Host == "." { // RFC 2782
		b.leaveOut(instance, errors.New(`the SRV record has the target ".": the service is not offered`))
		return
	}
	server, err := parseRecord(r, b.service, b.development)
	if err != nil {
		b.leaveOut(instance, err)
		return
	}
	found := b.host(ctx, canonical(r.Host), domain, extra)
	if found.none {
		b.leaveOut(instance, found.err)
		return
	}
	if found.err != nil { // the address may be known when it is needed, or in another way
		b.trace.note(instance + ": the host " + server.Host + " will be looked up when it is contacted")
	}
	for _, a := range found.records {
		if usable(a.addr) && !slices.Contains(server.Addresses, a.addr) && len(server.Addresses) < maxAddresses {
			server.Addresses = append(server.Addresses, a.addr)
		}
		server.TTL = min(server.TTL, a.ttl)
	}
	if len(found.records) > 0 && len(server.Addresses) == 0 {
		b.leaveOut(instance, errors.New("no address of the host "+server.Host+" can be connected to"))
		return
	}
	b.positive = min(b.positive, server.TTL)
	server.Domain = undot(b.browsing)
	b.servers = append(b.servers, server)
}

// host returns the addresses of a host. They are looked up once, however many instances it serves.
//
// An additional section may be incomplete (RFC 6763 §12): only a usable IPv4 address, the first to be tried in
// any case, makes asking unnecessary.
func (b *browser) host(ctx context.Context, name, domain string, extra []*resource) *answers {
	four, six := pick(extra, name, dns.TypeA), pick(extra, name, dns.TypeAAAA)
	if len(four) > 0 {
		return &answers{records: append(four, six...)}
	}
	found := b.hosts[name]
	if found == nil {
		found = new(answers)
		b.hosts[name] = found
		var got resolved
		got, found.err = b.asker.addresses(ctx, name, domain)
		found.records = got.records
		switch {
		case found.err != nil:
			b.fail(found.err)
		case len(found.records) == 0:
			found.none = true
			found.err = errors.New("the host " + undot(name) + " has no address: " + got.outcome.String())
			if !got.outcome.definite() {
				b.fail(found.err)
			}
		}
	}
	if len(six) > 0 {
		return &answers{records: append(slices.Clone(found.records), six...)}
	}
	return found
}

// usable reports whether a server at an address can be connected to. Link-local addresses of IPv6 need
// an interface, which no record gives.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) &&
		!(a.Is6() && a.IsLinkLocalUnicast())
}

//go:noinline // for flash
func (b *browser) leaveOut(subject string, err error) {
	b.skipped = append(b.skipped, Skipped{subject, err})
}

// fail notes what could not be learned. That no server answers is reported for the first question only.
func (b *browser) fail(err error) {
	if b.browsing != "" {
		b.browsed[b.browsing] = false
	}
	if len(b.errs) == 0 || len(b.errs) < maxErrors && !errors.Is(err, errNoServer) {
		b.errs = append(b.errs, err)
	}
}

// enumerate asks for the domains that a network's administrator wants hosts to browse (RFC 6763 §11), starting from
// those that the device knows of itself.
func (b *browser) enumerate(ctx context.Context, bases []string) []string {
	var names []string
	for _, base := range bases {
		for _, prefix := range []string{"b", "lb"} {
			got, err := b.asker.resolve(ctx, canonical(prefix+"._dns-sd._udp."+base), dns.TypePTR, base)
			if err != nil {
				b.fail(err)
				continue
			}
			if len(got.records) == 0 {
				b.negative = min(b.negative, got.ttl)
			}
			for _, r := range got.records {
				b.positive = min(b.positive, got.ttl)
				if !plausibleDomain(canonical(r.target)) {
					b.leaveOut(undot(r.target), errors.New("a name server cannot be asked for this domain"))
					continue
				}
				names = append(names, r.target)
			}
		}
	}
	return domainList(names)
}

// found returns what the browser has collected, with the servers in the order in which to try them.
func (b *browser) found() Found {
	f := Found{Servers: b.servers, Skipped: b.skipped}
	for _, domain := range slices.Sorted(maps.Keys(b.browsed)) {
		if b.browsed[domain] {
			f.Answered = append(f.Answered, undot(domain))
		} else {
			f.silent = append(f.silent, undot(domain))
		}
	}
	f.finish()
	holds := b.positive
	if len(f.Servers) == 0 {
		holds = min(holds, b.negative, retryAgain)
	}
	if len(b.errs) > 0 {
		holds = min(holds, retryAgain)
	}
	f.Again = max(holds, minAgain)
	return f
}
