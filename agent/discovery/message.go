package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is the longest answer asked for by UDP, in bytes: it fits into one packet on today's paths.
	udpSize = 1232
	// maxRecords bounds the records of one answer that are examined. 64 servers with all their records come to
	// 320.
	maxRecords = 512
	// maxStrings bounds the strings of one TXT record; IS-10 has four.
	maxStrings = 64
	// maxTTL caps the time to live. A caching name server is then asked more often than necessary,
	// and a forged or mistyped record is forgotten within the hour.
	maxTTL = time.Hour

	headerSize = 12
)

// errForeign is for a packet that does not answer the question asked. Anyone who can reach the device can send
// such packets, so they are ignored and the wait goes on.
var errForeign = errors.New("an answer to another question")

// question is a DNS question, always of class IN.
type question struct {
	name string // presentation form with trailing dot
	kind uint16 // dns.TypePTR, …
}

func (q question) String() string { return kindName(q.kind) + " " + undot(q.name) }

func kindName(kind uint16) string { return dns.Type(kind).String() }

// pack writes the question as a packet, with EDNS0 (RFC 6891 §6.1.2) or without.
func (q question) pack(id uint16, edns bool) ([]byte, error) {
	m := dns.Msg{
		MsgHdr:   dns.MsgHdr{Id: id, RecursionDesired: true}, // the device asks nobody else
		Question: []dns.Question{{Name: q.name, Qtype: q.kind, Qclass: dns.ClassINET}},
	}
	if edns {
		m.SetEdns0(udpSize, false)
	}
	p, err := m.Pack()
	if _, ok := dns.IsDomainName(q.name); err != nil || !ok {
		return nil, fmt.Errorf("%+.80q is not a domain name", q.name)
	}
	return p, nil
}

// resource is one resource record of the types that discovery reads. kind determines which fields are set.
type resource struct {
	name                   string // canonical
	kind                   uint16
	ttl                    time.Duration
	target                 string // PTR, CNAME, SRV: as it came, with trailing dot
	priority, weight, port uint16 // SRV
	txt                    []string
	addr                   netip.Addr // A, AAAA
}

// data returns the record's data for people, safe to print.
func (r *resource) data() string {
	switch r.kind {
	case dns.TypeSRV:
		return fmt.Sprintf("%d %d %d %s", r.priority, r.weight, r.port, r.target)
	case dns.TypeTXT:
		quoted := make([]string, len(r.txt))
		for i, s := range r.txt {
			quoted[i] = strconv.QuoteToASCII(s)
		}
		return strings.Join(quoted, " ")
	case dns.TypeA, dns.TypeAAAA:
		return r.addr.String()
	}
	return r.target
}

// message holds the parts of an answer that discovery uses.
type message struct {
	rcode     int
	truncated bool // the rest is empty
	referral  bool // it only names servers to ask instead
	answer    []*resource
	extra     []*resource   // the additional section
	negative  time.Duration // how long a negative answer holds (RFC 2308 §5); 0 if unknown
	cut       bool          // there were more than maxRecords
}

// parseMessage reads a packet that came in answer to q. errForeign means that it answers something else, another error
// that it answers q but cannot be read. No count or length in the packet is trusted; records of other types and
// classes are skipped.
func parseMessage(p []byte, id uint16, q question) (*message, error) {
	m := new(message)
	var head dns.Msg
	if len(p) < headerSize || head.Unpack(p[:headerSize]) != nil {
		return m, errForeign
	}
	if head.Id != id || !head.Response || head.Opcode != dns.OpcodeQuery {
		return m, errForeign
	}
	m.truncated, m.rcode = head.Truncated, head.Rcode
	off := headerSize
	switch count := binary.BigEndian.Uint16(p[4:]); {
	case count == 1:
		asked, next, err := parseQuestion(p, off)
		if err != nil || asked != (question{canonical(q.name), q.kind}) {
			return m, errForeign
		}
		off = next
	case count != 0 || m.rcode == dns.RcodeSuccess || m.rcode == dns.RcodeNameError:
		return m, errForeign // only a server that could not read the question may leave it out
	}
	if m.truncated {
		return m, nil // the rest may be incomplete (RFC 2181 §9)
	}
	referred := false
	cut, err := eachRecord(p, off, maxRecords, func(section int, rr dns.RR) error {
		switch rr := rr.(type) {
		case *dns.OPT:
			if section == 2 {
				m.rcode |= rr.ExtendedRcode()
			}
			return nil
		case *dns.SOA:
			if section == 1 { // the record's own TTL bounds MINIMUM (RFC 2308 §5)
				m.negative = min(lifetime(rr.Hdr.Ttl), lifetime(rr.Minttl))
			}
			return nil
		case *dns.NS:
			referred = referred || section == 1
			return nil
		}
		r, err := newResource(rr)
		switch {
		case err != nil || rr.Header().Class != dns.ClassINET:
		case section == 0:
			m.answer = append(m.answer, r)
		case section == 2:
			m.extra = append(m.extra, r)
		}
		return err
	})
	if err != nil {
		return m, err
	}
	m.cut = cut
	m.referral = referred && !head.Authoritative && !head.RecursionAvailable &&
		m.rcode == dns.RcodeSuccess && len(m.answer) == 0
	return m, nil
}

// parseQuestion reads the question at off, its name canonical. Another class is an error.
func parseQuestion(p []byte, off int) (q question, next int, err error) {
	name, off, err := dns.UnpackDomainName(p, off)
	if err != nil || off+4 > len(p) || binary.BigEndian.Uint16(p[off+2:]) != dns.ClassINET {
		return q, 0, errRecord
	}
	return question{canonical(name), binary.BigEndian.Uint16(p[off:])}, off + 4, nil
}

var errRecord = errors.New("a record is cut off, or does not match its length")

// eachRecord yields the records after the questions, those of the types that discovery reads; section is 0 for the
// answer, 1 for the authority section and 2 for the additional one. cut: there are more than most.
//
// The library reads the records, but it is not given the whole packet. Its types number a hundred, and some turn 2
// bytes into a name of 1000: a packet of 64 KiB would take 32 MB. Other types are skipped by their
// length.
func eachRecord(p []byte, off, most int, each func(section int, rr dns.RR) error) (cut bool, err error) {
	left := most
	for section := range 3 {
		for range binary.BigEndian.Uint16(p[6+2*section:]) {
			if left--; left < 0 {
				return true, nil
			}
			_, data, err := dns.UnpackDomainName(p, off)
			if err != nil || data+10 > len(p) {
				return false, errRecord
			}
			next := data + 10 + int(binary.BigEndian.Uint16(p[data+8:]))
			if next > len(p) {
				return false, errRecord
			}
			if kind := binary.BigEndian.Uint16(p[data:]); wanted(kind) {
				rr, end, err := dns.UnpackRR(p[:next], off)
				if err != nil || end != next {
					return false, errRecord
				}
				if err := each(section, rr); err != nil {
					return false, err
				}
			}
			off = next
		}
	}
	return false, nil
}

func wanted(kind uint16) bool {
	switch kind {
	case dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypePTR, dns.TypeSRV, dns.TypeTXT,
		dns.TypeSOA, dns.TypeNS, dns.TypeOPT:
		return true
	}
	return false
}

// newResource converts a record of any class.
func newResource(rr dns.RR) (*resource, error) {
	h := rr.Header()
	r := &resource{name: canonical(h.Name), kind: h.Rrtype, ttl: lifetime(h.Ttl)}
	good := true
	switch rr := rr.(type) {
	case *dns.A:
		good = r.setAddress(rr.A)
	case *dns.AAAA:
		good = r.setAddress(rr.AAAA)
	case *dns.PTR:
		r.target, good = rr.Ptr, rr.Ptr != ""
	case *dns.CNAME:
		r.target, good = rr.Target, rr.Target != ""
	case *dns.SRV:
		r.priority, r.weight, r.port, r.target, good = rr.Priority, rr.Weight, rr.Port, rr.Target, rr.Target != ""
	case *dns.TXT:
		for _, s := range rr.Txt {
			if s != "" && len(r.txt) < maxStrings { // an empty string stands for none (RFC 6763 §6.1)
				r.txt = append(r.txt, unescape(s))
			}
		}
	}
	if !good {
		return r, errRecord
	}
	return r, nil
}

func (r *resource) setAddress(ip net.IP) bool {
	addr, ok := netip.AddrFromSlice(ip)
	r.addr = addr.Unmap()
	return ok
}

// lifetime reads a TTL. One with the top bit set counts as zero (RFC 2181 §8).
func lifetime(seconds uint32) time.Duration {
	if seconds > 1<<31-1 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxTTL)
}
