package clients_test

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// httpDaemon pretends to be the daemon's http.sock, where packets are posted.
type httpDaemon struct {
	t      *testing.T
	mu     sync.Mutex
	behave behaviour
	asked  int
}

func startHTTPDaemon(t *testing.T, behave behaviour) *anyDaemon {
	t.Helper()
	path := socketPath(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	d := &httpDaemon{t: t, behave: behave}
	server := &http.Server{Handler: d, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan struct{})
	go func() { server.Serve(l); close(ended) }()
	t.Cleanup(func() { server.Close(); <-ended })
	return &anyDaemon{path, d.become, d.count}
}

func (d *httpDaemon) become(behave behaviour) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behave = behave
}

func (d *httpDaemon) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

func (d *httpDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	question, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Path != "/packet" || r.Method != http.MethodPost {
		d.t.Errorf("got %s %s, %v; want POST /packet", r.Method, r.URL.Path, err)
	}
	d.mu.Lock()
	d.asked++
	behave := d.behave
	d.mu.Unlock()
	var answer bytes.Buffer
	if !behave(&answer, string(question)) {
		panic(http.ErrAbortHandler)
	}
	if answer.Len() == 0 { // silent
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	first, _, _ := strings.Cut(answer.String(), "\n")
	_, number, _ := strings.Cut(first, " ")
	if status, err := strconv.Atoi(number); err == nil && len(number) == 3 && status >= 200 {
		w.WriteHeader(status)
	}
	w.Write(answer.Bytes())
}
