package dnsserver

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Fault is a way to misbehave.
type Fault string

// The faults. Without "UDP" in its description a fault is the same over both networks.
const (
	None       Fault = ""
	Silent     Fault = "silent"      // no answer; over TCP the connection stays open
	HangUp     Fault = "hang-up"     // no answer; over TCP the connection is closed
	ServFail   Fault = "servfail"    // SERVFAIL
	Refused    Fault = "refused"     // REFUSED
	NXDomain   Fault = "nxdomain"    // NXDOMAIN, whatever the zone has
	NoData     Fault = "no-data"     // no record of the type, whatever the zone has
	NoEDNS     Fault = "no-edns"     // FORMERR with nothing but a header, to questions with EDNS0 alone
	EDNSNotImp Fault = "edns-notimp" // NOTIMP, to questions with EDNS0 alone
	EDNSSilent Fault = "edns-silent" // no answer, to questions with EDNS0 alone
	Referral   Fault = "referral"    // the names of other servers, and no recursion

	Truncated      Fault = "truncated"       // UDP: nothing but the mark that there is more
	TruncatedHalf  Fault = "truncated-half"  // UDP: half of the answer, with that mark
	TruncatedNever Fault = "truncated-never" // UDP: the whole answer, however long it is
	TruncatedTCP   Fault = "truncated-tcp"   // the mark over TCP too

	WrongID       Fault = "wrong-id"       // the answer to another question's number
	WrongQuestion Fault = "wrong-question" // the answer names another question
	NoQuestion    Fault = "no-question"    // the answer names no question
	Echo          Fault = "echo"           // the question comes back
	Forged        Fault = "forged"         // of a forger who has guessed all but the number, then the right one
	Flood         Fault = "flood"          // hundreds of answers to other questions, and no other

	Garbage     Fault = "garbage"      // bytes
	Half        Fault = "half"         // the answer breaks off
	PointerLoop Fault = "pointer-loop" // a name that is compressed to itself
	BadLength   Fault = "bad-length"   // the last record claims to be longer than the answer
	Huge        Fault = "huge"         // ManyRecords records more in the answer, of the type asked for
	CNAMELoop   Fault = "cname-loop"   // two names that stand for each other
	CNAMEChain  Fault = "cname-chain"  // CNAMEs without end, a new one at every question
	Poison      Fault = "poison"       // more records, about example.net, that lead to the attacker
	Late        Fault = "late"         // UDP: the answer comes with that to the next question; TCP: none does
)

// Faults are all of them.
var Faults = []Fault{
	Silent,
	HangUp,
	ServFail,
	Refused,
	NXDomain,
	NoData,
	NoEDNS,
	EDNSNotImp,
	EDNSSilent,
	Referral,
	Truncated,
	TruncatedHalf,
	TruncatedNever,
	TruncatedTCP,
	WrongID,
	WrongQuestion,
	NoQuestion,
	Echo,
	Forged,
	Flood,
	Garbage,
	Half,
	PointerLoop,
	BadLength,
	Huge,
	CNAMELoop,
	CNAMEChain,
	Poison,
	Late,
}

const (
	// ManyRecords is how many records Huge adds.
	ManyRecords = 2000
	// floodPackets is how many answers Flood sends.
	floodPackets = 300
)

// Attacker is the address that Poison and Forged lead to.
const Attacker = "192.0.2.66"

// misbehaviour is a fault set for some questions.
type misbehaviour struct {
	name, kind string
	fault      Fault
	left       int // how often still; negative: always
}

// Misbehave sets a fault for the questions of a name and type, "" for any. What was set last counts.
func (s *Server) Misbehave(name, kind string, f Fault) { s.MisbehaveTimes(name, kind, f, -1) }

// MisbehaveTimes is Misbehave for the next n questions.
func (s *Server) MisbehaveTimes(name, kind string, f Fault, n int) {
	if f != None && !slices.Contains(Faults, f) {
		panic(fmt.Sprintf("dnsserver: there is no fault %q", f))
	}
	if name != "" {
		name = strings.ToLower(dns.Fqdn(name))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, misbehaviour{name, kind, f, n})
}

// Behave ends all misbehaviour.
func (s *Server) Behave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// take returns the fault for a question, and counts it. The caller holds mu.
func (s *Server) take(q Question) Fault {
	for i := len(s.faults) - 1; i >= 0; i-- {
		f := &s.faults[i]
		if f.left != 0 && (f.name == "" || f.name == q.Name) && (f.kind == "" || f.kind == q.Type) {
			f.left--
			return f.fault
		}
	}
	return None
}

// send sends the answer to r, spoiled by the fault: m is what fits, whole is all of it.
func (s *Server) send(w dns.ResponseWriter, r, m, whole *dns.Msg, q Question, fault Fault) {
	udp := q.Network == "udp"
	name := r.Question[0].Name
	switch fault {
	case Silent:
		return
	case HangUp:
		_ = w.Close()
		return
	case ServFail:
		m = new(dns.Msg).SetRcode(r, dns.RcodeServerFailure)
	case Refused:
		m = new(dns.Msg).SetRcode(r, dns.RcodeRefused)
	case NXDomain:
		m = new(dns.Msg).SetRcode(r, dns.RcodeNameError)
	case NoData:
		m = new(dns.Msg).SetReply(r)
		m.RecursionAvailable = true
	case NoEDNS:
		if q.UDPSize != 0 {
			m = &dns.Msg{MsgHdr: dns.MsgHdr{Id: r.Id, Response: true, Rcode: dns.RcodeFormatError}}
		}
	case EDNSNotImp:
		if q.UDPSize != 0 {
			m = new(dns.Msg).SetRcode(r, dns.RcodeNotImplemented)
		}
	case EDNSSilent:
		if q.UDPSize != 0 {
			return
		}
	case Referral:
		m = new(dns.Msg).SetReply(r)
		m.Ns = []dns.RR{record(". 60 IN NS a.root-servers.net.")}
	case Truncated, TruncatedTCP:
		if udp || fault == TruncatedTCP {
			m = new(dns.Msg).SetReply(r)
			m.Truncated = true
		}
	case TruncatedHalf:
		if udp {
			m.Truncated = true
			s.raw(w, half(pack(m)))
			return
		}
	case TruncatedNever:
		m = whole
	case WrongID:
		m.Id++
	case WrongQuestion:
		m.Question = []dns.Question{{Name: "www.example.net.", Qtype: dns.TypeA, Qclass: dns.ClassINET}}
	case NoQuestion:
		m.Question = nil
	case Echo:
		s.raw(w, pack(r))
		return
	case Forged:
		s.forge(w, r, udp)
	case Flood:
		for range floodPackets {
			m.Id++
			s.raw(w, pack(m))
		}
		return
	case Garbage:
		s.raw(w, binary.BigEndian.AppendUint16(nil, r.Id), slices.Repeat([]byte{0x81, 0x80, 0xff, 0xc0, 0x0c}, 20))
		return
	case Half:
		s.raw(w, half(pack(m)))
		return
	case PointerLoop:
		s.raw(w, pointerLoop(r))
		return
	case BadLength:
		m.Answer = append(m.Answer, record(name+" 60 IN A 192.0.2.1"))
		m.Extra, m.Ns = nil, nil
		p := pack(m)
		p[len(p)-5] = 200 // the low byte of its length
		s.raw(w, p)
		return
	case Huge:
		m.Answer = append(m.Answer, many(r.Question[0])...)
		if udp {
			m.Truncate(dns.MinMsgSize)
		}
	case CNAMELoop:
		m.Answer = []dns.RR{
			record(name + " 60 IN CNAME loop.example.com."),
			record("loop.example.com. 60 IN CNAME " + name),
		}
		m.Rcode, m.Extra = dns.RcodeSuccess, nil
	case CNAMEChain:
		m.Answer = []dns.RR{record(fmt.Sprintf("%s 60 IN CNAME x%d.example.com.", name, len(s.Questions())))}
		m.Rcode, m.Extra = dns.RcodeSuccess, nil
	case Poison:
		m.Extra = append(poison(), m.Extra...)
	case Late:
		if !udp {
			return // by then the connection is closed
		}
		s.mu.Lock()
		s.late = append(s.late, func() { s.raw(w, pack(m)) })
		s.mu.Unlock()
		return
	}
	s.raw(w, pack(m))
}

// raw sends a packet, be it one of DNS or not. That the client is gone is its own affair.
func (s *Server) raw(w dns.ResponseWriter, parts ...[]byte) {
	if _, err := w.Write(slices.Concat(parts...)); err != nil {
		s.logf("dnsserver: %v", err)
	}
}

func pack(m *dns.Msg) []byte {
	p, err := m.Pack()
	if err != nil {
		panic(fmt.Errorf("dnsserver: %w", err)) // a fault of this package
	}
	return p
}

func half(p []byte) []byte { return p[:len(p)-(len(p)-12)/3] }

func record(text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil {
		panic(fmt.Errorf("dnsserver: %w", err))
	}
	return rr
}

// forge sends answers that lead to the attacker, as of somebody who has guessed the port and the question.
func (s *Server) forge(w dns.ResponseWriter, r *dns.Msg, udp bool) {
	if !udp {
		return
	}
	for i := range uint16(20) {
		m := new(dns.Msg).SetReply(r)
		m.Id += i + 1
		m.Answer = []dns.RR{record(r.Question[0].Name + " 60 IN A " + Attacker)}
		s.raw(w, pack(m))
	}
}

// pointerLoop is an answer whose name points to itself.
func pointerLoop(r *dns.Msg) []byte {
	m := new(dns.Msg).SetReply(r)
	p := pack(m)
	p[7] = 1 // ANCOUNT
	p = append(p, 0xc0|byte(len(p)>>8), byte(len(p)))
	return append(p, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
}

// many returns records that answer a question.
func many(q dns.Question) []dns.RR {
	var all []dns.RR
	for i := range ManyRecords {
		h := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 60}
		name := fmt.Sprintf("x%d.%s", i, q.Name)
		switch q.Qtype {
		case dns.TypeA:
			all = append(all, &dns.A{Hdr: h, A: net.IPv4(192, 0, byte(i>>8), byte(i))})
		case dns.TypeSRV:
			all = append(all, &dns.SRV{Hdr: h, Port: uint16(i), Target: name})
		case dns.TypeTXT:
			all = append(all, &dns.TXT{Hdr: h, Txt: []string{name}})
		default:
			h.Rrtype = dns.TypePTR
			all = append(all, &dns.PTR{Hdr: h, Ptr: name})
		}
	}
	return all
}

// poison returns records about example.net, which is not the domain that was asked about, and leads to the attacker.
func poison() []dns.RR {
	return []dns.RR{
		record("auth.example.net. 60 IN A " + Attacker),
		record("auth._nmos-auth._tcp.example.net. 60 IN SRV 0 0 443 evil.example.net."),
		record(`auth._nmos-auth._tcp.example.net. 60 IN TXT "api_proto=https" "api_ver=v1.0" "pri=0"`),
		record("evil.example.net. 60 IN A " + Attacker),
	}
}
