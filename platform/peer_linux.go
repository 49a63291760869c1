package platform

import (
	"errors"
	"net"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PeerOf returns the user, the group and the process at the other end of a connection of a Unix socket, as they were
// when it connected (SO_PEERCRED of unix(7)). pid is 0 for a process that this one cannot see, in another PID
// namespace. Connections that are wrapped and say in what, as those of package tls do, are unwrapped.
func PeerOf(c net.Conn) (uid, gid uint32, pid int32, err error) {
	var cred *unix.Ucred
	err = askPeer(c, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	if err != nil {
		return 0, 0, 0, err
	}
	return cred.Uid, cred.Gid, cred.Pid, nil
}

// PeerInGroup reports whether the process at the other end of a connection was in a group when it connected, be it as
// one of its further groups (SO_PEERGROUPS, Linux 4.13; before, its first group alone counts).
func PeerInGroup(c net.Conn, group string) (bool, error) {
	want, err := groupID(group)
	if err != nil || want < 0 {
		return false, err
	}
	if _, gid, _, err := PeerOf(c); err != nil || int(gid) == want {
		return err == nil, err
	}
	const most = 1 << 16 // NGROUPS_MAX
	var groups []uint32
	err = askPeer(c, func(fd int) error {
		for n := 64; n <= most; n = most {
			groups = make([]uint32, n)
			size := uint32(4 * n)
			_, _, no := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
				uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
			switch {
			case no == unix.ERANGE && n < most:
				continue
			case no == unix.ENOPROTOOPT:
				size = 0
			case no != 0:
				return no
			}
			groups = groups[:size/4]
			return nil
		}
		return nil
	})
	return err == nil && slices.Contains(groups, uint32(want)), err
}

// askPeer calls ask with the descriptor of a connection of a socket.
func askPeer(c net.Conn, ask func(fd int) error) error {
	for {
		wrapped, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = wrapped.NetConn()
	}
	conn, ok := c.(syscall.Conn)
	if !ok {
		return errors.New("the peer: not a connection of a socket")
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		var asked error
		if err = raw.Control(func(fd uintptr) { asked = ask(int(fd)) }); err == nil {
			err = asked
		}
	}
	return wrap("the peer", err)
}
