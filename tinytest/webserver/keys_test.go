package webserver_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// publicKeys is where the shipped files publish the device's own public keys.
const publicKeys = "/x-nmos-authd/jwks"

// Each web server passes one public path to the daemon's GET /jwks: nobody needs a token there, what reads it never
// reaches the device, and nothing else of http.sock is reached (CLI-67).
func TestKeysArePublished(t *testing.T) {
	spec.Rules(t, "CLI-67")
	for _, one := range fronts {
		t.Run(one.name, func(t *testing.T) {
			r := newRigWith(t)
			f := one.start(t, r)
			if f.publishesNone {
				t.Skip("the firmware has to publish them by its own hand")
			}
			client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _,
				_ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", r.http)
			}}}
			t.Cleanup(client.CloseIdleConnections)
			_, _, want := fetch(t, &client, "GET", "http://daemon/jwks", "")
			if !strings.HasPrefix(want, `{"keys":`) {
				t.Fatalf("the daemon publishes %q, want a key set", want)
			}
			r.take()
			web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for _, row := range []struct {
				method, target, body string
				status               int
				prints               string
			}{
				{"GET", publicKeys, "", 200, want},
				{"GET", publicKeys + "?access_token=x", "", 200, want},
				{"HEAD", publicKeys, "", 200, ""},
				{"POST", publicKeys, "{}", 405, `"the keys can only be read"`},
				{"PUT", publicKeys, "{}", 405, `"the keys can only be read"`},
				{"DELETE", publicKeys, "", 405, `"the keys can only be read"`},
				{"OPTIONS", publicKeys, "", 405, `"the keys can only be read"`},
				{"GET", publicKeys + "/", "", 401, "no-token"},
				{"GET", publicKeys + "2", "", 401, "no-token"},
				{"GET", "/x-nmos-authd/authorize", "", 401, "no-token"},
				{"GET", "/x-nmos-authd/jwks/../authorize", "", 401, "no-token"},
				{"GET", "/jwks", "", 401, "no-token"},
			} {
				if row.status == 405 && f.judgesKeys {
					if row.status, row.prints = 401, "no-token"; row.method == "OPTIONS" {
						continue // public everywhere
					}
				}
				status, header, body := fetch(t, web, row.method, "http://"+f.addr+row.target, row.body)
				if status != row.status || !strings.Contains(body, row.prints) || row.prints == want && body != want {
					t.Errorf("%s %s: got %d %q, want %d %q", row.method, row.target, status, body, row.status,
						row.prints)
				}
				expect := map[string]string{}
				switch row.status {
				case 200:
					expect = map[string]string{"Content-Type": "application/jwk-set+json", "Cache-Control": "max-age=5",
						"X-Auth-Reason": ""}
				case 405:
					expect = map[string]string{"Allow": "GET, HEAD"}
				}
				for name, value := range expect {
					if got := header.Get(name); got != value {
						t.Errorf("%s %s: %s is %q, want %q", row.method, row.target, name, got, value)
					}
				}
				if got := r.take(); len(got) > 0 {
					t.Errorf("%s %s: the device got %+v", row.method, row.target, got)
				}
			}
		})
	}
}

// fetch sends one request, whose target goes out as it is.
func fetch(t *testing.T, client *http.Client, method, url, body string) (status int, header http.Header, text string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(b)
}
