package platform

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// managed returns a socket as a service manager opens it. backlog -1: it does not listen.
func managed(t *testing.T, domain, socktype int, address unix.Sockaddr, backlog int) *os.File {
	t.Helper()
	fd, err := unix.Socket(domain, socktype|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "authz")
	t.Cleanup(func() { f.Close() })
	if err := unix.Bind(fd, address); err != nil {
		t.Fatal(err)
	}
	if backlog >= 0 {
		if err := unix.Listen(fd, backlog); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestAdopt(t *testing.T) {
	path := filepath.Join(socketDir(t), "authz.sock")
	l, err := AdoptPacket(managed(t, unix.AF_UNIX, unix.SOCK_SEQPACKET, &unix.SockaddrUnix{Name: path}, 8), path)
	if err != nil {
		t.Fatal(err)
	}
	go echo(l)
	ask(t, path)
	if a := l.Addr(); a.String() != path || a.Network() != "unixpacket" {
		t.Errorf("%s %s", a.Network(), a)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the service manager's socket was removed: %v", err)
	}
}

func TestAdoptStream(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "http.sock")
	if err := os.Symlink(dir, dir+"-link"); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir + "-link")
	f := managed(t, unix.AF_UNIX, unix.SOCK_STREAM, &unix.SockaddrUnix{Name: path}, 8)
	l, err := AdoptStream(f, filepath.Join(dir+"-link", "http.sock")) // as /var/run is a link to /run
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go echo(l)
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// What is not the socket that was asked for is refused, with what to do.
func TestAdoptRefuses(t *testing.T) {
	dir := socketDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	address := func(name string) *unix.SockaddrUnix { return &unix.SockaddrUnix{Name: at(name)} }
	file, err := os.Create(at("file"))
	if err != nil {
		t.Fatal(err)
	}
	closed := os.NewFile(1<<20, "authz")
	for name, c := range map[string]struct {
		f    *os.File
		want string
	}{
		"stream": {managed(t, unix.AF_UNIX, unix.SOCK_STREAM, address("stream"), 8),
			"it is of another type; its unit needs ListenSequentialPacket=" + at("stream")},
		"datagram": {managed(t, unix.AF_UNIX, unix.SOCK_DGRAM, address("datagram"), -1),
			"it is of another type; its unit needs ListenSequentialPacket=" + at("datagram")},
		"tcp": {managed(t, unix.AF_INET, unix.SOCK_STREAM, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}, 8),
			"not a Unix socket; its unit needs ListenSequentialPacket="},
		"no listening": {managed(t, unix.AF_UNIX, unix.SOCK_SEQPACKET, address("no listening"), -1),
			"it does not listen; its unit must not have Accept=yes"},
		"elsewhere": {managed(t, unix.AF_UNIX, unix.SOCK_SEQPACKET, address("x"), 8),
			`it is at "` + at("x") + `", and the configuration says "` + at("elsewhere") + `"`},
		"abstract": {managed(t, unix.AF_UNIX, unix.SOCK_SEQPACKET, &unix.SockaddrUnix{Name: "@" + dir}, 8),
			`it is at "@` + dir + `", and the configuration says `},
		"file":    {file, "not a socket"},
		"nothing": {closed, "not a socket"},
	} {
		l, err := AdoptPacket(c.f, at(name))
		if err == nil {
			l.Close()
		}
		want := `the socket "` + c.f.Name() + `" from the service manager: ` + c.want
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v\nwant %s", name, err, want)
		}
	}
}

// The variables of another process, or of none, give no socket.
func TestGivenSocketsNone(t *testing.T) {
	for _, env := range []map[string]string{
		{},
		{"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "authz"},
		{"LISTEN_PID": "x", "LISTEN_FDS": "1"},
		{"LISTEN_FDS": "1"},
	} {
		for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
			t.Setenv(name, env[name])
		}
		if given, err := GivenSockets(); err != nil || len(given) != 0 {
			t.Errorf("%v: %v, %v", env, given, err)
		}
		for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
			if value, set := os.LookupEnv(name); set {
				t.Errorf("%s is still %q", name, value)
			}
		}
	}
}
