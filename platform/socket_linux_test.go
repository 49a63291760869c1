package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// socketDir returns a short directory: that of testing may leave too little of the 107 bytes.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func mustListen(t *testing.T, path string, o Options) *Listener {
	t.Helper()
	l, err := ListenPacket(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// echo answers one packet on every connection.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		var b [64]byte
		if n, err := c.Read(b[:]); err == nil {
			c.Write(b[:n])
		}
		c.Close()
	}
}

func ask(t *testing.T, path string) {
	t.Helper()
	c, err := net.Dial("unixpacket", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	var b [64]byte
	if _, err := c.Write([]byte("ping 1\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(b[:]); err != nil || string(b[:n]) != "ping 1\n" {
		t.Fatalf("got %q, error %v", b[:n], err)
	}
}

func TestListenPacket(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "authz.sock")
	l := mustListen(t, path, Options{})
	go echo(l)
	ask(t, path)
	if got := l.Addr().String(); got != path {
		t.Errorf("address %q", got)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if got := names(t, dir); got != "authz.sock authz.sock.lock" {
		t.Errorf("the directory holds %s", got)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error("second close:", err)
	}
	if got := names(t, dir); got != "authz.sock.lock" {
		t.Errorf("after Close the directory holds %s", got)
	}
}

func TestListenStream(t *testing.T) {
	path := filepath.Join(socketDir(t), "http.sock")
	l, err := ListenStream(path, Options{Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "here")
	})}
	go s.Serve(l)
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
	res, err := client.Get("http://d/")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if string(body) != "here" {
		t.Errorf("got %q", body)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, error %v", info, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file stayed: %v", err)
	}
}

func TestListenGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a socket to another group needs root")
	}
	path := filepath.Join(socketDir(t), "a.sock")
	mustListen(t, path, Options{Group: "12345"})
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Gid != 12345 {
		t.Errorf("group %d, %v", st.Gid, err)
	}
}

func TestListenGroupUnknown(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "a.sock")
	_, err := ListenPacket(path, Options{Group: "no-such-group"})
	if want := path + `: there is no group "no-such-group" on this system`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if got := names(t, dir); got != "" {
		t.Errorf("left behind: %s", got)
	}
}

// Whoever looks at the path sees no socket or one with its final mode, though the umask would give another.
func TestListenNeverOpenToOthers(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	path := filepath.Join(socketDir(t), "a.sock")
	var stop atomic.Bool
	seen := make(chan fs.FileMode, 1)
	go func() {
		defer close(seen)
		for !stop.Load() {
			if info, err := os.Lstat(path); err == nil && info.Mode() != fs.ModeSocket|0o640 {
				seen <- info.Mode()
				return
			}
		}
	}()
	for range 200 {
		l, err := ListenPacket(path, Options{Mode: 0o640})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	if mode, bad := <-seen; bad {
		t.Errorf("the socket was seen with mode %v", mode)
	}
}

func TestListenReplacesStale(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "a.sock")
	dead := mustListen(t, path, Options{})
	dead.Listener.Close() // as a killed process does: the file stays
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	l := mustListen(t, path, Options{})
	go echo(l)
	ask(t, path)
}

func TestListenNeverReplacesLive(t *testing.T) {
	path := filepath.Join(socketDir(t), "a.sock")
	live := mustListen(t, path, Options{})
	go echo(live)
	for name, c := range map[string]struct {
		open func(string, Options) (*Listener, error)
		want string
	}{
		"same type":  {ListenPacket, fmt.Sprintf("another process (pid %d) is listening on this socket", os.Getpid())},
		"other type": {ListenStream, "another process is listening on this socket"},
	} {
		_, err := c.open(path, Options{})
		if want := path + ": " + c.want; err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	ask(t, path)
}

// A daemon too busy to accept is alive.
func TestListenNeverReplacesBusy(t *testing.T) {
	path := filepath.Join(socketDir(t), "a.sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for full := false; !full; {
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(c)
		full = unix.Connect(c, &unix.SockaddrUnix{Name: path}) == unix.EAGAIN
	}
	if _, err := ListenPacket(path, Options{}); err == nil ||
		!strings.Contains(err.Error(), "another process is listening on this socket") {
		t.Errorf("got %v", err)
	}
}

func TestListenLeavesOtherFilesAlone(t *testing.T) {
	dir := socketDir(t)
	target := filepath.Join(dir, "target")
	for name, put := range map[string]func(path string) error{
		"file":      func(p string) error { return os.WriteFile(p, []byte("precious"), 0o600) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"symlink":   func(p string) error { return os.Symlink(target, p) },
		"pipe":      func(p string) error { return unix.Mkfifo(p, 0o600) },
	} {
		path := filepath.Join(dir, name)
		if err := put(path); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path)
		_, err := ListenPacket(path, Options{})
		if want := path + ": exists and is not a socket; remove it or choose another path"; err == nil ||
			err.Error() != want {
			t.Errorf("%s: got %v", name, err)
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: it changed: %v", name, err)
		}
	}
}

// Of many daemons that start concurrently, one gets the socket and keeps it.
func TestListenRace(t *testing.T) {
	path := filepath.Join(socketDir(t), "a.sock")
	dead := mustListen(t, path, Options{})
	dead.Listener.Close()
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			l, err := ListenPacket(path, Options{})
			switch {
			case err == nil:
				won.Add(1)
				go echo(l)
				t.Cleanup(func() { l.Close() })
			case strings.Contains(err.Error(), "another process (pid "):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 15 {
		t.Errorf("%d won, %d lost", won.Load(), lost.Load())
	}
	ask(t, path)
}

func TestListenLockHeld(t *testing.T) {
	path := filepath.Join(socketDir(t), "a.sock")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	_, err = ListenPacket(path, Options{})
	if want := path + ": another process holds the lock file a.sock.lock"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// Close must not take away the socket of a daemon that came after.
func TestCloseRemovesOnlyItsOwn(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "a.sock")
	first := mustListen(t, path, Options{})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := mustListen(t, path, Options{})
	go echo(second)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	ask(t, path)
}

func TestListenPathLength(t *testing.T) {
	dir := socketDir(t)
	longest := filepath.Join(dir, strings.Repeat("x", maxSocketPath-len(dir)-1))
	l := mustListen(t, longest, Options{})
	go echo(l)
	ask(t, longest)
	if got := names(t, dir); strings.Contains(got, "/.") || strings.HasPrefix(got, ".") {
		t.Errorf("left behind: %s", got)
	}
	_, err := ListenPacket(longest+"x", Options{})
	if want := longest + "x: the path is 108 bytes long; a socket's path has at most 107"; err == nil ||
		err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestListenRemovesLeftovers(t *testing.T) {
	dir := socketDir(t)
	ours := filepath.Join(dir, ".a.sock-0123abcd")
	for _, d := range []string{ours, filepath.Join(dir, ".a.sock-0123abcg"), filepath.Join(dir, ".b.sock-0123abcd")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(ours, inside), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustListen(t, filepath.Join(dir, "a.sock"), Options{})
	if got, want := names(t, dir), ".a.sock-0123abcg .b.sock-0123abcd a.sock a.sock.lock"; got != want {
		t.Errorf("the directory holds %s, want %s", got, want)
	}
}

func TestListenMakesParent(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	dir := socketDir(t)
	mustListen(t, filepath.Join(dir, "run", "a.sock"), Options{})
	if info, err := os.Stat(filepath.Join(dir, "run")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("got %v, error %v", info, err)
	}
	path := filepath.Join(dir, "no", "such", "a.sock")
	_, err := ListenPacket(path, Options{})
	if want := fmt.Sprintf("%s: the directory %s/no does not exist", path, dir); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
