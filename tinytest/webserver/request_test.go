package webserver_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	senders  = "/x-nmos/connection/v1.1/single/senders"
	self     = "/x-nmos/node/v1.3/self"
	receiver = "/x-nmos/connection/v1.1/single/receivers/6f1e0000-0000-4000-8000-000000000041/staged"
	events   = "/x-nmos/events/v1.0/ws"
)

// request is one that a client sends, byte by byte as it stands here.
type request struct {
	method, target string
	headers        []string // lines without their ends, beside Host
	body           string
	chunked        bool   // how the body is sent
	trailer        string // lines behind a chunked body, with their ends
}

func get(target string) request { return request{method: "GET", target: target} }

// with is q with more headers.
func (q request) with(headers ...string) request {
	q.headers = append(q.headers[:len(q.headers):len(q.headers)], headers...)
	return q
}

// bearing is q with a token.
func (q request) bearing(token string) request { return q.with("Authorization: Bearer " + token) }

// upgrading is q as the handshake of a WebSocket.
func (q request) upgrading() request {
	return q.with("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
}

func (q request) String() string {
	text := fmt.Sprintf("%s %s %q", q.method, q.target, q.headers)
	if len(text) > 400 {
		text = text[:400] + "…"
	}
	return text
}

// bytes is what goes over the line. The connection is for this request only.
func (q request) bytes() string {
	lines := []string{q.method + " " + q.target + " HTTP/1.1", "Host: node-1.example.com"}
	lines = append(lines, q.headers...)
	if !strings.Contains(strings.Join(q.headers, "\n"), "Connection:") {
		lines = append(lines, "Connection: close")
	}
	switch {
	case q.chunked:
		chunks := fmt.Sprintf("\r\n\r\n%x\r\n%s\r\n0\r\n%s\r\n", len(q.body), q.body, q.trailer)
		return strings.Join(append(lines, "Transfer-Encoding: chunked"), "\r\n") + chunks
	case q.body != "":
		lines = append(lines, "Content-Type: application/json", fmt.Sprint("Content-Length: ", len(q.body)))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + q.body
}

// response is what a client sees, as far as it must be the same everywhere.
type response struct {
	status                  int
	challenge, retry, media string // all values of a header
	cors, expose            string
	body                    string // of 101: what comes over the WebSocket
	header                  http.Header
}

// shown is what is compared.
func (r response) shown() string {
	return fmt.Sprintf("%d\n  WWW-Authenticate: %s\n  Retry-After: %s\n  Content-Type: %s\n"+
		"  Access-Control-Allow-Origin: %s\n  Access-Control-Expose-Headers: %s\n  %q",
		r.status, r.challenge, r.retry, r.media, r.cors, r.expose, r.body)
}

// send sends a request and returns the response; status 0 is none at all.
func (r *rig) send(addr string, q request, t *testing.T) response {
	t.Helper()
	answer, err := exchange(addr, q)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return response{}
	}
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return answer
}

func exchange(addr string, q request) (response, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return response{}, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	go io.WriteString(conn, q.bytes()) // whoever answers need not have read it all
	from := bufio.NewReader(conn)
	answer, err := http.ReadResponse(from, &http.Request{Method: q.method})
	if err != nil {
		return response{}, err
	}
	for err == nil && answer.StatusCode == http.StatusContinue {
		answer, err = http.ReadResponse(from, &http.Request{Method: q.method})
	}
	if err != nil {
		return response{}, err
	}
	defer answer.Body.Close()
	var body []byte
	if answer.StatusCode == http.StatusSwitchingProtocols {
		body, err = io.ReadAll(from)
	} else {
		body, err = io.ReadAll(answer.Body)
	}
	all := func(name string) string { return strings.Join(answer.Header.Values(name), " | ") }
	return response{
		status: answer.StatusCode, challenge: all("WWW-Authenticate"), retry: all("Retry-After"),
		media: all("Content-Type"), cors: all("Access-Control-Allow-Origin"),
		expose: all("Access-Control-Expose-Headers"), body: string(body), header: answer.Header,
	}, err
}
