package discovery

import (
	"net/netip"
	"slices"
	"strings"
)

const (
	// maxNameServers is how many name servers are asked: as many as the C library takes from resolv.conf(5).
	maxNameServers = 3
	// maxDomains bounds the domains that are browsed in one go.
	maxDomains = 16
)

// resolverConfig is what resolv.conf(5) says to discovery.
type resolverConfig struct {
	servers []string // "address:port"
	search  []string // canonical
}

// parseResolvConf reads the contents of resolv.conf. It never fails: what it does not know, it passes over, as every resolver
// does.
func parseResolvConf(text []byte) resolverConfig {
	var c resolverConfig
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0][0] == '#' || fields[0][0] == ';' {
			continue
		}
		switch fields[0] {
		case "nameserver":
			addr, err := netip.ParseAddr(fields[1])
			if err == nil && len(c.servers) < maxNameServers {
				c.servers = append(c.servers, netip.AddrPortFrom(addr, 53).String())
			}
		case "domain": // the last of domain and search counts
			c.search = domainList(fields[1:2])
		case "search":
			c.search = domainList(fields[1:])
		}
	}
	return c
}

// domainList returns those of the names that can be browsed, each once, canonical, and no more than maxDomains.
func domainList(names []string) []string {
	var domains []string
	for _, name := range names {
		if d := canonical(name); plausibleDomain(d) && len(domains) < maxDomains && !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	return domains
}

// plausibleDomain refuses what cannot be a domain of a facility: the root, names that are escaped, empty labels. The domain
// local is that of mDNS (RFC 6762 §3) and asked of no name server.
func plausibleDomain(canonical string) bool {
	name := undot(canonical)
	return plausibleHost(name) == nil && name != mdnsDomain && !strings.Contains(name, "..") && !strings.HasPrefix(name, ".")
}
