package firmware

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DefaultTimeout is how long an Asker waits for an answer, connecting included.
const DefaultTimeout = 2 * time.Second

// replyLimit is the longest reply that is read, in bytes; a longer one is an error.
const replyLimit = 64 << 10

// Asker asks the daemon over one connection that it keeps open, one question at a time. It connects when it is first
// asked, and again after an error. It may be used by any number of goroutines, who wait for one another.
type Asker struct {
	socket  string
	timeout time.Duration

	mu     sync.Mutex
	conn   *net.UnixConn // nil if not connected
	buf    []byte
	closed bool
}

// NewAsker returns an Asker for a socket's path, which need not be there yet. A timeout of zero is DefaultTimeout.
func NewAsker(socket string, timeout time.Duration) *Asker {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return &Asker{socket: socket, timeout: timeout, buf: make([]byte, replyLimit)}
}

// Ask sends a packet of these lines, such as "decide 1" and "method=GET", and returns the reply. A line with a newline
// or a NUL is an error of the caller: nothing is sent. Other errors are those of the socket, and ErrReply; for all of
// them the answer to the request at hand is 503.
func (a *Asker) Ask(lines ...string) (Reply, error) {
	var packet strings.Builder
	want := ""
	for _, line := range lines {
		if strings.ContainsAny(line, "\n\x00") {
			return Reply{}, fmt.Errorf("firmware: the line %q cannot be sent", line)
		}
		if id, ok := strings.CutPrefix(line, "id="); ok {
			want = id
		}
		packet.WriteString(line)
		packet.WriteByte('\n')
	}
	r, err := a.AskPacket([]byte(packet.String()))
	if err == nil && r.ID != want && r.Verdict != Errors {
		a.disconnect() // whose answer was that? whatever comes next on this connection is in doubt too
		return Reply{}, fmt.Errorf("%w: the id %q instead of %q", ErrReply, r.ID, want)
	}
	return r, err
}

// AskPacket sends a packet as it stands, which may be as broken as a test needs it, and returns the reply.
func (a *Asker) AskPacket(packet []byte) (Reply, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	deadline := time.Now().Add(a.timeout)
	kept := a.conn != nil
	raw, err := a.exchange(packet, deadline)
	if err != nil && kept && isGone(err) {
		raw, err = a.exchange(packet, deadline) // the daemon was restarted; asking twice does no harm
	}
	if err != nil {
		return Reply{}, fmt.Errorf("firmware: ask the daemon: %w", err)
	}
	return ParseReply(raw)
}

// exchange sends and receives one packet. After an error there is no connection: a late answer must never be taken for
// the answer to the next question.
func (a *Asker) exchange(packet []byte, deadline time.Time) (raw []byte, err error) {
	defer func() {
		if err != nil {
			a.drop()
		}
	}()
	if a.closed {
		return nil, net.ErrClosed
	}
	if a.conn == nil {
		dialer := net.Dialer{Deadline: deadline}
		c, err := dialer.Dial("unixpacket", a.socket)
		if err != nil {
			return nil, err
		}
		a.conn = c.(*net.UnixConn)
	}
	if err := a.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := a.conn.Write(packet); err != nil {
		return nil, err
	}
	n, _, flags, _, err := a.conn.ReadMsgUnix(a.buf, nil)
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, io.EOF
	case flags&syscall.MSG_TRUNC != 0:
		return nil, fmt.Errorf("%w: over %d bytes", ErrReply, replyLimit)
	}
	return a.buf[:n], nil
}

// isGone reports whether the other side of a connection has gone.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// Turned waits on the connection of the last question, which stands (watch-token), for the reply that ends it. The
// error is io.EOF if the daemon has ended first. Close interrupts it.
func (a *Asker) Turned() (Reply, error) {
	a.mu.Lock()
	conn := a.conn
	a.mu.Unlock()
	if conn == nil {
		return Reply{}, net.ErrClosed
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return Reply{}, err
	}
	buf := make([]byte, replyLimit)
	n, err := conn.Read(buf)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		a.disconnect()
		return Reply{}, err
	}
	return ParseReply(buf[:n])
}

func (a *Asker) disconnect() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop()
}

// drop closes the connection. The lock is held.
func (a *Asker) drop() {
	if a.conn != nil {
		_ = a.conn.Close()
		a.conn = nil
	}
}

// Close ends the connection once the question at hand is answered. Further questions get net.ErrClosed.
func (a *Asker) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.drop()
	return nil
}
