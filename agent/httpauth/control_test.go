package httpauth_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/httpauth"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

const control = "control 1\napi=control\nid=7\nsubscribe=root\n"

// posted is a question about commands with a body, and headers.
func posted(headers, body string) string {
	return "POST /control HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n" + body
}

// toPacket is a packet that is posted, of whatever kind.
func toPacket(body string) string { return strings.Replace(withLength(body), "/control", "/packet", 1) }

func withLength(body string) string {
	return posted(fmt.Sprintf("Content-Length: %d\r\n", len(body)), body)
}

// A question about commands is the body of a POST, read as far as a packet may go and no further.
func TestServeCommands(t *testing.T) {
	spec.Rules(t, "CTL-80", "CTL-85")
	long := control + strings.Repeat("subscribe=root\n", wire.DefaultPacketLimit/15)
	for _, c := range []struct {
		name, text string
		want       []int
		asked      int
	}{
		{"one", withLength(control), []int{200}, 1},
		{"two, and what is not a question about commands", withLength(control) + whole + withLength(control),
			[]int{200, 200, 200}, 3},
		{"in chunks", posted("Transfer-Encoding: chunked\r\n", fmt.Sprintf("8\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n",
			control[:8], len(control)-8, control[8:])) + whole, []int{200, 200}, 2},
		{"with a query", "POST /control?x=y HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", []int{400}, 0},
		{"GET", "GET /control HTTP/1.1\r\nHost: localhost\r\n\r\n" + whole, []int{405, 200}, 1},
		{"PUT with a body", "PUT /control HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n", []int{405}, 0},
		{"below it", strings.Replace(withLength(control), "/control", "/control/x", 1), []int{404}, 0},
		{"no body", withLength(""), []int{400}, 0},
		{"another question", withLength("decide 1\nmethod=GET\ntarget=/\n"), []int{400}, 0},
		{"ping", withLength("ping 1\n"), []int{400}, 0},
		{"a line that is not ended", withLength(control + "subscribe=x"), []int{400}, 0},
		{"packet: decide", toPacket("decide 1\nmethod=GET\ntarget=/\n"), []int{200}, 1},
		{"packet: control", toPacket(control), []int{200}, 1},
		{"packet: decide-all", toPacket("decide-all 1\ntarget=/\n"), []int{200}, 1},
		{"packet: verify", toPacket("verify 1\n"), []int{200}, 1},
		{"packet: resource", toPacket("resource 1\nkind=meter\nname=a\naccess=read\n"), []int{200}, 1},
		{"packet: ping", toPacket("ping 1\n"), []int{200}, 1},
		{"packet: one of the device's own tokens", toPacket("token 1\nscope=registration\n"), []int{400}, 0},
		{"packet: left standing", toPacket("watch-token 1\ntarget=/\n"), []int{400}, 0},
		{"packet: not one", toPacket("decide 2\n"), []int{400}, 0},
		{"packet: GET", "GET /packet HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{405}, 0},
		{"too long", withLength(long), []int{400}, 0},
		{"too long, and not sent", posted("Content-Length: 1000000000\r\n", ""), []int{400}, 0},
		{"too long, in chunks", posted("Transfer-Encoding: chunked\r\n",
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(long), long)), []int{400}, 0},
		{"cut off", posted("Content-Length: 100\r\n", control), nil, 0}, // whoever sent it has hung up
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				statuses, asked, err := exchange(t, c.text)
				if fmt.Sprint(statuses) != fmt.Sprint(c.want) || asked != c.asked || err != nil {
					t.Errorf("got %v, asked %d times, %v; want %v, %d", statuses, asked, err, c.want, c.asked)
				}
			})
		})
	}
}

// The answer is the decision socket's reply, in plain text.
func TestAnswerCommands(t *testing.T) {
	spec.Rules(t, "CTL-84")
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		client, ended := serveHandler(t, false, httpauth.Handler(counting{&asked}, nil).ServeHTTP)
		go io.WriteString(client, withLength("control 1\nid=7\napi=x\nsubscribe=root\n"))
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || string(body) != "error 400\nid=7\nreason=packet-value\n"+
			"error=a value is not of the form or within the limits that its name has\ndetail=api\n" ||
			response.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("got %q, %v, %v", body, err, response.Header)
		}
		client.Close()
		<-ended
	})
}

// A body that does not come takes a connection for no longer than a head that does not.
func TestBodyOfCommandsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		client, ended := serveHandler(t, false, httpauth.Handler(counting{&asked}, nil).ServeHTTP)
		start := time.Now()
		io.WriteString(client, posted("Content-Length: 100\r\n", control))
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || response.StatusCode != 400 || asked != 0 {
			t.Fatalf("got %+v, %v, asked %d times; want 400", response, err, asked)
		}
		io.Copy(io.Discard, response.Body)
		client.Close()
		<-ended
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
