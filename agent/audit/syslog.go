package audit

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	// facilityAudit is "log audit" of RFC 5424 §6.2.1, so that a collector can keep the records apart from the daemon's
	// log.
	facilityAudit = 13

	severityWarning = 4 // the daemon's own trouble
	severityNotice  = 5 // a denial
	severityInfo    = 6

	// maxDatagram is what every receiver should take (RFC 5426 §3.2).
	maxDatagram = 2048

	dialPatience  = 10 * time.Second
	writePatience = 5 * time.Second
)

// SyslogOptions say which server a Syslog writes to, and as whom.
type SyslogOptions struct {
	Network string // "udp" (RFC 5426), "tcp" (RFC 6587, octet counting) or "tls" (RFC 5425)
	Address string // "host:port"; the certificate of a TLS server is for this host
	Host    string // the device's name; "": not said
	App     string // such as "nmos-authd"
	PID     int

	// Dial connects over "udp" or "tcp".
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Roots are asked for at each TLS connection, so that a file of them may change; nil means the system's.
	Roots func() (*x509.CertPool, error)
	// Now is the time by which the certificate of a TLS server is judged; nil means the system's clock.
	Now func() time.Time
}

// Syslog is a sink that sends each line as a message of RFC 5424. Over TCP and TLS a record counts as kept once the
// connection has taken it, over UDP once the network has: what is lost on the way shows at the receiver, in the chain.
type Syslog struct {
	o      SyslogOptions
	head   string // of each message, between its time and its id
	conn   net.Conn
	gone   chan struct{} // closed when the server has hung up
	stop   func() bool
	buffer []byte
}

// NewSyslog returns a sink named "syslog".
func NewSyslog(o SyslogOptions) *Syslog {
	host := printable(o.Host, 255)
	return &Syslog{o: o, head: " " + host + " " + printable(o.App, 48) + " " + strconv.Itoa(o.PID) + " "}
}

// printable is s as RFC 5424 §6 allows it in a message's head: ASCII without spaces and controls, "-" for nothing.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s[:min(len(s), most)])
	if s == "" {
		return "-"
	}
	return s
}

// Name implements Sink.
func (s *Syslog) Name() string { return "syslog" }

// Settings implements Sink.
func (s *Syslog) Settings() string { return s.o.Network + "://" + s.o.Address + s.head }

// MaxLine implements Sink.
func (s *Syslog) MaxLine() int {
	if s.o.Network != "udp" {
		return 0
	}
	const fixed = len("<110>1 2006-01-02T15:04:05.000000Z") + len("dropped - ") + len(`,"line":18446744073709551615`) +
		chainSize
	return maxDatagram - fixed - len(s.head)
}

// Open implements Sink: it connects.
func (s *Syslog) Open(ctx context.Context) (Tail, error) {
	if err := s.connect(ctx); err != nil {
		return Tail{}, fmt.Errorf("syslog server %s://%s: %w", s.o.Network, s.o.Address, err)
	}
	return Tail{Resumed: true}, nil
}

func (s *Syslog) connect(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	network := "tcp"
	if s.o.Network == "udp" {
		network = "udp"
	}
	conn, err := s.o.Dial(dialing, network, s.o.Address)
	if err != nil {
		return err
	}
	if s.o.Network == "tls" {
		if conn, err = s.secure(dialing, conn); err != nil {
			return err
		}
	}
	s.conn = conn
	s.stop = context.AfterFunc(ctx, func() { conn.Close() })
	if network == "tcp" {
		// A server says nothing. That it has hung up is noticed here, before a record is given to a connection that
		// loses it.
		gone := make(chan struct{})
		s.gone = gone
		go func() {
			io.Copy(io.Discard, conn)
			close(gone)
		}()
	}
	return nil
}

func (s *Syslog) secure(ctx context.Context, conn net.Conn) (net.Conn, error) {
	host, _, err := net.SplitHostPort(s.o.Address)
	config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, Time: s.o.Now}
	if err == nil && s.o.Roots != nil {
		config.RootCAs, err = s.o.Roots()
	}
	secured := tls.Client(conn, config)
	if err == nil {
		err = secured.HandshakeContext(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

var errHungUp = errors.New("the server closed the connection")

// Write implements Sink.
func (s *Syslog) Write(line []byte) error {
	err := s.write(line)
	if err != nil && !errors.Is(err, errTooLong) {
		err = fmt.Errorf("syslog server %s://%s: %w", s.o.Network, s.o.Address, err)
	}
	return err
}

func (s *Syslog) write(line []byte) error {
	message := s.message(s.buffer[:0], line)
	s.buffer = message
	if s.o.Network == "udp" {
		if len(message) > maxDatagram {
			return errTooLong
		}
		_, err := s.conn.Write(message)
		if err != nil { // what an earlier datagram met, such as a port where nobody listens: this one was not sent
			_, err = s.conn.Write(message)
		}
		return err
	}
	select {
	case <-s.gone:
		return errHungUp
	default:
	}
	// RFC 6587 §3.4.1: the length in front, so that nothing in a message can end it.
	framed := append(strconv.AppendInt(make([]byte, 0, len(message)+8), int64(len(message)), 10), ' ')
	if err := s.conn.SetWriteDeadline(time.Now().Add(writePatience)); err != nil {
		return err
	}
	_, err := s.conn.Write(append(framed, message...))
	return err
}

// message appends the message for a line: RFC 5424 §6. Its text is ASCII, so that it needs no mark of its encoding.
func (s *Syslog) message(dst, line []byte) []byte {
	id := cmp.Or(field(line, "decision"), field(line, "event"))
	severity := severityInfo
	switch {
	case id == "error" || id == eventDropped || field(line, "status") == "503":
		severity = severityWarning
	case id == "deny":
		severity = severityNotice
	}
	at := "-" // §6.2.3: a device that does not know the time says none; what its clock shows is in the line
	if field(line, "clock") != ClockUnset.String() {
		at = field(line, "time")
	}
	whole := line[:len(line)-1] // without its line feed
	return fmt.Appendf(dst, "<%d>1 %s%s%s - %s", facilityAudit*8+severity, at, s.head, id, whole)
}

// Close implements Sink.
func (s *Syslog) Close() error {
	if s.conn == nil {
		return nil
	}
	s.stop()
	if _, is := s.conn.(*tls.Conn); is {
		s.conn.SetWriteDeadline(time.Now().Add(writePatience))
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}
