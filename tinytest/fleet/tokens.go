package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"nmosauthd/agent/discovery"
	"nmosauthd/agent/oauth"
)

// TokenSpan is how long a run takes for the table: an hour in which the server may be dead, and what follows.
const TokenSpan = 100 * time.Minute

// TokenScenario is what devices that are OAuth clients come back to. All of them lost their tokens.
type TokenScenario struct {
	Name     string
	Life     time.Duration // of tokens
	Known    bool          // the devices have their registrations
	Lost     bool          // the server has lost them
	ByKey    bool          // they prove who they are with a key, for which they need the time
	Dead     time.Duration // the server, from the power cut on
	Busy     time.Duration // it answers 503 with a Retry-After of a minute, from the power cut on
	ClockSet time.Duration // when all clocks are set; 0: they are right from the start
	// Bound is how many times the steady rate the busiest minute may have, and Within when the last device must have
	// its token, from when that is possible.
	Bound  float64
	Within time.Duration
}

// TokenScenarios are those of the table.
//
// A device needs one request after a power cut, and in its life one for each half of a token's. To spread N devices'
// requests, r each, over S so that no minute has ten times the steady rate takes S > r × life / 20. When a server lost
// its clients r is 6: two assertions, a look at the registration, the metadata, the registration and the token, in
// three steps that cannot be spread evenly. So ten minutes are enough for tokens that live for a quarter of an hour or
// so; beyond that the time was chosen: a device without a token cannot even register with the registry, and a server
// that gives long lives is asked seldom.
var TokenScenarios = []TokenScenario{
	{Name: "tokens of 5 min, server well", Life: 5 * time.Minute, Known: true, Bound: 10, Within: time.Minute},
	{Name: "tokens of 1 h, server well", Life: time.Hour, Known: true, Bound: 10, Within: 5 * time.Minute},
	{
		Name: "tokens of 5 min, server dead for an hour", Life: 5 * time.Minute, Known: true, Dead: time.Hour,
		Bound: 10, Within: 10 * time.Minute,
	},
	{
		Name: "tokens of 1 h, server dead for an hour", Life: time.Hour, Known: true, Dead: time.Hour,
		Bound: 10, Within: 10 * time.Minute,
	},
	{
		Name: "tokens of 5 min, server overloaded for an hour", Life: 5 * time.Minute, Known: true, Busy: time.Hour,
		Bound: 10, Within: 10 * time.Minute,
	},
	{
		Name: "tokens of 5 min, server lost its clients", Life: 5 * time.Minute, Known: true, Lost: true,
		Bound: 10, Within: 10 * time.Minute,
	},
	{
		Name: "tokens of 10 min, server lost its clients", Life: 10 * time.Minute, Known: true, Lost: true,
		Bound: 10, Within: 10 * time.Minute,
	},
	{
		Name: "tokens of 1 h, server lost its clients", Life: time.Hour, Known: true, Lost: true,
		Bound: 60, Within: 10 * time.Minute,
	},
	{
		Name: "tokens of 5 min, clocks set after half an hour", Life: 5 * time.Minute, Known: true, ByKey: true,
		ClockSet: 30 * time.Minute, Bound: 10, Within: time.Minute,
	},
	{Name: "tokens of 5 min, devices that are new", Life: 5 * time.Minute, Bound: 10, Within: 10 * time.Minute},
}

// tokens is the devices of one run, and their server.
type tokens struct {
	TokenScenario
	record  *Record
	kept    []byte // what a device has on flash
	running sync.WaitGroup
}

// possible is when tokens can be had, after the power cut.
func (s TokenScenario) possible() time.Duration { return max(s.Dead, s.Busy, s.ClockSet) }

// Run simulates so many devices for so long. The caller is in a bubble.
func (s TokenScenario) Run(devices int, span time.Duration) *Record {
	as := Scenario{Name: s.Name, Servers: []Server{{Issuer: first, Dead: s.Dead}}, ClockSet: s.ClockSet}
	t := &tokens{TokenScenario: s}
	if s.Known {
		t.kept = s.flash()
	}
	t.record = newRecord(as, devices, span)
	t.record.each, t.record.bound, t.record.what = s.Life/2, s.Bound, "requests"
	ctx, cancel := context.WithTimeout(context.Background(), span)
	defer cancel()
	for range devices {
		t.running.Go(func() { t.device(ctx) })
	}
	t.running.Wait()
	return t.record
}

// flash is what a device stores that registers and gets a token. All of a fleet have the same, since only the server
// that pretends looks at it.
func (s TokenScenario) flash() []byte {
	t := &tokens{TokenScenario: TokenScenario{Life: s.Life, ByKey: s.ByKey}}
	t.record = newRecord(Scenario{Servers: []Server{{Issuer: first}}}, 1, time.Hour)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	kept := &storage{}
	client := t.client(ctx, kept)
	for ctx.Err() == nil {
		client.Token("registration")
		time.Sleep(time.Second)
	}
	t.running.Wait()
	if client.Token("registration").Err != nil {
		panic("no token to begin with")
	}
	return kept.data
}

// client is the client of one device, at work until ctx ends.
func (t *tokens) client(ctx context.Context, kept *storage) *oauth.Client {
	server := &tokenServer{tokens: t, lost: t.Lost}
	meta := discovery.Metadata{TokenEndpoint: first + "/token", RegistrationEndpoint: first + "/register"}
	if t.ByKey {
		meta.TokenAuthMethods, meta.TokenAuthSigningAlgs = []string{oauth.PrivateKeyJWT}, []string{"ES256"}
	}
	client := oauth.New(oauth.Options{
		HTTP: func(string) *http.Client { return &http.Client{Transport: server} },
		Metadata: func(context.Context, string) (discovery.Metadata, error) {
			if status := server.come(); status != 0 {
				return discovery.Metadata{}, errRefused
			}
			return meta, nil
		},
		Storage: kept,
		Clock:   func() (time.Time, bool) { return time.Now(), time.Since(t.record.start) >= t.ClockSet },
		Report:  func(oauth.Event) {},
	})
	client.Configure(oauth.Config{Issuer: first, Name: "a device", Scopes: []string{"registration"}})
	t.running.Go(func() { client.Run(ctx) })
	return client
}

// device is one device from its start on, with a firmware that wants a token.
func (t *tokens) device(ctx context.Context) {
	time.Sleep(rand.N(switchOn))
	from := t.record.start.Add(t.possible())
	client := t.client(ctx, &storage{data: t.kept})
	if t.ClockSet > 0 {
		t.running.Go(func() {
			time.Sleep(time.Until(from))
			client.ClockChanged()
		})
	}
	had := false
	for ctx.Err() == nil {
		a := client.Token("registration")
		if a.Err == nil && !had {
			had = true
			t.record.decides(max(0, time.Since(from)))
		}
		wait := max(t.Life/5, 30*time.Second)
		if !had {
			wait = max(time.Second, a.Retry) // as the answer says
		}
		time.Sleep(wait)
	}
}

// storage keeps what a device stores.
type storage struct{ data []byte }

func (s *storage) Load() ([]byte, error)  { return s.data, nil }
func (s *storage) Save(data []byte) error { s.data = data; return nil }

// tokenServer is the server as one device sees it.
type tokenServer struct {
	*tokens
	lost bool // it does not know this device
}

// come counts a request and returns the status of one that is not answered, -1 for no connection.
func (s *tokenServer) come() int {
	switch busy := time.Since(s.record.start) < s.Busy; {
	case !s.record.answers(0):
		return -1
	case busy:
		return http.StatusServiceUnavailable
	}
	return 0
}

func (s *tokenServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
	}
	status, head, text := s.come(), http.Header{}, ""
	switch {
	case status < 0:
		return nil, errors.New("connection refused")
	case status > 0:
		head.Set("Retry-After", "60")
	case r.URL.Path == "/register":
		s.lost = false
		status, text = http.StatusCreated, `{"client_id":"new","client_secret":"a secret",`+
			`"registration_client_uri":"`+first+`/client","registration_access_token":"a token"}`
	case s.lost:
		status, text = http.StatusUnauthorized, `{"error":"invalid_client"}`
	case r.URL.Path == "/token":
		status = http.StatusOK
		text = fmt.Sprintf(`{"access_token":"t","token_type":"Bearer","expires_in":%d}`, s.Life/time.Second)
	default:
		status, text = http.StatusNotFound, ""
	}
	return &http.Response{StatusCode: status, Header: head, Body: io.NopCloser(strings.NewReader(text)), Request: r},
		nil
}
