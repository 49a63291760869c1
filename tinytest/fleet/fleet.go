// Package fleet simulates many devices after a power cut, in virtual time: what their fetches of keys add up to at the
// authorization servers, and how long it takes until every device can decide. Which servers there are and when keys are
// fetched is the work of the daemon's own agent.Servers and keys.Store; only discovery and the servers pretend.
//
// Limits: for tests only, in a bubble of testing/synctest. A fetch is all that a device asks of a server at a time, the
// metadata and the key set. It takes no time, and a dead server refuses directly, which makes for more fetches than one
// that hangs.
package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/mint"
)

// What the devices are configured with: the defaults.
const (
	refresh = time.Hour
	retry   = 30 * time.Second
)

const (
	switchOn = time.Second // within it all devices start: the worst case, a firmware that always boots alike
	reach    = time.Minute // within it a controller with a token of a new key has asked every device
)

// Scenario is what the devices come back to.
type Scenario struct {
	Name     string
	Servers  []Server      // as discovery finds them, best first
	Held     []string      // issuers whose keys every device holds from before
	ClockSet time.Duration // when all clocks are set; 0: they are right from the start
	NewKey   time.Duration // when tokens of a new key start to reach the devices; 0: never
}

// Server is one authorization server.
type Server struct {
	Issuer    string
	Dead      time.Duration // from the power cut on
	PerSecond int           // fetches that it can answer in one second, further ones fail; 0: any number
}

var errRefused = errors.New("the server refuses")

// fleet is the devices of one run, and what they talk to.
type fleet struct {
	Scenario
	issuers  []string
	document []byte
	held     []keys.Held
	record   *Record
	running  sync.WaitGroup
}

// Run simulates so many devices for so long. The caller is in a bubble.
func (s Scenario) Run(devices int, span time.Duration) *Record {
	f := &fleet{Scenario: s, document: mint.JWKSOf(mint.FakeJWK("one", 2048)), record: newRecord(s, devices, span)}
	key, _, err := keys.Parse(f.document)
	if err != nil {
		panic(err) // it is our own
	}
	for _, server := range s.Servers {
		f.issuers = append(f.issuers, server.Issuer)
	}
	for _, issuer := range s.Held {
		f.held = append(f.held, keys.Held{Name: issuer, Keys: key})
	}
	ctx, cancel := context.WithTimeout(context.Background(), span)
	defer cancel()
	for range devices {
		f.running.Go(func() { f.device(ctx) })
	}
	f.running.Wait()
	return f.record
}

// device is one device from its start on, its parts put together as in the daemon.
func (f *fleet) device(ctx context.Context) {
	time.Sleep(rand.N(switchOn))
	started, decides := time.Now(), false
	store := keys.NewStore(f.fetch, func(e keys.Event) {
		if e.Keys > 0 && !decides {
			decides = true
			f.record.decides(time.Since(started))
		}
	})
	servers := agent.NewServers(store, func([]agent.FoundServer) {}, func(agent.ServerEvent) {})
	servers.Configure(keys.Policy{Refresh: refresh, Retry: retry}, f.find, func(string, string) error { return nil })
	if len(f.held) > 0 {
		servers.Remember(f.advertised())
		for _, h := range f.held {
			store.Hold(h)
		}
		decides = true
		f.record.decides(0)
	}
	f.running.Go(func() { store.Run(ctx) })
	f.running.Go(func() { servers.Run(ctx) })
	if f.ClockSet > 0 {
		f.sleepUntil(f.ClockSet + rand.N(time.Second))
		store.RenewNow()
		servers.LookNow()
	}
	if f.NewKey > 0 {
		f.sleepUntil(f.NewKey + rand.N(reach))
		store.Seek(store.Set(), []byte(f.issuers[0]), []byte("a token under the new key"), keys.KIDUnknown)
	}
}

func (f *fleet) sleepUntil(since time.Duration) { time.Sleep(time.Until(f.record.start.Add(since))) }

// find is a discovery that always finds the same.
func (f *fleet) find(context.Context, string) (agent.Look, error) {
	return agent.Look{Servers: f.advertised(), Answered: []string{domain}, Again: time.Hour}, nil
}

// domain is where the servers are advertised.
const domain = "example.com"

func (f *fleet) advertised() (all []agent.FoundServer) {
	for _, issuer := range f.issuers {
		all = append(all, agent.FoundServer{URL: issuer, Domain: domain, Issuer: issuer})
	}
	return all
}

// fetch is what a server answers.
func (f *fleet) fetch(_ context.Context, issuer string) ([]byte, error) {
	for n := range f.issuers {
		if f.issuers[n] == issuer && f.record.answers(n) {
			return f.document, nil
		}
	}
	return nil, errRefused
}
