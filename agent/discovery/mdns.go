package discovery

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grandcat/zeroconf"
	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	// minWindow and maxWindow bound how long one Browse listens for advertisements. Much longer brings no more answers,
	// only traffic of others to look at.
	minWindow     = 2 * time.Second
	defaultWindow = 3 * time.Second
	maxWindow     = 5 * time.Second
	// lateWindow is how much longer it listens for records that have been asked for and are still missing.
	lateWindow = time.Second
	// askEvery is the minimum time between repetitions of a question to the link (RFC 6762 §5.2), and maxAsked
	// bounds them.
	askEvery = time.Second
	maxAsked = 3
	// lookEvery is the interval of checks for missing records. Records that were sent together have arrived by then.
	lookEvery = 100 * time.Millisecond

	// maxCalm is how many packets a calm link brings in that time.
	maxCalm = 64

	// maxQuestions bounds the questions in one packet, so that it fits an Ethernet frame.
	maxQuestions = 16
)

// BrowseOptions say how to look for servers by mDNS.
type BrowseOptions struct {
	// Window is how long to listen, clamped to 2 s to 5 s. Zero means 3 s.
	Window time.Duration
	// Development also admits http and a pri of 100 or more (DIS-3).
	Development bool
	// Interfaces are the network interfaces to use. It defaults to all that are up and can multicast.
	Interfaces []net.Interface
}

// Browse looks for Authorization Servers by mDNS (DIS-2, DIS-3), and returns when its window is over or ctx ends.
// Records that did not come along with an advertisement are asked for (RFC 6763 §12), which may take 1 s longer.
// Finding none is not an error; an error means that no question could be asked.
func Browse(ctx context.Context, o BrowseOptions) (Found, error) {
	c := newCollector()
	l, err := openLink(o.Interfaces, c.take)
	if err != nil {
		return Found{}, wrap("discovery: mDNS", err)
	}
	defer l.close()
	start, asked := time.Now(), 0
	window := min(max(cmp.Or(o.Window, defaultWindow), minWindow), maxWindow)
	err = l.gather(ctx, c, func(missing bool) (done bool, err error) {
		now := time.Since(start)
		if asked < 2 && now >= lookEvery+time.Duration(asked)*askEvery {
			asked++
			if err := l.askService(); err != nil {
				return false, err
			}
		}
		return now >= window && (!missing || now >= window+lateWindow), nil
	})
	if err != nil {
		return Found{}, wrap("discovery: mDNS", err)
	}
	l.close() // nothing is added any more
	b := newBrowser(c, nil, o.Development)
	b.browse(ctx, mdnsDomain+".")
	return b.found(), nil
}

// multicastAddresses asks the link for the addresses of a host in .local (RFC 6762 §3).
func multicastAddresses(ctx context.Context, name string) (resolved, error) {
	c := newCollector()
	c.await(name)
	l, err := openLink(nil, c.take)
	if err != nil {
		return resolved{}, wrap(undot(name)+" by mDNS", err)
	}
	defer l.close()
	ctx, cancel := context.WithTimeout(ctx, maxAsked*askEvery)
	defer cancel()
	if err := l.gather(ctx, c, func(missing bool) (bool, error) { return !missing, nil }); err != nil {
		return resolved{}, err
	}
	l.close()
	return c.addresses(ctx, name, "")
}

// gather asks for what is missing until done says so, or ctx ends.
func (l *link) gather(ctx context.Context, c *collector, done func(missing bool) (bool, error)) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		due, missing := c.missing(time.Now())
		l.ask(due)
		l.busy = l.heard.Swap(0) > maxCalm
		if end, err := done(missing); end || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

const (
	mdnsPort = 5353
	// maxPacket is the longest packet of mDNS, in bytes (RFC 6762 §17).
	maxPacket = 9000
)

var (
	group4 = &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: mdnsPort}
	group6 = &net.UDPAddr{IP: net.ParseIP("ff02::fb"), Port: mdnsPort}
)

// link holds the sockets that receive from the hosts of the device's links, one per address family. A family that a
// device does not have is left out.
//
// The question for the service is asked by the library, zeroconf, which opens sockets of its own. But it keeps every
// advertisement that arrives while it listens, whatever it turns into: a flood of 40,000 packets a second was 100 MB in
// 3 s. So it is told to end as soon as its question is out, it does not ask at all on a link that is busy, and the
// packets are read here, within bounds (DIS-2).
type link struct {
	interfaces []net.Interface
	families   []*family
	reading    sync.WaitGroup
	closing    sync.Once
	heard      atomic.Int32 // packets since gather last looked
	busy       bool         // there were many
}

// family is one address family of a link.
type family struct {
	ip    zeroconf.IPType
	read  func(buf []byte) (n int, from net.Addr, h heading, err error)
	write func(p []byte, index int) error
	close func() error
}

// heading is a packet's destination: the address, and the number of the interface.
type heading struct {
	to    net.IP
	index int
}

// openLink opens the sockets and passes on what hosts of the link send to all others, until it is closed. take is
// called by two goroutines, and must not keep the packet.
func openLink(interfaces []net.Interface, take func(p []byte, from netip.Addr)) (*link, error) {
	if len(interfaces) == 0 {
		interfaces = multicastInterfaces()
	}
	l := &link{interfaces: interfaces}
	var errs []error
	for i := range families {
		f, err := openFamily(i, interfaces)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l.families = append(l.families, f)
		l.reading.Go(func() { l.listen(f, take) })
	}
	if len(l.families) == 0 {
		return nil, errors.Join(errs...)
	}
	return l, nil
}

// close ends the reading. It may be called again.
func (l *link) close() {
	l.closing.Do(func() {
		for _, f := range l.families {
			f.close()
		}
	})
	l.reading.Wait()
}

// listen reads one family's packets. Those that were not sent to the group may come from anywhere in the world, and
// those from another port than that of mDNS are to be ignored (RFC 6762 §11, §6).
func (l *link) listen(f *family, take func(p []byte, from netip.Addr)) {
	buf := make([]byte, maxPacket)
	for {
		n, from, h, err := f.read(buf)
		if err != nil {
			return
		}
		l.heard.Add(1)
		sender, ok := from.(*net.UDPAddr)
		known := slices.ContainsFunc(l.interfaces, func(i net.Interface) bool { return i.Index == h.index })
		if !ok || sender.Port != mdnsPort || !h.to.IsMulticast() || !known {
			continue
		}
		take(buf[:n], sender.AddrPort().Addr().Unmap())
	}
}

// askService asks the link for instances of the service. It fails only if no family can ask.
func (l *link) askService() error {
	if l.busy {
		l.ask([]question{{canonical(service + "." + mdnsDomain), dns.TypePTR}})
		return nil
	}
	var errs []error
	for _, f := range l.families {
		if err := askService(f.ip, l.interfaces); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) < len(l.families) {
		return nil
	}
	return errors.Join(errs...)
}

// askService has the library ask on one address family: asked for both, it fails if a device has only one.
func askService(ip zeroconf.IPType, interfaces []net.Interface) error {
	resolver, err := zeroconf.NewResolver(zeroconf.SelectIPTraffic(ip), zeroconf.SelectIfaces(interfaces))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	entries := make(chan *zeroconf.ServiceEntry)
	err = resolver.Browse(ctx, service, mdnsDomain+".", entries)
	cancel() // the question is out
	for range entries {
	} // until its loop has ended
	return err
}

// ask puts questions to the link. A packet that cannot be sent is treated as lost.
func (l *link) ask(questions []question) {
	for some := range slices.Chunk(questions, maxQuestions) {
		m := dns.Msg{Compress: true}
		for _, q := range some {
			m.Question = append(m.Question, dns.Question{Name: q.name, Qtype: q.kind, Qclass: dns.ClassINET})
		}
		p, err := m.Pack()
		if err != nil {
			continue // a name that was received but cannot be packed
		}
		for _, f := range l.families {
			for _, i := range l.interfaces {
				f.write(p, i.Index)
			}
		}
	}
}

// families are the address families, each with what makes a family of a socket that listens for its group.
var families = [...]struct {
	name, network string
	group         *net.UDPAddr
	on            func(*family, *net.UDPConn) (grouper, error)
}{{"IPv4", "udp4", group4, on4}, {"IPv6", "udp6", group6, on6}}

// grouper joins a multicast group on an interface.
type grouper interface {
	JoinGroup(i *net.Interface, group net.Addr) error
}

// openFamily opens the socket of one of families. It is shared with others, because the address is a multicast group.
func openFamily(i int, interfaces []net.Interface) (*family, error) {
	of := &families[i]
	conn, err := net.ListenUDP(of.network, of.group)
	if err != nil {
		return nil, err
	}
	f := &family{close: conn.Close}
	p, err := of.on(f, conn)
	if err == nil {
		err = join(interfaces, p, of.group)
	}
	if err != nil {
		conn.Close()
		return nil, wrap(of.name, err)
	}
	return f, nil
}

func on4(f *family, conn *net.UDPConn) (grouper, error) {
	p := ipv4.NewPacketConn(conn)
	f.ip = zeroconf.IPv4
	f.read = func(buf []byte) (int, net.Addr, heading, error) {
		n, cm, from, err := p.ReadFrom(buf)
		if cm == nil {
			return n, from, heading{}, err
		}
		return n, from, heading{cm.Dst, cm.IfIndex}, err
	}
	f.write = func(b []byte, index int) error {
		_, err := p.WriteTo(b, &ipv4.ControlMessage{IfIndex: index}, group4)
		return err
	}
	err := p.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	if err == nil {
		err = p.SetMulticastTTL(255)
	}
	return p, err
}

func on6(f *family, conn *net.UDPConn) (grouper, error) {
	p := ipv6.NewPacketConn(conn)
	f.ip = zeroconf.IPv6
	f.read = func(buf []byte) (int, net.Addr, heading, error) {
		n, cm, from, err := p.ReadFrom(buf)
		if cm == nil {
			return n, from, heading{}, err
		}
		return n, from, heading{cm.Dst, cm.IfIndex}, err
	}
	f.write = func(b []byte, index int) error {
		_, err := p.WriteTo(b, &ipv6.ControlMessage{IfIndex: index}, group6)
		return err
	}
	err := p.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	if err == nil {
		err = p.SetMulticastHopLimit(255)
	}
	return p, err
}

// join joins the group on each interface; one is enough.
func join(interfaces []net.Interface, p grouper, group net.Addr) error {
	joined, err := false, errors.New("no interface is up and can multicast")
	for i := range interfaces {
		if err = p.JoinGroup(&interfaces[i], group); err == nil {
			joined = true
		}
	}
	if joined {
		return nil
	}
	return err
}

// multicastInterfaces returns the interfaces that are up and can multicast.
func multicastInterfaces() (fit []net.Interface) {
	all, _ := net.Interfaces() // after an error, as if there were none
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 && i.Flags&net.FlagMulticast != 0 {
			fit = append(fit, i)
		}
	}
	return fit
}
