package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/config"
	"nmosauthd/platform"
)

// adminTimeout is how long the daemon may take to begin an answer, and to send one that is read whole. What has it ask
// the authorization server takes longer (ownPatience).
const adminTimeout = 10 * time.Second

// AdminClient asks the running daemon over its admin socket.
type AdminClient struct {
	socket string
	group  string // that may ask; "" for the daemon's own
	way    http.Transport
}

// NewAdminClient returns the client for the daemon of a configuration. Mistakes in the configuration are given to
// complain but do not stop it: the running daemon still uses an older one.
func NewAdminClient(file string, complain func(error)) (*AdminClient, error) {
	d, err := DetectDevice()
	if err != nil {
		return nil, err
	}
	data, err := ReadConfig(file)
	if err != nil {
		return nil, err
	}
	c := d.Defaults()
	if _, err := config.ParseOver(c, file, data); err != nil {
		complain(err)
	}
	if c.Sockets.Admin == "" {
		return nil, errors.New(file + ": [sockets] admin is \"\", so there is no socket to ask the daemon on")
	}
	a := &AdminClient{socket: c.Sockets.Admin, group: c.Sockets.AdminGroup}
	a.way.DisableKeepAlives, a.way.DisableCompression = true, true
	a.way.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{Timeout: adminTimeout}).DialContext(ctx, "unix", a.socket)
		if err != nil {
			return nil, &unreachableError{a.unreachable(err)}
		}
		return conn, nil
	}
	return a, nil
}

// AdminError is an error answer. Text and Debug are those of the NMOS error (ANS-7), and may be empty.
type AdminError struct {
	Status int
	Text   string `json:"error"`
	Debug  string `json:"debug"`
}

func (e *AdminError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("the daemon answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("%q (%q, %d)", e.Text, e.Debug, e.Status)
}

// Open asks for a path, with its query, and sends a body if there is one. The answer's body may be endless; it ends
// with ctx. An answer other than 2xx is an *AdminError.
func (a *AdminClient) Open(ctx context.Context, method, path string, body ...byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("not a path that can be asked for")
	}
	a.way.ResponseHeaderTimeout = adminTimeout
	if strings.HasPrefix(path, "/c") || strings.HasPrefix(path, "/refresh") { // client, certs: other servers are asked
		a.way.ResponseHeaderTimeout += ownPatience
	}
	answer, err := (&http.Client{Transport: &a.way}).Do(r)
	if err != nil {
		return nil, a.unanswered(err)
	}
	if answer.StatusCode/100 != 2 {
		defer answer.Body.Close()
		e := &AdminError{}
		if text, err := readBody(answer.Body, 64<<10); err == nil {
			json.Unmarshal(text, e) // if it is not JSON, the status must do
		}
		e.Status = answer.StatusCode
		return nil, e
	}
	return answer, nil
}

// Ask makes a request, with a body if there is one, and returns the answer's body, of at most most bytes.
func (a *AdminClient) Ask(method, path string, most int64, body ...byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*adminTimeout+ownPatience)
	defer cancel()
	answer, err := a.Open(ctx, method, path, body...)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return readBody(answer.Body, most)
}

// maxPEM is the longest file with certificates or a key that is read, in bytes.
const maxPEM = 128 << 10

// ReadPair returns what a file with a key holds, which others must not be able to read.
func ReadPair(path string) ([]byte, error) { return platform.ReadPrivate(path, maxPEM) }

// unreachableError says that there is no connection, and what to do.
type unreachableError struct{ error }

// unreachable explains why the socket cannot be connected to, and what to do.
func (a *AdminClient) unreachable(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("the daemon is not running: nobody answers on " + a.socket)
	case !errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot ask the daemon: %w", err)
	}
	return MayNotAsk(a.socket, a.group, "admin_group")
}

// MayNotAsk says who may connect to a socket: the group, or if that is "" the group of the file. key is its key in
// [sockets].
func MayNotAsk(socket, group, key string) error {
	who := "its group" // if its folder may not be read
	if group == "" {
		if gid, err := platform.GroupOf(socket); err == nil {
			id := strconv.Itoa(gid)
			who = "the group " + id
			if g, err := user.LookupGroupId(id); err == nil {
				group = g.Name
			}
		}
	}
	if group != "" {
		who = "the group " + strconv.Quote(group)
	}
	return errors.New(socket + ": permission denied: only root, the daemon's user and " + who +
		" may ask the daemon ([sockets] " + key + ")")
}

// unanswered explains why the daemon did not answer.
func (a *AdminClient) unanswered(err error) error {
	var unreachable *unreachableError
	var late net.Error
	switch {
	case errors.As(err, &unreachable):
		return unreachable.error
	case errors.As(err, &late) && late.Timeout():
		return errors.New("the daemon does not answer on " + a.socket + ": starting, or stuck")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE),
		errors.Is(err, syscall.ECONNRESET):
		return errors.New("the daemon hung up on " + a.socket +
			": others hold all its connections ([limits] connections), or the daemon is stopping")
	}
	return fmt.Errorf("%s: %w", a.socket, errors.Unwrap(err)) // the outermost quotes the request
}

func readBody(r io.Reader, most int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(body)) > most {
		err = errors.New("the answer is too long")
	}
	return body, err
}
