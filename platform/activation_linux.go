package platform

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// GivenSockets returns the sockets that the service manager has opened for the daemon, by the names that it gave them
// (sd_listen_fds(3), FileDescriptorName= of systemd.socket(5)). What told of them is taken out of the environment, so
// the second call finds none. What the caller has no use for, it closes.
func GivenSockets() (map[string]*os.File, error) {
	given := make(map[string]*os.File)
	var errs []error
	for _, f := range activation.Files(true) {
		if given[f.Name()] != nil {
			errs = append(errs, fmt.Errorf("the service manager has opened two sockets of the name %q", f.Name()))
			f.Close()
			continue
		}
		given[f.Name()] = f
	}
	return given, errors.Join(errs...)
}

// AdoptPacket returns the listener of a SOCK_SEQPACKET socket that the service manager has opened. An error says in
// what it is not the one that was asked for: a listening Unix socket of this type at this path. Its group and mode are
// the service manager's affair. The file is closed either way; the listener has a copy.
func AdoptPacket(f *os.File, path string) (*Listener, error) {
	return adopt(f, path, "unixpacket", unix.SOCK_SEQPACKET, "SequentialPacket")
}

// AdoptStream is AdoptPacket for a SOCK_STREAM socket.
func AdoptStream(f *os.File, path string) (*Listener, error) {
	return adopt(f, path, "unix", unix.SOCK_STREAM, "Stream")
}

func adopt(f *os.File, path, network string, socktype int, key string) (*Listener, error) {
	defer f.Close()
	path = filepath.Clean(path)
	err := checkGiven(int(f.Fd()), path, socktype, key)
	var l net.Listener
	if err == nil {
		l, err = net.FileListener(f)
	}
	if err != nil {
		return nil, wrap(fmt.Sprintf("the socket %q from the service manager", f.Name()), err)
	}
	return &Listener{Listener: l, addr: net.UnixAddr{Name: path, Net: network}}, nil
}

// checkGiven checks what systemd.socket(5) leaves to the unit's author. key is the kind of Listen…= line that was due.
func checkGiven(fd int, path string, socktype int, key string) error {
	option := func(name int) int {
		n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, name)
		if err != nil {
			return -1 // no socket, or no file at all
		}
		return n
	}
	domain, kind, listens := option(unix.SO_DOMAIN), option(unix.SO_TYPE), option(unix.SO_ACCEPTCONN)
	needs := "; its unit needs Listen" + key + "=" + path
	switch {
	case domain == -1:
		return errors.New("not a socket")
	case domain != unix.AF_UNIX:
		return errors.New("not a Unix socket" + needs)
	case kind != socktype:
		return errors.New("it is of another type" + needs)
	case listens != 1:
		return errors.New("it does not listen; its unit must not have Accept=yes")
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	if at := name.(*unix.SockaddrUnix).Name; strings.HasPrefix(at, "@") || !samePath(at, path) {
		return fmt.Errorf("it is at %q, and the configuration says %q", at, path)
	}
	return nil
}

// samePath reports whether two paths are the same, also by links such as /var/run.
func samePath(a, b string) bool {
	if filepath.Clean(a) == b {
		return true
	}
	x, errX := os.Lstat(a)
	y, errY := os.Lstat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
