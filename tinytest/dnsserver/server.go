// Package dnsserver is a name server for tests: real UDP and TCP on one port of the loopback interface, zones as text,
// and a table of ways to misbehave on demand.
//
//	s, err := dnsserver.Start(dnsserver.Options{Zone: `
//	    $ORIGIN example.com.
//	    _nmos-auth._tcp         PTR auth-1._nmos-auth._tcp
//	    auth-1._nmos-auth._tcp  SRV 0 0 443 auth-1
//	    auth-1._nmos-auth._tcp  TXT "api_proto=https" "api_ver=v1.0" "pri=10"
//	    auth-1                  A   127.0.0.1`})
//	defer s.Close()
//	s.Misbehave("auth-1.example.com", "A", dnsserver.Silent)
//
// It answers as a recursive server would that knows the zone, with the records of RFC 6763 §12 in the additional
// section. All methods may be called from any number of goroutines.
//
// Limits: for tests only. No wildcards, no DNSSEC, no class but IN.
package dnsserver

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Options are what Start needs to know. The zero value is a server that knows no name.
type Options struct {
	Zone string // records in the form of RFC 1035 §5, as in the example above; names without an origin end at the root
	Addr string // where to listen; "": 127.0.0.1:0
	// Bare leaves the additional section empty, so that each record has to be asked for.
	Bare bool
	Logf func(format string, a ...any) // one line a question; nil: none
}

// Question is a question that came.
type Question struct {
	Name    string // lower case, with trailing dot
	Type    string // "PTR"
	Network string // "udp" or "tcp"
	UDPSize uint16 // of EDNS0 (RFC 6891); 0: it came without
}

// String is type, name and network: "PTR _nmos-auth._tcp.example.com. udp".
func (q Question) String() string { return q.Type + " " + q.Name + " " + q.Network }

// Server is a running server. Close it.
type Server struct {
	opt     Options
	address string
	udp     *dns.Server
	tcp     *dns.Server
	serving sync.WaitGroup

	mu     sync.Mutex
	zone   zone
	faults []misbehaviour
	log    []Question
	late   []func() // answers held back
}

// Start listens and serves.
func Start(o Options) (*Server, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	s := &Server{opt: o}
	if err := s.SetZone(o.Zone); err != nil {
		return nil, err
	}
	packets, stream, err := listen(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("dnsserver: %w", err)
	}
	s.address = packets.LocalAddr().String()
	s.udp = &dns.Server{PacketConn: packets, Handler: s.handler("udp")}
	s.tcp = &dns.Server{Listener: stream, Handler: s.handler("tcp")}
	for _, one := range []*dns.Server{s.udp, s.tcp} {
		started := make(chan struct{})
		one.NotifyStartedFunc = func() { close(started) }
		s.serving.Go(func() {
			if err := one.ActivateAndServe(); err != nil {
				s.logf("dnsserver: %v", err)
			}
		})
		<-started
	}
	return s, nil
}

// listen opens one port for UDP and TCP.
func listen(address string) (net.PacketConn, net.Listener, error) {
	var errs []error
	for range 10 {
		stream, err := net.Listen("tcp", address)
		if err != nil {
			return nil, nil, err
		}
		packets, err := net.ListenPacket("udp", stream.Addr().String())
		if err == nil {
			return packets, stream, nil
		}
		_ = stream.Close()
		errs = append(errs, err) // another program has the port for UDP
	}
	return nil, nil, errors.Join(errs...)
}

// Close stops the server and returns when all that it was answering has ended.
func (s *Server) Close() error {
	err := errors.Join(s.udp.Shutdown(), s.tcp.Shutdown())
	s.serving.Wait()
	return err
}

// Addr is the server's address and port, as dns_servers wants it.
func (s *Server) Addr() string { return s.address }

// SetZone puts other records in place of those known.
func (s *Server) SetZone(text string) error {
	z, err := parseZone(text)
	if err != nil {
		return fmt.Errorf("dnsserver: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = z
	return nil
}

// Questions are those that came, in their order.
func (s *Server) Questions() []Question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Question(nil), s.log...)
}

// Forget empties the list of questions.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

func (s *Server) logf(format string, a ...any) {
	if s.opt.Logf != nil {
		s.opt.Logf(format, a...)
	}
}

// handler answers the questions that come over one network.
func (s *Server) handler(network string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, r *dns.Msg) {
		q := Question{
			Name:    strings.ToLower(r.Question[0].Name),
			Type:    dns.TypeToString[r.Question[0].Qtype],
			Network: network,
		}
		if opt := r.IsEdns0(); opt != nil {
			q.UDPSize = opt.UDPSize()
		}
		s.mu.Lock()
		z := s.zone
		fault := s.take(q)
		s.log = append(s.log, q)
		late := s.late
		s.late = nil
		s.mu.Unlock()
		for _, answer := range late {
			answer()
		}
		s.logf("%s: %s", q, fault)
		whole := z.answer(r, !s.opt.Bare)
		m := whole.Copy()
		if network == "udp" {
			m.Truncate(max(int(q.UDPSize), dns.MinMsgSize))
		}
		s.send(w, r, m, whole, q, fault)
	}
}
