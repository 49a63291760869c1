package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/config"
	"nmosauthd/agent/daemon"
	"nmosauthd/platform"
)

// adminTimeout is how long the daemon may take to begin an answer, and to send one that is read whole.
const adminTimeout = 10 * time.Second

// adminClient asks the running daemon over its admin socket.
type adminClient struct {
	socket string
	group  string // that may ask; "" for the daemon's own
}

// adminOf returns the client for the daemon of a configuration. Mistakes in the configuration are printed but do not
// stop it: the running daemon still uses an older one.
func adminOf(file string) (adminClient, error) {
	d, err := daemon.DetectDevice()
	if err != nil {
		return adminClient{}, err
	}
	data, err := daemon.ReadConfig(file)
	if err != nil {
		return adminClient{}, err
	}
	c := d.Defaults()
	if _, err := config.ParseOver(c, file, data); err != nil {
		complain(err)
	}
	if c.Sockets.Admin == "" {
		return adminClient{}, fmt.Errorf("%s: [sockets] admin is \"\", so there is no socket to ask the daemon on", file)
	}
	return adminClient{c.Sockets.Admin, c.Sockets.AdminGroup}, nil
}

// errStatus is an error answer. Text and Debug are those of the NMOS error (ANS-7), and may be empty.
type errStatus struct {
	Status int
	Text   string `json:"error"`
	Debug  string `json:"debug"`
}

func (e *errStatus) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("the daemon answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("%q (%q, %d)", e.Text, e.Debug, e.Status)
}

// get asks for a path, with its query. The answer's body may be endless and has no deadline; closing it closes the
// connection. An answer other than 2xx is an *errStatus.
func (c adminClient) get(path string) (*http.Response, error) {
	return c.exchange(http.MethodGet, path)
}

// read gets a body of at most most bytes.
func (c adminClient) read(path string, most int64) ([]byte, error) {
	answer, err := c.get(path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	answer.Body.(adminBody).conn.SetDeadline(time.Now().Add(adminTimeout))
	return readBody(answer.Body, most)
}

// send makes a request without a body and ignores the body of the answer.
func (c adminClient) send(method, path string) error {
	answer, err := c.exchange(method, path)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

func (c adminClient) exchange(method, path string) (_ *http.Response, err error) {
	conn, err := net.DialTimeout("unix", c.socket, adminTimeout)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	conn.SetDeadline(time.Now().Add(adminTimeout))
	var answer *http.Response
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", method, path)
	if err == nil {
		answer, err = http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	}
	if err != nil {
		return nil, c.unanswered(err)
	}
	if answer.StatusCode/100 != 2 {
		e := &errStatus{}
		if text, err := readBody(answer.Body, 64<<10); err == nil {
			json.Unmarshal(text, e) // if it is not JSON, the status must do
		}
		e.Status = answer.StatusCode
		return nil, e
	}
	conn.SetDeadline(time.Time{})
	answer.Body = adminBody{answer.Body, conn}
	return answer, nil
}

// unreachable explains why the socket cannot be connected to, and what to do.
func (c adminClient) unreachable(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("the daemon is not running: nobody answers on %s", c.socket)
	case !errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot ask the daemon: %w", err)
	}
	return mayNotAsk(c.socket, c.group, "admin_group")
}

// mayNotAsk says who may connect to a socket: the group, or if that is "" the group of the file. key is its key in
// [sockets].
func mayNotAsk(socket, group, key string) error {
	if gid, err := platform.GroupOf(socket); group != "" {
		group = "the group " + strconv.Quote(group)
	} else if err != nil { // its folder may not be read
		group = "its group"
	} else if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		group = "the group " + strconv.Quote(g.Name)
	} else {
		group = "the group " + strconv.Itoa(gid)
	}
	return fmt.Errorf("%s: permission denied: only root, the daemon's user and %s may ask the daemon ([sockets] %s)",
		socket, group, key)
}

// unanswered explains why the daemon, once connected to, did not answer.
func (c adminClient) unanswered(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the daemon does not answer on %s: starting, or stuck", c.socket)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("the daemon hung up on %s: others hold all its connections ([limits] connections), "+
			"or the daemon is stopping", c.socket)
	}
	return fmt.Errorf("%s: %w", c.socket, err)
}

func readBody(r io.Reader, most int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(body)) > most {
		err = errors.New("the answer is too long")
	}
	return body, err
}

// adminBody is a body with its connection.
type adminBody struct {
	io.ReadCloser
	conn net.Conn
}

func (b adminBody) Close() error { return b.conn.Close() }
