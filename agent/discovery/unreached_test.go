package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"nmosauthd/tinytest/dnsserver"
)

// A server that says nothing, or an occasional byte, costs the timeout and no more.
func TestKeySetTimeout(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.leaf(time.Now().Add(time.Hour), "127.0.0.1")
	release := make(chan struct{})
	hang := serve(t, cert, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	drip := serve(t, cert, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			io.WriteString(w, " ")
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}))
	defer close(release)
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // never accepts: the TLS handshake hangs
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	const timeout = 300 * time.Millisecond
	c := New(Options{Roots: ca.roots, Timeout: timeout})
	for name, issuer := range map[string]string{"hang": hang.URL, "drip": drip.URL,
		"handshake": "https://" + deaf.Addr().String()} {
		start := time.Now()
		_, err := c.KeySet(t.Context(), issuer)
		if want := "discovery: metadata from " + issuer + wellKnown +
			": no full answer in time: context deadline exceeded"; err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", name, err, want)
		}
		took := time.Since(start)
		if took < timeout || took > time.Minute {
			t.Errorf("%s: got the error after %v, want it after %v", name, took, timeout)
		}
		t.Logf("%s: %v", name, took)
	}
	c = New(Options{Roots: ca.roots, Timeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := c.KeySet(ctx, hang.URL); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v, want %v", err, context.Canceled)
	}
}

// refusing returns an address of a port on loopback where nobody listens, and nobody will during the test: a connection
// to elsewhere has it.
func refusing(t *testing.T, network string) string {
	t.Helper()
	elsewhere := "127.0.0.1:9"
	if network == "tcp" {
		l, err := net.Listen(network, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		elsewhere = l.Addr().String()
	}
	conn, err := net.Dial(network, elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// hangingUp is the address of a server that hands each connection to hangUp, and closes it.
func hangingUp(t *testing.T, hangUp func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				hangUp(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().String()
}

// Whoever reads that a server cannot be reached reads its address once, and what may be wrong.
func TestKeySetUnreached(t *testing.T) {
	address := refusing(t, "tcp")
	_, port, _ := net.SplitHostPort(address)
	ns := startDNS(t, dnsserver.Options{Zone: "auth.nmos.test. A 127.0.0.1"})
	c := New(Options{AllowHTTP: true, DNSServers: []string{ns.Addr()}})
	for issuer, want := range map[string]string{
		"https://" + address:           "https://" + address + ": connection refused. Is the server running?",
		"http://" + address + "/realm": "http://" + address + ": connection refused. Is the server running?",
		"https://auth.nmos.test:" + port: "https://auth.nmos.test:" + port + ": connection refused by " + address +
			". Is the server running?", "https://none.nmos.test": "https://none.nmos.test: looking up " +
			"none.nmos.test: no such name (NXDOMAIN)",
	} {
		_, err := c.KeySet(t.Context(), issuer)
		expect(t, issuer, err, want)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	_, port, _ = net.SplitHostPort(plain.Listener.Addr().String())
	_, err := c.KeySet(t.Context(), "https://127.0.0.1:"+port)
	expect(t, "http port", err, "https://127.0.0.1:"+port+": port "+port+" does not speak TLS (is it the http port?)")
	for name, hangUp := range map[string]func(*net.TCPConn){
		"an end": func(c *net.TCPConn) {
			io.ReadAtLeast(c, make([]byte, 1<<16), 16)
			c.CloseWrite()
			io.Copy(io.Discard, c)
		},
		"a reset": func(c *net.TCPConn) { c.Read(make([]byte, 1)); c.SetLinger(0) },
	} {
		mail := hangingUp(t, hangUp)
		_, err = c.KeySet(t.Context(), "https://"+mail)
		expect(t, "not TLS: "+name, err, "https://"+mail+": the server closed the connection during the TLS handshake")
		_, err = c.KeySet(t.Context(), "http://"+mail)
		expect(t, "not HTTP: "+name, err,
			"discovery: metadata from http://"+mail+wellKnown+": the server closed the connection")
	}

	// The keys are elsewhere, and nothing listens there.
	mux := http.NewServeMux()
	meta := httptest.NewServer(mux)
	defer meta.Close()
	mux.HandleFunc(wellKnown, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"http://%s/jwks"}`, meta.URL, address)
	})
	_, err = c.KeySet(t.Context(), meta.URL)
	expect(t, "keys", err, "discovery: keys from http://"+address+"/jwks: connection refused. Is the server running?")
}
