package httpauth_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/httpauth"
	"nmosauthd/tinytest/spec"
)

// exchange sends text on one connection, then hangs up, and returns the statuses of the answers and what ServeConn
// returned.
func exchange(t *testing.T, text string) (statuses []int, asked int, err error) {
	t.Helper()
	client, server := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := serve(t, server, false, httpauth.Handler(counting{&asked}, nil))
		ended <- err
	}()
	answers := make(chan []int)
	go func() {
		var got []int
		in := bufio.NewReader(client)
		for {
			response, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			if _, err := io.Copy(io.Discard, response.Body); err != nil {
				t.Errorf("the body: %v", err)
			}
			got = append(got, response.StatusCode)
		}
		answers <- got
	}()
	io.WriteString(client, text) // an error: it has closed already
	synctest.Wait()
	client.Close()
	return <-answers, asked, <-ended
}

// serve serves a connection by h until it ends.
func serve(t *testing.T, conn net.Conn, bodies bool, h http.Handler) error {
	return httpauth.NewServer(h, bodies, func(err error) { t.Errorf("reported: %v", err) }).ServeConn(conn)
}

const (
	requestLine = "GET /authorize HTTP/1.1\r\nHost: localhost\r\n"
	original    = "X-Original-Method: GET\r\nX-Original-URI: /a\r\n"
	whole       = requestLine + original + "\r\n"
)

// One request, one answer, in order, and nothing that a request holds is taken for another one.
func TestServeConn(t *testing.T) {
	spec.Rules(t, "ANS-4")
	for _, c := range []struct {
		name, text string
		want       []int
	}{
		{"one", whole, []int{200}},
		{"three ahead", whole + whole + whole, []int{200, 200, 200}},
		{"a question that is none between two", whole + requestLine + "\r\n" + whole, []int{200, 400, 200}},
		{"another path between two", whole + "GET /x HTTP/1.1\r\nHost: a\r\n\r\n" + whole, []int{200, 404, 200}},
		{"a body ends the connection", requestLine + original + "Content-Length: 5\r\n\r\nhello" + whole, []int{200}},
		{"a body that looks like a request",
			requestLine + "Content-Length: 69\r\n\r\n" + whole[:69] + whole, []int{400}},
		{"a chunked body", requestLine + original + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + whole,
			[]int{200}},
		{"a body that does not come", requestLine + original + "Content-Length: 77\r\n\r\n", []int{200}},
		{"chunks that do not come", requestLine + original + "Transfer-Encoding: chunked\r\n\r\n", []int{200}},
		{"half a body", requestLine + original + "Content-Length: 5\r\n\r\nhe", []int{200}},
		{"close", requestLine + original + "Connection: close\r\n\r\n" + whole, []int{200}},
		{"HTTP/1.0", "GET /authorize HTTP/1.0\r\n" + original + "\r\n" + whole, []int{200}},
		{"a body that waits to be asked for",
			requestLine + original + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", []int{200}},

		{"nothing", "", nil},
		{"half a line", "GET /auth", nil},
		{"half a head", requestLine + original, nil},
		{"no HTTP", "decide 1\nmethod=GET\ntarget=/\n\n" + whole, []int{400}},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n" + whole, []int{400}},
		{"a head of 64 KiB", requestLine + "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n" + whole, []int{431}},
		{"a line of 64 KiB", strings.Repeat("x", 64<<10+1) + "\r\n\r\n" + whole, []int{431}},
		{"two lengths", requestLine + original + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + whole,
			[]int{400}},
		{"a length that is none", requestLine + original + "Content-Length: +5\r\n\r\nhello" + whole, []int{400}},
		{"an encoding that is none",
			requestLine + original + "Transfer-Encoding: identity\r\n\r\n" + whole, []int{501}},
		{"space before the colon", requestLine + original + "Content-Length : 5\r\n\r\nhello" + whole, []int{400}},
		{"a control character",
			requestLine + "X-Original-Method: GET\x01\r\nX-Original-URI: /a\r\n\r\n" + whole, []int{400}},
		{"a NUL", requestLine + "X-Original-Method: GET\r\nX-Original-URI: /a\x00\r\n\r\n" + whole, []int{400}},
		{"a folded line", requestLine + "X-Original-Method: GET\r\nX-Original-URI: /a\r\n /b\r\n\r\n", []int{200}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				statuses, asked, err := exchange(t, c.text)
				if len(statuses) != len(c.want) || err != nil && len(c.want) > 0 {
					t.Fatalf("answered %v, %v; want %v", statuses, err, c.want)
				}
				allowed := 0
				for i, status := range statuses {
					if status != c.want[i] {
						t.Fatalf("answered %v, want %v", statuses, c.want)
					}
					if status == 200 {
						allowed++
					}
				}
				if len(c.want) > 0 && asked != allowed {
					t.Errorf("asked %d times, allowed %d", asked, allowed)
				}
			})
		})
	}
}

// Whatever follows the path of the question, and whether or not it can be read, nothing of it comes back: neither to
// the web server, whose client may see it, nor to the daemon's log.
func TestServeConnKeepsTheTargetToItself(t *testing.T) {
	spec.Rules(t, "ANS-7")
	for _, c := range []struct {
		target, headers string
		status          int
	}{
		{"/authorize/secret?access_token=secret", original, 200},
		{"/authorize/secret?access_token=secret", "", 400},
		{"/authorize/secret%", original, 400},
		{"/authorize/secret%zz?access_token=secret", original, 400},
		{"/authorize/\x01secret", original, 400},
		{"/authorize/ secret", original, 400},
		{"/authorize/secret", "Host : secret\r\n", 400},
		{"secret", original, 400},
		{"/secret?access_token=secret", original, 404},
		{"/authorize/secret?" + strings.Repeat("secret", 64<<10/6), original, 431},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			client, ended := serveHandler(t, false, httpauth.Handler(counting{&asked}, nil).ServeHTTP)
			go io.WriteString(client, "PATCH "+c.target+" HTTP/1.1\r\nHost: localhost\r\n"+c.headers+"\r\n")
			var said strings.Builder
			response, err := http.ReadResponse(bufio.NewReader(io.TeeReader(client, &said)), nil)
			if err != nil {
				t.Fatalf("%.60s: %v", c.target, err)
			}
			body, err := io.ReadAll(response.Body)
			client.Close()
			if err := <-ended; err != nil {
				t.Errorf("%.60s: reported %v", c.target, err)
			}
			if err != nil || response.StatusCode != c.status || (asked == 1) != (c.status == 200) ||
				strings.Contains(said.String(), "secret") {
				t.Errorf("%.60s: asked %d times, answered %v %s", c.target, asked, err, said.String())
			}
			// what net/http cannot read it refuses itself
			if c.status == 400 && response.Header.Get("X-Auth-Reason") != "" {
				checkNMOSError(t, c.status, body)
			}
		})
	}
}

// The answer to a question that announces a body comes immediately, and no time is spent on the body afterwards.
func TestAnnouncedBodyIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		client, ended := serveHandler(t, false, httpauth.Handler(counting{&asked}, nil).ServeHTTP)
		start := time.Now()
		io.WriteString(client, requestLine+original+"Content-Length: 77\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || response.StatusCode != 200 || !response.Close {
			t.Fatalf("got %+v, %v; want 200 and the end of the connection", response, err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > time.Second || asked != 1 {
			t.Errorf("got the answer and the end after %v, asked %d times; want within a second, once", took, asked)
		}
		client.Close()
	})
}

// No value of a header begins another one.
func TestHeadersStayApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, ended := serveHandler(t, true, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-B", "a\r\nX-C: b\nc")
			w.WriteHeader(http.StatusForbidden)
		})
		go io.WriteString(client, whole)
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || response.StatusCode != 403 || response.Header.Get("X-C") != "" ||
			response.Header.Get("X-B") != "a  X-C: b c" {
			t.Errorf("got %+v, %v; want 403 with X-B alone", response, err)
		}
		client.Close()
		<-ended
	})
}

// A handler that panics ends its connection and is reported; the daemon goes on.
func TestPanicIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported []string
		h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("ouch") })
		server := httpauth.NewServer(h, false, func(err error) { reported = append(reported, err.Error()) })
		client, conn := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- server.ServeConn(conn) }()
		io.WriteString(client, whole)
		if b, err := io.ReadAll(client); len(b) != 0 || err != nil {
			t.Errorf("got %q, %v; want the end of the connection", b, err)
		}
		if err := <-ended; err != nil || len(reported) != 1 || !strings.HasSuffix(reported[0], "ouch") {
			t.Errorf("got %v, reported %q; want one report that ends with \"ouch\"", err, reported)
		}
	})
}

// A caller that does nothing, or that is too slow in asking or listening, is hung up on.
func TestServeConnSlowCallers(t *testing.T) {
	for name, caller := range map[string]func(conn net.Conn){
		"silent": func(net.Conn) {},
		"a byte a second": func(conn net.Conn) {
			for i := range len(whole) {
				if _, err := conn.Write([]byte{whole[i]}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		},
		"deaf": func(conn net.Conn) { io.WriteString(conn, whole) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				asked := 0
				start := time.Now()
				go caller(client)
				serve(t, server, false, httpauth.Handler(counting{&asked}, nil))
				if took := time.Since(start); took > 2*time.Minute {
					t.Errorf("waited %v", took)
				}
				synctest.Wait()
				client.Close()
			})
		})
	}
}

// serveHandler serves a connection by any handler and returns the caller's end; ended gets what ServeConn returns.
func serveHandler(t *testing.T, bodies bool, h http.HandlerFunc) (client net.Conn, ended chan error) {
	client, server := net.Pipe()
	ended = make(chan error, 1)
	go func() { ended <- serve(t, server, bodies, h) }()
	return client, ended
}

// What a handler streams is heard while it writes; it is told when the caller hangs up.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := false
		client, ended := serveHandler(t, true, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-A", "b")
			out, stop := httpauth.Stream(w, r)
			defer stop()
			io.WriteString(out, "one\n")
			time.Sleep(time.Hour) // far longer than a connection may be idle
			io.WriteString(out, "two\n")
			<-r.Context().Done()
			told = true
		})
		go io.WriteString(client, whole)
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || response.StatusCode != 200 || response.Header.Get("X-A") != "b" || !response.Close ||
			response.ContentLength != -1 {
			t.Fatalf("got %+v, %v", response, err)
		}
		lines := bufio.NewReader(response.Body)
		start := time.Now()
		for _, c := range []struct {
			line  string
			after time.Duration
		}{{"one\n", 0}, {"two\n", time.Hour}} {
			line, err := lines.ReadString('\n')
			if took := time.Since(start); line != c.line || err != nil || took != c.after {
				t.Errorf("got %q, %v after %v; want %q after %v", line, err, took, c.line, c.after)
			}
		}
		client.Close()
		if err := <-ended; err != nil || !told {
			t.Errorf("ended with %v; the handler was told: %v", err, told)
		}
	})
}

// A caller that does not listen to what is streamed to it is hung up on.
func TestStreamToTheDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writes := 0
		client, ended := serveHandler(t, true, func(w http.ResponseWriter, r *http.Request) {
			out, stop := httpauth.Stream(w, r)
			defer stop()
			for ; writes < 1000; writes++ {
				if _, err := io.WriteString(out, "x"); err != nil {
					return
				}
			}
		})
		start := time.Now()
		io.WriteString(client, whole)
		if <-ended; time.Since(start) > time.Minute || writes > 0 {
			t.Errorf("hung up after %v and %d writes; want within a minute, after none", time.Since(start), writes)
		}
		client.Close()
	})
}

// A body is the handler's to read or leave; it is asked for only if the handler reads it.
func TestServeConnBodies(t *testing.T) {
	const long = 1 << 20
	for _, c := range []struct {
		name, text string
		reads      bool
		want       string // the answers
		got        int    // bytes that the handler had
	}{
		{"none", "PUT / HTTP/1.1\r\nHost: a\r\n\r\n", true, "200", 0},
		{"one and another request",
			"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + whole, true, "200 200", 5},
		{"unread", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + whole, false, "200 200", 0},
		{"a long one", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("x", long) +
			whole, true, "200 200", long},
		{"asked for", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello" + whole,
			true, "100 200 200", 5},
		{"not asked for",
			"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", false, "200", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := 0
				client, ended := serveHandler(t, true, func(w http.ResponseWriter, r *http.Request) {
					if !c.reads {
						return
					}
					b, err := io.ReadAll(r.Body)
					if err != nil {
						w.WriteHeader(http.StatusBadRequest)
						return
					}
					got += len(b)
				})
				answers := make(chan string)
				go func() {
					var statuses []string
					for in := bufio.NewReader(client); ; {
						response, err := http.ReadResponse(in, nil)
						if err != nil {
							break
						}
						io.Copy(io.Discard, response.Body)
						statuses = append(statuses, strings.Fields(response.Status)[0])
					}
					answers <- strings.Join(statuses, " ")
				}()
				io.WriteString(client, c.text) // an error: it has closed already
				synctest.Wait()
				client.Close()
				if statuses := <-answers; statuses != c.want || got != c.got {
					t.Errorf("answered %s, want %s; %d bytes were read", statuses, c.want, got)
				}
				<-ended
			})
		})
	}
}

// A body is asked for long after the answer before it.
func TestServeConnAsksForABodyLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := ""
		client, ended := serveHandler(t, true, func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			got += string(b)
		})
		in := bufio.NewReader(client)
		for range 3 {
			io.WriteString(client, "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
			if response, err := http.ReadResponse(in, nil); err != nil || response.StatusCode != http.StatusContinue {
				t.Fatalf("got %+v, error %v", response, err)
			}
			io.WriteString(client, "hello")
			if response, err := http.ReadResponse(in, nil); err != nil || response.StatusCode != http.StatusOK {
				t.Fatalf("got %+v, error %v", response, err)
			}
			time.Sleep(time.Minute)
		}
		client.Close()
		if err := <-ended; err != nil || got != "hellohellohello" {
			t.Errorf("got %q, error %v", got, err)
		}
	})
}
