package httpauth_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"nmosauthd/agent/httpauth"
	"nmosauthd/tinytest/spec"
)

// The device's public keys can be read by anybody, are changed by nobody, and are no question: none is asked, and none
// is answered by them (CLI-67). They may be cached for less than it takes until a new one signs (CLI-68).
func TestKeys(t *testing.T) {
	spec.Rules(t, "CLI-67", "CLI-68")
	const keys = `{"keys":[{"kty":"RSA","kid":"k"}]}`
	for _, row := range []struct {
		request string
		status  int
		body    string // "" if none
	}{
		{"GET /jwks", 200, keys},
		{"GET /jwks?x=y", 200, keys},
		{"HEAD /jwks", 200, ""},
		{"POST /jwks", 405, `{"code":405,"error":"the keys can only be read","debug":"method"}` + "\n"},
		{"PUT /jwks", 405, `{"code":405,"error":"the keys can only be read","debug":"method"}` + "\n"},
		{"OPTIONS /jwks", 405, `{"code":405,"error":"the keys can only be read","debug":"method"}` + "\n"},
		{"GET /jwks/", 404, "404 page not found\n"},
		{"GET /JWKS", 404, "404 page not found\n"},
		{"GET /authorize/jwks", 400, ""}, // a question, without headers
	} {
		method, path, _ := strings.Cut(row.request, " ")
		var asked int
		client, ended := serveHandler(t, false, httpauth.Handler(counting{&asked},
			func() []byte { return []byte(keys) }).ServeHTTP)
		got, body := roundTrip(t, client,
			method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x.y.z\r\nConnection: close\r\n\r\n",
			method)
		<-ended
		if got.StatusCode != row.status || asked != 0 && row.status != 400 {
			t.Errorf("%s: got %d after %d questions, want %d after none", row.request, got.StatusCode, asked,
				row.status)
		}
		if row.status != 400 && body != row.body {
			t.Errorf("%s: got the body %q, want %q", row.request, body, row.body)
		}
		want := map[string]string{}
		switch row.status {
		case 200:
			want = map[string]string{
				"Content-Type": "application/jwk-set+json", "Cache-Control": "max-age=5", "Content-Length": "34",
				"X-Auth-Reason": "",
			}
		case 405:
			want = map[string]string{"Content-Type": "application/json", "Allow": "GET, HEAD", "Cache-Control": ""}
		}
		for name, value := range want {
			if got.Header.Get(name) != value {
				t.Errorf("%s: %s is %q, want %q", row.request, name, got.Header.Get(name), value)
			}
		}
	}
}

// Without keys there is nothing at their path.
func TestNoKeys(t *testing.T) {
	spec.Rules(t, "CLI-67")
	var asked int
	client, ended := serveHandler(t, false, httpauth.Handler(counting{&asked}, nil).ServeHTTP)
	got, _ := roundTrip(t, client, "GET /jwks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", http.MethodGet)
	<-ended
	if got.StatusCode != 404 || asked != 0 {
		t.Errorf("got %d after %d questions, want 404 after none", got.StatusCode, asked)
	}
}

// roundTrip sends one request and reads the answer to its end.
func roundTrip(t *testing.T, client net.Conn, request, method string) (*http.Response, string) {
	t.Helper()
	defer client.Close()
	go io.WriteString(client, request)
	answer, err := http.ReadResponse(bufio.NewReader(client), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}
