package system_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nmosauthd/tinytest/authserver"
)

// watching is a "nmos-authd watch" that runs.
type watching struct {
	t       *testing.T
	command *exec.Cmd
	mu      sync.Mutex
	out     bytes.Buffer
	errors  bytes.Buffer
	ended   chan struct{}
}

// startWatch runs the command; out is its standard output where that is not to be a pipe.
func startWatch(t *testing.T, out *os.File, environment []string, args ...string) *watching {
	t.Helper()
	w := &watching{t: t, command: exec.Command(program, append([]string{"watch"}, args...)...),
		ended: make(chan struct{})}
	w.command.Stderr = &w.errors
	w.command.Env = append(os.Environ(), environment...)
	if w.command.Stdout = w; out != nil {
		w.command.Stdout = out
	}
	if err := w.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		w.command.Wait()
		close(w.ended)
	}()
	t.Cleanup(func() {
		w.command.Process.Kill()
		<-w.ended
	})
	return w
}

func (w *watching) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(b)
}

func (w *watching) printed() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// await waits until a text is printed.
func (w *watching) await(text string) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(w.printed(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("it does not print %q:\n%s%s", text, w.printed(), w.errors.String())
		}
	}
}

// end waits for its exit status.
func (w *watching) end() int {
	w.t.Helper()
	select {
	case <-w.ended:
	case <-time.After(patience):
		w.t.Fatal("it does not end")
	}
	return w.command.ProcessState.ExitCode()
}

// "watch" shows what was decided and what is, as far as it is asked for, until it is interrupted or the daemon stops.
func TestWatchCommand(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin = true
	config.More = "[audit]\nrepeat = \"2s\"\n"
	b := start(t, config)
	b.waitLog(0, "keys fetched")
	token := everything(server).Sign()
	b.want(get("/x-nmos"), 200, "public")
	b.want(get(senders).bearing(token), 200, "ok")
	file := []string{"--config", b.ConfigFile()}
	all := startWatch(t, nil, nil, file...)
	denied := startWatch(t, nil, nil, append(file, "--denied", "--path", "*/senders/*")...)
	json := startWatch(t, nil, nil, append(file, "--json", "--last", "1", "--client", "controller-*")...)
	const row = " allow 200 ok                  controller-1          GET     " + senders + "\n"
	all.await(row)
	all.await(" allow 200 public                                    GET     /x-nmos\n")
	denied.await("   seq  UTC ")
	json.await(`"path":"` + senders + `"`)

	b.want(get(senders), 401, "no-token")
	for range 50 {
		b.want(get(senders+"/\x1b[2Jx"), 400, "path-ambiguous")
	}
	b.want(get(senders+"/x").bearing(token), 200, "ok")
	all.await(" deny  401 no-token                                  GET     " + senders + "\n")
	const ambiguous = " deny  400 path-ambiguous                            GET     " + senders + `/\x1b[2Jx`
	eventually(t, "50 equal denials, most of them in one line",
		func() bool { return rowsOf(denied.printed(), ambiguous) == 50 })
	json.await(`"path":"` + senders + `/x"`)
	if text := denied.printed(); strings.Contains(text, "allow") || strings.Contains(text, senders+"\n") ||
		strings.Count(text, "\n") != 1+strings.Count(text, ambiguous) || strings.Count(text, ambiguous) > 25 {
		t.Errorf("got another than what is denied, or 50 equal denials each in a line:\n%s", text)
	}
	if text := json.printed(); strings.Contains(text, "no-token") || strings.Count(text, "\n") != 2 ||
		!strings.HasPrefix(text, `{"audit":1,"seq":2,`) {
		t.Errorf("not only the client's:\n%s", text)
	}
	if text := all.printed(); strings.ContainsRune(text, '\x1b') || !strings.HasPrefix(text, "   seq  UTC ") {
		t.Errorf("colours in a file:\n%q", text)
	}

	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		w := startWatch(t, nil, nil, file...)
		w.await(senders)
		w.command.Process.Signal(s)
		if status := w.end(); status != 0 || w.errors.Len() > 0 {
			t.Errorf("%v: exit status %d, %s", s, status, w.errors.String())
		}
	}
	for args, complaint := range map[string]string{
		"--last -1": "it takes ?last=N", "--last x": "invalid value", "senders": "too few or too many arguments",
	} {
		command(t, "", append(append([]string{"watch"}, file...), strings.Fields(args)...)...).check(t, 2, "",
			complaint)
	}

	// The daemon's end is told, and not delayed, neither by these nor by one who reads nothing.
	stuck, err := net.Dial("unix", b.Admin())
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	fmt.Fprint(stuck, "GET /watch HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := io.ReadFull(stuck, make([]byte, len("HTTP/1.1 200"))); err != nil {
		t.Fatal(err)
	}
	b.burst(token, 8000)
	asked := time.Now()
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	if log := b.Log(); strings.Contains(log, cutOff) { // it has 5 s for requests, and a watcher has 10 s for a line
		t.Errorf("the daemon took %v to stop and had to wait:\n%s", time.Since(asked), log)
	}
	for _, w := range []*watching{all, denied, json} {
		if status := w.end(); status != 2 ||
			!strings.Contains(w.errors.String(), "the daemon ended the watch: it was stopped") {
			t.Errorf("exit status %d, %s", status, w.errors.String())
		}
	}
	command(t, "", append([]string{"watch"}, file...)...).check(t, 2, "", b.Admin())
}

// rowsOf adds up the lines that hold row, each as often as it says behind ×.
func rowsOf(text, row string) (n int) {
	for line := range strings.Lines(text) {
		if !strings.Contains(line, row) {
			continue
		}
		times := 1
		if _, after, found := strings.Cut(line, "×"); found {
			fmt.Sscan(after, &times)
		}
		n += times
	}
	return n
}

// A slow watcher is told how many decisions it missed; with those that it got they are all.
func TestSlowWatcher(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.Admin = true
	config.More = "[audit]\nsinks = []\nrepeat = \"0s\"\ndeny_rate = 0\nallow_rate = 0\n"
	b := start(t, config)
	b.waitLog(0, "keys fetched")
	conn, err := net.Dial("unix", b.Admin())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.UnixConn).SetReadBuffer(4096)
	fmt.Fprint(conn, "GET /watch?last=0 HTTP/1.1\r\nHost: a\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(answer.Body)
	const load = 4000
	b.burst(everything(server).Sign(), load) // nothing is read meanwhile
	conn.SetReadDeadline(time.Now().Add(patience))
	var all tally
	for all.kept+all.dropped < load {
		line, err := in.ReadBytes('\n')
		if err != nil {
			t.Fatalf("%v after %+v", err, all)
		}
		all.add(t, line)
	}
	if all.kept+all.dropped != load || all.dropped == 0 || all.kept < 100 {
		t.Errorf("%d were shown and %d missed of %d", all.kept, all.dropped, load)
	}
}

// One whose output nobody takes can be ended all the same, with a second signal.
func TestWatchIntoAFullPipe(t *testing.T) {
	t.Parallel()
	config := trusting(t)
	config.Admin = true
	config.More = "[audit]\nsinks = []\nrepeat = \"0s\"\ndeny_rate = 0\nallow_rate = 0\n"
	b := start(t, config)
	full, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	defer out.Close()
	w := startWatch(t, out, nil, "--config", b.ConfigFile(), "--json")
	eventually(t, "the pipe is full", func() bool {
		b.burst("x.y.z", 1000)
		takesMore, err := unix.Poll([]unix.PollFd{{Fd: int32(out.Fd()), Events: unix.POLLOUT}}, 0)
		return takesMore == 0 && err == nil
	})
	eventually(t, "it ends", func() bool {
		w.command.Process.Signal(syscall.SIGINT)
		select {
		case <-w.ended:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
}

// On a terminal there are colours, unless NO_COLOR says otherwise, and a row fits into its width: on 80 columns in two
// lines.
func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	config := trusting(t)
	config.Admin = true
	b := start(t, config)
	target := "/x-nmos/connection/v1.1/" + strings.Repeat("x", 200) + "/staged"
	b.ask(get("/x-nmos"))
	b.ask(get(target))
	for _, c := range []struct {
		environment []string
		colours     int
	}{
		{[]string{"NO_COLOR=", "TERM=xterm"}, 4},
		{[]string{"NO_COLOR=1", "TERM=xterm"}, 0},
		{[]string{"NO_COLOR=", "TERM=dumb"}, 0},
	} {
		master, slave := terminal(t, 80)
		w := startWatch(t, slave, c.environment, "--config", b.ConfigFile())
		slave.Close()
		stuck := time.AfterFunc(patience, func() { w.command.Process.Kill() }) // so that reading ends
		var text strings.Builder
		in := bufio.NewReader(master)
		for range 6 { // the head, and two rows
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("%v after %q", err, text.String())
			}
			text.WriteString(line)
		}
		stuck.Stop()
		if n := strings.Count(text.String(), "\x1b["); n != c.colours ||
			c.colours > 0 && !strings.Contains(text.String(), "\x1b[32mallow 200\x1b[0m public") {
			t.Errorf("%v: %d colours, want %d: %q", c.environment, n, c.colours, text.String())
		}
		rows := strings.Split(text.String(), "\r\n")
		for _, row := range rows {
			if bare := strings.NewReplacer("\x1b[31m", "", "\x1b[32m", "", "\x1b[0m", "").Replace(row); len(bare) > 80 {
				t.Errorf("%d columns, want at most 80: %q", len(bare), bare)
			}
		}
		if long := rows[5]; len(long) != 80 || !strings.HasSuffix(long, "xx/staged") ||
			!strings.HasPrefix(long, "        GET     ..x") {
			t.Errorf("got %q of %d columns, want the path's end in 80", long, len(long))
		}
		w.command.Process.Signal(syscall.SIGINT)
		if status := w.end(); status != 0 {
			t.Errorf("exit status %d, %s", status, w.errors.String())
		}
		master.Close()
	}
}

// terminal makes a terminal of so many columns: what is written to the one end is read from the other.
func terminal(t *testing.T, columns uint16) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: columns})
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Skipf("a terminal cannot be made: %v", err)
	}
	return master, slave
}
