package admin_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/admin"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/httpauth"
	"nmosauthd/tinytest/spec"
)

// shelf is what the socket shows in these tests.
type shelf struct {
	document []byte
	err      error
	pushed   int

	forgotten int

	registered []string // issuers of RegisterClient and RotateClient
	log        *audit.Log
	more       int // lines of the metrics
}

func (s *shelf) Last(last int, match func(*audit.Record) bool) []byte { return s.log.Last(last, match) }
func (s *shelf) Watch(last int, match func(*audit.Record) bool) *audit.Watcher {
	return s.log.Watch(last, match)
}
func (s *shelf) Record(seq uint64) ([]byte, bool)                      { return []byte(`{"seq":7}`), seq == 7 }
func (s *shelf) Remembered() (first, last uint64)                      { return 5, 7 }
func (s *shelf) Inventory() []byte                                     { return s.document }
func (s *shelf) Observed() ([]byte, error)                             { return []byte(`{"decisions":1}`), s.err }
func (s *shelf) ForgetObserved()                                       { s.forgotten++ }
func (s *shelf) Status() ([]byte, error)                               { return []byte(`{"healthy":true}`), s.err }
func (s *shelf) StopObserve(context.Context) error                     { return s.err }
func (s *shelf) ForgetServer(string) error                             { return s.err }
func (s *shelf) RegisterClient(_ context.Context, issuer string) error { return s.register(issuer) }
func (s *shelf) RotateClient(_ context.Context, issuer string) error   { return s.register(issuer) }
func (s *shelf) ChangeCerts(_ context.Context, enrol bool) error {
	return s.register(fmt.Sprint("certs ", enrol))
}

func (s *shelf) InstallCertificate(_ context.Context, text []byte) error {
	return s.register(string(text))
}
func (s *shelf) RemoveCertificates(_ context.Context, what string) error { return s.register(what) }

func (s *shelf) StartObserve(context.Context, time.Duration) ([]byte, error) {
	return []byte("{}"), s.err
}
func (s *shelf) Refresh(context.Context, string) ([]byte, error) { return []byte("{}"), s.err }

func (s *shelf) Metrics() ([]byte, error) {
	return []byte("# HELP a b.\n" + strings.Repeat("#\n", s.more)), s.err
}

func (s *shelf) PushInventory(document []byte) error {
	s.pushed++
	if s.err == nil {
		s.document = document
	}
	return s.err
}

func (s *shelf) ForgetClient(_ context.Context, issuer string) (string, error) {
	return "the client of " + issuer + " stays", s.err
}

func (s *shelf) Keys(issuer string) ([]byte, error) {
	if issuer != "https://a" {
		return nil, s.err
	}
	return []byte(`{"keys":[]}`), s.err
}

func (s *shelf) register(issuer string) error {
	s.registered = append(s.registered, issuer)
	return s.err
}

// answer is one answer as its caller reads it.
type answer struct {
	status int
	header http.Header
	body   string
}

// serve serves a connection of the admin socket until it ends.
func serve(t *testing.T, conn net.Conn, h http.Handler) error {
	return httpauth.NewServer(h, true, func(err error) { t.Errorf("reported: %v", err) }).ServeConn(conn)
}

// ask sends text on one connection, hangs up, and returns the answers.
func ask(t *testing.T, s *shelf, text string) []answer {
	t.Helper()
	client, server := net.Pipe()
	h := admin.Handler(s)
	ended := make(chan error, 1)
	go func() {
		ended <- serve(t, server, h)
	}()
	answers := make(chan []answer)
	go func() {
		var got []answer
		in := bufio.NewReader(client)
		for {
			response, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Errorf("the body: %v", err)
			}
			got = append(got, answer{response.StatusCode, response.Header, string(body)})
		}
		answers <- got
	}()
	io.WriteString(client, text) // an error: it has closed already
	synctest.Wait()
	client.Close()
	got := <-answers
	<-ended
	return got
}

func put(body string) string {
	return fmt.Sprintf("PUT /inventory HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

const get = "GET /inventory HTTP/1.1\r\nHost: localhost\r\n\r\n"

// Every path, method and outcome has its status, and errors are NMOS errors (ANS-7).
func TestInventory(t *testing.T) {
	spec.Rules(t, "ANS-7")
	long := strings.Repeat("x", admin.MaxBody)
	chunked := func(body string) string {
		return fmt.Sprintf("PUT /inventory HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "+
			"chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	}
	mistake := errors.New("line 3: resource 1: name is missing")
	for _, c := range []struct {
		name, text string
		err        error
		want       []int
		held       string // the document afterwards
		debug      string // of the last error
	}{
		{"get nothing", get, nil, []int{404}, "", "inventory-pending"},
		{"put and get", put("{}") + get, nil, []int{204, 200}, "{}", ""},
		{"put chunked", chunked("{}") + get, nil, []int{204, 200}, "{}", ""},
		// for the function to refuse
		{"put nothing", "PUT /inventory HTTP/1.1\r\nHost: a\r\n\r\n" + get, nil, []int{204, 200}, "", ""},
		{"put a mistake", put("{}") + get, mistake, []int{400, 404}, "", "inventory-pending"},
		{"put a mistake last", put("{}"), mistake, []int{400}, "", "line 3: resource 1: name is missing"},
		{"put where a file is", put("{}"), fmt.Errorf("it is read from /a: %w", admin.ErrFixed), []int{409}, "",
			"it is read from /a: it cannot be changed here"},
		{"put the longest", put(long), nil, []int{204}, long, ""},
		{"put the longest chunked", chunked(long), nil, []int{204}, long, ""},
		{"put a byte more", put(long + "x"), nil, []int{413}, "", "4 MiB at most"},
		{"put a byte more, chunked", chunked(long + "x"), nil, []int{413}, "", "4 MiB at most"},
		{"put what never ends, chunked", chunked(long + long), nil, []int{413}, "", "4 MiB at most"},
		{"put, announcing 1 TB", "PUT /inventory HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n" + long +
			long, nil, []int{413}, "", "4 MiB at most"},
		{"put, asking first", "PUT /inventory HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: " +
			"2\r\n\r\n{}" + get, nil, []int{100, 204, 200}, "{}", ""},
		{"put too much, asking first", "PUT /inventory HTTP/1.1\r\nHost: a\r\nExpect: " +
			"100-continue\r\nContent-Length: 5000000\r\n\r\n", nil, []int{413}, "", "4 MiB at most"},
		{"put twice", put("{}") + put("{\n}"), nil, []int{204, 204}, "{\n}", ""},
		{"another path", "GET / HTTP/1.1\r\nHost: a\r\n\r\n" + put("{}"), nil, []int{404, 204}, "{}", ""},
		{"another path with a body", "PUT /inventory/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}" + put("[]"),
			nil, []int{404, 204}, "[]", ""},
		{"a path in other letters", "GET /Inventory HTTP/1.1\r\nHost: a\r\n\r\n", nil, []int{404}, "", "not-found"},
		{"delete", "DELETE /inventory HTTP/1.1\r\nHost: a\r\n\r\n", nil, []int{405}, "", "GET, PUT"},
		{"post", "POST /inventory HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", nil, []int{405}, "", "GET, PUT"},
		{"cut short", "PUT /inventory HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{}", nil, nil, "", ""},
		{"no HTTP", "{}\r\n\r\n", nil, []int{400}, "", "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &shelf{err: c.err}
				got := ask(t, s, c.text)
				var statuses []int
				for _, a := range got {
					statuses = append(statuses, a.status)
				}
				if fmt.Sprint(statuses) != fmt.Sprint(c.want) || string(s.document) != c.held {
					t.Fatalf("answered %v, want %v; %d bytes are held", statuses, c.want, len(s.document))
				}
				if len(got) == 0 {
					return
				}
				last := got[len(got)-1]
				switch {
				case last.status == 200:
					if last.body != c.held || last.header.Get("Content-Type") != "application/json" {
						t.Errorf("got %v", last)
					}
				case last.status >= 400 && c.debug != "-":
					var e struct {
						Code         int
						Error, Debug string
					}
					if err := json.Unmarshal([]byte(last.body), &e); err != nil || e.Code != last.status ||
						e.Error == "" || e.Debug != c.debug {
						t.Errorf("got error %v, %+v", err, e)
					}
					if allow := last.header.Get("Allow"); (last.status == 405) != (allow == "GET, PUT") {
						t.Errorf("Allow is %q", allow)
					}
				}
			})
		})
	}
}

// A long document is got as it is, whole.
func TestGetLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{document: bytes.Repeat([]byte("0123456789abcdef"), admin.MaxBody/16)}
		got := ask(t, s, get)
		if len(got) != 1 || got[0].status != 200 || got[0].body != string(s.document) ||
			got[0].header.Get("Content-Length") != "4194304" {
			t.Errorf("%d answers", len(got))
		}
	})
}

// A caller that is slow holds the place for ten seconds and no longer; who pushes meanwhile is told to come again, and
// all else is answered.
func TestSlowPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		h := admin.Handler(s)
		start := time.Now()
		connect := func() (net.Conn, chan error) {
			client, server := net.Pipe()
			ended := make(chan error, 1)
			go func() {
				ended <- serve(t, server, h)
			}()
			return client, ended
		}
		slow, slowEnded := connect()
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			io.WriteString(slow, "PUT /inventory HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
			for range 1000 {
				time.Sleep(time.Second)
				if _, err := slow.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		refused := make(chan string, 1)
		go func() {
			text, _ := io.ReadAll(slow)
			refused <- string(text)
		}()
		time.Sleep(time.Millisecond)
		other, otherEnded := connect()
		in := bufio.NewReader(other)
		for _, c := range []struct {
			text string
			want int
		}{{put("{}"), 503}, {get, 404}} {
			if c.text == get { // read to its end by a connection of its own
				io.WriteString(other, c.text)
			} else {
				go io.WriteString(other, c.text)
			}
			response, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != c.want {
				t.Errorf("%d, %v, want %d", response.StatusCode, err, c.want)
			}
			if wait := response.Header.Get("Retry-After"); (wait == "1") != (c.want == 503) {
				t.Errorf("Retry-After is %q", wait)
			}
		}
		other.Close()
		<-otherEnded
		if text := <-refused; !strings.HasPrefix(text, "HTTP/1.1 400 ") ||
			!strings.Contains(text, "did not arrive whole") {
			t.Errorf("the slow one gets %q", text)
		}
		<-slowEnded
		slow.Close()
		<-wrote
		if took := time.Since(start); took > 15*time.Second || s.pushed != 0 {
			t.Errorf("it took %v, and %d were pushed", took, s.pushed)
		}
		if got := ask(t, s, put("{}")); len(got) != 1 || got[0].status != 204 {
			t.Errorf("afterwards: %v", got)
		}
	})
}

func TestObserved(t *testing.T) {
	spec.Rules(t, "ANS-7")
	for _, c := range []struct {
		name, method string
		err          error
		status       int
		body         string
		forgotten    int
	}{
		{"report", "GET", nil, 200, `{"decisions":1}`, 0},
		{"no report", "GET", errors.New("why"), 500,
			`{"code":500,"error":"the report could not be made","debug":"why"}` + "\n", 0},
		{"forget", "DELETE", nil, 204, "", 1},
		{"put", "PUT", nil, 405, `{"code":405,"error":"this path does not have this method","debug":"GET, DELETE"}` +
			"\n", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &shelf{err: c.err}
				got := ask(t, s, c.method+" /observe HTTP/1.1\r\nHost: a\r\n\r\n")
				if len(got) != 1 || got[0].status != c.status || got[0].body != c.body || s.forgotten != c.forgotten {
					t.Errorf("%+v, forgotten %d times", got, s.forgotten)
				}
			})
		})
	}
}

func TestStatus(t *testing.T) {
	spec.Rules(t, "ANS-7")
	for path, want := range map[string]string{
		"/status": "application/json {\"healthy\":true}", "/metrics": "text/plain; version=0.0.4; charset=utf-8 # " +
			"HELP a b.\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			got := ask(t, &shelf{}, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
			if len(got) != 1 || got[0].status != 200 || got[0].header.Get("Content-Type")+" "+got[0].body != want ||
				got[0].header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %+v", path, got)
			}
			got = ask(t, &shelf{err: errors.New("why")}, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
			if len(got) != 1 || got[0].status != 500 || !strings.Contains(got[0].body, `"debug":"why"`) {
				t.Errorf("%s: %+v", path, got)
			}
			got = ask(t, &shelf{}, "DELETE "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
			if len(got) != 1 || got[0].status != 405 {
				t.Errorf("%s: %+v", path, got)
			}
		})
	}
}

// Long answers say how long they are, too: scripts read them without knowing of chunks.
func TestLongAnswersHaveALength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := ask(t, &shelf{more: 10_000}, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
		if len(got) != 1 || got[0].header.Get("Content-Length") != "20012" || len(got[0].body) != 20012 {
			t.Errorf("got %d answers, want one of 20012 bytes that says so: %v", len(got), got[0].header)
		}
	})
}

func TestKeys(t *testing.T) {
	spec.Rules(t, "ANS-7")
	for _, c := range []struct {
		query string
		err   error
		want  string
	}{
		{"?issuer=https://a", nil, "200 {\"keys\":[]}"},
		{"?issuer=https://b", nil, "404 "},
		{"?issuer=https://a", errors.New("why"), "500 "},
		{"", nil, "400 "},
		{"?issuer=https://a&issuer=https://b", nil, "400 "},
	} {
		synctest.Test(t, func(t *testing.T) {
			got := ask(t, &shelf{err: c.err}, "GET /keys"+c.query+" HTTP/1.1\r\nHost: a\r\n\r\n")
			if len(got) != 1 || !strings.HasPrefix(fmt.Sprint(got[0].status, " ", got[0].body), c.want) {
				t.Errorf("%s, %v: got %+v, want %s", c.query, c.err, got, c.want)
			}
		})
	}
}

func TestRecords(t *testing.T) {
	spec.Rules(t, "ANS-7")
	for query, want := range map[string]string{
		"?seq=7": "200 {\"seq\":7}\n", "?seq=8": `404 {"code":404,"error":"the daemon remembers decisions 5 to 7"`,
		"": "400 ", "?seq=": "400 ", "?seq=-7": "400 ", "?seq=x": "400 ", "?seq=18446744073709551616": "400 ",
	} {
		t.Run(query, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := ask(t, &shelf{}, "GET /records"+query+" HTTP/1.1\r\nHost: a\r\n\r\n")
				if len(got) != 1 || !strings.HasPrefix(fmt.Sprint(got[0].status, " ", got[0].body), want) {
					t.Errorf("%+v, want %s", got, want)
				}
			})
		})
	}
}
