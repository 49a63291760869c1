package platform

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// AwaitReadable returns when there is something to read from a connection, or it has ended. It needs no buffer, as a
// read does.
func AwaitReadable(c net.Conn) {
	conn, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return // a reader learns why
	}
	raw.Read(func(fd uintptr) bool {
		one := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(one, 0)
		return n != 0 || err != nil
	})
}

// Yield lets other threads have the processor (sched_yield(2)). The runtime is not told, since the thread comes back as
// from a preemption.
func Yield() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
