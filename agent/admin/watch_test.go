package admin_test

import (
	"bufio"
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
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// The last records, and those that come, as far as they are asked for.
func TestWatch(t *testing.T) {
	spec.Rules(t, "ANS-7")
	synctest.Test(t, func(t *testing.T) {
		log := audit.New(audit.Options{QueueBytes: 1 << 20, RingBytes: 1 << 20})
		decide := func(client, path string, reason wire.Reason) {
			log.Append(&audit.Decision{UID: -1, Question: wire.Decide, Reason: reason,
				Client: []byte(client), Path: []byte(path)})
			time.Sleep(time.Second)
		}
		s := &shelf{log: log}
		for _, path := range []string{"/a", "/b", "/c"} {
			decide("one", path, wire.OK)
			decide("two", path, wire.PathNotGranted)
		}
		decide("éclair", "/é", wire.OK)
		for query, want := range map[string]string{
			"last=100": "/a /a /b /b /c /c /\\u00e9", "last=2": "/c /\\u00e9", "last=0": "",
			"last=100&denied=true": "/a /b /c", "last=2&denied=1": "/b /c", "last=100&client=o*e": "/a /b /c",
			"last=100&client=one&path=/b": "/b", "last=1&path=*&client=": "/\\u00e9",
			"last=9&denied=false&client=two&path=*c": "/c", "last=9&client=%C3%A9*": "/\\u00e9",
			"last=9&client=none": "", "last=x": "400", "last=-1": "400", "last=1&last=x": "400",
			"last=1&denied=maybe": "400", "last=1&color=red": "400", "last=1&path=%zz": "400", "last=1&seq=1": "400",
			"seq=1&client=x": "400",
		} {
			got := ask(t, s, "GET /records?"+query+" HTTP/1.1\r\nHost: a\r\n\r\n")
			if len(got) != 1 {
				t.Fatalf("%s: %d answers", query, len(got))
			}
			if paths := pathsOf(got[0]); paths != want {
				t.Errorf("%s: %s, want %s", query, paths, want)
			}
		}

		h := admin.Handler(s)
		connect := func(query string) (net.Conn, *bufio.Reader, chan error) {
			client, server := net.Pipe()
			ended := make(chan error, 1)
			go func() {
				ended <- serve(t, server, h)
			}()
			io.WriteString(client, "GET /watch?"+query+" HTTP/1.1\r\nHost: a\r\n\r\n")
			response, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil || response.StatusCode != 200 ||
				response.Header.Get("Content-Type") != "application/x-ndjson" {
				t.Fatalf("got %+v, error %v", response, err)
			}
			return client, bufio.NewReader(response.Body), ended
		}
		client, in, ended := connect("last=1&denied=true")
		next := func(want string) {
			t.Helper()
			if line, err := in.ReadString('\n'); pathsOf(answer{200, nil, line}) != want {
				t.Errorf("%s, %v, want %s", line, err, want)
			}
		}
		next("/c")
		decide("one", "/d", wire.OK)
		decide("one", "/e", wire.PathNotGranted)
		next("/e")

		var others []chan error
		for range audit.MaxWatchers - 1 {
			conn, _, ended := connect("")
			defer conn.Close()
			others = append(others, ended)
		}
		if got := ask(t, s, "GET /watch HTTP/1.1\r\nHost: a\r\n\r\n"); len(got) != 1 || got[0].status != 503 ||
			got[0].header.Get("Retry-After") != "1" {
			t.Errorf("one more: %+v", got)
		}
		client.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		conn, _, again := connect("") // in its place
		defer conn.Close()
		others = append(others, again)
		// Nobody reads what these get. A daemon that stops closes their connections; here they end after the time for
		// an answer.
		decide("one", "/f", wire.PathNotGranted)
		log.Close(t.Context())
		for _, ended := range others {
			<-ended
		}
	})
}

// pathsOf returns the paths of the records in an answer, or its status.
func pathsOf(a answer) string {
	if a.status != 200 {
		return fmt.Sprint(a.status)
	}
	var paths []string
	for line := range strings.Lines(a.body) {
		_, rest, _ := strings.Cut(line, `"path":"`)
		path, _, _ := strings.Cut(rest, `"`)
		paths = append(paths, path)
	}
	return strings.Join(paths, " ")
}
