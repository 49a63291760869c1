package platform

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// accepted returns the server's end of a connection that this process has made.
func accepted(t *testing.T) net.Conn {
	t.Helper()
	path := filepath.Join(socketDir(t), "a.sock")
	l := mustListen(t, path, Options{})
	ours, err := net.Dial("unixpacket", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	return theirs
}

func TestPeerOf(t *testing.T) {
	conn := accepted(t)
	for _, conn := range []net.Conn{conn, wrapped{conn}, wrapped{wrapped{conn}}} {
		uid, gid, pid, err := PeerOf(conn)
		if err != nil || int(uid) != os.Getuid() || int(gid) != os.Getgid() || int(pid) != os.Getpid() {
			t.Errorf("%T: got %d, %d, %d, %v; want %d, %d, %d", conn, uid, gid, pid, err,
				os.Getuid(), os.Getgid(), os.Getpid())
		}
	}
	conn.Close()
	if uid, _, pid, err := PeerOf(conn); err == nil {
		t.Errorf("a closed connection has the peer %d, %d", uid, pid)
	}
	pipe, _ := net.Pipe()
	if uid, _, pid, err := PeerOf(pipe); err == nil {
		t.Errorf("a pipe has the peer %d, %d", uid, pid)
	}
}

// The groups of a process are those that it has, not those that its user has in /etc/group.
func TestPeerInGroup(t *testing.T) {
	s := accepted(t)
	mine, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, gid := range append(mine, os.Getgid()) {
		if is, err := PeerInGroup(wrapped{s}, strconv.Itoa(gid)); !is || err != nil {
			t.Errorf("group %d: got %v, %v; want true", gid, is, err)
		}
	}
	for _, group := range []string{"4294967", "", "no-such-group"} {
		if is, err := PeerInGroup(s, group); is || (err != nil) != (group == "no-such-group") {
			t.Errorf("group %q: got %v, %v; want false", group, is, err)
		}
	}
}
