package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/spec"
)

// How questions are put to name servers that misbehave, and to the next one.

func TestUnicastFaults(t *testing.T) {
	spec.Rules(t, "DIS-1")
	const good = "https://auth-1.example.com"
	for fault, want := range map[dnsserver.Fault]struct{ issuers, outcomes string }{
		// What a client can do something about, or need not mind.
		dnsserver.None:           {good, "PTR udp answered"},
		dnsserver.Truncated:      {good, "PTR tcp answered"},
		dnsserver.TruncatedHalf:  {good, "PTR tcp answered"},
		dnsserver.TruncatedNever: {good, "PTR udp answered"},
		dnsserver.NoEDNS:         {good, "PTR udp answered"},
		dnsserver.EDNSNotImp:     {good, "PTR udp answered"},
		dnsserver.EDNSSilent:     {good, "PTR udp no answer, PTR udp answered"},
		dnsserver.Forged:         {good, "PTR udp answered"},
		dnsserver.Poison:         {good, "PTR udp answered"},
		dnsserver.Huge:           {good, "PTR tcp answered"},
		// What it must see through, and not wait for longer than for silence.
		dnsserver.Silent:        {"", "PTR udp no answer, PTR udp no answer"},
		dnsserver.HangUp:        {"", "PTR udp no answer, PTR udp no answer"},
		dnsserver.WrongID:       {"", "PTR udp no answer, PTR udp no answer"},
		dnsserver.WrongQuestion: {"", "PTR udp no answer, PTR udp no answer"},
		dnsserver.NoQuestion:    {"", "PTR udp no answer, PTR udp no answer"},
		dnsserver.Echo:          {"", "PTR udp no answer, PTR udp no answer"},
		dnsserver.Late:          {"", "PTR udp no answer, PTR udp no answer"},
		dnsserver.Garbage:       {"", "PTR udp no answer, PTR udp no answer"},
		dnsserver.Flood:         {"", "PTR udp not understood"},
		dnsserver.Half:          {"", "PTR udp not understood"},
		dnsserver.PointerLoop:   {"", "PTR udp not understood"},
		dnsserver.BadLength:     {"", "PTR udp not understood"},
		dnsserver.TruncatedTCP:  {"", "PTR tcp not understood"},
		// What the name server says.
		dnsserver.ServFail:   {"", "PTR udp refused or failed"},
		dnsserver.Refused:    {"", "PTR udp refused or failed"},
		dnsserver.Referral:   {"", "PTR udp refused or failed"},
		dnsserver.NXDomain:   {"", "PTR udp no such name (NXDOMAIN)"},
		dnsserver.NoData:     {"", "PTR udp no record of this type"},
		dnsserver.CNAMELoop:  {"", "PTR udp answered"},
		dnsserver.CNAMEChain: {"", strings.TrimSuffix(strings.Repeat("PTR udp answered, ", maxAliases+1), ", ")},
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			patiently(t, func(t testing.TB, impatient func(...*dnsserver.Server) *Client) {
				s := startDNS(t, dnsserver.Options{Zone: oneServer})
				if fault == dnsserver.CNAMEChain {
					s.Misbehave("", "", fault)
				} else {
					s.Misbehave("_nmos-auth._tcp.example.com", "PTR", fault)
				}
				c := dnsClient(s)
				if strings.Contains(want.outcomes, "no answer") {
					c = impatient(s)
				}
				started := time.Now()
				r := discover(t, c, example)
				expect(t, "issuers", r.issuers(), want.issuers)
				if fault != dnsserver.Huge { // each of its records is an instance
					expect(t, "outcomes", r.outcomes(), want.outcomes)
				}
				definite := want.issuers != "" || fault == dnsserver.NXDomain || fault == dnsserver.NoData
				if (r.err == nil) != definite {
					t.Errorf("got error %v, want one: %v", r.err, !definite)
				}
				if took := time.Since(started); took > 2*c.patience+time.Second {
					t.Errorf("took %v, want the patience with two packets at most, %v", took, 2*c.patience)
				}
				for _, server := range r.Servers {
					if slices.Contains(server.Addresses, netip.MustParseAddr(dnsserver.Attacker)) {
						t.Errorf("got the attacker's address: %+v", server)
					}
				}
			})
		})
	}
}

// A name server that does not know EDNS0 gets each question once with it at most, by TCP too, and then none.
func TestUnicastWithoutEDNS(t *testing.T) {
	spec.Rules(t, "DIS-1")
	t.Parallel()
	for _, fault := range []dnsserver.Fault{dnsserver.NoEDNS, dnsserver.EDNSNotImp, dnsserver.EDNSSilent} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			patiently(t, func(t testing.TB, impatient func(...*dnsserver.Server) *Client) {
				zone := oneServer
				for i := range 40 { // so that the answer does not fit into 512 bytes
					zone += fmt.Sprintf("\n_nmos-auth._tcp 300 PTR other-%d-with-a-long-name._nmos-auth._udp", i)
				}
				s := startDNS(t, dnsserver.Options{Zone: zone, Bare: true})
				s.Misbehave("", "", fault)
				c := impatient(s)
				r := discover(t, c, example)
				expect(t, "issuers", r.issuers(), "https://auth-1.example.com")
				with := 0
				for _, q := range s.Questions() {
					if q.UDPSize != 0 {
						with++
					}
				}
				expect(t, "questions with EDNS0", with, 1)
				if _, err := c.lookup(t.Context(), "auth-1.example.com"); err != nil {
					t.Errorf("looking its host up: %v", err)
				}
				for _, q := range s.Questions()[1:] {
					if q.UDPSize != 0 {
						t.Errorf("got %v with EDNS0, want it remembered that the server does not know it", q)
					}
				}
				if q := s.Questions(); !slices.ContainsFunc(q, func(q dnsserver.Question) bool {
					return q.Network == "tcp"
				}) {
					t.Errorf("got %v, want a question by TCP", q)
				}
				// With EDNS0 it says that the answer is longer, and by TCP that it does not know EDNS0.
				c = impatient(s)
				s.Behave()
				s.Forget()
				s.Misbehave("", "", fault)
				s.MisbehaveTimes("", "", dnsserver.Truncated, 1)
				r = discover(t, c, example)
				if fault != dnsserver.EDNSSilent { // by TCP silence is not asked twice
					expect(t, "issuers, by TCP", r.issuers(), "https://auth-1.example.com")
				}
			})
		})
	}
}

func TestUnicastErrors(t *testing.T) {
	spec.Rules(t, "DIS-1")
	for fault, want := range map[dnsserver.Fault]string{
		dnsserver.Silent:       "no answer in time",
		dnsserver.ServFail:     "SERVFAIL: the server could not find out",
		dnsserver.Refused:      "REFUSED: the server does not answer this device",
		dnsserver.Referral:     "the server offers no recursion: it only names other servers to ask",
		dnsserver.Half:         "a record is cut off, or does not match its length",
		dnsserver.Flood:        "64 packets, none of which answers this question",
		dnsserver.WrongID:      "no answer in time (1 unrelated packets ignored)",
		dnsserver.TruncatedTCP: "truncated, even by TCP",
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			patiently(t, func(t testing.TB, impatient func(...*dnsserver.Server) *Client) {
				s := startDNS(t, dnsserver.Options{Zone: oneServer})
				s.Misbehave("", "", fault)
				r := discover(t, impatient(s), example)
				expect(t, "error", r.err,
					"discovery: unicast DNS-SD: PTR _nmos-auth._tcp.example.com: name server "+s.Addr()+": "+want)
			})
		})
	}
}

// Truncated, and by TCP it goes wrong: the message says both.
func TestUnicastTCPFaults(t *testing.T) {
	spec.Rules(t, "DIS-1")
	s := startDNS(t, dnsserver.Options{Zone: oneServer})
	for fault, want := range map[dnsserver.Fault]string{
		dnsserver.HangUp:  "the server closed the connection",
		dnsserver.WrongID: "an answer to another question",
		dnsserver.Half:    "a record is cut off, or does not match its length",
	} {
		s.Behave()
		s.Misbehave("", "", fault)
		s.MisbehaveTimes("", "", dnsserver.Truncated, 1)
		r := discover(t, dnsClient(s), example)
		if want := "the answer does not fit into a UDP packet, and by TCP: " + want; r.err == nil ||
			!strings.HasSuffix(r.err.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant …%s", fault, r.err, want)
		}
	}
	at := refusing(t, "udp")
	c := New(Options{DNSServers: []string{at}})
	r := discover(t, c, example)
	expect(t, "error", r.err,
		"discovery: unicast DNS-SD: PTR _nmos-auth._tcp.example.com: name server "+at+": connection refused")
	expect(t, "outcomes", r.outcomes(), "PTR udp not reachable")
}

func TestUnicastNextNameServer(t *testing.T) {
	spec.Rules(t, "DIS-1")
	for _, c := range []struct {
		first    dnsserver.Fault
		issuers  string
		outcomes string // of all questions
	}{
		{dnsserver.ServFail, "https://auth-1.example.com", "refused or failed, answered"},
		{dnsserver.Silent, "https://auth-1.example.com", "no answer, answered"},
		{dnsserver.Half, "https://auth-1.example.com", "not understood, answered"},
		{dnsserver.NXDomain, "", "no such name (NXDOMAIN)"}, // known is known
	} {
		t.Run(string(c.first), func(t *testing.T) {
			t.Parallel()
			patiently(t, func(t testing.TB, impatient func(...*dnsserver.Server) *Client) {
				bad, good := startDNS(t, dnsserver.Options{Zone: oneServer}), startDNS(t,
					dnsserver.Options{Zone: oneServer})
				bad.Misbehave("", "", c.first)
				r := discover(t, impatient(bad, good), example)
				expect(t, "issuers", r.issuers(), c.issuers)
				expect(t, "outcomes", strings.ReplaceAll(r.outcomes(), "PTR udp ", ""), c.outcomes)
			})
		})
	}
}

// A server that never says a word is waited for once, not for every record.
func TestUnicastSilentServerLast(t *testing.T) {
	spec.Rules(t, "DIS-1")
	t.Parallel()
	patiently(t, func(t testing.TB, impatient func(...*dnsserver.Server) *Client) {
		silent, good := startDNS(t, dnsserver.Options{}), startDNS(t, dnsserver.Options{Zone: oneServer, Bare: true})
		silent.Misbehave("", "", dnsserver.Silent)
		r := discover(t, impatient(silent, good), example)
		expect(t, "issuers", r.issuers(), "https://auth-1.example.com")
		expect(t, "asked of the silent one", questions(silent), "[PTR _nmos-auth._tcp.example.com. udp]")
	})
}

// Where all are silent, it ends after two rounds, however many domains there are.
func TestUnicastAllSilent(t *testing.T) {
	spec.Rules(t, "DIS-1")
	t.Parallel()
	patiently(t, func(t testing.TB, impatient func(...*dnsserver.Server) *Client) {
		s := startDNS(t, dnsserver.Options{})
		s.Misbehave("", "", dnsserver.Silent)
		r := discover(t, impatient(s), DiscoverOptions{Domains: []string{"a.test", "b.test", "c.test"}})
		expect(t, "asked", questions(s), "[PTR _nmos-auth._tcp.a.test. udp PTR _nmos-auth._tcp.a.test. udp]")
		expect(t, "error", r.err,
			"discovery: unicast DNS-SD: PTR _nmos-auth._tcp.a.test: name server "+s.Addr()+": no answer in time")
		expect(t, "again", r.Again, retryAgain)
	})
}

// Lost packets are sent again.
func TestUnicastLostPacket(t *testing.T) {
	spec.Rules(t, "DIS-1")
	t.Parallel()
	patiently(t, func(t testing.TB, impatient func(...*dnsserver.Server) *Client) {
		s := startDNS(t, dnsserver.Options{Zone: oneServer, Bare: true})
		for _, kind := range []string{"PTR", "SRV", "TXT", "A"} {
			s.MisbehaveTimes("", kind, dnsserver.Silent, 1)
		}
		r := discover(t, impatient(s), example)
		if expect(t, "issuers", r.issuers(), "https://auth-1.example.com"); len(r.Servers) > 0 {
			expect(t, "addresses", r.Servers[0].Addresses, "[192.0.2.1 2001:db8::1]")
		}
	})
}

// A server that never answers AAAA costs a moment, and what is there is used.
func TestUnicastNoAnswerForAAAA(t *testing.T) {
	spec.Rules(t, "DIS-1")
	t.Parallel()
	patiently(t, func(t testing.TB, impatient func(...*dnsserver.Server) *Client) {
		s := startDNS(t, dnsserver.Options{Zone: oneServer, Bare: true})
		s.Misbehave("", "AAAA", dnsserver.Silent)
		r := discover(t, impatient(s), example)
		if len(r.Servers) != 1 || fmt.Sprint(r.Servers[0].Addresses) != "[192.0.2.1]" || r.err != nil {
			t.Errorf("got %+v, error %v", r.Servers, r.err)
		}
	})
}
