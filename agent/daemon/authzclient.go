package daemon

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"nmosauthd/agent/status"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
)

const (
	replyTime = 2 * time.Second // for each answer
	askAgain  = time.Second     // at most, while a token is being fetched
)

// AuthzClient asks the running daemon on its decision socket, as firmware does (PROTOCOL.md).
type AuthzClient struct {
	socket  string
	timeout time.Duration // of each answer
}

// NewAuthzClient returns a client for a socket, or, if that is "", for the one of a configuration file.
func NewAuthzClient(socket, file string) (*AuthzClient, error) {
	if socket == "" {
		c, _, err := LoadConfig(file)
		if err != nil {
			return nil, err
		}
		socket = c.Sockets.Authz
	}
	return &AuthzClient{socket, replyTime}, nil
}

// SetTimeout sets how long to wait for an answer, in place of 2 seconds.
func (c *AuthzClient) SetTimeout(timeout time.Duration) { c.timeout = timeout }

// Denied is an error about an answer that denies.
type Denied struct{ Err error }

func (d Denied) Error() string { return d.Err.Error() }

// Question is a packet to be sent.
type Question struct {
	text  []byte
	wrong []error // what cannot be a line
}

// NewQuestion returns a question without a line yet.
func NewQuestion(verb wire.Verb) *Question { return &Question{text: []byte(verb.String() + "\n")} }

// Line adds a line.
func (q *Question) Line(name, value string) {
	if strings.ContainsAny(value, "\n\x00") {
		q.wrong = append(q.wrong, errors.New("the "+name+" contains a line end or a NUL"))
	}
	q.text = append(q.text, name+"="+value+"\n"...)
}

// Ask sends a question and returns the reply.
func (c *AuthzClient) Ask(q *Question) ([]byte, error) {
	if q.wrong != nil {
		return nil, errors.Join(q.wrong...)
	}
	reply, err := c.exchange(q.text)
	if err != nil {
		err = fmt.Errorf("cannot ask the daemon: %w", err)
	}
	return reply, err
}

// exchange sends one packet to the daemon and returns its reply.
func (c *AuthzClient) exchange(packet []byte) ([]byte, error) {
	deadline := time.Now().Add(c.timeout)
	conn, err := (&net.Dialer{Deadline: deadline}).Dial("unixpacket", c.socket)
	if errors.Is(err, fs.ErrPermission) {
		return nil, MayNotAsk(c.socket, "", "group")
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err = conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	reply := make([]byte, 64<<10)
	n := 0
	if _, err = conn.Write(packet); err == nil {
		n, err = conn.Read(reply)
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		err = errors.New("the daemon hung up: this user may not ask ([sockets] allow_uids), " +
			"or too many wait already ([limits] connections)")
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errors.New("no reply within " + c.timeout.String())
	}
	return reply[:n], err
}

// readReply takes a reply apart: its first line, and its values by their names.
func readReply(reply []byte) (first string, lines map[string]string) {
	first, rest, _ := strings.Cut(string(reply), "\n")
	lines = map[string]string{}
	for line := range strings.Lines(rest) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		lines[name] = value
	}
	return first, lines
}

// Token returns one of the device's own tokens (CLI-69), and waits for one that is being fetched. A token that a server
// refused is named by its digest, not sent.
func (c *AuthzClient) Token(scope, refused string, wait time.Duration) (string, error) {
	q := NewQuestion(wire.Token)
	q.Line("scope", scope)
	if refused != "" {
		name := token.DigestOf([]byte(refused))
		q.Line("refused", hex.EncodeToString(name[:]))
	}
	for end := time.Now().Add(wait); ; {
		reply, err := c.Ask(q)
		if err != nil {
			return "", err
		}
		first, lines := readReply(reply)
		if tok := lines["access-token"]; strings.HasPrefix(first, "allow ") && tok != "" {
			return tok, nil
		}
		retry, _ := strconv.Atoi(lines["retry-after"])
		again := time.Duration(retry) * time.Second
		if again > 0 && time.Until(end) >= again {
			time.Sleep(min(again, askAgain))
			continue
		}
		said := cmp.Or(lines["detail"], first)
		if strings.HasPrefix(first, "error ") { // detail is the name that it is about
			said = strings.TrimSpace(first + " " + lines["detail"])
		}
		said = "no token: " + said + " (" + lines["reason"] + ")"
		if again > 0 {
			said += "; ask again in " + again.String()
		}
		if err = errors.New(said); strings.HasPrefix(first, "deny ") {
			err = Denied{err}
		}
		return "", err
	}
}

// Permitted is what a token permits.
type Permitted struct {
	Client string // whose token it is
	Things []status.Permitted
}

// May asks what a token permits, reply by reply.
func (c *AuthzClient) May(token string) (list Permitted, err error) {
	for more := ""; ; {
		q := NewQuestion(wire.May)
		q.Line("authorization", "Bearer "+token)
		if more != "" {
			q.Line("after", more)
		}
		reply, err := c.Ask(q)
		if err != nil {
			return list, err
		}
		first, lines := readReply(reply)
		switch {
		case more != "" && lines["reason"] == wire.PacketValue.String(): // there is another inventory
			more, list.Things = "", nil
			continue
		case strings.HasPrefix(first, "deny "):
			return list, Denied{errors.New("the token permits nothing: " + first + ", " + lines["reason"])}
		case !strings.HasPrefix(first, "allow "):
			return list, errors.New("the daemon answered " + first + " (" + lines["reason"] + ")")
		}
		list.Client = lines["client-id"]
		list.take(reply)
		if more = lines["more"]; more == "" {
			return list, nil
		}
	}
}

// take adds what a reply lists.
func (m *Permitted) take(reply []byte) {
	kind := ""
	for line := range bytes.Lines(reply) {
		name, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), "=")
		of := kind
		if access, found := strings.CutPrefix(name, "path-"); found {
			name, of = access, ""
		}
		switch name {
		case "kind":
			kind = value
		case "read", "write", "read-write":
			m.Things = append(m.Things, status.Permitted{Kind: of, Name: value, Access: name})
		}
	}
}
