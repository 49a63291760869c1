package admin_test

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"nmosauthd/agent/admin"
	"nmosauthd/tinytest/spec"
)

// Certificates are asked for, installed and removed; what is sent is bounded.
func TestCerts(t *testing.T) {
	spec.Rules(t, "CERT-47")
	synctest.Test(t, func(t *testing.T) {
		pem := "\r\nContent-Length: 4\r\n\r\npair"
		long := fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", 129<<10, strings.Repeat("x", 129<<10))
		for _, c := range []struct {
			request, rest string
			err           error
			status        int
			body, what    string
		}{
			{"POST /certs", "", nil, 204, "", "certs true"},
			{"POST /certs/renew", "", nil, 204, "", "certs false"},
			{"POST /certs/renew", "", errors.New("HTTP 403"), 500, `"debug":"HTTP 403"`, "certs false"},
			{"PUT /certs", pem, nil, 204, "", "pair"},
			{"PUT /certs", pem, errors.New("no key"), 400, `"debug":"no key"`, "pair"},
			{"PUT /certs", pem, admin.ErrFixed, 409, `"error":"the certificate is not installed"`, "pair"},
			{"PUT /certs", long, nil, 400, "over 128 KiB", ""},
			{"DELETE /certs?what=ecdsa", "", nil, 204, "", "ecdsa"},
			{"DELETE /certs?what=rsa", "", errors.New("none"), 400, `"error":"the certificate is not removed"`, "rsa"},
			{"GET /certs", "", nil, 405, `"debug":"POST, PUT, DELETE"`, ""},
		} {
			s := &shelf{err: c.err}
			got := ask(t, s, c.request+" HTTP/1.1\r\nHost: a"+cmp.Or(c.rest, "\r\n\r\n"))
			if len(got) != 1 || got[0].status != c.status || !strings.Contains(got[0].body, c.body) {
				t.Errorf("%s, %v: got %+v, want %d %s", c.request, c.err, got, c.status, c.body)
			}
			if what := strings.Join(s.registered, ","); what != c.what {
				t.Errorf("%s: done with %q, want %q", c.request, what, c.what)
			}
		}
	})
}

// The device as an OAuth client is registered and forgotten by its issuer, or by none, and its key is replaced.
func TestClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			request string
			err     error
			status  int
			body    string
		}{
			{"POST /client", nil, 204, ""},
			{"POST /client?issuer=https%3A%2F%2Fa", nil, 204, ""},
			{"POST /client", admin.ErrFixed, 409, `"debug":"it cannot be changed here"`},
			{"POST /client", errors.New("HTTP 403"), 500, `"debug":"HTTP 403"`},
			{"DELETE /client?issuer=https://a", nil, 200, "the client of https://a stays"},
			{"DELETE /client", admin.ErrUnknown, 404, `"error":"there is no such client"`},
			{"POST /client/key?issuer=https://a", nil, 204, ""},
			{"POST /client/key", admin.ErrUnknown, 404, `"error":"there is no such client"`},
			{"POST /client/key", admin.ErrFixed, 409, `"error":"the client's key is not replaced"`},
			{"POST /client/key", errors.New("disk full"), 500, `"debug":"disk full"`},
			{"GET /client/key", nil, 405, `"debug":"POST"`},
			{"GET /client", nil, 405, `"debug":"POST, DELETE"`},
		} {
			s := &shelf{err: c.err}
			got := ask(t, s, c.request+" HTTP/1.1\r\nHost: a\r\n\r\n")
			if len(got) != 1 || got[0].status != c.status || !strings.Contains(got[0].body, c.body) {
				t.Errorf("%s, %v: got %+v, want %d %s", c.request, c.err, got, c.status, c.body)
			}
			if c.status == 204 && len(s.registered) != 1 {
				t.Errorf("%s: registered %q", c.request, s.registered)
			}
		}
	})
}
