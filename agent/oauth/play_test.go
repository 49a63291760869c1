package oauth_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/discovery"
	"nmosauthd/agent/oauth"
)

const issuer = "https://auth.example.com"

// play is a server that answers as it is told to, and the device at it.
type play struct {
	*oauth.Client
	config oauth.Config
	flash  flash
	answer func(r *http.Request, body string) (status int, head http.Header, text string) // status 0: none comes

	mu      sync.Mutex
	seen    []string    // method, path and body of each request
	times   []time.Time // of these
	events  []oauth.Event
	ahead   time.Duration // of the device's clock
	unsure  bool          // of the clock
	methods []string      // that the server's metadata offer; secrets if nil
	at      string        // the path of tokens by the metadata; "/token" if empty
	read    int           // how often the metadata were read
	unread  bool          // they cannot be read
}

func (p *play) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	p.seen = append(p.seen, r.Method+" "+r.URL.Path+" "+string(body))
	p.times = append(p.times, time.Now())
	p.mu.Unlock()
	status, head, text := p.answer(r, string(body))
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	if head == nil {
		head = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: head, Body: io.NopCloser(strings.NewReader(text)), Request: r},
		nil
}

// begin switches the device on, with a secret for a client.
func begin(answer func(r *http.Request, body string) (int, http.Header, string)) *play {
	p := &play{answer: answer,
		config: oauth.Config{Issuer: issuer, Name: "a", Scopes: []string{"events", "registration"}}}
	p.again()
	return p
}

// given is begin for a client that was made by hand, which asks for tokens alone. It runs until the test ends.
func given(t *testing.T, answer func(r *http.Request, body string) (int, http.Header, string)) *play {
	p := begin(answer)
	p.config.Given = oauth.Given{ID: "one", Secret: "a secret"}
	p.Configure(p.config)
	go p.Run(t.Context())
	return p
}

// again switches it off and on.
func (p *play) again() {
	p.Client = oauth.New(oauth.Options{
		HTTP: func(string) *http.Client { return &http.Client{Transport: p} },
		Metadata: func(_ context.Context, issuer string) (discovery.Metadata, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.read++
			if p.unread {
				return discovery.Metadata{}, errors.New("connection refused")
			}
			return discovery.Metadata{
				TokenEndpoint: issuer + cmp.Or(p.at, "/token"), RegistrationEndpoint: issuer + "/register",
				TokenAuthMethods: p.methods,
			}, nil
		},
		Storage: &p.flash,
		Clock: func() (time.Time, bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return time.Now().Add(p.ahead), !p.unsure
		},
		Report: func(e oauth.Event) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.events = append(p.events, e)
		},
	})
	p.Configure(p.config)
	p.Here(p.config.Issuer)
}

// when returns the times of all requests.
func (p *play) when() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.times)
}

// count returns how many requests begin like that.
func (p *play) count(prefix string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.seen {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

// said is all that was reported.
func (p *play) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("%+v", p.events)
}

// usual registers a client and gives tokens of five minutes.
func usual(r *http.Request, _ string) (int, http.Header, string) {
	switch r.URL.Path {
	case "/register":
		return 201, nil, `{"client_id":"c","client_secret":"sesame-1"}`
	case "/token":
		return 200, nil, `{"access_token":"t","token_type":"bearer","expires_in":300}`
	}
	return 404, nil, ""
}

// good gives tokens that live so many seconds, each another.
func good(life int) func(*http.Request, string) (int, http.Header, string) {
	var n atomic.Int64
	return func(*http.Request, string) (int, http.Header, string) {
		return 200, nil,
			fmt.Sprintf(`{"access_token":"token-%d","token_type":"bearer","expires_in":%d}`, n.Add(1), life)
	}
}

// ask asks for a token once a second for a time, as firmware may, and returns the longest time without one.
func ask(c *oauth.Client, d time.Duration) (gap time.Duration) {
	without := time.Duration(0)
	for range d / time.Second {
		if c.Token("registration").Err != nil {
			without += time.Second
			gap = max(gap, without)
		} else {
			without = 0
		}
		time.Sleep(time.Second)
	}
	synctest.Wait()
	return gap
}
