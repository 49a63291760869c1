package platform

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Readable reports whether there is something to read from a connection, be it its end.
func Readable(c net.Conn) bool {
	conn, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return true // a reader learns why
	}
	ready := true
	raw.Control(func(fd uintptr) {
		one := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(one, 0)
		ready = n != 0 || err != nil
	})
	return ready
}
