// Package daemon runs the real nmos-authd as a process of its own, for system tests and the demo.
//
// Limits: for tests only. A Daemon is for one goroutine; Log and what it reads may be used by any.
package daemon

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Build compiles the daemon into dir and returns the program's path. Flags are further ones of go build, such as -race.
func Build(dir string, flags ...string) (string, error) {
	program := filepath.Join(dir, "nmos-authd")
	args := append([]string{"build", "-o", program}, flags...)
	out, err := exec.Command("go", append(args, "nmosauthd/agent/cmd/nmos-authd")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the daemon: %w\n%s", err, out)
	}
	return program, nil
}

// lookAtSources looks at the folders of what the daemon is built from, where they are: "go test" gives no result of
// before once what a test has looked at is changed, and it knows nothing of a program that a test builds.
var lookAtSources = sync.OnceFunc(func() {
	module, err := exec.Command("go", "env", "GOMOD").Output()
	for _, folder := range []string{"agent", "platform", "hal"} {
		if err == nil {
			filepath.WalkDir(filepath.Join(filepath.Dir(string(module)), folder),
				func(_ string, _ fs.DirEntry, err error) error { return err })
		}
	}
})

// Config is what a test's configuration says; what it leaves out is shut: no discovery, no state, no admin socket.
type Config struct {
	Mode      string   // "": enforce
	Names     []string // nil: node-1.example.com
	Servers   []string // issuers
	CAPEM     []byte   // their roots; nil: ca_file is CAFile
	CAFile    string   // a file with roots that somebody else writes; "": none
	Discovery string   // the keys of [discovery]; "": mode = "off"
	State     string   // the folder of the state; "": none
	Admin     bool     // the admin socket is open
	Sockets   string   // more keys of [sockets]
	More      string   // more keys of [authorization], then more sections
}

// Dir is a folder made for one daemon: its configuration, roots and sockets.
type Dir struct{ path string }

// NewDir makes a Dir in the system's folder for temporary files, since a socket's path must be short. Remove it.
func NewDir() (Dir, error) {
	path, err := os.MkdirTemp("", "nmos-")
	return Dir{path}, err
}

// Remove removes the folder with all that is in it.
func (d Dir) Remove() error { return os.RemoveAll(d.path) }

// Path is the folder, Authz the path of the decision socket, HTTP that of the HTTP socket, Admin that of the admin
// socket, View that of the view socket, if a configuration opens it there, ConfigFile that of the configuration and
// CAFile that of the roots.
func (d Dir) Path() string       { return d.path }
func (d Dir) Authz() string      { return filepath.Join(d.path, "run", "authz.sock") }
func (d Dir) HTTP() string       { return filepath.Join(d.path, "run", "http.sock") }
func (d Dir) Admin() string      { return filepath.Join(d.path, "run", "admin.sock") }
func (d Dir) View() string       { return filepath.Join(d.path, "run", "view.sock") }
func (d Dir) ConfigFile() string { return filepath.Join(d.path, "nmos-authd.toml") }
func (d Dir) CAFile() string     { return filepath.Join(d.path, "ca.pem") }

// File is the path of another file in the folder.
func (d Dir) File(name string) string { return filepath.Join(d.path, name) }

// Write writes the configuration. A daemon that runs reads it at SIGHUP.
func (d Dir) Write(c Config) error {
	if c.Mode == "" {
		c.Mode = "enforce"
	}
	if c.Names == nil {
		c.Names = []string{"node-1.example.com"}
	}
	ca := c.CAFile
	if c.CAPEM != nil {
		ca = d.CAFile()
		if err := os.WriteFile(ca, c.CAPEM, 0o644); err != nil {
			return err
		}
	}
	admin := ""
	if c.Admin {
		admin = d.Admin()
	}
	if c.Discovery == "" {
		c.Discovery = "mode = \"off\""
	}
	text := fmt.Sprintf(
		"mode = %q\n[device]\nnames = %s\n[discovery]\n%s\n[sockets]\nauthz = %q\nhttp = %q\nadmin = %q\n%s\n"+
			"[state]\ndir = %q\n[authorization]\nservers = %s\nca_file = %q\n%s\n",
		c.Mode,
		list(c.Names),
		c.Discovery,
		d.Authz(),
		d.HTTP(),
		admin,
		c.Sockets,
		c.State,
		list(c.Servers),
		ca,
		c.More,
	)
	return d.WriteText(text)
}

// WriteText writes a configuration word by word, be it good or bad.
func (d Dir) WriteText(text string) error { return os.WriteFile(d.ConfigFile(), []byte(text), 0o644) }

// list writes a TOML array of strings.
func list(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = strconv.Quote(v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// Daemon is a running daemon.
type Daemon struct {
	Dir
	command *exec.Cmd
	log     log
	manager *manager
	ended   chan struct{}
	err     error // how it ended; read it once ended is closed
}

// log collects what the daemon writes to standard error.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// Start runs the program with the configuration in dir and waits until it serves. An error holds what the daemon said.
func Start(ctx context.Context, program string, dir Dir) (*Daemon, error) {
	return StartCommand(ctx, exec.Command(program), dir)
}

// StartCommand is Start for a command that has an environment, a folder or a user of its own. Its arguments are added
// here.
func StartCommand(ctx context.Context, command *exec.Cmd, dir Dir) (*Daemon, error) {
	lookAtSources()
	m, err := newManager(filepath.Join(dir.path, "notify"))
	if err != nil {
		return nil, err
	}
	d := &Daemon{Dir: dir, command: command, manager: m, ended: make(chan struct{})}
	command.Args = append(command.Args, "run", "--config", dir.ConfigFile())
	command.Env = append(command.Environ(), "NOTIFY_SOCKET="+m.path)
	command.Stdout, command.Stderr = &d.log, &d.log
	endWithParent(command)
	if err := command.Start(); err != nil {
		m.close()
		return nil, err
	}
	go func() {
		d.err = command.Wait()
		m.close()
		close(d.ended)
	}()
	select {
	case <-m.ready:
		return d, nil
	case <-d.ended:
		return nil, fmt.Errorf("the daemon ended: %w\n%s", d.err, d.Log())
	case <-ctx.Done():
		d.Kill()
		return nil, fmt.Errorf("the daemon does not say that it serves: %w\n%s", ctx.Err(), d.Log())
	}
}

// Log returns what the daemon has written so far.
func (d *Daemon) Log() string {
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	return d.log.b.String()
}

// WaitLog waits until the log holds the text behind its first `after` bytes, in a line that is there to its end.
func (d *Daemon) WaitLog(ctx context.Context, after int, text string) error {
	said := func() bool {
		log := d.Log()[after:]
		return strings.Contains(log[:strings.LastIndexByte(log, '\n')+1], text)
	}
	for !said() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the daemon's log does not say %q:\n%s", text, d.Log()[after:])
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// PID is the daemon's process id.
func (d *Daemon) PID() int { return d.command.Process.Pid }

// Signal sends a signal.
func (d *Daemon) Signal(s syscall.Signal) error { return d.command.Process.Signal(s) }

// Ended is closed when the daemon has ended.
func (d *Daemon) Ended() <-chan struct{} { return d.ended }

// Told is what the daemon has told the service manager so far, such as READY=1.
func (d *Daemon) Told() []string { return d.manager.all() }

// State is how the daemon ended; ask once Ended is closed.
func (d *Daemon) State() *os.ProcessState { return d.command.ProcessState }

// Stop tells the daemon to stop and waits; the error is how it ended, nil for exit status 0.
func (d *Daemon) Stop() error {
	d.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
		return d.err
	case <-time.After(time.Minute):
		d.Kill()
		return fmt.Errorf("the daemon did not stop within a minute:\n%s", d.Log())
	}
}

// Kill ends the daemon as a power cut does, if it runs, and waits.
func (d *Daemon) Kill() {
	d.Signal(syscall.SIGKILL)
	<-d.ended
}
