package audit_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// message is one of RFC 5424.
type message struct {
	priority                  int
	time, host, app, proc, id string
	text                      string
}

// parseMessage reads a message strictly by the grammar of RFC 5424 §6, as far as it has no structured data.
func parseMessage(b []byte) (m message, err error) {
	rest, ok := bytes.CutPrefix(b, []byte("<"))
	pri, rest, found := bytes.Cut(rest, []byte(">"))
	m.priority, err = strconv.Atoi(string(pri))
	if !ok || !found || err != nil || m.priority > 191 || strconv.Itoa(m.priority) != string(pri) {
		return m, fmt.Errorf("no priority in %q", b)
	}
	if rest, ok = bytes.CutPrefix(rest, []byte("1 ")); !ok {
		return m, fmt.Errorf("no version 1 in %q", b)
	}
	for _, part := range []struct {
		name string
		to   *string
		most int
	}{
		{"time", &m.time, 32},
		{"host", &m.host, 255},
		{"app", &m.app, 48},
		{"procid", &m.proc, 128},
		{"msgid", &m.id, 32},
	} {
		value, after, found := bytes.Cut(rest, []byte(" "))
		if !found || len(value) == 0 || len(value) > part.most ||
			bytes.ContainsFunc(value, func(r rune) bool { return r < 33 || r > 126 }) {
			return m, fmt.Errorf("%s is %q in %q", part.name, value, b)
		}
		*part.to, rest = string(value), after
	}
	if m.time != "-" {
		if _, err := time.Parse("2006-01-02T15:04:05.000000Z", m.time); err != nil {
			return m, err
		}
	}
	text, ok := bytes.CutPrefix(rest, []byte("- "))
	if !ok {
		return m, fmt.Errorf("structured data in %q", b)
	}
	m.text = string(text)
	return m, nil
}

// receiver is a syslog server on loopback.
type receiver struct {
	t     *testing.T
	close func()

	mu       sync.Mutex
	messages []message
	conns    []net.Conn
}

func (r *receiver) take(b []byte) {
	m, err := parseMessage(b)
	if err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, m)
}

func (r *receiver) stream() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, m := range r.messages {
		b.WriteString(m.text + "\n")
	}
	return b.String()
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.messages)
}

// serve takes connections and reads messages by RFC 6587 §3.4.1; where reads is false it never reads.
func (r *receiver) serve(l net.Listener, reads bool) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.conns = append(r.conns, conn)
		r.mu.Unlock()
		if !reads {
			continue
		}
		go func() {
			b := bufio.NewReader(conn)
			for {
				length, err := b.ReadString(' ')
				if err != nil {
					return
				}
				n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
				if err != nil || n < 1 || n > 64<<10 || length[0] == '0' {
					r.t.Errorf("got the length %q, want a number", length)
					return
				}
				frame := make([]byte, n)
				if _, err := io.ReadFull(b, frame); err != nil {
					return // a part of a message is none
				}
				r.take(frame)
			}
		}()
	}
}

func (r *receiver) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

func listenTCP(t *testing.T, config *tls.Config, reads bool) (*receiver, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	if config != nil {
		l = tls.NewListener(l, config)
	}
	r := &receiver{t: t}
	r.close = func() { l.Close(); r.hangUp() }
	t.Cleanup(r.close)
	go r.serve(l, reads)
	return r, at
}

func listenUDP(t *testing.T, address string) (*receiver, string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, close: func() { conn.Close() }}
	t.Cleanup(r.close)
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if n > 2048 {
				t.Errorf("a datagram of %d bytes", n)
			}
			r.take(bytes.Clone(b[:n]))
		}
	}()
	return r, conn.LocalAddr().String()
}

var dialer net.Dialer

// certificate makes a certificate of its own for these hosts, and the pool that trusts it.
func certificate(t *testing.T, hosts ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, DNSNames: hosts,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
