package system_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/daemon"
)

// serviceManager opens a daemon's sockets as systemd does and keeps them.
type serviceManager struct {
	names []string
	files []*os.File
}

// open opens a socket and gives it a name.
func (m *serviceManager) open(t *testing.T, name, network, path string) {
	t.Helper()
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: path, Net: network})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	t.Cleanup(func() { f.Close() })
	m.names, m.files = append(m.names, name), append(m.files, f)
}

// command is the program with the sockets. Its process id is only known to a process that becomes it.
func (m *serviceManager) command(args ...string) *exec.Cmd {
	c := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, program}, args...)...)
	c.Env = append(os.Environ(), fmt.Sprintf("LISTEN_FDS=%d", len(m.files)),
		"LISTEN_FDNAMES="+strings.Join(m.names, ":"))
	c.ExtraFiles = m.files
	return c
}

// activated makes a folder with a configuration and the folder of the sockets in it.
func activated(t *testing.T, c daemon.Config) daemon.Dir {
	t.Helper()
	dir := newDir(t)
	if err := dir.Write(c); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir.File("run"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The service manager opens the sockets: who connects before the daemon runs waits and is answered, and so it is while
// it is started again. The sockets stay. Their group is the service manager's affair, which the log says.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	config := trusting(t)
	dir := activated(t, config)
	config.Sockets = fmt.Sprintf("group = \"0\"\nview = %q", dir.View())
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	m := &serviceManager{}
	m.open(t, "authz", "unixpacket", dir.Authz())
	m.open(t, "http", "unix", dir.HTTP())
	m.open(t, "view", "unix", dir.View())

	for range 2 {
		packet, err := net.Dial("unixpacket", dir.Authz())
		if err != nil {
			t.Fatal(err)
		}
		defer packet.Close()
		stream, err := net.Dial("unix", dir.HTTP())
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		view, err := net.Dial("unix", dir.View())
		if err != nil {
			t.Fatal(err)
		}
		defer view.Close()
		for _, conn := range []net.Conn{packet, stream, view} {
			conn.SetDeadline(time.Now().Add(patience))
		}
		if _, err := packet.Write([]byte("ping 1\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(stream, "GET /authorize HTTP/1.1\r\nHost: daemon\r\nX-Original-Method: GET\r\n"+
			"X-Original-URI: /x-nmos\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(view, "GET /records?last=1 HTTP/1.1\r\nHost: daemon\r\n\r\n"); err != nil {
			t.Fatal(err)
		}

		b := &box{t: t, config: config, caller: newCaller(t, dir)}
		b.Daemon = startCommand(t, m.command(), dir)
		reply := make([]byte, 100)
		if n, err := packet.Read(reply); err != nil || string(reply[:n]) != "pong 1\n" {
			t.Errorf("a question from before the start: %q, %v", reply[:n], err)
		}
		if r, err := http.ReadResponse(bufio.NewReader(stream), nil); err != nil || r.StatusCode != 200 {
			t.Errorf("a request from before the start: %v, %v", r, err)
		}
		if r, err := http.ReadResponse(bufio.NewReader(view), nil); err != nil || r.StatusCode != 200 {
			t.Errorf("a page's request from before the start: %v, %v", r, err)
		}
		b.want(get("/x-nmos"), 200, "public")
		b.askBoth(get("/x-nmos"))
		for _, path := range []string{dir.Authz(), dir.HTTP()} {
			b.waitLog(0, fmt.Sprintf(`the configured group is not applied","socket":%q,"group":"0"`, path))
		}
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
		if entries, err := os.ReadDir(dir.File("run")); err != nil || len(entries) != 3 {
			t.Errorf("the sockets' folder holds %v, %v", entries, err)
		}
	}
}

// A socket that is not given is opened by the daemon itself, and removed by it.
func TestSocketActivationOfOne(t *testing.T) {
	t.Parallel()
	config := trusting(t)
	dir := activated(t, config)
	m := &serviceManager{}
	m.open(t, "authz", "unixpacket", dir.Authz())
	b := &box{t: t, config: config, caller: newCaller(t, dir)}
	b.Daemon = startCommand(t, m.command(), dir)
	b.want(get("/x-nmos"), 200, "public")
	b.askBoth(get("/x-nmos"))
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir.Authz()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir.HTTP()); !os.IsNotExist(err) {
		t.Errorf("%s: %v", dir.HTTP(), err)
	}
}

// Units and configurations that do not fit together are errors that say what to change.
func TestSocketActivationMisfits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		open func(*testing.T, *serviceManager, daemon.Dir)
		says func(daemon.Dir) string
	}{
		"another path": {
			func(t *testing.T, m *serviceManager, dir daemon.Dir) {
				m.open(t, "authz", "unixpacket", dir.File("other.sock"))
			},
			func(dir daemon.Dir) string {
				return fmt.Sprintf(`the socket "authz" from the service manager: it is at %q, and the configuration says %q`, dir.File("other.sock"), dir.Authz())
			},
		},
		"another type": {
			func(t *testing.T, m *serviceManager, dir daemon.Dir) {
				m.open(t, "authz", "unix", dir.Authz())
				m.open(t, "http", "unix", dir.HTTP())
			},
			func(dir daemon.Dir) string {
				return `it is of another type; its unit needs ListenSequentialPacket=` + dir.Authz()
			},
		},
		"another name": {
			func(t *testing.T, m *serviceManager, dir daemon.Dir) {
				m.open(t, "nmos-authd.socket", "unixpacket", dir.Authz())
			},
			func(daemon.Dir) string {
				return `passed a socket named "nmos-authd.socket"; its unit needs FileDescriptorName=authz, http, admin or view`
			},
		},
		"one name twice": {
			func(t *testing.T, m *serviceManager, dir daemon.Dir) {
				m.open(t, "authz", "unixpacket", dir.Authz())
				m.open(t, "authz", "unixpacket", dir.File("other.sock"))
			},
			func(daemon.Dir) string { return `two sockets of the name "authz"` },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := activated(t, trusting(t))
			m := &serviceManager{}
			c.open(t, m, dir)
			r := finish(t, m.command("run", "--config", dir.ConfigFile()), "")
			if says := c.says(dir); r.status != 1 || !strings.Contains(r.errors, says) ||
				strings.Contains(r.errors, "nobody answers") {
				t.Errorf("exit status %d, want %q:\n%s", r.status, says, r.errors)
			}
		})
	}
}

// A socket that the configuration does not have is closed, and the log says that nobody answers on it.
func TestSocketActivationOfTooMany(t *testing.T) {
	t.Parallel()
	dir := activated(t, trusting(t))
	m := &serviceManager{}
	m.open(t, "admin", "unix", dir.File("run/admin.sock")) // admin = ""
	b := &box{t: t, caller: newCaller(t, dir)}
	b.Daemon = startCommand(t, m.command(), dir)
	b.waitLog(0, `nobody answers on it","name":"admin"`)
	b.want(get("/x-nmos"), 200, "public")
}
