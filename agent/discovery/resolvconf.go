package discovery

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxNameServers is how many name servers are asked: as many as the C library reads from resolv.conf(5).
	maxNameServers = 3
	// maxDomains bounds the domains of one discovery.
	maxDomains = 16
	// maxNDots is the most that "options ndots" can ask for, as in the C library.
	maxNDots = 15
)

// resolverConfig holds the settings of resolv.conf(5) that discovery uses.
type resolverConfig struct {
	servers []string // "address:port"
	search  []string // canonical
	ndots   int      // a name with fewer dots is completed first; 0 means 1
}

// readResolvConf reads the device's resolv.conf. Without one, it returns the zero value.
func readResolvConf(read func() ([]byte, error), trace tracer) resolverConfig {
	if read == nil {
		return resolverConfig{}
	}
	text, err := read()
	if err != nil {
		trace.note("the device's resolver configuration cannot be read: " + err.Error())
	}
	return parseResolvConf(text)
}

// parseResolvConf reads the contents of resolv.conf. It never fails: unknown lines are skipped, as by every
// resolver.
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
		case "options":
			for _, option := range fields[1:] {
				if n, ok := strings.CutPrefix(option, "ndots:"); ok {
					dots, _ := strconv.ParseUint(n, 10, 8)
					c.ndots = int(min(dots, maxNDots))
				}
			}
		}
	}
	return c
}

// names returns the names, canonical, that a host name can stand for, in the order in which to look them up: it is
// completed with the domains of the search list, but a name with a dot at its end is not.
func (c *resolverConfig) names(host string) []string {
	full := canonical(host)
	if strings.HasSuffix(host, ".") {
		return []string{full}
	}
	var names []string
	for _, domain := range c.search {
		names = append(names, full+domain)
	}
	if strings.Count(host, ".") < cmp.Or(c.ndots, 1) {
		return append(names, full)
	}
	return append([]string{full}, names...)
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

// plausibleDomain refuses what cannot be a domain of a facility: the root, names that are escaped, empty labels. The
// domain local and all below it are those of mDNS and asked of no name server (RFC 6762 §3, DIS-2).
func plausibleDomain(canonical string) bool {
	name := undot(canonical)
	return plausibleHost(name) == nil && !local(canonical) &&
		!strings.Contains(name, "..") && !strings.HasPrefix(name, ".")
}
