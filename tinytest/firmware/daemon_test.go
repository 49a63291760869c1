package firmware

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// daemon is a pretend daemon for one test: it remembers the packets and answers what the test says.
type daemon struct {
	t        *testing.T
	socket   string
	listener *net.UnixListener
	wg       sync.WaitGroup

	mu      sync.Mutex
	packets []string
	conns   []net.Conn
	stopped bool
	answer  func(packet string) string // "" for no answer
}

// startDaemon listens at socket, or at a new path if that is "".
func startDaemon(t *testing.T, socket string, answer func(packet string) string) *daemon {
	t.Helper()
	if socket == "" {
		socket = filepath.Join(t.TempDir(), "authz.sock")
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, socket: socket, listener: l, answer: answer}
	d.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.conns = append(d.conns, c)
			if d.stopped {
				_ = c.Close()
			}
			d.mu.Unlock()
			d.wg.Go(func() { d.serve(c) })
		}
	})
	t.Cleanup(d.stop)
	return d
}

func (d *daemon) serve(c net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		packet := string(buf[:n])
		d.mu.Lock()
		d.packets = append(d.packets, packet)
		reply := d.answer(packet)
		d.mu.Unlock()
		if reply == "" {
			continue
		}
		if _, err := c.Write([]byte(reply)); err != nil {
			return
		}
	}
}

// stop ends the daemon and all its connections, as a crash does. It may be called twice.
func (d *daemon) stop() {
	_ = d.listener.Close()
	d.mu.Lock()
	d.stopped = true
	for _, c := range d.conns {
		_ = c.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
}

// say changes what is answered from now on.
func (d *daemon) say(answer func(packet string) string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

// tell sends a packet on the connection on which it was asked last.
func (d *daemon) tell(packet string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.conns[len(d.conns)-1].Write([]byte(packet)); err != nil {
		d.t.Error(err)
	}
}

// last is the packet received last, in lines.
func (d *daemon) last() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.packets) == 0 {
		d.t.Fatal("the daemon was not asked")
	}
	return strings.Split(strings.TrimSuffix(d.packets[len(d.packets)-1], "\n"), "\n")
}

func (d *daemon) asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.packets)
}

// field is the value of a packet's first line of that name.
func field(packet, name string) string {
	for line := range strings.Lines(packet) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSuffix(value, "\n")
		}
	}
	return ""
}

// allow permits everything, with the path of the target.
func allow(packet string) string {
	path, _, _ := strings.Cut(field(packet, "target"), "?")
	return "allow 200\nid=" + field(packet, "id") + "\nreason=ok\nclient-id=c\nexpires-in=60\npath=" + path + "\n"
}

// always answers the same lines, and the id.
func always(lines ...string) func(packet string) string {
	return func(packet string) string {
		return strings.Join(slices.Insert(slices.Clone(lines), 1, "id="+field(packet, "id")), "\n") + "\n"
	}
}
