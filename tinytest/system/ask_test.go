package system_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
)

// ca signs the certificates of all servers.
var ca = func() func(*testing.T) *authserver.CA {
	once := sync.OnceValues(func() (*authserver.CA, error) { return authserver.NewCA("nmos-authd system test CA") })
	return func(t *testing.T) *authserver.CA {
		t.Helper()
		c, err := once()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}()

// What most tests ask for.
const (
	senders  = "/x-nmos/connection/v1.1/single/senders"
	receiver = "/x-nmos/connection/v1.1/single/receivers/6f1e0000-0000-4000-8000-000000000041/staged"
)

// question is one that both sockets can be asked.
type question struct {
	method, target string
	authorization  string // "": no header
	upgrade        string // "": no header
}

func get(target string) question { return question{method: "GET", target: target} }

// bearing is q with a token.
func (q question) bearing(token string) question {
	q.authorization = "Bearer " + token
	return q
}

func (q question) lines() []string {
	lines := []string{"decide 1", "method=" + q.method, "target=" + q.target}
	if q.authorization != "" {
		lines = append(lines, "authorization="+q.authorization)
	}
	if q.upgrade != "" {
		lines = append(lines, "upgrade="+q.upgrade)
	}
	return lines
}

// answer is what both sockets say.
type answer struct {
	status                         int
	reason, would, client, subject string
	path, challenge                string
	retry                          int
	expires                        int64 // seconds; -1: not said
}

func (a answer) String() string {
	text := fmt.Sprintf("%d %s", a.status, a.reason)
	if a.would != "" {
		text += " (would " + a.would + ")"
	}
	return text
}

// same compares all but the seconds left, which may have gone by one meanwhile.
func (a answer) same(b answer) bool {
	// Time passes between two questions.
	near := max(a.expires-b.expires, b.expires-a.expires) <= int64(patience/time.Second) &&
		(a.expires < 0) == (b.expires < 0) && (a.retry == 0) == (b.retry == 0)
	a.expires, b.expires, a.retry, b.retry = 0, 0, 0, 0
	return near && a == b
}

// caller asks a daemon over both sockets.
type caller struct {
	t      *testing.T
	packet *firmware.Asker
	http   *http.Client
	socket string // of HTTP
}

func newCaller(t *testing.T, dir daemon.Dir) *caller {
	t.Helper()
	c := &caller{t: t, packet: firmware.NewAsker(dir.Authz(), patience),
		http: httpClient(dir.HTTP()), socket: dir.HTTP()}
	t.Cleanup(func() {
		c.packet.Close()
		c.http.CloseIdleConnections()
	})
	return c
}

// httpClient connects to a Unix socket whatever the URL says.
func httpClient(socket string) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

// on is the same caller for a subtest.
func (c *caller) on(t *testing.T) *caller {
	copied := *c
	copied.t = t
	return &copied
}

// ask puts a question to the decision socket.
func (c *caller) ask(q question) answer {
	c.t.Helper()
	r, err := c.packet.Ask(q.lines()...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", q.method, q.target, err)
	}
	return packetAnswer(r)
}

// want asks the decision socket and compares status and reason.
func (c *caller) want(q question, status int, reason string) answer {
	c.t.Helper()
	a := c.ask(q)
	if a.status != status || a.reason != reason {
		c.t.Errorf("%s %s: got %v, want %d %s", q.method, q.target, a, status, reason)
	}
	return a
}

// await asks until the reason is another than keys-pending, and compares it.
func (c *caller) await(q question, status int, reason string) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("an answer to %s %s", q.method, q.target), func() bool {
		return c.ask(q).reason != "keys-pending"
	})
	c.want(q, status, reason)
}

func packetAnswer(r firmware.Reply) answer {
	a := answer{
		status: r.Status, reason: r.Reason, would: r.Would, client: r.ClientID, subject: r.Subject, path: r.Path,
		challenge: r.WWWAuthenticate, retry: r.RetryAfter, expires: -1,
	}
	if r.Expires {
		a.expires = int64(r.ExpiresIn / time.Second)
	}
	return a
}

// askHTTP puts a question to the HTTP socket, as a web server does.
func (c *caller) askHTTP(q question) answer {
	c.t.Helper()
	a, err := tryHTTP(c.http, q)
	if err != nil {
		c.t.Fatalf("%s %s over HTTP: %v", q.method, q.target, err)
	}
	return a
}

func httpRequest(q question) (*http.Request, error) {
	r, err := http.NewRequest(http.MethodGet, "http://daemon/authorize", nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("X-Original-Method", q.method)
	r.Header.Set("X-Original-URI", q.target)
	if q.authorization != "" {
		r.Header.Set("Authorization", q.authorization)
	}
	if q.upgrade != "" {
		r.Header.Set("X-Original-Upgrade", q.upgrade)
	}
	return r, nil
}

func tryHTTP(client *http.Client, q question) (answer, error) {
	request, err := httpRequest(q)
	if err != nil {
		return answer{}, err
	}
	r, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return answer{}, err
	}
	return httpAnswer(r, body)
}

// httpAnswer reads a response strictly: what must be there for its status, and the NMOS error of a denial (ANS-7).
func httpAnswer(r *http.Response, body []byte) (answer, error) {
	a := answer{
		status: r.StatusCode, reason: r.Header.Get("X-Auth-Reason"), would: r.Header.Get("X-Auth-Would"),
		client: r.Header.Get("X-Auth-Client-Id"), subject: r.Header.Get("X-Auth-Subject"),
		path: r.Header.Get("X-Auth-Path"), challenge: r.Header.Get("WWW-Authenticate"), expires: -1,
	}
	var errs []error
	number := func(name string, into *int64) {
		if text := r.Header.Get(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			*into = n
			errs = append(errs, err)
		}
	}
	var retry int64
	number("Retry-After", &retry)
	number("X-Auth-Expires-In", &a.expires)
	a.retry, a.expires = int(retry), min(a.expires, int64(math.MaxInt64/time.Second)) // as far as a Duration goes
	if a.status != http.StatusOK && a.reason != "" {
		var nmos struct {
			Code  int
			Error string
			Debug string
		}
		errs = append(errs, json.Unmarshal(body, &nmos))
		if nmos.Code != a.status || nmos.Error == "" || nmos.Debug != a.reason ||
			r.Header.Get("Content-Type") != "application/json" {
			errs = append(errs, fmt.Errorf("the body of %v is %q", a, body))
		}
	} else if a.status == http.StatusOK && len(body) > 0 {
		errs = append(errs, fmt.Errorf("the body of %v is %q", a, body))
	}
	return a, errors.Join(errs...)
}

// askBoth asks both sockets, and fails the test where they differ.
func (c *caller) askBoth(q question) answer {
	c.t.Helper()
	byPacket, byHTTP := c.ask(q), c.askHTTP(q)
	if !byPacket.same(byHTTP) {
		c.t.Errorf("%s %s: authz.sock says\n%#v, http.sock\n%#v", q.method, q.target, byPacket, byHTTP)
	}
	return byPacket
}

// rawHTTP sends bytes that no HTTP client would, and returns the first response.
func (c *caller) rawHTTP(request string) (answer, error) {
	conn, err := net.Dial("unix", c.socket)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	go io.WriteString(conn, request) // the daemon need not read it all before it answers
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return answer{}, err
	}
	return httpAnswer(r, body)
}

// everything is a template of a token of the server that may do all in the APIs of the pretend device.
func everything(s *authserver.Server) *mint.Token { return s.Token(mint.Options{}) }

// another is a template of the server whose tokens no daemon has seen, since each has an id of its own.
func another(s *authserver.Server) *mint.Token {
	t := everything(s)
	t.Claims.Set("jti", strconv.FormatInt(time.Now().UnixNano(), 36))
	return t
}
