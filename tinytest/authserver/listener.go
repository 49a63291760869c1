package authserver

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"nmosauthd/tinytest/misbehave"
)

// tlsRecord is the first byte of a TLS handshake (RFC 8446 §5.1).
const tlsRecord = 0x16

// patience is how long a new connection may stay silent before it is dropped.
const patience = 10 * time.Second

// listener accepts TLS and, on the same port, plain HTTP: so that a client that lets itself be led to http:// is
// answered and seen in the log, instead of failing for another reason. The connection's fault is applied here.
type listener struct {
	net.Listener
	server *Server
	ready  chan net.Conn
	once   sync.Once
	done   chan struct{}
	wg     sync.WaitGroup
}

func listen(inner net.Listener, s *Server) *listener {
	l := &listener{Listener: inner, server: s, ready: make(chan net.Conn), done: make(chan struct{})}
	l.wg.Go(l.loop)
	return l
}

// Accept returns a connection that is *tls.Conn if the client speaks TLS.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close also ends the connections that have not been handed out yet, and waits for them.
func (l *listener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() { close(l.done) })
	l.wg.Wait()
	return err
}

func (l *listener) loop() {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // out of descriptors, or the client is gone already
		}
		fault := l.server.takeConnection()
		l.server.countConnection()
		l.wg.Go(func() { l.open(c, fault) })
	}
}

func (l *listener) open(c net.Conn, fault Fault) {
	switch fault {
	case ResetConnect:
		misbehave.Reset(c)
		return
	case HangConnect:
		misbehave.Swallow(c, l.done)
		return
	case PlainPort:
		l.hand(c)
		return
	}
	stop := misbehave.CloseOn(c, l.done)
	first := make([]byte, 1)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := io.ReadFull(c, first)
	stop()
	if err != nil || c.SetReadDeadline(time.Time{}) != nil {
		_ = c.Close()
		return
	}
	conn := net.Conn(&unread{Conn: c, first: first})
	if first[0] == tlsRecord {
		conn = tls.Server(conn, l.server.tlsConfig(fault))
	}
	l.hand(conn)
}

// hand gives the connection to the HTTP server.
func (l *listener) hand(c net.Conn) {
	select {
	case l.ready <- c:
	case <-l.done:
		_ = c.Close()
	}
}

// unread is a connection whose first byte was read already.
type unread struct {
	net.Conn
	first []byte
}

// Read gives the first byte back before it reads on.
func (u *unread) Read(b []byte) (int, error) {
	if len(u.first) == 0 || len(b) == 0 {
		return u.Conn.Read(b)
	}
	n := copy(b, u.first)
	u.first = u.first[n:]
	return n, nil
}

// NetConn is the connection itself.
func (u *unread) NetConn() net.Conn { return u.Conn }

// tlsConfig is what the server shows in a handshake.
func (s *Server) tlsConfig(fault Fault) *tls.Config {
	config := &tls.Config{
		Certificates: []tls.Certificate{s.certs.good},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	}
	switch fault {
	case CertOtherCA:
		config.Certificates = []tls.Certificate{s.certs.otherCA}
	case CertOtherHost:
		config.Certificates = []tls.Certificate{s.certs.otherHost}
	case CertExpired:
		config.Certificates = []tls.Certificate{s.certs.expired}
	case TLS11:
		config.MinVersion, config.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	}
	return config
}
