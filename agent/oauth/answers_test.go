package oauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/discovery"
	"nmosauthd/agent/oauth"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/spec"
)

// However a server writes its Retry-After, it is obeyed up to an hour; a date counts from the server's own.
func TestRetryAfterForms(t *testing.T) {
	spec.Rules(t, "CLI-57")
	date := "Mon, 05 Jan 2026 10:00:00 GMT"
	for _, c := range []struct {
		name, value, date string
		least, most       time.Duration
	}{
		{"seconds", "120", "", 2 * time.Minute, 3 * time.Minute},
		{"years", "99999999999", "", time.Hour, 90 * time.Minute},
		{"ages", strings.Repeat("9", 400), "", time.Hour, 90 * time.Minute},
		{"date", "Mon, 05 Jan 2026 10:02:00 GMT", date, 2 * time.Minute, 3 * time.Minute},
		{"past", "Mon, 05 Jan 2026 09:00:00 GMT", date, 0, 10 * time.Second},
		{"far", "Mon, 05 Jan 2099 09:00:00 GMT", date, time.Hour, 90 * time.Minute},
		{"negative", "-5", "", 0, 10 * time.Second},
		{"words", "soon", "", 0, 10 * time.Second},
	} {
		t.Run("CLI-57/"+c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // whose clock says 2000
				p := begin(func(r *http.Request, body string) (int, http.Header, string) {
					if r.URL.Path == "/token" {
						h := http.Header{"Retry-After": {c.value}}
						if c.date != "" {
							h.Set("Date", c.date)
						}
						return 503, h, ""
					}
					return usual(r, body)
				})
				p.Token("registration")
				p.Step(t.Context())
				p.Step(t.Context())
				if next := p.Status().Tokens[0].Next; next < c.least || next > c.most {
					t.Errorf("Retry-After %.40q: asked again in %v, want %v to %v", c.value, next, c.least, c.most)
				}
			})
		})
	}
}

// rawServer answers one connection after the other with TLS and the bytes that it is told to.
func rawServer(t *testing.T, cert tls.Certificate, answer func(request string) string) (address string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0",
		&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func(conn net.Conn) {
				defer conn.Close()
				buffer := make([]byte, 64<<10)
				n, all := 0, ""
				for !strings.Contains(all, "client_credentials") {
					if n, err = conn.Read(buffer); err != nil {
						return
					}
					all += string(buffer[:n])
				}
				_, _ = io.WriteString(conn, answer(all))
			}(conn)
		}
	}()
	return l.Addr().String()
}

// What a server writes below HTTP's surface is not repeated either, be it a secret or merely long.
func TestBrokenHTTPIsNotQuoted(t *testing.T) {
	spec.Rules(t, "OPS-2")
	const secret = "sesame-open-the-door"
	for name, form := range map[string]string{
		"status line": "HTTP/1.1 %s\r\n\r\n",
		"header":      "HTTP/1.1 200 OK\r\n%s\r\n\r\n",
		"header name": "HTTP/1.1 200 OK\r\n%s : x\r\n\r\n",
		"length":      "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
		"coding":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
		"chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n\r\n",
		"trailer":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n%s\r\n\r\n",
		"long": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n%s" +
			strings.Repeat("x", 3000) + "\r\n\r\n",
	} {
		t.Run("CLI-55/"+name, func(t *testing.T) {
			r := newRig(t, authserver.Options{}) // for its authority alone
			cert, err := r.server.CA().Issue(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "127.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			at := "https://" + rawServer(t, cert, func(string) string { return fmt.Sprintf(form, secret) })
			found := discovery.New(discovery.Options{
				Roots: func() (*x509.CertPool, error) { return r.server.CA().Pool(), nil }})
			said := ""
			c := oauth.New(oauth.Options{
				HTTP: found.HTTPClient,
				Metadata: func(context.Context, string) (discovery.Metadata, error) {
					return discovery.Metadata{TokenEndpoint: at + "/token"}, nil
				},
				Storage: &flash{}, Clock: func() (time.Time, bool) { return time.Now(), true },
				Report: func(e oauth.Event) { said += fmt.Sprintf("%+v\n", e) },
			})
			c.Configure(oauth.Config{Issuer: at, Scopes: []string{"events"},
				Given: oauth.Given{ID: "one", Secret: secret}})
			c.Here(at)
			c.Token("events")
			c.Step(t.Context())
			err = c.Status().Tokens[0].Err
			if err == nil || len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("got %v, want an error in one short line", err)
			}
			if strings.Contains(err.Error()+said, secret) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

// An error code is one of the specifications' or at least not a secret.
func TestSecretAsErrorCode(t *testing.T) {
	spec.Rules(t, "OPS-2")
	const secret = "opensesameplease"
	p := begin(func(r *http.Request, body string) (int, http.Header, string) {
		return 400, nil, `{"error":"` + secret + `"}`
	})
	p.config.InitialToken = secret
	p.Configure(p.config)
	p.Step(t.Context())
	if err := p.Status().Err; err == nil || strings.Contains(err.Error()+p.said(), secret) {
		t.Errorf("got %v, want an error without the initial access token", err)
	}
}

// What a server says of a client is kept within bounds.
func TestUnboundedMetadata(t *testing.T) {
	spec.Rules(t, "CLI-34")
	var scopes strings.Builder
	for n := range 5000 {
		fmt.Fprint(&scopes, " scope-", n)
	}
	for name, members := range map[string]string{
		"scope":         `"scope":"registration` + scopes.String() + `"`,
		"scope control": `"scope":"registration a\u0007b\u2028c"`,
		"ends":          `"client_secret_expires_at":9000000000000000000`,
		"ended":         `"client_secret_expires_at":-9000000000000000000`,
		"never":         `"client_secret_expires_at":1e300`,
		"exponent":      `"client_secret_expires_at":1.9e9`,
	} {
		t.Run("CLI-34/"+name, func(t *testing.T) {
			registered := 0
			p := begin(func(r *http.Request, body string) (int, http.Header, string) {
				if r.URL.Path == "/register" {
					registered++
					return 201, nil, `{"client_id":"c","client_secret":"sesame-1",` + members + `}`
				}
				return usual(r, body)
			})
			for range 3 {
				p.Token("registration")
				p.Due()
				p.Step(t.Context())
			}
			if a := p.Token("registration"); a.Err != nil || registered != 1 {
				t.Errorf("got %v after %d registrations, %v, want a token after one", a, registered, p.Status().Err)
			}
			if text := fmt.Sprintf("%+v", p.Status()) + p.said(); len(text) > 4000 || strings.Contains(text, "\a") {
				t.Errorf("got %d bytes of status: %.200q", len(text), text)
			}
		})
	}
}

// A server that registers the device and does not say as what, or whose answers are lost, is not left with a client
// every few seconds.
func TestLostAnswers(t *testing.T) {
	spec.Rules(t, "CLI-35", "CLI-36")
	for name, c := range map[string]struct {
		answer func() (int, string)
		most   int
	}{
		"CLI-36/no-id": {func() (int, string) { return 201, `{"client_name":"a"}` }, 6},
		"CLI-36/lost":  {func() (int, string) { return 504, "" }, 60}, // two an hour, if chance has it, and the first
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := begin(func(r *http.Request, body string) (int, http.Header, string) {
					status, text := c.answer()
					return status, nil, text
				})
				go p.Run(t.Context())
				ask(p.Client, 24*time.Hour)
				if n := p.count("POST /register"); n < 3 || n > c.most {
					t.Errorf("%d registrations in a day, want 3 to %d", n, c.most)
				}
			})
		})
	}
	// The connection ends when the server has the request.
	r := newRig(t, authserver.Options{Kind: authserver.BBC})
	r.server.Misbehave(authserver.PathRegister, authserver.RegisterLost)
	if wait := r.Step(t.Context()); wait < 20*time.Second {
		t.Errorf("asked again in %v after the answer was lost, want half a minute or more", wait)
	}
	r.restart()
	r.server.Behave()
	r.server.Misbehave("", authserver.ResetConnect)
	if wait := r.Step(t.Context()); wait > 10*time.Second {
		t.Errorf("asked again in %v though no request was sent, want a second or so", wait)
	}
}

// An answer of any length takes 64 KiB and little more of the device's memory (CLI-55).
func TestMemoryOfAnswers(t *testing.T) {
	spec.Rules(t, "CLI-55")
	read := 0
	c := oauth.New(oauth.Options{
		HTTP: func(string) *http.Client {
			return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Request: r,
					Body: io.NopCloser(endlessBody{&read})}, nil
			})}
		},
		Metadata: func(context.Context, string) (discovery.Metadata, error) {
			return discovery.Metadata{TokenEndpoint: issuer + "/token"}, nil
		},
		Storage: &flash{}, Clock: func() (time.Time, bool) { return time.Now(), true }, Report: func(oauth.Event) {},
	})
	c.Configure(oauth.Config{Issuer: issuer, Scopes: []string{"events"},
		Given: oauth.Given{ID: "one", Secret: "a secret"}})
	c.Here(issuer)
	c.Token("events")
	c.Step(t.Context())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read = 0
	c.Due()
	c.Step(t.Context())
	runtime.ReadMemStats(&after)
	if err := c.Status().Tokens[0].Err; err == nil || !strings.Contains(err.Error(), "over 64 KiB") {
		t.Errorf("got %v, want a word about the size", err)
	}
	if read > 128<<10 {
		t.Errorf("%d bytes of the answer were read, want about 64 KiB", read)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("an endless answer took %d bytes of memory, want less than a MiB", used)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// endlessBody counts what is read of it.
type endlessBody struct{ n *int }

func (b endlessBody) Read(p []byte) (int, error) {
	*b.n += len(p)
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// That a registration may be left at the server is said of one that was not answered, over restarts too, and of no
// other (CLI-36).
func TestLostRegistrationIsTold(t *testing.T) {
	spec.Rules(t, "CLI-36")
	r := newRig(t, authserver.Options{})
	attempted := func(when string, want bool) {
		t.Helper()
		r.Step(t.Context())
		if s := r.Status(); len(s.Clients) != 1 || s.Clients[0].Attempted != want {
			t.Errorf("%s: got %+v, want attempted %v", when, s.Clients, want)
		}
	}
	r.server.Misbehave(authserver.PathRegister, authserver.HostNotTrusted)
	attempted("refused", false)
	r.restart()
	attempted("refused before the restart, and again", false)
	r.server.Misbehave(authserver.PathRegister, authserver.RegisterLost)
	r.Retry()
	attempted("not answered", true)
	r.server.Misbehave(authserver.PathRegister, authserver.HostNotTrusted)
	r.restart()
	attempted("not answered before the restart, and refused", true)
	r.server.Behave()
	r.Retry()
	attempted("registered", false)
}

// A registration whose identifier, secrets or addresses cannot be kept or sent is not used.
func TestUnusableRegistration(t *testing.T) {
	spec.Rules(t, "CLI-34")
	long := strings.Repeat("x", 5000)
	for name, members := range map[string]string{
		"client_id too long":        `"client_id":"` + long + `","client_secret":"s"`,
		"client_id with a line":     `"client_id":"a\nb","client_secret":"s"`,
		"secret too long":           `"client_id":"c","client_secret":"` + long + `"`,
		"secret not in ASCII":       `"client_id":"c","client_secret":"\u00e9"`,
		"registration token long":   `"client_id":"c","client_secret":"s","registration_access_token":"` + long + `"`,
		"registration token a line": `"client_id":"c","client_secret":"s","registration_access_token":"a\r\nb"`,
		"address too long": `"client_id":"c","client_secret":"s","registration_client_uri":"https://a/` +
			long + `"`, "no secret": `"client_id":"c"`,
		"another method":           `"client_id":"c","client_secret":"s","token_endpoint_auth_method":"client_secret_post"`,
		"a key, and there is none": `"client_id":"c","client_secret":"s","token_endpoint_auth_method":"private_key_jwt"`,
	} {
		t.Run("CLI-34/"+name, func(t *testing.T) {
			p := begin(func(r *http.Request, body string) (int, http.Header, string) {
				if r.URL.Path == "/register" {
					return 201, nil, "{" + members + "}"
				}
				return usual(r, body)
			})
			p.Token("registration")
			wait := p.Step(t.Context())
			if s := p.Status(); s.Phase != oauth.Refused || s.Err == nil || s.Clients[0].ClientID != "" ||
				p.count("POST /token") > 0 {
				t.Errorf("got %v, %v, %+v, want the registration unused", s.Phase, s.Err, s.Clients)
			}
			if len(p.flash.data) > 2000 || wait < time.Hour {
				t.Errorf("%d bytes are kept, and it is tried again in %v, want less than 2000, and an hour or more",
					len(p.flash.data), wait)
			}
		})
	}
}

// What a server keeps refusing or failing about a registration is asked a few times an hour, and the tokens go on.
func TestUpkeepIsRare(t *testing.T) {
	spec.Rules(t, "CLI-35", "CLI-38")
	for name, c := range map[string]struct {
		ends   int64 // of the secret, seconds from now
		status int
		most   int // requests in six hours
	}{
		"CLI-38/not-renewed":  {1800, 200, 6 * 2 * 7},
		"CLI-38/cannot-renew": {1800, 500, 6 * 12},
		"CLI-35/failing":      {0, 500, 6 * 12},
		"CLI-35/refused":      {0, 403, 6 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ends := int64(0)
				if c.ends > 0 {
					ends = time.Now().Unix() + c.ends
				}
				client := fmt.Sprintf(`{"client_id":"c","client_secret":"s-s-s-s-s","client_secret_expires_at":%d,`+
					`"registration_client_uri":%q,"registration_access_token":"token-1"}`, ends, issuer+"/c")
				p := begin(func(r *http.Request, body string) (int, http.Header, string) {
					switch r.URL.Path {
					case "/register":
						return 201, nil, client
					case "/c":
						return c.status, nil, client
					}
					return usual(r, body)
				})
				go p.Run(t.Context())
				ask(p.Client, time.Minute)
				if c.ends == 0 {
					p.config.Name = "b"
					p.Configure(p.config)
				}
				if gap := ask(p.Client, 6*time.Hour); gap > 3*time.Second {
					t.Errorf("no token for %v", gap)
				}
				if n := p.count("GET /c") + p.count("PUT /c"); n < 4 || n > c.most {
					t.Errorf("%d requests about the registration in six hours, want 4 to %d", n, c.most)
				}
				if n := p.count("POST /register"); n != 1 {
					t.Errorf("%d registrations, want 1", n)
				}
			})
		})
	}
}

// Where clients are held is known before anything runs; what cannot be read is not an empty list.
func TestHeld(t *testing.T) {
	spec.Rules(t, "CLI-24", "CLI-36")
	p := begin(usual)
	p.Step(t.Context())
	p.again()
	if held, err := p.Held(t.Context()); err != nil || len(held) != 1 || held[0] != issuer {
		t.Errorf("got %q, %v, want the issuer", held, err)
	}
	p.flash.fails = errPower
	if held, err := p.Held(t.Context()); err != nil || len(held) != 1 {
		t.Errorf("once it was read: got %q, %v, want the issuer", held, err)
	}
	p.again()
	if held, err := p.Held(t.Context()); err == nil {
		t.Errorf("got %q from storage that fails, want an error", held)
	}
	p.flash.fails = nil
	if held, err := p.Held(t.Context()); err != nil || len(held) != 1 {
		t.Errorf("after it: got %q, %v, want the issuer", held, err)
	}
}
