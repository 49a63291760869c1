//go:build linux

package load

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience is how long a client waits for an answer: nothing that is measured takes so long.
const patience = 20 * time.Second

// client is one connection.
type client struct {
	target Target
	fd     int
	next   int // question
	buf    []byte
	took   []time.Duration
}

func connect(t Target) (*client, error) {
	var family, kind int
	var to unix.Sockaddr
	switch t.Network {
	case "unixpacket", "unix":
		family, kind, to = unix.AF_UNIX, unix.SOCK_STREAM, &unix.SockaddrUnix{Name: t.Address}
		if t.Network == "unixpacket" {
			kind = unix.SOCK_SEQPACKET
		}
	case "tcp":
		addr, err := net.ResolveTCPAddr("tcp4", t.Address)
		if err != nil {
			return nil, err
		}
		family, kind, to = unix.AF_INET, unix.SOCK_STREAM,
			&unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	default:
		return nil, fmt.Errorf("load: network %q is not known", t.Network)
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	most := unix.NsecToTimeval(int64(patience))
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &most),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &most),
	)
	if err == nil && family == unix.AF_INET {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		err = unix.Connect(fd, to)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connecting to %s: %w", t.Address, err)
	}
	return &client{target: t, fd: fd, buf: make([]byte, 64<<10)}, nil
}

func (c *client) close() { unix.Close(c.fd) }

// askUntil asks, and notes how long each answer took, until a time; once at least.
func (c *client) askUntil(end time.Time) error {
	c.took = c.took[:0]
	questions := make([][]byte, len(c.target.Questions))
	for i, q := range c.target.Questions {
		questions[i] = []byte(q)
	}
	want, holds := []byte(c.target.Want), []byte(c.target.Holds)
	for began := time.Now(); len(c.took) == 0 || began.Before(end); {
		answer, err := c.ask(questions[c.next%len(questions)])
		now := time.Now()
		if err == nil && !(bytes.HasPrefix(answer, want) && bytes.Contains(answer, holds)) {
			err = fmt.Errorf("answered %.300q, want %q and %q", answer, want, holds)
		}
		if err != nil {
			return err
		}
		c.took = append(c.took, now.Sub(began))
		began = now
		c.next++
	}
	return nil
}

// ask asks one question. The answer is valid until the next.
func (c *client) ask(question []byte) ([]byte, error) {
	for len(question) > 0 {
		n, err := transfer(unix.SYS_WRITE, c.fd, question)
		if err != nil {
			return nil, os.NewSyscallError("write", err)
		}
		question = question[n:]
	}
	for have := 0; ; {
		n, err := transfer(unix.SYS_READ, c.fd, c.buf[have:])
		switch {
		case err != nil:
			return nil, os.NewSyscallError("read", err)
		case n == 0:
			return nil, fmt.Errorf("the server hung up behind %.200q", c.buf[:have])
		}
		if have += n; !c.target.HTTP || complete(c.buf[:have]) {
			return c.buf[:have], nil
		}
		if have == len(c.buf) {
			return nil, fmt.Errorf("an answer is longer than %d bytes", have)
		}
	}
}

// transfer reads or writes without a word to Go's scheduler: the thread blocks with the processor that it has, of which
// Compare has made enough.
func transfer(call uintptr, fd int, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
			uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR: // the runtime's own signals
		case syscall.EAGAIN:
			return 0, fmt.Errorf("nothing within %v", patience)
		default:
			return 0, errno
		}
	}
}

// complete reports whether b is a whole HTTP response, as far as servers write them that are measured here.
func complete(b []byte) bool {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		return false
	}
	body := len(b) - head - len("\r\n\r\n")
	for line := range bytes.SplitSeq(b[:head], []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(name, []byte("Content-Length")):
			n, err := strconv.Atoi(string(value))
			return err != nil || body >= n
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return bytes.HasSuffix(b, []byte("0\r\n\r\n"))
		}
	}
	return true // 204, say
}
