package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// udpSize is the longest answer asked for by UDP, in bytes: what no path of today breaks into fragments.
	udpSize = 1232
	// maxRecords bounds the records of one answer that are looked at. 64 servers with all that belongs to them come to 320.
	maxRecords = 512
	// maxStrings bounds the strings of one TXT record; IS-10 has four.
	maxStrings = 64
	// maxTTL is the longest time to live that is believed. A caching name server is asked more often than it need be then, and
	// a record that was forged, or mistyped, is forgotten within the hour.
	maxTTL = time.Hour

	headerSize = 12
)

// errForeign is for a packet that is no answer to the question asked. Whoever can send packets to the device can send such
// ones, so they are passed over and the answer is waited for.
var errForeign = errors.New("an answer to another question")

// question is what is asked: class IN always.
type question struct {
	name string // presentation form with trailing dot
	kind uint16 // dns.TypePTR, …
}

func (q question) String() string { return kindName(q.kind) + " " + undot(q.name) }

func kindName(kind uint16) string {
	switch kind {
	case dns.TypeA:
		return "A"
	case dns.TypeAAAA:
		return "AAAA"
	case dns.TypeCNAME:
		return "CNAME"
	case dns.TypePTR:
		return "PTR"
	case dns.TypeSOA:
		return "SOA"
	case dns.TypeSRV:
		return "SRV"
	case dns.TypeTXT:
		return "TXT"
	default:
		return "TYPE" + strconv.Itoa(int(kind))
	}
}

// pack writes the question as a packet (RFC 1035 §4.1), with EDNS0 (RFC 6891 §6.1.2) or without.
func (q question) pack(id uint16, edns bool) ([]byte, error) {
	p := make([]byte, headerSize+256+4+11)
	binary.BigEndian.PutUint16(p[0:], id)
	p[2] = 1 // RD: the device asks nobody else
	p[5] = 1 // QDCOUNT
	off, err := dns.PackDomainName(q.name, p, headerSize, nil, false)
	if err != nil || off == headerSize || off > headerSize+255 {
		return nil, fmt.Errorf("%+.80q is no domain name", q.name)
	}
	binary.BigEndian.PutUint16(p[off:], q.kind)
	binary.BigEndian.PutUint16(p[off+2:], dns.ClassINET)
	off += 4
	if edns {
		p[11] = 1 // ARCOUNT
		binary.BigEndian.PutUint16(p[off+1:], dns.TypeOPT)
		binary.BigEndian.PutUint16(p[off+3:], udpSize)
		off += 11
	}
	return p[:off], nil
}

// resource is one resource record of the types that discovery reads. Which fields count follows from kind.
type resource struct {
	name                   string // canonical
	kind                   uint16
	ttl                    time.Duration
	target                 string // PTR, CNAME, SRV: as it came, with trailing dot
	priority, weight, port uint16 // SRV
	txt                    []string
	addr                   netip.Addr // A, AAAA
}

// data is what the record says, for people, safe to print.
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

// message is an answer, as far as discovery is interested.
type message struct {
	rcode     int
	truncated bool // the rest is empty
	referral  bool // it only names servers to ask instead
	answer    []resource
	extra     []resource    // the additional section
	negative  time.Duration // how long it holds that there is no such thing (RFC 2308 §5); 0: not told
	cut       bool          // there were more than maxRecords
}

// parseMessage reads a packet that came in answer to q. errForeign: it is none. Another error: it is, but cannot be read.
// What the packet claims of its own size is believed nowhere; records of other types and classes are passed over.
func parseMessage(p []byte, id uint16, q question) (message, error) {
	var m message
	if len(p) < headerSize || binary.BigEndian.Uint16(p) != id {
		return m, errForeign
	}
	const response, opcode = 0x80, 0x78
	if p[2]&response == 0 || p[2]&opcode != 0 {
		return m, errForeign
	}
	authoritative, recursive := p[2]&0x04 != 0, p[3]&0x80 != 0
	m.truncated = p[2]&0x02 != 0
	m.rcode = int(p[3] & 0x0f)
	off := headerSize
	switch questions := binary.BigEndian.Uint16(p[4:]); {
	case questions == 1:
		name, next, err := dns.UnpackDomainName(p, off)
		if err != nil || next+4 > len(p) || canonical(name) != canonical(q.name) ||
			binary.BigEndian.Uint16(p[next:]) != q.kind || binary.BigEndian.Uint16(p[next+2:]) != dns.ClassINET {
			return m, errForeign
		}
		off = next + 4
	case questions != 0 || m.rcode == dns.RcodeSuccess || m.rcode == dns.RcodeNameError:
		return m, errForeign // only a server that could not read the question may leave it out
	}
	if m.truncated {
		return m, nil // what is there need not be whole (RFC 2181 §9)
	}
	referred := false
	left := maxRecords
	for section := range 3 { // answer, authority, additional
		for range binary.BigEndian.Uint16(p[6+2*section:]) {
			if left--; left < 0 {
				m.cut = true
				return m, nil
			}
			r, next, err := parseResource(p, off)
			if err != nil {
				return m, err
			}
			off = next
			switch {
			case r.kind == dns.TypeOPT && section == 2:
				m.rcode |= int(r.priority) << 4
			case section == 0 && wanted(r.kind):
				m.answer = append(m.answer, r)
			case section == 1 && r.kind == dns.TypeSOA:
				m.negative = r.ttl
			case section == 1 && r.kind == dns.TypeNS:
				referred = true
			case section == 2 && wanted(r.kind):
				m.extra = append(m.extra, r)
			}
		}
	}
	m.referral = referred && !authoritative && !recursive && m.rcode == dns.RcodeSuccess && len(m.answer) == 0
	return m, nil
}

func wanted(kind uint16) bool {
	switch kind {
	case dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypePTR, dns.TypeSRV, dns.TypeTXT:
		return true
	}
	return false
}

var errRecord = errors.New("a record breaks off, or does not fit its length")

// parseResource reads the record at off. Of a kind that nobody asks for it returns the kind 0. An OPT record's extended code
// comes as its priority, and a SOA record's ttl is that of a negative answer.
func parseResource(p []byte, off int) (r resource, next int, err error) {
	if r.name, off, err = dns.UnpackDomainName(p, off); err != nil {
		return r, 0, errRecord
	}
	if off+10 > len(p) {
		return r, 0, errRecord
	}
	r.name = canonical(r.name)
	r.kind = binary.BigEndian.Uint16(p[off:])
	class := binary.BigEndian.Uint16(p[off+2:])
	ttl := binary.BigEndian.Uint32(p[off+4:])
	data := off + 10
	next = data + int(binary.BigEndian.Uint16(p[off+8:]))
	if next > len(p) {
		return r, 0, errRecord
	}
	if r.kind == dns.TypeOPT {
		r.priority = uint16(ttl >> 24)
		return r, next, nil
	}
	if class != dns.ClassINET {
		return resource{}, next, nil
	}
	r.ttl = lifetime(ttl)
	if !r.parseData(p, data, next) {
		return r, 0, errRecord
	}
	return r, next, nil
}

// lifetime reads a TTL. One with the top bit set counts as zero (RFC 2181 §8).
func lifetime(seconds uint32) time.Duration {
	if seconds > 1<<31-1 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxTTL)
}

// parseData reads the data of a record, p[off:end]; names in it may point back into p. False: it is not what its kind has.
func (r *resource) parseData(p []byte, off, end int) bool {
	switch r.kind {
	case dns.TypeA, dns.TypeAAAA:
		addr, ok := netip.AddrFromSlice(p[off:end])
		r.addr = addr.Unmap()
		return ok && addr.Is4() == (r.kind == dns.TypeA)
	case dns.TypeTXT:
		for off < end {
			start := off + 1
			if off = start + int(p[off]); off > end {
				return false
			}
			if off > start && len(r.txt) < maxStrings { // an empty string stands for none (RFC 6763 §6.1)
				r.txt = append(r.txt, string(p[start:off]))
			}
		}
		return true
	case dns.TypeSRV:
		if off+6 > end {
			return false
		}
		r.priority = binary.BigEndian.Uint16(p[off:])
		r.weight = binary.BigEndian.Uint16(p[off+2:])
		r.port = binary.BigEndian.Uint16(p[off+4:])
		return r.parseTarget(p, off+6, end)
	case dns.TypePTR, dns.TypeCNAME:
		return r.parseTarget(p, off, end)
	case dns.TypeSOA:
		// MINIMUM is its last field; the record's own TTL bounds it (RFC 2308 §5).
		if off+20 > end {
			return false
		}
		r.ttl = min(r.ttl, lifetime(binary.BigEndian.Uint32(p[end-4:])))
	}
	return true
}

func (r *resource) parseTarget(p []byte, off, end int) bool {
	target, off, err := dns.UnpackDomainName(p[:end], off)
	r.target = target
	return err == nil && off == end
}
