package platform

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxSocketPath is the longest path of a Unix socket, in bytes: sun_path of unix(7) with its closing NUL.
	maxSocketPath = 107
	// lockWait bounds the wait for another process that opens or closes a socket at the same path. Either takes
	// milliseconds.
	lockWait = 2 * time.Second
	// inside is the socket's name in its private directory, short because it counts towards maxSocketPath.
	inside = "s"
)

// ListenPacket opens a SOCK_SEQPACKET socket at path, as ListenStream does.
func ListenPacket(path string, o Options) (*Listener, error) {
	return listen(path, "unixpacket", unix.SOCK_SEQPACKET, o)
}

// ListenStream opens a SOCK_STREAM socket at path.
//
// The socket is bound in a directory that only the daemon may enter, gets its group and mode there, and is then moved
// to the path in one step: at no moment can anybody connect who may not. What is at the path already is replaced only
// if it is a socket on which nobody answers. A socket that answers, and anything that is not a socket, is an error and
// stays untouched.
//
// A missing parent directory is created with mode 0755, since the callers must be able to pass through it; a missing
// grandparent is an error, since it is rather a misspelt path. Beside the socket stays an empty file with the suffix
// ".lock", by which daemons that start at the same time take turns.
func ListenStream(path string, o Options) (*Listener, error) {
	return listen(path, "unix", unix.SOCK_STREAM, o)
}

// Listener is a listening Unix socket. Its Close also removes the socket's file, unless the service manager made it.
type Listener struct {
	net.Listener
	addr  net.UnixAddr
	file  fs.FileInfo // the socket's file, to recognise it; nil if it is not ours to remove
	close sync.Once
	err   error
}

// Addr returns the path that callers connect to. The kernel knows the socket by the name under which it was bound,
// which is what tools such as ss show.
func (l *Listener) Addr() net.Addr { return &l.addr }

// Close stops listening and removes the socket's file, unless another one stands at its path by now, or the service
// manager made it: that goes on listening, and starts the daemon again for whoever connects. Connections that were
// accepted stay open. Further calls return what the first returned.
func (l *Listener) Close() error {
	l.close.Do(func() { l.err = errors.Join(l.remove(), l.Listener.Close()) })
	return l.err
}

// remove takes the file away while the socket still holds its inode: after that the number may be given to another
// file.
func (l *Listener) remove() error {
	if l.file == nil {
		return nil
	}
	unlock, err := lock(l.addr.Name)
	if err != nil {
		return wrap(l.addr.Name, err) // the file stays, and the next daemon finds that nobody answers on it
	}
	defer unlock()
	if now, err := os.Lstat(l.addr.Name); err != nil || !os.SameFile(now, l.file) {
		return nil
	}
	return os.Remove(l.addr.Name)
}

func listen(path, network string, socktype int, o Options) (*Listener, error) {
	path = filepath.Clean(path)
	l, err := take(path, socktype, o)
	if err != nil {
		return nil, wrap(path, err)
	}
	l.addr = net.UnixAddr{Name: path, Net: network}
	return l, nil
}

// take makes the socket at a path that is free. Its errors do not name the path.
func take(path string, socktype int, o Options) (*Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path is %d bytes long; a socket's path has at most %d", len(path), maxSocketPath)
	}
	gid, err := groupID(o.Group)
	if err != nil {
		return nil, err
	}
	if err := makeParent(filepath.Dir(path)); err != nil {
		return nil, err
	}
	unlock, err := lock(path)
	if err != nil {
		return nil, err
	}
	defer unlock()

	if err := vacant(path, socktype); err != nil {
		return nil, err
	}
	removeLeftovers(path)
	return open(path, socktype, gid, o.mode())
}

// open makes the socket in a private directory and moves it to the path. The lock is held.
func open(path string, socktype, gid int, mode fs.FileMode) (*Listener, error) {
	dir := privatePrefix(path) + randomHex()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, wrap("the socket's private directory", err)
	}
	defer removePrivate(dir)

	fd, err := unix.Socket(unix.AF_UNIX, socktype|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, wrap("the socket", err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // the listener holds a copy of its own

	if err := bind(fd, dir); err != nil {
		return nil, wrap("binding", err)
	}
	private := filepath.Join(dir, inside)
	if gid >= 0 {
		if err := os.Lchown(private, -1, gid); err != nil {
			return nil, wrap("giving the socket to group "+strconv.Itoa(gid), errors.Unwrap(err))
		}
	}
	if err := os.Chmod(private, mode); err != nil {
		return nil, wrap("setting the socket's mode", err)
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return nil, wrap("listening", err)
	}
	info, err := os.Lstat(private)
	if err != nil {
		return nil, err
	}
	generic, err := net.FileListener(f)
	if err != nil {
		return nil, wrap("listening", err)
	}
	if err := os.Rename(private, path); err != nil {
		return nil, errors.Join(wrap("moving the socket into place", err), generic.Close())
	}
	return &Listener{Listener: generic, file: info}, nil
}

// bind binds to the socket's name in the private directory. That name is longer than the final one; if it is too long
// for a socket address, the directory is named by a descriptor instead.
func bind(fd int, dir string) error {
	name := filepath.Join(dir, inside)
	if len(name) > maxSocketPath {
		at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(at)
		name = fmt.Sprintf("/proc/self/fd/%d/%s", at, inside)
	}
	return unix.Bind(fd, &unix.SockaddrUnix{Name: name})
}

// vacant returns nil if a socket may be put at the path: nothing is there, or a socket on which nobody answers.
func vacant(path string, socktype int) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("exists and is not a socket; remove it or choose another path")
	}
	fd, err := unix.Socket(unix.AF_UNIX, socktype|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return wrap("the socket", err)
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err {
	case unix.ECONNREFUSED, unix.ENOENT:
		return nil
	case nil, unix.EAGAIN, unix.EINPROGRESS, unix.EPROTOTYPE:
		// EAGAIN: it listens and its queue is full. EPROTOTYPE: it lives and is of another type.
		return listenedOn(fd)
	default:
		return wrap("cannot tell whether another process is listening on this socket", err)
	}
}

// listenedOn returns the error that somebody answers on a socket, whom it names if fd is connected to it.
func listenedOn(fd int) error {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || peer.Pid <= 0 { // not connected, or of another PID namespace
		return errors.New("another process is listening on this socket")
	}
	who := "another process"
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", peer.Pid)); err == nil &&
		strings.TrimSpace(string(name)) == "nmos-authd" {
		who = "another nmos-authd"
	}
	return fmt.Errorf("%s (pid %d) is listening on this socket", who, peer.Pid)
}

// lock makes the caller the only one that opens or removes the socket at path, until unlock. The lock's file is never
// removed: whoever had it open already would lock a file that nobody else sees.
func lock(path string) (unlock func(), err error) {
	name := path + ".lock"
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, wrap("the lock file "+filepath.Base(name), err)
	}
	for deadline := time.Now().Add(lockWait); ; time.Sleep(10 * time.Millisecond) {
		switch err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return func() { unix.Close(fd) }, nil
		case err == unix.EINTR:
		case err != unix.EWOULDBLOCK:
			unix.Close(fd)
			return nil, wrap("locking "+filepath.Base(name), err)
		case time.Now().After(deadline):
			unix.Close(fd)
			return nil, errors.New("another process holds the lock file " + filepath.Base(name))
		}
	}
}

func makeParent(dir string) error {
	switch err := os.Mkdir(dir, 0o755); {
	case err == nil:
		return os.Chmod(dir, 0o755) // whatever the umask took away
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("the directory " + filepath.Dir(dir) + " does not exist")
	default:
		return err
	}
}

// CheckGroup returns what is wrong with the name or number of a group, or nil.
func CheckGroup(group string) error {
	_, err := groupID(group)
	return err
}

// groupID returns the number of a group, -1 for the empty name.
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		var unknown user.UnknownGroupError
		if errors.As(err, &unknown) {
			return 0, fmt.Errorf("there is no group %q on this system", group)
		}
		return 0, wrap(fmt.Sprintf("looking up group %q", group), err)
	}
	return strconv.Atoi(g.Gid)
}

// GroupOf returns the number of the group that a file belongs to.
func GroupOf(path string) (gid int, err error) {
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		return 0, wrap(path, err)
	}
	return int(info.Gid), nil
}

// privatePrefix is what the names of the private directories for a socket start with; hex digits follow.
func privatePrefix(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"-")
}

func removePrivate(dir string) {
	unix.Unlink(filepath.Join(dir, inside))
	unix.Rmdir(dir)
}

// removeLeftovers removes the private directories of daemons that were killed while they opened this socket. The lock
// is held, so none is in use. A remaining one does no harm.
func removeLeftovers(path string) {
	parent, prefix := filepath.Split(privatePrefix(path))
	entries, err := os.ReadDir(filepath.Clean(parent))
	if err != nil {
		return
	}
	for _, e := range entries {
		random, ours := strings.CutPrefix(e.Name(), prefix)
		if _, err := hex.DecodeString(random); ours && err == nil && len(random) == 2*randomBytes && e.IsDir() {
			removePrivate(filepath.Join(parent, e.Name()))
		}
	}
}

const randomBytes = 4

// randomHex returns digits that make a name unlike that of any other process.
func randomHex() string {
	var b [randomBytes]byte
	rand.Read(b[:]) // never fails, by its documentation
	return hex.EncodeToString(b[:])
}
