package discovery

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// maxNetworks bounds the networks by whose addresses domains are looked up.
const maxNetworks = 4

// nameServers returns the name servers to ask.
func (c *Client) nameServers(conf resolverConfig, trace tracer) []string {
	servers, from := c.options.DNSServers, "of the configuration"
	if len(servers) == 0 {
		servers, from = conf.servers, "of resolv.conf"
	}
	if len(servers) == 0 {
		servers, from = []string{"127.0.0.1:53"}, "on this device, since none is named" // resolv.conf(5)
	}
	trace.note("name servers: " + strings.Join(servers, ", ") + " (" + from + ")")
	return servers
}

// domains returns the domains to browse, canonical and in order.
func (o *DiscoverOptions) domains(conf resolverConfig, trace tracer) []string {
	var domains, shown []string
	add := func(from string, names ...string) {
		for _, d := range domainList(names) {
			if len(domains) < maxDomains && !slices.Contains(domains, d) {
				domains = append(domains, d)
				shown = append(shown, undot(d)+" ("+from+")")
			}
		}
	}
	if len(o.Domains) > 0 {
		add("configuration", o.Domains...)
	} else {
		add("search list", conf.search...)
		if o.HostName != nil {
			add("host name", domainOf(o.HostName()))
		}
	}
	if len(shown) == 0 {
		shown = []string{"none that a name server can be asked for"}
	}
	trace.note("domains: " + strings.Join(shown, ", "))
	return domains
}

// domainOf returns the domain of a host name, or "".
func domainOf(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	_, domain := cutLabel(host)
	return domain
}

// reverseDomains returns the names by which a network says which domains its hosts are to browse: each network's first
// address, in the tree for reverse look-ups (RFC 6763 §11).
func (o *DiscoverOptions) reverseDomains() []string {
	networks := o.Networks
	if networks == nil {
		networks = interfaceNetworks
	}
	var domains []string
	for _, n := range networks() {
		a := n.Addr()
		if !n.IsValid() || !usable(a) || a.IsLoopback() || a.IsLinkLocalUnicast() || n.IsSingleIP() {
			continue
		}
		if d := reverseDomain(n.Masked().Addr()); len(domains) < maxNetworks && !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	return domains
}

// reverseDomain is the name of an address in the tree for reverse look-ups (RFC 1035 §3.5, RFC 3596 §2.5).
func reverseDomain(a netip.Addr) string {
	var b strings.Builder
	bytes := a.AsSlice()
	slices.Reverse(bytes)
	for _, c := range bytes {
		if a.Is4() {
			fmt.Fprintf(&b, "%d.", c)
		} else {
			fmt.Fprintf(&b, "%x.%x.", c&0x0f, c>>4)
		}
	}
	if a.Is4() {
		return b.String() + "in-addr.arpa."
	}
	return b.String() + "ip6.arpa."
}

// interfaceNetworks returns the addresses of the device's interfaces.
func interfaceNetworks() []netip.Prefix {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // as if there were none
	}
	var networks []netip.Prefix
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			ip, _ := netip.AddrFromSlice(n.IP)
			bits, _ := n.Mask.Size()
			networks = append(networks, netip.PrefixFrom(ip.Unmap(), bits)) // invalid if the mask has no length
		}
	}
	return networks
}
