package dnsserver

import (
	"strings"

	"github.com/miekg/dns"
)

// zone is records by lower-case name, in the order of the text.
type zone map[string][]dns.RR

// defaultTTL is that of records which name none, in seconds.
const defaultTTL = 120

func parseZone(text string) (zone, error) {
	// Indented as in a test's source: a line that starts with a blank would repeat the name of the line before.
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	p := dns.NewZoneParser(strings.NewReader(strings.Join(lines, "\n")), ".", "zone")
	p.SetDefaultTTL(defaultTTL)
	z := zone{}
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := plain(rr.Header().Name)
		z[name] = append(z[name], rr)
	}
	return z, p.Err()
}

// plain is the one form of a name that can be written with escapes in several ways: as it is read from a packet, in
// lower case.
func plain(name string) string {
	p := make([]byte, 256)
	off, err := dns.PackDomainName(name, p, 0, nil, false)
	if err != nil {
		return strings.ToLower(name)
	}
	name, _, _ = dns.UnpackDomainName(p[:off], 0)
	return strings.ToLower(name)
}

// of returns the records of a name and type.
func (z zone) of(name string, kind uint16) []dns.RR {
	var found []dns.RR
	for _, rr := range z[plain(name)] {
		if rr.Header().Rrtype == kind {
			found = append(found, rr)
		}
	}
	return found
}

// exists reports whether a name, or one below it, has records (RFC 8020 §2).
func (z zone) exists(name string) bool {
	for known := range z {
		if dns.IsSubDomain(name, known) {
			return true
		}
	}
	return false
}

// answer answers a question as the zone has it.
func (z zone) answer(r *dns.Msg, additional bool) *dns.Msg {
	m := new(dns.Msg).SetReply(r)
	m.Authoritative, m.RecursionAvailable = true, true
	if opt := r.IsEdns0(); opt != nil {
		m.SetEdns0(1232, false)
	}
	m.Compress = true
	q := r.Question[0]
	name := plain(q.Name)
	for range 10 {
		m.Answer = append(m.Answer, z.of(name, q.Qtype)...)
		alias := z.of(name, dns.TypeCNAME)
		if len(alias) == 0 || q.Qtype == dns.TypeCNAME {
			break
		}
		m.Answer = append(m.Answer, alias[0])
		name = plain(alias[0].(*dns.CNAME).Target)
	}
	if len(z.of(name, q.Qtype)) == 0 {
		if !z.exists(name) && len(z.of(name, dns.TypeCNAME)) == 0 {
			m.Rcode = dns.RcodeNameError
		}
		m.Ns = z.authority(name)
	} else if additional {
		z.addTo(m)
	}
	return m
}

// authority returns the SOA record that a name lies under.
func (z zone) authority(name string) []dns.RR {
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		if soa := z.of(name[off:], dns.TypeSOA); len(soa) > 0 {
			return soa
		}
	}
	return nil
}

// addTo adds what RFC 6763 §12 wants beside an answer.
func (z zone) addTo(m *dns.Msg) {
	hosts := map[string]bool{}
	host := func(srv dns.RR) {
		if name := strings.ToLower(srv.(*dns.SRV).Target); !hosts[name] {
			hosts[name] = true
			m.Extra = append(m.Extra, z.of(name, dns.TypeA)...)
			m.Extra = append(m.Extra, z.of(name, dns.TypeAAAA)...)
		}
	}
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.PTR:
			for _, srv := range z.of(rr.Ptr, dns.TypeSRV) {
				m.Extra = append(m.Extra, srv)
				host(srv)
			}
			m.Extra = append(m.Extra, z.of(rr.Ptr, dns.TypeTXT)...)
		case *dns.SRV:
			host(rr)
		}
	}
}
