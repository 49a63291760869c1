package webserver_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// A daemon that restarts breaks the connections that web servers keep to it. They ask again, and their clients get the
// answer.
func TestBrokenConnections(t *testing.T) {
	spec.Rules(t, "ANS-1", "ANS-3")
	for _, one := range fronts {
		if one.keepsNone {
			continue
		}
		t.Run(one.name, func(t *testing.T) {
			r := newRig(t)
			broken := r.breakConnections(t)
			f := one.start(t, r)
			elsewhere := get(self).bearing(r.granting(map[string]mint.Permission{"events": {Read: []string{"*"}}}))
			patch := request{method: "PATCH", target: receiver, body: "{}"}
			compare(t, r, f, []row{
				{"no token", get(self)}, {"no token again", get(self)}, {"allowed", get(self).bearing(r.good())},
				{"no permission", elsewhere}, {"no path", get(self + "//")},
				{"with a body", patch.bearing(r.good())}, {"with a body, no token", patch},
			}, nil)
			if broken.Load() == 0 {
				t.Error("no connection broke")
			}
		})
	}
}

// breakConnections puts something between web server and daemon that answers one request of each connection, and ends
// it at the next. It returns how often that was so.
func (r *rig) breakConnections(t *testing.T) *atomic.Int32 {
	t.Helper()
	dir, err := os.MkdirTemp("", "nmos-") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r.http = filepath.Join(dir, "http.sock")
	listener, err := net.Listen("unix", r.http)
	if err != nil {
		t.Fatal(err)
	}
	daemon := r.dir.HTTP()
	relay := httputil.ReverseProxy{
		Rewrite: func(q *httputil.ProxyRequest) { q.Out.URL.Scheme, q.Out.URL.Host = "http", "daemon" },
		Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", daemon)
			}},
	}
	type asked struct{}
	broken := new(atomic.Int32)
	server := http.Server{
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, asked{}, new(atomic.Int32))
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.Context().Value(asked{}).(*atomic.Int32).Add(1) > 1 {
				broken.Add(1)
				panic(http.ErrAbortHandler)
			}
			relay.ServeHTTP(w, q)
		}),
	}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return broken
}
