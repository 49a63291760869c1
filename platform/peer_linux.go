package platform

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// PeerOf returns the process at the other end of a connection of a Unix socket, as it was when it connected
// (SO_PEERCRED of unix(7)). Connections that are wrapped and say in what, as those of package tls do, are unwrapped.
func PeerOf(c net.Conn) (Peer, error) {
	for {
		wrapped, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = wrapped.NetConn()
	}
	conn, ok := c.(syscall.Conn)
	if !ok {
		return Peer{}, errors.New("the peer: not a connection of a socket")
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("the peer: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Peer{}, fmt.Errorf("the peer: %w", err)
	}
	if credErr != nil {
		return Peer{}, fmt.Errorf("the peer: %w", credErr)
	}
	return Peer{UID: cred.Uid, GID: cred.Gid, PID: int(cred.Pid)}, nil
}
