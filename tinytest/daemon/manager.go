package daemon

import (
	"net"
	"os"
	"slices"
	"strings"
	"sync"
)

// manager stands for the service manager (sd_notify(3)): the daemon tells it when it serves.
type manager struct {
	path  string
	conn  *net.UnixConn
	ready chan struct{} // closed at the first READY=1
	done  chan struct{} // closed when nothing more is read

	mu   sync.Mutex
	told []string
}

func newManager(path string) (*manager, error) {
	os.Remove(path) // of a daemon that ran here before
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil { // for a daemon of another user
		conn.Close()
		return nil, err
	}
	m := &manager{path: path, conn: conn, ready: make(chan struct{}), done: make(chan struct{})}
	go m.read()
	return m, nil
}

// read goes on to the end, or the daemon would wait for room to tell more.
func (m *manager) read() {
	defer close(m.done)
	once := sync.OnceFunc(func() { close(m.ready) })
	b := make([]byte, 1024)
	for {
		n, err := m.conn.Read(b)
		if err != nil {
			return
		}
		message := string(b[:n])
		if message == theEnd {
			return
		}
		m.mu.Lock()
		m.told = append(m.told, message)
		m.mu.Unlock()
		if strings.Contains(message, "READY=1") {
			once()
		}
	}
}

func (m *manager) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.told)
}

// theEnd is what close sends behind all that the daemon told.
const theEnd = "the end"

func (m *manager) close() {
	if _, err := m.conn.WriteToUnix([]byte(theEnd), &net.UnixAddr{Name: m.path, Net: "unixgram"}); err == nil {
		<-m.done
	}
	m.conn.Close()
	<-m.done
}
