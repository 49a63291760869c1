package dnsserver

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const zoneText = `
	$ORIGIN example.com.
	@                          SOA ns hostmaster 1 2 3 4 90
	_nmos-auth._tcp            PTR Studio\032A\.1._nmos-auth._tcp
	studio\ a\.1._nmos-auth._tcp  SRV 0 0 443 auth-1
	Studio\032A\.1._nmos-auth._tcp  60 TXT "api_proto=https" "pri=10"
	auth-1                     A 127.0.0.1
	auth-1                     AAAA ::1
	www                        CNAME auth-1`

func start(t *testing.T, o Options) *Server {
	t.Helper()
	o.Logf = t.Logf
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask asks with a client of another make than the agent's.
func ask(t *testing.T, s *Server, network, name string, kind uint16) (*dns.Msg, error) {
	t.Helper()
	return askFor(time.Minute, s, network, name, kind)
}

// askFor waits so long for the answer.
func askFor(patience time.Duration, s *Server, network, name string, kind uint16) (*dns.Msg, error) {
	c := dns.Client{Net: network, Timeout: patience, UDPSize: 4096}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, kind).SetEdns0(1232, false), s.Addr())
	return m, err
}

func TestAnswers(t *testing.T) {
	s := start(t, Options{Zone: zoneText})
	for _, network := range []string{"udp", "tcp"} {
		for _, c := range []struct {
			name              string
			kind              uint16
			rcode             int
			answer, ns, extra int
		}{
			{"_nmos-auth._tcp.example.com.", dns.TypePTR, dns.RcodeSuccess, 1, 0, 4 + 1},
			{"_NMOS-auth._tcp.Example.com.", dns.TypePTR, dns.RcodeSuccess, 1, 0, 4 + 1},
			{`Studio\ A\.1._nmos-auth._tcp.example.com.`, dns.TypeSRV, dns.RcodeSuccess, 1, 0, 2 + 1},
			{`Studio\ A\.1._nmos-auth._tcp.example.com.`, dns.TypeTXT, dns.RcodeSuccess, 1, 0, 1},
			{`Studio\ A\.1._nmos-auth._tcp.example.com.`, dns.TypeA, dns.RcodeSuccess, 0, 1, 1},
			{"www.example.com.", dns.TypeA, dns.RcodeSuccess, 2, 0, 1},
			{"_tcp.example.com.", dns.TypeA, dns.RcodeSuccess, 0, 1, 1}, // there are names below it
			{"x.example.com.", dns.TypeA, dns.RcodeNameError, 0, 1, 1},
			{"x.example.net.", dns.TypeA, dns.RcodeNameError, 0, 0, 1},
		} {
			m, err := ask(t, s, network, c.name, c.kind)
			if err != nil || m.Rcode != c.rcode || len(m.Answer) != c.answer || len(m.Ns) != c.ns ||
				len(m.Extra) != c.extra {
				t.Errorf("%s %s: %v\n%v", network, c.name, err, m)
			}
		}
	}
	if q := s.Questions()[0]; q.String() != "PTR _nmos-auth._tcp.example.com. udp" || q.UDPSize != 1232 {
		t.Errorf("got %+v, want a PTR question over UDP with 1,232 bytes", q)
	}
	s.Forget()
	if err := s.SetZone("a.test. A 192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	if m, err := ask(t, s, "udp", "a.test.", dns.TypeA); err != nil || len(m.Answer) != 1 || len(s.Questions()) != 1 {
		t.Errorf("another zone: %v, %v", m, err)
	}
	if err := s.SetZone("a.test. A example"); err == nil {
		t.Error("a bad zone was taken")
	}
}

// Every fault does what its description says, to a client that knows nothing of it.
func TestFaults(t *testing.T) {
	rcode := func(want int) func(*dns.Msg, error) bool {
		return func(m *dns.Msg, err error) bool { return err == nil && m.Rcode == want }
	}
	silent := func(_ *dns.Msg, err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
	broken := func(_ *dns.Msg, err error) bool { return err != nil && !silent(nil, err) }
	answered := func(m *dns.Msg, err error) bool { return err == nil && len(m.Answer) == 1 && !m.Truncated }
	truncated := func(m *dns.Msg, err error) bool { return m != nil && m.Truncated }
	cname := func(m *dns.Msg, err error) bool { return err == nil && m.Answer[0].Header().Rrtype == dns.TypeCNAME }
	for f, want := range map[Fault]struct{ udp, tcp func(*dns.Msg, error) bool }{
		Silent:   {silent, silent},
		HangUp:   {silent, broken},
		ServFail: {rcode(dns.RcodeServerFailure), rcode(dns.RcodeServerFailure)},
		Refused:  {rcode(dns.RcodeRefused), rcode(dns.RcodeRefused)},
		NXDomain: {rcode(dns.RcodeNameError), rcode(dns.RcodeNameError)},
		NoData: {func(m *dns.Msg, err error) bool { return err == nil && m.Rcode == 0 && len(m.Answer) == 0 },
			nil},
		NoEDNS: {rcode(dns.RcodeFormatError), rcode(dns.RcodeFormatError)},
		Referral: {func(m *dns.Msg, err error) bool {
			return err == nil && len(m.Ns) == 1 && !m.RecursionAvailable
		}, nil},
		Truncated:      {truncated, answered},
		TruncatedHalf:  {truncated, answered},
		TruncatedNever: {answered, answered},
		TruncatedTCP:   {truncated, truncated},
		WrongID:        {silent, broken},
		WrongQuestion: {func(m *dns.Msg, err error) bool {
			return err == nil && m.Question[0].Name == "www.example.net."
		}, nil},
		NoQuestion:  {func(m *dns.Msg, err error) bool { return err == nil && len(m.Question) == 0 }, nil},
		Echo:        {func(m *dns.Msg, err error) bool { return err == nil && !m.Response }, nil},
		Forged:      {answered, answered},
		Flood:       {silent, broken},
		Garbage:     {broken, broken},
		Half:        {broken, broken},
		PointerLoop: {broken, broken},
		BadLength:   {broken, broken},
		Huge: {truncated, func(m *dns.Msg, err error) bool {
			return err == nil && len(m.Answer) > ManyRecords
		}},
		CNAMELoop:  {cname, cname},
		CNAMEChain: {cname, cname},
		Poison: {func(m *dns.Msg, err error) bool {
			return err == nil && strings.Contains(m.String(), Attacker)
		}, nil},
		Late: {silent, silent},
	} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			s := start(t, Options{Zone: zoneText})
			s.Misbehave("", "PTR", f)
			for network, good := range map[string]func(*dns.Msg, error) bool{"udp": want.udp, "tcp": want.tcp} {
				if good == nil {
					continue
				}
				// What is silence to an impatient client may be a busy machine.
				for _, patience := range []time.Duration{200 * time.Millisecond, 2 * time.Second, 20 * time.Second} {
					m, err := askFor(patience, s, network, "_nmos-auth._tcp.example.com.", dns.TypePTR)
					if good(m, err) {
						break
					}
					if patience > 10*time.Second {
						t.Errorf("%s: got %v, %v", network, err, m)
					}
				}
			}
			if m, err := ask(t, s, "udp", "auth-1.example.com.", dns.TypeA); err != nil || len(m.Answer) != 1 {
				t.Errorf("another question: %v, %v", m, err)
			}
		})
	}
}

func TestMisbehaveTimes(t *testing.T) {
	s := start(t, Options{Zone: zoneText})
	s.Misbehave("AUTH-1.example.com", "A", ServFail)
	s.MisbehaveTimes("", "", Refused, 2)
	var codes []int
	for range 4 {
		m, err := ask(t, s, "udp", "auth-1.example.com.", dns.TypeA)
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, m.Rcode)
	}
	if codes[0] != dns.RcodeRefused || codes[1] != dns.RcodeRefused || codes[2] != dns.RcodeServerFailure ||
		codes[3] != dns.RcodeServerFailure {
		t.Errorf("got the codes %v, want twice refused, twice failed", codes)
	}
	s.Behave()
	if m, err := ask(t, s, "udp", "auth-1.example.com.", dns.TypeA); err != nil || m.Rcode != 0 {
		t.Errorf("%v, %v", m, err)
	}
}

// A late answer arrives where it was asked from, once somebody asks again.
func TestLate(t *testing.T) {
	s := start(t, Options{Zone: zoneText})
	s.MisbehaveTimes("", "", Late, 1)
	conn, err := net.Dial("udp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &dns.Conn{Conn: conn}
	if err := c.WriteMsg(new(dns.Msg).SetQuestion("auth-1.example.com.", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	for len(s.Questions()) == 0 {
		time.Sleep(time.Millisecond) // until it has arrived
	}
	if _, err := ask(t, s, "udp", "auth-1.example.com.", dns.TypeAAAA); err != nil {
		t.Fatal(err)
	}
	if m, err := c.ReadMsg(); err != nil || m.Question[0].Qtype != dns.TypeA {
		t.Errorf("%v, %v", m, err)
	}
}
