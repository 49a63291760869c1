package platform

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestAwaitReadable(t *testing.T) {
	path := filepath.Join(socketDir(t), "a.sock")
	l := mustListen(t, path, Options{})
	for name, act := range map[string]func(caller, conn net.Conn){
		"a packet":         func(caller, _ net.Conn) { caller.Write([]byte("x")) },
		"hanging up":       func(caller, _ net.Conn) { caller.Close() },
		"closing it":       func(_, conn net.Conn) { conn.Close() },
		"closing to reads": func(_, conn net.Conn) { conn.(*net.UnixConn).CloseRead() },
	} {
		caller, err := net.Dial("unixpacket", path)
		if err != nil {
			t.Fatal(err)
		}
		defer caller.Close()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		done := make(chan struct{})
		go func() {
			AwaitReadable(conn)
			close(done)
		}()
		select {
		case <-done:
			t.Errorf("%s: it did not wait", name)
		case <-time.After(20 * time.Millisecond):
		}
		act(caller, conn)
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Errorf("%s: it still waits", name)
		}
	}
	pipe, _ := net.Pipe()
	AwaitReadable(pipe) // cannot be waited for
}
