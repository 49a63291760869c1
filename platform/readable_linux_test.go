package platform

import (
	"net"
	"path/filepath"
	"testing"
)

func TestReadable(t *testing.T) {
	path := filepath.Join(socketDir(t), "a.sock")
	l := mustListen(t, path, Options{})
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
	want := func(when string, want bool) {
		t.Helper()
		if got := Readable(conn); got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	want("at first", false)
	if _, err := caller.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	want("with a packet", true)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	want("once it was read", false)
	caller.Close()
	want("at the end", true)
	if pipe, _ := net.Pipe(); !Readable(pipe) {
		t.Error("a connection that cannot be asked is said to have nothing to read")
	}
}
