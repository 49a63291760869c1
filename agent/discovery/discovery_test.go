package discovery

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nmosauthd/tinytest/dnsserver"
	"nmosauthd/tinytest/spec"
)

func TestKeySet(t *testing.T) {
	spec.Rules(t, "KEY-8")
	ca := newAuthority(t)
	mux := http.NewServeMux()
	var connections atomic.Int32
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1"), mux, func(s *httptest.Server) {
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		}
	})
	publish(mux, s.URL, "")
	publish2 := func(path, issuer string) {
		mux.HandleFunc("GET "+wellKnown+path, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer, s.URL+"/jwks#x")
		})
	}
	publish2("/realms/nmos", s.URL+"/realms/nmos/")
	publish2("/a%2fb", s.URL+"/a%2fb")
	c := New(Options{Roots: ca.roots})
	for _, issuer := range []string{s.URL, s.URL + "/", s.URL + "/realms/nmos",
		s.URL + "/realms/nmos/", s.URL + "/a%2fb"} {
		before := connections.Load()
		doc, err := c.KeySet(t.Context(), issuer)
		if err != nil {
			t.Errorf("%s: %v", issuer, err)
			continue
		}
		if string(doc.JWKS) != someKeys || strings.TrimSuffix(doc.Issuer, "/") != strings.TrimSuffix(issuer, "/") ||
			!strings.HasPrefix(doc.JWKSURI, s.URL+"/jwks") {
			t.Errorf("%s: %+v", issuer, doc)
		}
		if n := connections.Load() - before; n != 1 {
			t.Errorf("%s: %d connections for two documents", issuer, n)
		}
	}
}

// Servers that are strict about what a request accepts, that compress what they are not asked not to (RFC 9110
// §12.5.3), and that begin a document with a byte order mark.
func TestKeySetOfStrictServer(t *testing.T) {
	spec.Rules(t, "KEY-4", "KEY-8")
	ca := newAuthority(t)
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1"), mux)
	as := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			switch {
			case !strings.Contains(r.Header.Get("Accept"), kind):
				w.WriteHeader(http.StatusNotAcceptable)
			case r.Header.Get("Accept-Encoding") != "identity":
				w.Header().Set("Content-Encoding", "gzip")
			}
			w.Header().Set("Content-Type", kind)
			io.WriteString(w, body)
		}
	}
	mux.HandleFunc("GET "+wellKnown,
		as("application/json", fmt.Sprintf("\ufeff{\"issuer\":%q,\"jwks_uri\":%q}", s.URL, s.URL+"/jwks")))
	mux.HandleFunc("GET /jwks", as("application/jwk-set+json", someKeys))
	if doc, err := New(Options{Roots: ca.roots}).KeySet(t.Context(), s.URL); err != nil ||
		string(doc.JWKS) != someKeys {
		t.Errorf("got %q, error %v; want %q", doc.JWKS, err, someKeys)
	}
}

// A device holds no connection that it does not need.
func TestKeySetHoldsNoConnection(t *testing.T) {
	ca := newAuthority(t)
	mux := http.NewServeMux()
	closed := make(chan struct{}, 1)
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1"), mux, func(s *httptest.Server) {
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				closed <- struct{}{}
			}
		}
	})
	publish(mux, s.URL, "")
	if _, err := New(Options{Roots: ca.roots}).KeySet(t.Context(), s.URL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Error("the connection is still open")
	}
}

// What a server can do wrong, and what an operator reads then. The text after "…: " is compared whole.
func TestKeySetMisbehaviour(t *testing.T) {
	spec.Rules(t, "KEY-8")
	ca := newAuthority(t)
	cert := ca.leaf(time.Now().Add(time.Hour), "127.0.0.1")
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) }
	}
	big := strings.Repeat(" ", maxDocument)
	for _, c := range []struct {
		name     string
		metadata http.HandlerFunc // nil if good
		keys     http.HandlerFunc // nil if good
		from     string           // which document the error names
		want     string
	}{
		{"forbidden", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, nil, "metadata",
			"HTTP 403 Forbidden"},
		{"own status text", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599) },
			nil, "metadata", "HTTP 599 "},
		{"HTML by type", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, "Please log in")
		}, nil, "metadata", "an HTML page, not JSON"},
		{"HTML by content", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, "\n<!DOCTYPE html><p>secret")
		}, nil, "metadata", "an HTML page, not JSON"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://portal.example.com/login?secret=1", http.StatusFound)
		}, nil, "metadata", `a redirect to "portal.example.com" (HTTP 302), which is not followed`},
		{"redirect nowhere", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, nil, "metadata",
			"HTTP 304 Not Modified"},
		{"empty", text(""), nil, "metadata", "an empty document"},
		{"not JSON", text(`{"issuer":secret}`), nil, "metadata",
			"not JSON at byte 11 of 17: invalid character 's' looking for beginning of value"},
		{"cut short", text(`{"issuer":"https`), nil, "metadata",
			"not JSON at byte 16 of 16: unexpected end of JSON input"},
		{"array", text(`["secret"]`), nil, "metadata", "unexpected JSON array at byte 1 of 10"},
		{"number", text(`{"issuer":4711}`), nil, "metadata", "unexpected JSON number at byte 14 of 15"},
		{"null", text(`null`), nil, "metadata", "the document names no issuer"},
		{"issuer twice", text(`{"issuer":"https://a","issuer":"https://b"}`), nil, "metadata",
			"not JSON that all read alike: it gives one member name twice"},
		{"issuer in another case", text(`{"Issuer":"https://a"}`), nil, "metadata", "the document names no issuer"},
		{"nested deeply", text(`{"x":` + strings.Repeat("[", 200000) + `}`), nil, "metadata",
			"not JSON at byte 10005 of 200006: invalid character '[' exceeded max depth"},
		{"lying issuer", text(`{"issuer":"https://user:secret@evil.example.com/?secret=1","jwks_uri":"https://evil.example.com/"}`), nil, "metadata",
			`the document names another issuer, "https://evil.example.com/"`},
		{"no jwks_uri", text(`{"issuer":"ISSUER"}`), nil, "metadata", "the document names no jwks_uri"},
		{"jwks_uri http", text(`{"issuer":"ISSUER","jwks_uri":"http://127.0.0.1:9/jwks?secret=1"}`), nil, "metadata",
			`jwks_uri "http://127.0.0.1:9/jwks": not https`},
		{"jwks_uri of a file", text(`{"issuer":"ISSUER","jwks_uri":"file:///etc/shadow"}`), nil, "metadata",
			`jwks_uri "file:///etc/shadow": not an https URL`},
		{"jwks_uri relative", text(`{"issuer":"ISSUER","jwks_uri":"/jwks"}`), nil, "metadata",
			`jwks_uri "/jwks": not an https URL`},
		{"jwks_uri with user", text(`{"issuer":"ISSUER","jwks_uri":"https://me:secret@a/"}`), nil, "metadata",
			`jwks_uri "https://a/": a user name is not allowed`},
		{"announced too long", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10000000")
			io.WriteString(w, "{")
		}, nil, "metadata", "the document is over 256 KiB"},
		{"10 MB", func(w http.ResponseWriter, _ *http.Request) {
			for range 40 {
				io.WriteString(w, big)
			}
		}, nil, "metadata", "the document is over 256 KiB"},
		{"one byte too long", text(big + "1"), nil, "metadata", "the document is over 256 KiB"},
		{"compressed", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "identity" {
				t.Error("compression was asked for")
			}
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			for range 40 {
				io.WriteString(z, big)
			}
			z.Close()
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(b.Bytes())
		}, nil, "metadata", "the document is compressed, which was not asked for"},
		{"half", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"issuer":`)
		}, nil, "metadata", "the answer was cut off after 10 bytes: the server closed the connection"},
		{"hung up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, "metadata",
			"the server closed the connection"},

		{"keys not found", nil, http.NotFound, "keys", "HTTP 404 Not Found"},
		{"keys redirected", nil, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://other.example.com/?secret", http.StatusTemporaryRedirect)
		}, "keys", `a redirect to "other.example.com" (HTTP 307), which is not followed`},
		{"keys redirected twice", nil, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/jwks", http.StatusFound)
		}, "keys", "a redirect to ADDRESS (HTTP 302), which is not followed"},
		{"keys HTML", nil, text("<html>"), "keys", "an HTML page, not JSON"},
		{"keys not JSON", nil, text(`{"keys":[}`), "keys",
			"not JSON at byte 10 of 10: invalid character '}' looking for beginning of value"},
		{"keys a string", nil, text(`"secret"`), "keys", "neither a JSON object nor an array"},
		{"keys too long", nil, text(big + "[]"), "keys", "the document is over 256 KiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mux := http.NewServeMux()
			s := serve(t, cert, mux)
			good := http.NewServeMux()
			publish(good, s.URL, "")
			mux.HandleFunc(wellKnown, func(w http.ResponseWriter, r *http.Request) {
				if c.metadata == nil {
					good.ServeHTTP(w, r)
					return
				}
				c.metadata(&replacing{w, s.URL}, r)
			})
			mux.HandleFunc("/jwks", func(w http.ResponseWriter, r *http.Request) { c.keys(w, r) })
			doc, err := New(Options{Roots: ca.roots}).KeySet(t.Context(), s.URL)
			if err == nil {
				t.Fatalf("got %+v", doc)
			}
			from := map[string]string{"metadata": s.URL + wellKnown, "keys": s.URL + "/jwks"}[c.from]
			want := "discovery: " + c.from + " from " + from + ": " + c.want
			if last := map[string]bool{"own status text": true, "half": true, "hung up": true}; c.from == "metadata" &&
				!last[c.name] && !strings.Contains(c.name, "jwks_uri") {
				want += "; from " + s.URL + wellKnownOpenID + ": HTTP 404 Not Found" // the next place (KEY-8)
			}
			if got := err.Error(); got != strings.ReplaceAll(want, "ADDRESS",
				strconv.Quote(s.Listener.Addr().String())) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("a secret in %v", err)
			}
		})
	}
}

// replacing writes the server's URL for ISSUER.
type replacing struct {
	http.ResponseWriter
	issuer string
}

func (r *replacing) Write(p []byte) (int, error) {
	if _, err := r.ResponseWriter.Write(bytes.ReplaceAll(p, []byte("ISSUER"), []byte(r.issuer))); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (r *replacing) WriteString(s string) (int, error) { return r.Write([]byte(s)) }

// A longest document that is allowed, and a bare array (INFO-002), are read.
func TestKeySetForms(t *testing.T) {
	spec.Rules(t, "KEY-4")
	ca := newAuthority(t)
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1"), mux)
	mux.HandleFunc(wellKnown, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain") // seen in the field
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, s.URL, s.URL+"/jwks")
	})
	body := " [" + strings.Repeat(" ", maxDocument-3) + "]"
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
	doc, err := New(Options{Roots: ca.roots}).KeySet(t.Context(), s.URL)
	if err != nil || string(doc.JWKS) != body {
		t.Errorf("%d bytes, %v", len(doc.JWKS), err)
	}
}

// The server's time is what it says with the keys, and how long a cache has had them (OPS-1).
func TestKeySetDate(t *testing.T) {
	spec.Rules(t, "OPS-1")
	const date, then = "Sun, 22 Nov 2026 02:00:10 GMT", 1795312810
	for _, c := range []struct {
		name, head string
		want       int64 // 0 if none
	}{
		{"a date", "Date: " + date + "\r\n", then},
		{"from a cache", "Date: " + date + "\r\nAge: 3600\r\n", then + 3600},
		{"a bad age", "Date: " + date + "\r\nAge: -3600\r\n", then},
		{"an age of ages", "Date: " + date + "\r\nAge: 99999999999\r\n", then},
		{"none", "", 0},
		{"none that can be read", "Date: yesterday\r\n", 0},
	} {
		url, _ := answering(t, func(_, request int, url string) (string, bool) {
			if request == 0 {
				const other = "\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\n"
				return strings.Replace(okay(metadataOf(url)), "\r\n", other, 1), false
			}
			return strings.Replace(okay(someKeys), "\r\n", "\r\n"+c.head, 1), false
		})
		doc, err := New(Options{AllowHTTP: true}).KeySet(t.Context(), url)
		if err != nil || c.want == 0 && !doc.Date.IsZero() || c.want != 0 && doc.Date.Unix() != c.want {
			t.Errorf("%s: got %v, error %v; want %d", c.name, doc.Date, err, c.want)
		}
	}
}

func TestKeySetHTTP(t *testing.T) {
	spec.Rules(t, "KEY-8")
	var requests atomic.Int32
	mux := http.NewServeMux()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		mux.ServeHTTP(w, r)
	}))
	defer s.Close()
	publish(mux, s.URL, "")
	_, err := New(Options{}).KeySet(t.Context(), s.URL)
	if want := fmt.Sprintf("discovery: issuer %q: not https", s.URL); err == nil || err.Error() != want ||
		requests.Load() != 0 {
		t.Errorf("got %v after %d requests, want %s", err, requests.Load(), want)
	}
	doc, err := New(Options{AllowHTTP: true}).KeySet(t.Context(), s.URL)
	if err != nil || string(doc.JWKS) != someKeys {
		t.Errorf("in development: %+v, %v", doc, err)
	}
	// Allowed http does not make an https issuer's keys travel in the clear.
	ca := newAuthority(t)
	tlsMux := http.NewServeMux()
	secure := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1"), tlsMux)
	tlsMux.HandleFunc(wellKnown, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, secure.URL, s.URL+"/jwks")
	})
	_, err = New(Options{AllowHTTP: true, Roots: ca.roots}).KeySet(t.Context(), secure.URL)
	if err == nil || !strings.HasSuffix(err.Error(), "not https") {
		t.Errorf("an https issuer with http keys: %v", err)
	}
}

func TestKeySetIssuerForm(t *testing.T) {
	spec.Rules(t, "KEY-8")
	for issuer, want := range map[string]string{
		"":                          `discovery: issuer "": not an https URL`,
		"auth.example.com":          `discovery: issuer "auth.example.com": not an https URL`,
		"https://":                  `discovery: issuer "https:": not an https URL`,
		"ftp://a":                   `discovery: issuer "ftp://a": not an https URL`,
		"https://a\x00/?secret":     `discovery: issuer "https://a\x00/": not a URL`,
		"https://me:secret@a/b":     `discovery: issuer "https://a/b": a user name is not allowed`,
		"https://a/?secret=1":       `discovery: issuer "https://a/": an issuer has no query or fragment`,
		"https://a/#secret":         `discovery: issuer "https://a/": an issuer has no query or fragment`,
		"mailto:secret@example.com": `discovery: issuer "mailto:"…: not an https URL`,
	} {
		if _, err := New(Options{}).KeySet(t.Context(), issuer); err == nil || err.Error() != want {
			t.Errorf("%q:\ngot  %v\nwant %s", issuer, err, want)
		}
	}
}

// Whatever proxy the environment names, a device goes to the server itself, and by HTTP/1.1.
func TestKeySetNoProxy(t *testing.T) {
	ca := newAuthority(t)
	mux := http.NewServeMux()
	var protocols atomic.Value
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "auth.nmos.test"),
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			protocols.Store(r.Proto)
			mux.ServeHTTP(w, r)
		}), func(s *httptest.Server) { s.EnableHTTP2 = true })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	publish(mux, "https://auth.nmos.test:"+port, "")
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	ns := startDNS(t, dnsserver.Options{Zone: "auth.nmos.test. A 127.0.0.1"})
	c := New(Options{Roots: ca.roots, DNSServers: []string{ns.Addr()}})
	if _, err := c.KeySet(t.Context(), "https://auth.nmos.test:"+port); err != nil {
		t.Error(err)
	}
	expect(t, "protocol", protocols.Load(), "HTTP/1.1")
}

// One redirect is followed, to the same scheme, host and port, for either document (KEY-8).
func TestKeySetRedirect(t *testing.T) {
	spec.Rules(t, "KEY-8")
	ca := newAuthority(t)
	mux := http.NewServeMux()
	s := serve(t, ca.leaf(time.Now().Add(time.Hour), "127.0.0.1", "localhost"), mux)
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed to another server")
	}))
	defer plain.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	var to atomic.Value // where the document asked for redirects to
	redirect := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to.Load().(string))
		w.WriteHeader(http.StatusFound)
	}
	mux.HandleFunc("/moved/metadata", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Referer") != "" {
			t.Errorf("got a Referer %q, want none", r.Header.Get("Referer"))
		}
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"%s/keys"}`, s.URL, s.URL)
	})
	mux.HandleFunc("/moved/keys", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, someKeys) })
	mux.HandleFunc("/again/", redirect)
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "moved/keys", http.StatusPermanentRedirect)
	})
	mux.HandleFunc(wellKnown, redirect)
	c := New(Options{Roots: ca.roots, AllowHTTP: true})
	for location, want := range map[string]string{
		"/moved/metadata":         "",
		s.URL + "/moved/metadata": "",
		"../moved/metadata":       "",
		"/again/":                 `a redirect to "127.0.0.1:PORT" (HTTP 302), which is not followed`,
		plain.URL + "/?secret=1":  `a redirect to "127.0.0.1:OTHER" (HTTP 302), which is not followed`,
		"http://127.0.0.1:" + port + "/moved/metadata":            `a redirect to "127.0.0.1:PORT" (HTTP 302), which is not followed`,
		"https://localhost:" + port + "/moved/metadata":           `a redirect to "localhost:PORT" (HTTP 302), which is not followed`,
		"https://127.0.0.1/moved/metadata":                        `a redirect to "127.0.0.1" (HTTP 302), which is not followed`,
		"https://me:secret@127.0.0.1:" + port + "/moved/metadata": `a redirect to "127.0.0.1:PORT" (HTTP 302), which is not followed`,
		"//evil.example.com/":                                     `a redirect to "evil.example.com" (HTTP 302), which is not followed`,
	} {
		to.Store(location)
		doc, err := c.KeySet(t.Context(), s.URL)
		if want == "" {
			if err != nil || string(doc.JWKS) != someKeys || doc.Issuer != s.URL {
				t.Errorf("%s: got %+v, %v, want keys", location, doc, err)
			}
			continue
		}
		_, other, _ := net.SplitHostPort(plain.Listener.Addr().String())
		want = "discovery: metadata from " + s.URL + wellKnown + ": " + strings.NewReplacer("PORT", port, "OTHER",
			other).Replace(want) +
			"; from " + s.URL + wellKnownOpenID + ": HTTP 404 Not Found" // the next place
		expect(t, location, err, want)
	}
}
