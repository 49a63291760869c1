package clients_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A behaviour answers one question on a connection, or does not, and reports whether the connection stays open.
type behaviour func(c io.Writer, question string) bool

// daemon is a pretend daemon that does what its behaviour says.
type daemon struct {
	t  *testing.T
	ln *net.UnixListener

	mu          sync.Mutex
	behave      behaviour
	questions   []string
	connections map[*net.UnixConn]bool
	accepted    int
	stopped     bool
	running     sync.WaitGroup
}

// socketPath returns the path for a socket, short enough for sun_path wherever the test runs.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func startDaemon(t *testing.T, path string, behave behaviour) *daemon {
	t.Helper()
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, ln: ln, behave: behave, connections: map[*net.UnixConn]bool{}}
	d.running.Add(1)
	go d.accept()
	t.Cleanup(d.stop)
	return d
}

// stop closes everything and waits for it; the socket's file goes too.
func (d *daemon) stop() {
	d.ln.Close()
	d.mu.Lock()
	d.stopped = true
	for c := range d.connections {
		c.Close()
	}
	d.mu.Unlock()
	d.running.Wait()
}

// become changes the behaviour from the next question on.
func (d *daemon) become(behave behaviour) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behave = behave
}

// asked returns the questions so far and the number of connections that they came over.
func (d *daemon) asked() (questions []string, accepted int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.questions, d.accepted
}

// await waits until so many questions have been read.
func (d *daemon) await(n int) {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if questions, _ := d.asked(); len(questions) >= n {
			return
		} else if time.Now().After(deadline) {
			d.t.Fatalf("got %d questions within a minute, want %d", len(questions), n)
		}
	}
}

func (d *daemon) accept() {
	defer d.running.Done()
	for {
		c, err := d.ln.AcceptUnix()
		if err != nil {
			return
		}
		d.mu.Lock()
		d.accepted++
		d.connections[c] = true
		if d.stopped {
			c.Close()
		}
		d.mu.Unlock()
		d.running.Add(1)
		go d.serve(c)
	}
}

func (d *daemon) serve(c *net.UnixConn) {
	defer d.running.Done()
	defer func() {
		d.mu.Lock()
		delete(d.connections, c)
		d.mu.Unlock()
		c.Close()
	}()
	buffer := make([]byte, 1<<17)
	for {
		n, err := c.Read(buffer)
		if err != nil {
			return
		}
		question := string(buffer[:n])
		d.mu.Lock()
		d.questions = append(d.questions, question)
		behave := d.behave
		d.mu.Unlock()
		if !behave(c, question) {
			return
		}
	}
}

// idOf returns the id of a question.
func idOf(question string) string {
	for line := range strings.Lines(question) {
		if id, ok := strings.CutPrefix(line, "id="); ok {
			return strings.TrimSuffix(id, "\n")
		}
	}
	return ""
}

// replying answers every question with a packet in which $ID stands for the question's id.
func replying(packet string) behaviour {
	return func(c io.Writer, question string) bool {
		c.Write([]byte(strings.ReplaceAll(packet, "$ID", idOf(question))))
		return true
	}
}

// honest answers a ping with a pong and allows all else.
func honest(c io.Writer, question string) bool {
	if strings.HasPrefix(question, "ping 1\n") {
		return replying("pong 1\nid=$ID\n")(c, question)
	}
	return replying("allow 200\nid=$ID\nreason=ok\n")(c, question)
}

// silent never answers.
func silent(io.Writer, string) bool { return true }

// hangup closes the connection instead of answering.
func hangup(io.Writer, string) bool { return false }
