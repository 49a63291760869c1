package estserver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"

	"nmosauthd/tinytest/misbehave"
)

type connectionKey struct{}

// tlsListener gives each connection its number and the handshake's fault.
type tlsListener struct {
	net.Listener
	server *Server
}

// Accept returns a *tls.Conn, but for PlainPort.
func (l *tlsListener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.server.open(raw); c != nil {
			return c, nil
		}
	}
}

func (s *Server) open(raw net.Conn) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	one := &connection{id: s.count, fault: s.handshake.Take()}
	s.change()
	c := raw
	switch one.fault {
	case ResetConnect:
		misbehave.Reset(raw)
		return nil
	case HangConnect:
		s.running.Go(func() { misbehave.Swallow(raw, s.closing) })
		return nil
	case PlainPort:
	default:
		c = tls.Server(raw, s.config(one.fault))
	}
	s.connections[c] = one
	return c
}

// state follows a connection until it ends.
func (s *Server) state(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch one := s.connections[c]; {
	case one == nil:
	case state == http.StateClosed || state == http.StateHijacked:
		delete(s.connections, c)
	default:
		one.idle = state == http.StateIdle
	}
}

// closeIdle ends connections that no request is on: the next one sees what has changed. The caller has the lock.
func (s *Server) closeIdle() {
	for c, one := range s.connections {
		if one.idle {
			if t, ok := c.(*tls.Conn); ok {
				c = t.NetConn()
			}
			_ = c.Close()
		}
	}
}

// config is what the server shows in a handshake, and asks for. The caller has the lock.
func (s *Server) config(fault Fault) *tls.Config {
	now := s.opt.Now()
	acceptable := x509.NewCertPool()
	for _, ca := range append([]*CA{s.opt.Maker, s.facility}, s.former...) {
		acceptable.AddCert(ca.Root)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS12, MaxVersion: s.opt.MaxTLS,
		NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true, Time: s.opt.Now,
		ClientAuth: tls.RequestClientCert, ClientCAs: acceptable,
	}
	show := func(p Pair) { config.Certificates = []tls.Certificate{p.Certificate} }
	from, until := s.cert.Leaf.NotBefore, s.cert.Leaf.NotAfter
	switch fault {
	case CertOtherCA:
		show(s.stranger.Server(from, until, s.hosts()...))
	case CertOtherHost:
		show(s.facility.Server(from, until, "other.example.com"))
	case CertEnded:
		show(s.facility.Server(now.AddDate(0, 0, -2), now.AddDate(0, 0, -1), s.hosts()...))
	case CertNotForServer:
		show(s.facility.Device("a device", from, until))
	case TLS11:
		config.MinVersion, config.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	case RefuseClient:
		config.ClientAuth = tls.RequireAnyClientCert
		config.VerifyConnection = func(tls.ConnectionState) error { return errors.New("refused on demand") }
	}
	return config
}
