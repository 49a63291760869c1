package agent_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/httpauth"
)

// Shutdown ends an answer that would go on, and so does a caller who leaves; neither is reported.
func TestShutdownEndsAStream(t *testing.T) {
	dir, err := os.MkdirTemp("", "n") // a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan struct{}, 2)
	stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, stop := httpauth.Stream(w, r)
		defer stop()
		io.WriteString(out, "first\n")
		<-r.Context().Done()
		io.WriteString(out, "last\n")
		left <- struct{}{}
	})
	report := func(err error) { t.Errorf("reported: %v", err) }
	handler := httpauth.NewServer(stream, true, report)
	server := &agent.Server{Handle: func(conn *agent.Conn) error { return handler.ServeConn(conn) },
		Report: report, Limit: 2}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	open := func() (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		in := bufio.NewReader(conn)
		for line := ""; line != "first\n"; {
			if line, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return conn, in
	}
	conn, _ := open()
	conn.Close()
	<-left
	conn, in := open()
	defer conn.Close()
	l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server.Shutdown(ctx)
	<-left
	if rest, err := io.ReadAll(in); !strings.Contains(string(rest), "last\n") ||
		!strings.HasSuffix(string(rest), "0\r\n\r\n") || err != nil || ctx.Err() != nil {
		t.Errorf("the rest is %q, %v; %v", rest, err, ctx.Err())
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
