//go:build !linux

package platform

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"
)

// Listener is a listening Unix socket. Its Close also removes the socket's file.
type Listener struct{ *net.UnixListener }

// ListenPacket opens a SOCK_SEQPACKET socket at path; not on this system.
func ListenPacket(path string, o Options) (*Listener, error) {
	return nil, unsupported("packet sockets")
}

// ListenStream opens a SOCK_STREAM socket at path; not on this system.
func ListenStream(path string, o Options) (*Listener, error) { return nil, unsupported("sockets") }

// CheckGroup would tell whether a group is there; not on this system.
func CheckGroup(group string) error { return nil }

// PeerUID returns the user at the other end of a connection; not on this system.
func PeerUID(c *net.UnixConn) (uint32, error) { return 0, unsupported("peer credentials") }

// Harden keeps tokens out of core files; not on this system.
func Harden() error { return unsupported("hardening") }

// realClock is the clock of this machine, of which nothing more is known than that it runs.
type realClock struct{}

var started = time.Now()

func (realClock) now() time.Time        { return time.Now() }
func (realClock) uptime() time.Duration { return time.Since(started) }
func (realClock) voucher() (string, bool, time.Duration) {
	return "nobody is asked on " + runtime.GOOS, false, 0
}
func (realClock) watch() (clockWatch, error) { return nil, unsupported("timers on the clock") }

// Ready would tell the service manager that the daemon serves; there is none to tell.
func Ready() error { return nil }

// Reloading would tell the service manager that the configuration is being read again; there is none to tell.
func Reloading() error { return nil }

// Stopping would tell the service manager that the daemon ends; there is none to tell.
func Stopping() error { return nil }

func unsupported(what string) error {
	return fmt.Errorf("platform: %s on %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}
