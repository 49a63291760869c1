package discovery

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/miekg/dns"
)

const (
	// tcpPatience is how long an answer by TCP may take, with the connection.
	tcpPatience = 3 * time.Second
	// maxForeign is how many unrelated packets are ignored while waiting for an answer.
	maxForeign = 64
	// receiveSize is the buffer for an answer by UDP: larger than asked for, since some servers send more.
	receiveSize = 4096
)

// reply is how one server answered one question.
type reply struct {
	message *message
	network string // of the last packet: "udp" or "tcp"
	plain   bool   // the last packet was sent without EDNS0
	outcome Outcome
	err     error // why there is no definite answer, for people
}

// exchange puts a question to one server: by UDP with EDNS0, or without if edns is false or the server says that it
// does not support it (RFC 6891 §7); by TCP, if the answer does not fit (RFC 7766 §5). It waits for patience, and
// once more if it asks again.
func exchange(
	ctx context.Context, dialer *net.Dialer, server string, q question, edns bool, patience time.Duration,
) reply {
	r := reply{network: "udp"}
	ask := func() (err error) {
		r.message, err = askOver(ctx, dialer, r.network, server, q, edns, patience)
		if err == nil && edns && noEDNS(r.message.rcode) {
			edns = false
			r.message, err = askOver(ctx, dialer, r.network, server, q, edns, patience)
		}
		return err
	}
	err := ask()
	if err == nil && r.message.truncated {
		r.network = "tcp"
		patience = max(patience, tcpPatience)
		if err = ask(); err != nil {
			r.outcome, r.err = judge(r.message, err)
			r.err = wrap("the answer does not fit into a UDP packet, and by TCP", r.err)
			return r
		}
	}
	r.plain = !edns
	r.outcome, r.err = judge(r.message, err)
	return r
}

// noEDNS reports whether a server that was asked with EDNS0 answers that it does not support it.
func noEDNS(rcode int) bool {
	return rcode == dns.RcodeFormatError || rcode == dns.RcodeNotImplemented || rcode == dns.RcodeBadVers
}

var errSilent = errors.New("no answer in time")

// judge classifies an answer, or the failure to get one.
func judge(m *message, err error) (Outcome, error) {
	var failed *net.OpError // its own text repeats the addresses
	switch {
	case errors.Is(err, errSilent):
		return Silent, err
	case errors.As(err, &failed) && failed.Timeout():
		return Silent, errSilent
	case errors.As(err, &failed):
		return Unreachable, innermost(failed)
	case err != nil:
		return Garbled, err
	case m.truncated:
		return Garbled, errors.New("truncated, even by TCP")
	case m.rcode == dns.RcodeNameError:
		return NoSuchName, nil
	case m.rcode != dns.RcodeSuccess:
		return Failed, errors.New(rcodeName(m.rcode))
	case m.referral:
		return Failed, errors.New("the server offers no recursion: it only names other servers to ask")
	case len(m.answer) == 0:
		return NoRecord, nil
	}
	return Answered, nil
}

// innermost returns the innermost cause, such as "connection refused".
func innermost(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}

func rcodeName(code int) string {
	switch code {
	case dns.RcodeFormatError:
		return "FORMERR: the server does not understand the question"
	case dns.RcodeServerFailure:
		return "SERVFAIL: the server could not find out"
	case dns.RcodeNotImplemented:
		return "NOTIMP: the server does not answer such questions"
	case dns.RcodeRefused:
		return "REFUSED: the server does not answer this device"
	}
	return fmt.Sprintf("response code %d", code)
}

// askOver asks by "udp" or "tcp".
func askOver(
	ctx context.Context, dialer *net.Dialer, network, server string, q question, edns bool, patience time.Duration,
) (*message, error) {
	id := randomID()
	packet, err := q.pack(id, edns)
	if err != nil {
		return new(message), err
	}
	read := readUDP
	if network == "tcp" {
		packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
		read = readTCP
	}
	conn, hangUp, err := connect(ctx, dialer, network, server, patience)
	if err != nil {
		return new(message), err
	}
	defer hangUp()
	if _, err := conn.Write(packet); err != nil {
		return new(message), err
	}
	return read(conn, id, q)
}

// readUDP waits for the answer by UDP. The socket is connected, so that only packets from the server's address arrive,
// has a port of its own that the kernel drew, and the question a random number: what a forger who sees no packet must
// guess (RFC 5452 §9).
func readUDP(conn net.Conn, id uint16, q question) (*message, error) {
	buf := make([]byte, receiveSize)
	for foreign := range maxForeign {
		n, err := conn.Read(buf)
		if err != nil && foreign > 0 {
			return new(message), fmt.Errorf("%w (%d unrelated packets ignored)", errSilent, foreign)
		} else if err != nil {
			return new(message), err
		}
		m, err := parseMessage(buf[:n], id, q)
		switch {
		case errors.Is(err, errForeign):
			continue
		case err != nil && n == len(buf): // cut off by the buffer: ask by TCP
			return &message{truncated: true}, nil
		}
		return m, err
	}
	return new(message), fmt.Errorf("%d packets, none of which answers this question", maxForeign)
}

// readTCP reads the answer by TCP: there is one, and it is as long as its first two bytes say (RFC 1035 §4.2.2).
func readTCP(conn net.Conn, id uint16, q question) (*message, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return new(message), closed(err)
	}
	buf := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return new(message), closed(err)
	}
	return parseMessage(buf, id, q)
}

// closed names the end of a connection.
func closed(err error) error {
	if hungUp(err) {
		return errClosed
	}
	return err
}

// connect opens a connection for one question. Reads and writes on it end when patience or ctx is over. The
// caller calls hangUp.
func connect(
	ctx context.Context, dialer *net.Dialer, network, server string, patience time.Duration,
) (conn net.Conn, hangUp func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	if conn, err = dialer.DialContext(ctx, network, server); err != nil {
		cancel()
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() {
		stop()
		cancel()
		conn.Close()
	}, nil
}

// randomID returns an unpredictable number for a question.
func randomID() uint16 {
	var b [2]byte
	rand.Read(b[:]) // it never fails
	return binary.BigEndian.Uint16(b[:])
}
