package webserver_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
)

// rig is what stands behind a web server: an authorization server, the daemon, and a pretend device that has two doors.
// At the one it asks the daemon itself. The other is for the web server that has asked, and what comes in there is
// noted.
type rig struct {
	t      *testing.T
	auth   *authserver.Server
	daemon *daemon.Daemon
	dir    daemon.Dir
	http   string // the socket at which web servers ask
	quick  bool   // a web server need not wait as long for an answer: the daemon will hang
	config daemon.Config
	door   *httptest.Server
	direct string // address of the door where the device asks
	behind string // address of the other

	mu  sync.Mutex
	got []received
}

// received is a request that came in behind the web server.
type received struct {
	method, target, body string
	header, trailer      http.Header
}

// newRig starts it all. The authorization server has published every key that a row of the mint needs.
func newRig(t *testing.T) *rig {
	t.Helper()
	var keys []mint.JWK
	for _, c := range mint.Faults {
		if c.Publish != nil {
			keys = append(keys, c.Publish()...)
		}
	}
	return newRigWith(t, keys...)
}

// newRigWith is newRig for a server that has published its own key and these.
func newRigWith(t *testing.T, keys ...mint.JWK) *rig {
	t.Helper()
	r := &rig{t: t}
	var err error
	if r.auth, err = authserver.Start(authserver.Options{Key: mint.CachedKey("key-1", 2048)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.auth.Close() })
	r.auth.SetJWKS(mint.JWKSOf(append(keys, r.auth.Signer().JWK())...))

	if r.dir, err = daemon.NewDir(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.dir.Remove() })
	r.http = r.dir.HTTP()
	r.config = daemon.Config{CAPEM: r.auth.CAPEM(), Servers: []string{r.auth.Issuer()}, More: "retry = \"1s\""}
	if err := r.dir.Write(r.config); err != nil {
		t.Fatal(err)
	}
	r.daemon = startDaemon(t, r.dir)

	r.standDevice()
	eventually(t, "the keys", func() bool {
		return r.send(r.direct, get(senders).bearing(r.good()), t).status == 200
	})
	return r
}

// standDevice starts the device, which asks the daemon that may run later.
func (r *rig) standDevice() {
	r.t.Helper()
	device, err := firmware.Start(firmware.Options{Socket: r.dir.Authz(), Timeout: patience, Text: textOf})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { device.Close() })
	r.direct = strings.TrimPrefix(device.URL(), "http://")
	r.door = httptest.NewUnstartedServer(r.note(device.Behind()))
	r.door.Config.DisableGeneralOptionsHandler = true
	r.door.Start()
	r.t.Cleanup(r.door.Close)
	r.behind = strings.TrimPrefix(r.door.URL, "http://")
}

// textOf is what the daemon's HTTP socket says to people of a reason: the device shall say the same.
func textOf(reason string) string {
	for i := range wire.Reasons {
		if info := wire.Reason(i).Info(); info.Code == reason {
			return info.Text
		}
	}
	return ""
}

// note remembers what comes in.
func (r *rig) note(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return // whoever sends half a request gets no answer
		}
		r.mu.Lock()
		r.got = append(r.got, received{q.Method, q.RequestURI, string(body), q.Header.Clone(), q.Trailer.Clone()})
		r.mu.Unlock()
		q.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, q)
	})
}

// take returns what has come in since the last call.
func (r *rig) take() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// everything is a template of a token that may do all.
func (r *rig) everything() *mint.Token { return r.auth.Token(mint.Options{}) }

func (r *rig) good() string { return r.everything().Sign() }

// granting is a token for these APIs only.
func (r *rig) granting(permissions map[string]mint.Permission) string {
	return r.auth.Token(mint.Options{Permissions: permissions}).Sign()
}

// freeAddr is an address of the loopback interface where nobody listens. The kernel gives its port to nobody who asks
// for any, such as the other tests, until a web server listens there.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10_000+rand.IntN(20_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port from 10000 to 29999")
	return ""
}
