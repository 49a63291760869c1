//go:build !linux

package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"time"
)

// Listener is a listening Unix socket. Its Close also removes the socket's file.
type Listener struct{ net.Listener }

// ListenPacket opens a SOCK_SEQPACKET socket at path; not on this system.
func ListenPacket(path string, o Options) (*Listener, error) {
	return nil, unsupported("packet sockets")
}

// ListenStream opens a SOCK_STREAM socket at path; not on this system.
func ListenStream(path string, o Options) (*Listener, error) { return nil, unsupported("sockets") }

// CheckGroup would tell whether a group is there; not on this system.
func CheckGroup(group string) error { return nil }

// GroupOf returns the number of the group that a file belongs to; not on this system.
func GroupOf(path string) (gid int, err error) { return 0, unsupported("groups of files") }

// AwaitReadable would wait until there is something to read from a connection; on this system it does not wait.
func AwaitReadable(net.Conn) {}

// Yield would let other threads have the processor; on this system it does not.
func Yield() {}

// PeerOf returns the process at the other end of a connection; not on this system.
func PeerOf(c net.Conn) (uid, gid uint32, pid int32, err error) {
	return 0, 0, 0, unsupported("peer credentials")
}

// PeerInGroup would tell whether the other end is in a group; not on this system.
func PeerInGroup(c net.Conn, group string) (bool, error) {
	return false, unsupported("peer credentials")
}

// ReadSecret would read a file that others must not read; not on this system.
func ReadSecret(path string, most int) (string, error) { return "", unsupported("owners of files") }

// ReadPrivate would read a file that others must not read; not on this system.
func ReadPrivate(path string, most int) ([]byte, error) { return nil, unsupported("owners of files") }

// GivenSockets returns the sockets that the service manager has opened; there is none here.
func GivenSockets() (map[string]*os.File, error) { return nil, nil }

// AdoptPacket serves a socket that the service manager has opened; not on this system.
func AdoptPacket(f *os.File, path string) (*Listener, error) {
	return nil, unsupported("socket activation")
}

// AdoptStream serves a socket that the service manager has opened; not on this system.
func AdoptStream(f *os.File, path string) (*Listener, error) {
	return nil, unsupported("socket activation")
}

// lowerPriority would have a thread give way to others; not on this system.
func lowerPriority(int) error { return unsupported("the priority of threads") }

// DenyCalls would have the system refuse calls that the daemon never makes; not on this system.
func DenyCalls() error { return unsupported("filtering system calls") }

// Harden keeps tokens out of core files; not on this system.
func Harden() error { return unsupported("hardening") }

// realClock is the clock of this machine, of which nothing more is known than that it runs.
type realClock struct{}

var started = time.Now()

func (realClock) now() time.Time        { return time.Now() }
func (realClock) uptime() time.Duration { return time.Since(started) }
func (realClock) vouchers(string) ([]voucher, time.Duration) {
	return []voucher{{name: runtime.GOOS, text: "nobody is asked on " + runtime.GOOS}}, 0
}
func (realClock) watch() (clockWatch, error) { return nil, unsupported("timers on the clock") }

// Ready would tell the service manager that the daemon serves; there is none to tell.
func Ready() error { return nil }

// Reloading would tell the service manager that the configuration is being read again; there is none to tell.
func Reloading() error { return nil }

// Stopping would tell the service manager that the daemon ends; there is none to tell.
func Stopping() error { return nil }

// Watchdog says how often the service manager wants to hear that all is well; there is none to want it.
func Watchdog() (time.Duration, error) { return 0, nil }

// TerminalWidth returns how many columns a terminal has; not on this system.
func TerminalWidth(f *os.File) (int, error) { return 0, unsupported("the width of a terminal") }

// Tell would have the service manager show a line of text; there is none to show it.
func Tell(string) error { return nil }

// Well would tell the service manager that all is well; there is none to tell.
func Well() error { return nil }

// Confine shuts the process in; not on this system.
func Confine(places []Place) (*Sandbox, error) { return nil, unsupported("Landlock") }

func unsupported(what string) error {
	return fmt.Errorf("platform: %s on %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}

// openNoFollow is more to ask of the system when a state file is opened; nothing here.
const openNoFollow = 0

// checkOwn would tell whether others can have written a state file; not on this system.
func checkOwn(f *os.File, info fs.FileInfo) error { return nil }

// onFAT would tell whether renames can be lost; not on this system.
func onFAT(string) bool { return false }

// fileGroup would return the group of a file; not on this system.
func fileGroup(fs.FileInfo) int { return -1 }

// groupID would look a group up; not on this system.
func groupID(group string) (int, error) { return -1, nil }

func makeParent(dir string) error { return os.Mkdir(dir, 0o755) }

// Boot returns what names this boot of the system, which is not known here, and the time since the program started.
func Boot() (id string, up time.Duration) { return "", Uptime() }
