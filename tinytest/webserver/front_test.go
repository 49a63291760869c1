package webserver_test

import (
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// front is a web server under test, with a folder of its own for configuration and logs.
type front struct {
	t       *testing.T
	name    string
	program string
	dir     string
	addr    string
	command *exec.Cmd
	ended   chan struct{}

	passesEvents   bool // the handshake of the IS-07 WebSocket goes to the device unasked
	passesTrailers bool // as the client wrote them, behind a chunked body
	asksItself     bool // at the decision socket, by the C client
	hangsUp        bool // on what it cannot read, such as a trailer
	exposesAll     bool // Access-Control-Expose-Headers is on every answer, also if there is nothing to expose
	unasked        int  // its status, without a body, if the daemon cannot be asked; 0: 503, as it should be
	publishesNone  bool // of the device's public keys: it is the firmware itself
	judgesKeys     bool // it asks about whatever does not read the public keys
	keepsSpelling  bool // the device gets the path as the client spelt it, not as it was judged
}

// newFront looks for the web server's program, and the files that it needs beside it (patterns), and skips the test
// where one is missing. install says how to get them.
func newFront(t *testing.T, name, install string, files ...string) *front {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/" + name) // not in everybody's PATH
	}
	if err != nil {
		t.Skipf("%s is not installed here: %s", name, install)
	}
	for _, pattern := range files {
		if found, err := filepath.Glob(pattern); err != nil || len(found) == 0 {
			t.Skipf("%s has no %s here: %s", name, pattern, install)
		}
	}
	dir, err := os.MkdirTemp("", "nmos-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{t: t, name: name, program: program, dir: dir, addr: freeAddr(t), ended: make(chan struct{})}
	t.Cleanup(func() {
		f.stop()
		if t.Failed() {
			for name, text := range f.logs() {
				t.Logf("%s ends:\n%s", name, text[max(0, len(text)-1500):])
			}
		}
		os.RemoveAll(dir)
	})
	return f
}

// copy takes a file of configs/ over into the folder. Each old text in it is replaced by the new one that follows it,
// and must be there: what is tested is what is shipped.
func (f *front) copy(name string, replace ...string) {
	f.t.Helper()
	f.replaced(name, filepath.Base(name), func(text string) string { return text }, replace)
}

// lines takes what a README of configs/ has in its first code block over into a file of the folder, like copy.
func (f *front) lines(readme, to string, replace ...string) {
	f.t.Helper()
	f.replaced(readme, to, func(text string) string {
		_, text, _ = strings.Cut(text, "\n```")
		_, text, _ = strings.Cut(text, "\n") // the language
		text, _, found := strings.Cut(text, "\n```\n")
		if !found {
			f.t.Fatalf("configs/%s has no code block", readme)
		}
		return text + "\n"
	}, replace)
}

func (f *front) replaced(name, to string, part func(string) string, replace []string) {
	f.t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../configs", name))
	if err != nil {
		f.t.Fatal(err)
	}
	text := part(string(raw))
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			f.t.Fatalf("configs/%s has no %q to be replaced", name, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	f.write(to, text)
}

// rewrite changes a file of the folder.
func (f *front) rewrite(name string, another func(string) string) {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(name, another(string(text)))
}

func (f *front) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// start runs the web server and waits until it can be reached.
func (f *front) start(args ...string) {
	f.t.Helper()
	said, err := os.Create(filepath.Join(f.dir, "output.log"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer said.Close()
	f.command = exec.Command(f.program, args...)
	f.command.Dir = f.dir
	f.command.Env = append(os.Environ(), "HOME="+f.dir, "XDG_DATA_HOME="+f.dir, "XDG_CONFIG_HOME="+f.dir)
	f.command.Stdout, f.command.Stderr = said, said
	f.command.SysProcAttr = &ofItsOwn
	if err := f.command.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() {
		f.command.Wait()
		close(f.ended)
	}()
	eventually(f.t, f.name+" listens", func() bool {
		select {
		case <-f.ended:
			f.t.Fatalf("%s ended: %v\n%s", f.name, f.command.ProcessState, f.logs()[said.Name()])
		default:
		}
		conn, err := net.Dial("tcp", f.addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// stop ends the web server with all its processes.
func (f *front) stop() {
	if f.command == nil || f.command.Process == nil {
		return
	}
	f.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-f.ended:
	case <-time.After(5 * time.Second):
	}
	syscall.Kill(-f.command.Process.Pid, syscall.SIGKILL) // its group, which is its own
	<-f.ended
}

// logs are all files that the web server wrote, by name.
func (f *front) logs() map[string]string {
	all := map[string]string{}
	filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".log") {
			text, _ := os.ReadFile(path)
			all[path] = string(text)
		}
		return nil
	})
	return all
}
