package discovery

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"nmosauthd/agent/ascii"
)

// The bounds of a collector. With all of them used up it holds 2 MB, and it reads 2080 packets.
const (
	// maxAdvertised bounds the instances examined, and maxFromOne those of one sender: whoever sends
	// thousands must neither fill the device's memory nor crowd out the others. A network has a handful.
	maxAdvertised = 64
	maxFromOne    = 8
	// maxAwaited bounds the hosts whose addresses are collected, and maxAddresses the addresses of one of them.
	maxAwaited   = 64
	maxAddresses = 16
	// maxSenders bounds the senders that are told apart; further ones count as one.
	maxSenders = 64
	// maxPackets bounds the packets of one sender that are parsed, of those that can concern the service.
	maxPackets = 32
	// maxHeard bounds the records of one packet that are examined. An instance has five.
	maxHeard = 128
)

// collector assembles what the packets of one link say about the service and the hosts that serve it. An instance
// that is heard on several interfaces, or on both address families, is one.
//
// It keeps only records of something that it knows: the SRV and TXT records of an instance once it has its PTR record,
// and the addresses of a host once it has an SRV record that leads there. Records that come sooner are asked for again.
type collector struct {
	mu        sync.Mutex
	senders   map[netip.Addr]*sender
	instances map[string]*instance // by name, canonical
	hosts     map[string]*host     // those awaited, by name, canonical
	asked     map[question]*asking
	lower     [maxPacket]byte // the packet at hand
}

// sender counts what one host of the link has used of the bounds.
type sender struct{ packets, instances int }

type instance struct {
	ptr *resource
	srv []*resource
	txt []*resource // one at most
}

type host struct {
	label     []byte // its first label as it is in packets, in lower case
	addresses []*resource
}

// asking records how often a question was put, and when last.
type asking struct {
	times int
	last  time.Time
}

func newCollector() *collector {
	return &collector{
		senders: make(map[netip.Addr]*sender), instances: make(map[string]*instance),
		hosts: make(map[string]*host), asked: make(map[question]*asking),
	}
}

// await has the addresses of a host collected.
func (c *collector) await(name string) {
	if c.hosts[name] != nil || len(c.hosts) >= maxAwaited {
		return
	}
	label, _ := cutLabel(name)
	raw := unescape(label)
	c.hosts[name] = &host{label: append([]byte{byte(len(raw))}, raw...)}
}

// take processes a packet of any content from any sender.
func (c *collector) take(p []byte, from netip.Addr) {
	var head dns.Msg
	if len(p) < headerSize || len(p) > maxPacket || head.Unpack(p[:headerSize]) != nil {
		return
	}
	if !head.Response || head.Opcode != dns.OpcodeQuery || head.Rcode != dns.RcodeSuccess { // RFC 6762 §18
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.concerns(p) {
		return
	}
	s := c.senderOf(from)
	if s.packets++; s.packets > maxPackets {
		return
	}
	off := headerSize
	for range binary.BigEndian.Uint16(p[4:]) { // there should be none (RFC 6762 §6)
		_, next, err := dns.UnpackDomainName(p, off)
		if err != nil || next+4 > len(p) {
			return
		}
		off = next + 4
	}
	var records []*resource
	_, err := eachRecord(p, off, maxHeard, func(_ int, rr dns.RR) error {
		r, err := newResource(rr)
		const flush = 1 << 15 // of the class (RFC 6762 §10.2)
		if rr.Header().Class&^flush == dns.ClassINET && err == nil {
			records = append(records, r)
		}
		return err
	})
	if err != nil {
		return
	}
	// In this order, whatever the order in the packet is: what leads to a record comes before it.
	for _, kinds := range [][]uint16{{dns.TypePTR}, {dns.TypeSRV, dns.TypeTXT}, {dns.TypeA, dns.TypeAAAA}} {
		for _, r := range records {
			if slices.Contains(kinds, r.kind) {
				c.add(r, s)
			}
		}
	}
}

// serviceLabels occurs in every packet about the service.
var serviceLabels = []byte("\x0a_nmos-auth\x04_tcp")

// concerns reports whether a packet can hold something about the service or a host that is awaited. It is quick: most
// of what is on a link is about printers.
func (c *collector) concerns(p []byte) bool {
	lower := c.lower[:len(p)]
	for i, b := range p {
		lower[i] = ascii.Lower(b) // names have no case (RFC 6762 §16)
	}
	if bytes.Contains(lower, serviceLabels) {
		return true
	}
	for _, h := range c.hosts {
		if bytes.Contains(lower, h.label) {
			return true
		}
	}
	return false
}

func (c *collector) senderOf(from netip.Addr) *sender {
	if len(c.senders) >= maxSenders && c.senders[from] == nil {
		from = netip.Addr{}
	}
	s := c.senders[from]
	if s == nil {
		s = new(sender)
		c.senders[from] = s
	}
	return s
}

// add takes one record. A TTL of zero withdraws it (RFC 6762 §10.1); one that is known already is valid for
// the least TTL (DIS-2).
func (c *collector) add(r *resource, s *sender) {
	switch r.kind {
	case dns.TypePTR:
		name := canonical(r.target)
		_, domain, ok := cutInstance(r.target, service)
		known := c.instances[name]
		switch {
		case r.name != service+"."+mdnsDomain+"." || !ok || domain != mdnsDomain+".":
		case r.ttl == 0:
			delete(c.instances, name)
		case known != nil:
			known.ptr.ttl = min(known.ptr.ttl, r.ttl)
		case len(c.instances) < maxAdvertised && s.instances < maxFromOne:
			s.instances++
			c.instances[name] = &instance{ptr: r}
		}
	case dns.TypeSRV:
		if i := c.instances[r.name]; i != nil {
			if i.srv = merge(i.srv, r, maxTargets); r.ttl > 0 {
				c.await(canonical(r.target))
			}
		}
	case dns.TypeTXT:
		if i := c.instances[r.name]; i != nil {
			i.txt = merge(i.txt, r, 1)
		}
	case dns.TypeA, dns.TypeAAAA:
		// The device itself is not a server: an advertisement that says so would make it connect to itself.
		if h := c.hosts[r.name]; h != nil && usable(r.addr) && !r.addr.IsLoopback() {
			h.addresses = merge(h.addresses, r, maxAddresses)
		}
	}
}

// merge adds a record to those of its name and kind.
func merge(records []*resource, r *resource, most int) []*resource {
	i := slices.IndexFunc(records, func(other *resource) bool { return sameData(other, r) })
	switch {
	case i >= 0 && r.ttl == 0:
		return slices.Delete(records, i, i+1)
	case i >= 0:
		records[i].ttl = min(records[i].ttl, r.ttl)
	case r.ttl > 0 && len(records) < most:
		return append(records, r)
	}
	return records
}

// sameData reports whether two records of a name and kind have the same data.
func sameData(a, b *resource) bool {
	return a.priority == b.priority && a.weight == b.weight && a.port == b.port &&
		canonical(a.target) == canonical(b.target) && a.addr == b.addr && slices.Equal(a.txt, b.txt)
}

// missing returns the questions that are due for missing records, and whether anything is still awaited.
// The questions returned count as asked now. Only names in .local are asked of the link.
func (c *collector) missing(now time.Time) (due []question, missing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	need := func(name string, kinds ...uint16) {
		for _, kind := range kinds {
			q := question{name, kind}
			a := c.asked[q]
			if a == nil && local(name) && len(c.asked) < 2*(maxAdvertised+maxAwaited) {
				a = new(asking)
				c.asked[q] = a
			}
			if a == nil {
				continue
			}
			waited := now.Sub(a.last)
			if a.times < maxAsked && waited >= askEvery {
				a.times, a.last, waited = a.times+1, now, 0
				due = append(due, q)
			}
			missing = missing || waited < askEvery
		}
	}
	for name, i := range c.instances {
		if len(i.srv) == 0 {
			need(name, dns.TypeSRV)
		}
		if len(i.txt) == 0 {
			need(name, dns.TypeTXT)
		}
	}
	for name, h := range c.hosts {
		if len(h.addresses) == 0 {
			need(name, dns.TypeA, dns.TypeAAAA)
		}
	}
	return due, missing
}

// resolve implements asker with what the link has said of a name. All that is known comes with the instances.
func (c *collector) resolve(_ context.Context, _ string, kind uint16, _ string) (resolved, error) {
	got := resolved{outcome: Silent, ttl: maxTTL}
	if kind != dns.TypePTR {
		return got, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.instances {
		got.outcome, got.ttl = Answered, min(got.ttl, i.ptr.ttl)
		got.records = append(got.records, i.ptr)
		got.extra = slices.Concat(got.extra, i.srv, i.txt)
	}
	for _, h := range c.hosts {
		got.extra = append(got.extra, h.addresses...)
	}
	return got, nil
}

// addresses implements asker: the addresses of a host.
func (c *collector) addresses(_ context.Context, name, _ string) (resolved, error) {
	if !local(name) {
		return resolved{}, wrap(undot(name), errNotLocal)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	got := resolved{outcome: Silent, ttl: maxTTL}
	if h := c.hosts[name]; h != nil && len(h.addresses) > 0 {
		got.outcome, got.records = Answered, slices.Clone(h.addresses)
	}
	return got, nil
}

var errNotLocal = errors.New("a name that does not end in .local is not asked for by mDNS")
