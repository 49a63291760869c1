package discovery

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"nmosauthd/tinytest/spec"
)

// answering serves plain HTTP by hand: answer gets the number of the request on its connection, from 0, and of the
// connection, from 0, and returns the bytes to send, and whether to hang up then; without it, it hangs up immediately.
// It returns the server's URL and a count of connections.
func answering(t *testing.T,
	answer func(conn, request int, url string) (text string, last bool)) (string, *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	url := "http://" + l.Addr().String()
	var conns atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			number := int(conns.Add(1)) - 1
			go func() {
				defer c.Close()
				if answer == nil {
					return
				}
				in := bufio.NewReader(c)
				for i := 0; ; i++ {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					if r.Method != http.MethodGet || "http://"+r.Host != url || r.Header.Get("Accept") != accept ||
						r.Header.Get("User-Agent") != "nmos-authd" || r.Header.Get("Accept-Encoding") != "identity" ||
						len(r.Header) != 3 {
						t.Errorf("asked %s for %s with %v", r.Host, r.Method, r.Header)
					}
					text, last := answer(number, i, url)
					if _, err := io.WriteString(c, text); err != nil || last {
						return
					}
				}
			}()
		}
	}()
	return url, &conns
}

func okay(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func metadataOf(url string) string {
	return fmt.Sprintf(`{"issuer":%q,"jwks_uri":"%s/jwks"}`, url, url)
}

// What comes before a document, at the borders of what a device takes.
func TestKeySetHead(t *testing.T) {
	spec.Rules(t, "KEY-8")
	interim := "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
	field := "X: " + strings.Repeat("x", 1000) + "\r\n"
	for _, c := range []struct {
		name, before string // the document, its own head included
		want         string // "" if the document is read
	}{
		{"interim", strings.Repeat(interim, 4), ""},
		{"interim without end", strings.Repeat(interim, 1000), "the answer has headers of over 32 KiB"},
		{"other protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", "HTTP 101 Switching Protocols"},
		{"long head", "HTTP/1.1 200 OK\r\n" + strings.Repeat(field, 40), "the answer has headers of over 32 KiB"},
		{"long interim head", "HTTP/1.1 103 Early Hints\r\n" + strings.Repeat(field, 40),
			"the answer has headers of over 32 KiB"},
		{"endless line", "HTTP/1.1 200 " + strings.Repeat("secret", 10000), "the answer has headers of over 32 KiB"},
		{"another protocol", "220 mail.example.com ESMTP secret\r\n\r\n", "the answer is not HTTP/1.1"},
		{"no header", "HTTP/1.1 200 OK\r\nsecret\r\n\r\n", "the answer is not HTTP/1.1"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
			"the answer is not HTTP/1.1"},
		{"both lengths", "HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: secret\r\n\r\n12",
			"the answer is not HTTP/1.1"},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", "the server closed the connection"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, _ := answering(t, func(_, request int, url string) (string, bool) {
				switch {
				case request == 1:
					return okay(someKeys), false
				case c.want == "":
					return c.before + okay(metadataOf(url)), false
				}
				return c.before, c.name == "half a head"
			})
			doc, err := New(Options{AllowHTTP: true}).KeySet(t.Context(), url)
			if c.want == "" && (err != nil || string(doc.JWKS) != someKeys) {
				t.Errorf("got %+v, %v", doc, err)
			}
			if want := "discovery: metadata from " + url + wellKnown + ": " + c.want; c.want != "" &&
				(err == nil || err.Error() != want) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

// A connection takes a second request unless something forbids it, and a request that finds it closed is put once
// more.
func TestKeySetConnectionAgain(t *testing.T) {
	const unasked = `{"keys":[]}` // by one who answers twice
	for _, c := range []struct {
		name   string
		answer func(conn, request int, url string) (string, bool)
		conns  int32
		want   string // "" for the keys
	}{
		{"kept", func(_, request int, url string) (string, bool) {
			return okay([]string{metadataOf(url), someKeys}[request]), false
		}, 1, ""},
		{"in chunks", func(_, request int, url string) (string, bool) {
			body := []string{metadataOf(url), someKeys}[request]
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
				len(body), body), false
		}, 1, ""},
		{"up to the end of the connection", func(conn, _ int, url string) (string, bool) {
			return "HTTP/1.1 200 OK\r\n\r\n" + []string{metadataOf(url), someKeys}[conn], true
		}, 2, ""},
		{"HTTP/1.0", func(conn, _ int, url string) (string, bool) {
			return strings.Replace(okay([]string{metadataOf(url), someKeys}[conn]), "/1.1", "/1.0", 1), false
		}, 2, ""},
		{"closed as announced", func(conn, _ int, url string) (string, bool) {
			return strings.Replace(okay([]string{metadataOf(url), someKeys}[conn]), "\r\n",
				"\r\nConnection: close\r\n", 1), true
		}, 2, ""},
		{"closed unannounced", func(conn, _ int, url string) (string, bool) {
			return okay([]string{metadataOf(url), someKeys}[conn]), true
		}, 2, ""},
		{"closed on the second request", func(conn, request int, url string) (string, bool) {
			switch {
			case conn == 0 && request == 1:
				return "", true
			case conn == 0:
				return okay(metadataOf(url)), false
			}
			return okay(someKeys), false
		}, 2, ""},
		{"closed on every second request", func(conn, _ int, url string) (string, bool) {
			if conn > 0 {
				return "", true
			}
			return okay(metadataOf(url)), true
		}, 2, "the server closed the connection"},
		{"more than was asked for", func(conn, request int, url string) (string, bool) {
			if conn == 0 && request == 0 {
				return okay(metadataOf(url)) + okay(unasked), false
			}
			return okay(someKeys), false
		}, 2, ""},
		{"a short refusal", func(_, request int, url string) (string, bool) {
			return []string{"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", okay(metadataOf(url)),
				okay(someKeys)}[request], false
		}, 1, ""},
		{"a long refusal", func(conn, request int, url string) (string, bool) {
			if conn == 0 {
				return "HTTP/1.1 404 Not Found\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("gone", 25000), false
			}
			return okay([]string{metadataOf(url), someKeys}[request]), false
		}, 2, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, asked := answering(t, c.answer)
			doc, err := New(Options{AllowHTTP: true}).KeySet(t.Context(), url)
			want, conns, got := someKeys, c.conns, asked.Load()
			// the second request was sent before package http looked at what was left over
			if string(doc.JWKS) == unasked {
				want, conns = unasked, 1
			}
			if c.want == "" && (err != nil || string(doc.JWKS) != want) {
				t.Errorf("got %+v, %v, want keys", doc, err)
			}
			if want := "discovery: keys from " + url + "/jwks: " + c.want; c.want != "" &&
				(err == nil || err.Error() != want) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if got != conns {
				t.Errorf("got %d connections, want %d", got, conns)
			}
		})
	}
}

// What a host could bring into a request's header is not a host.
func TestKeySetHost(t *testing.T) {
	spec.Rules(t, "KEY-8")
	for _, issuer := range []string{"https://münchen.example", "https://[fe80::1%25eth0]/", "https://a%C3%A9"} {
		_, err := New(Options{}).KeySet(t.Context(), issuer)
		want := "the host is not plain ASCII; other scripts are written as xn--…"
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: got %v, want …%s", issuer, err, want)
		}
	}
}
