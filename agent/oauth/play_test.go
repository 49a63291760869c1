package oauth_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"nmosauthd/agent/discovery"
	"nmosauthd/agent/oauth"
)

// play is a server that answers as it is told to, and the device at it.
type play struct {
	*oauth.Client
	config oauth.Config
	flash  flash
	answer func(r *http.Request, body string) (status int, head http.Header, text string) // status 0: none comes

	mu      sync.Mutex
	seen    []string // method, path and body of each request
	events  []oauth.Event
	ahead   time.Duration // of the device's clock
	unsure  bool          // of the clock
	methods []string      // that the server's metadata offer; secrets if nil
	at      string        // the path of tokens by the metadata; "/token" if empty
	read    int           // how often the metadata were read
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

// again switches it off and on.
func (p *play) again() {
	p.Client = oauth.New(oauth.Options{
		HTTP: func(string) *http.Client { return &http.Client{Transport: p} },
		Metadata: func(_ context.Context, issuer string) (discovery.Metadata, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.read++
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

// count returns how many requests begin like that, and whether the last did.
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

const issuer = "https://auth.example.com"

// desk is a token endpoint in virtual time, for clients with a secret.
type desk struct {
	answer func(n int) (status int, head http.Header, body string) // by the number of the request
	delay  time.Duration

	mu     sync.Mutex
	times  []time.Time
	flying map[string]int
	most   int
	events []oauth.Event
}

func (d *desk) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	scope := string(body)
	d.mu.Lock()
	d.times = append(d.times, time.Now())
	n := len(d.times)
	d.flying[scope]++
	d.most = max(d.most, d.flying[scope])
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.flying[scope]--
		d.mu.Unlock()
	}()
	select {
	case <-time.After(d.delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	status, head, text := d.answer(n)
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	if head == nil {
		head = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: head,
		Body: io.NopCloser(bytes.NewReader([]byte(text))), Request: r}, nil
}

// open starts a client of the desk.
func (d *desk) open(ctx context.Context, kept *flash) *oauth.Client {
	if d.flying == nil {
		d.flying = map[string]int{}
	}
	c := oauth.New(oauth.Options{
		HTTP: func(string) *http.Client { return &http.Client{Transport: d} },
		Metadata: func(context.Context, string) (discovery.Metadata, error) {
			return discovery.Metadata{TokenEndpoint: issuer + "/token"}, nil
		},
		Storage: kept, Clock: func() (time.Time, bool) { return time.Now(), true },
		Report: func(e oauth.Event) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.events = append(d.events, e)
		},
	})
	c.Configure(oauth.Config{
		Issuer: issuer, Scopes: []string{"registration", "events"}, Given: oauth.Given{ID: "one", Secret: "a secret"},
	})
	go c.Run(ctx)
	return c
}

func (d *desk) seen() []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.times)
}

// good is a token that lives so many seconds.
func good(life int) func(int) (int, http.Header, string) {
	return func(n int) (int, http.Header, string) {
		return 200, nil, fmt.Sprintf(`{"access_token":"token-%d","token_type":"bearer","expires_in":%d}`, n, life)
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

// byPath leads registrations to another handler.
type byPath struct {
	*desk
	register func() (int, string)
}

func (b byPath) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/register" {
		return b.desk.RoundTrip(r)
	}
	status, text := b.register()
	return &http.Response{StatusCode: status, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}
