package daemon

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
	"nmosauthd/hal"
	"nmosauthd/platform"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/powercut"
	"nmosauthd/tinytest/spec"
)

const stateDir = "/var/lib/nmos-authd"

// facts is the world around a device in virtual time: what is advertised, what the server publishes, what time it
// gives.
type facts struct {
	began time.Time // of the bubble

	mu        sync.Mutex
	listed    []string
	published map[string][]byte
	fetches   int
	down      bool
}

func newFacts(listed ...string) *facts {
	return &facts{began: time.Now(), listed: listed, published: map[string][]byte{}}
}

func (f *facts) publish(issuer string, signers ...*mint.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.published[issuer] = mint.JWKS(signers...)
}

// count is how often keys were fetched.
func (f *facts) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetches
}

func (f *facts) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// date is the time: virtual time starts in 2000, when no program of today was built.
func (f *facts) date() time.Time {
	return platform.BuildTime().AddDate(1, 0, 0).Add(time.Since(f.began))
}

// knownTime is a clock that is synchronised, or not.
type knownTime struct {
	f          *facts
	doubtful   atomic.Bool
	remembered time.Time
}

func (k *knownTime) Remember(t time.Time) { k.remembered = t }

func (k *knownTime) Known() time.Time {
	if k.doubtful.Load() {
		return k.remembered
	}
	return k.f.date()
}

// find is discovery: the same servers, each time in another order.
func (f *facts) find(context.Context, string) (agent.Look, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return agent.Look{}, fmt.Errorf("no name server answers")
	}
	found := slices.Clone(f.listed)
	rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	look := agent.Look{Answered: []string{"example.com"}, Again: 20 * time.Minute}
	for _, issuer := range found {
		look.Servers = append(look.Servers, agent.FoundServer{URL: issuer, Domain: "example.com"})
	}
	return look, nil
}

// device is a daemon without sockets on a disk of its own; its network is facts.
type device struct {
	*daemon
	logs *observer.ObservedLogs
}

// newDevice starts a device on a disk as newDaemon does. Its configuration names no server.
func (f *facts) newDevice(dir string, disk platform.Disk) *device {
	return f.newDeviceSealed(dir, disk, nil)
}

// newDeviceSealed starts a device that seals what it keeps.
func (f *facts) newDeviceSealed(dir string, disk platform.Disk, seal *hal.Sealer) *device {
	core, logs := observer.New(zapcore.InfoLevel)
	c := config.Default()
	d := &daemon{log: zap.New(core), clock: newClock()}
	d.times = &knownTime{f: f}
	d.persisted = &persisted{dir: platform.StateDir{Path: dir, Disk: disk}, seal: seal, log: d.log}
	d.store = keys.NewStore(func(_ context.Context, issuer string) ([]byte, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.down || f.published[issuer] == nil {
			return nil, fmt.Errorf("%s does not answer", issuer)
		}
		f.fetches++
		return f.published[issuer], nil
	}, d.keysFetched)
	d.finder = agent.NewServers(d.store, func(found []agent.FoundServer) {
		d.persisted.keepServers(found, d.store.Set())
	}, d.logServer)
	d.agent = agent.New(c, []string{mint.DefaultDevice}, d.store,
		func() agent.Time { return agent.Time{Now: time.Now(), Trusted: true} })
	d.finder.Configure(agent.KeyPolicy(c), f.find, c.Admits)
	d.recall()
	return &device{daemon: d, logs: logs}
}

// run looks for servers and fetches keys as daemon.run does, until the test ends.
func (d *device) run(t *testing.T) {
	go d.store.Run(t.Context())
	go d.finder.Run(t.Context())
	synctest.Wait()
}

// start runs all that daemon.run does in the background, and returns what ends it.
func (d *device) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() { d.persisted.keepTime(ctx, d.times) })
	background.Go(func() { d.store.Run(ctx) })
	background.Go(func() { d.finder.Run(ctx) })
	synctest.Wait()
	return func() {
		cancel()
		background.Wait()
		d.persisted.stop()
	}
}

// settle has what the test did to the disk come before what the daemon does to it next, as the race detector sees it.
func (d *device) settle() {
	d.persisted.mu.Lock()
	defer d.persisted.mu.Unlock()
}

// decide is the answer to a token.
func (d *device) decide(token string) string {
	reply := d.agent.NewSession().Packet(nil, []byte("decide 1\nmethod=GET\n"+
		"target=/x-nmos/connection/v1.1/single/senders\nauthorization=Bearer "+token+"\n"), 32<<10)
	first, rest, _ := strings.Cut(string(reply), "\n")
	_, reason, _ := strings.Cut(rest, "reason=")
	reason, _, _ = strings.Cut(reason, "\n")
	return first + " " + reason
}

// warnings are the lines of the log that an operator must see.
func (d *device) warnings() []string {
	var all []string
	for _, l := range d.logs.All() {
		if l.Level >= zapcore.WarnLevel {
			all = append(all, fmt.Sprint(l.Message, " ", l.ContextMap()))
		}
	}
	return all
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// What each state decides, for tokens of the old and of the new key.
const (
	decidesWait = "deny 503 keys-pending / deny 503 keys-pending" // no server is known yet, or none of its keys
	decidesOld  = "allow 200 ok / deny 503 keys-pending"
	decidesBoth = "allow 200 ok / allow 200 ok"
	decidesNew  = "deny 401 key-unknown / allow 200 ok"
)

// The power fails at every moment while a device finds its server, fetches its keys, and has them rotated: it then
// starts with its network dead, and decides rightly by the state of before or after.
func TestPowerCutOfKeys(t *testing.T) {
	spec.Rules(t, "KEY-3")
	one, two := mint.CachedKey("key-1", 2048), mint.CachedKey("key-2", 2048)
	synctest.Test(t, func(t *testing.T) {
		old := mint.New(mint.Options{Key: one, Life: 24 * time.Hour}).Sign()
		rotated := mint.New(mint.Options{Key: two, Life: 24 * time.Hour}).Sign()
		f, dead := newFacts(mint.DefaultIssuer), newFacts()
		dead.down = true
		disk := powercut.New("/var/lib")
		var d *device
		for _, c := range []struct {
			name      string
			change    func()
			may, must string // what may be found on the way, in order; what must be in the end
		}{
			{"first start", func() {
				f.publish(mint.DefaultIssuer, one)
				d = f.newDevice(stateDir, disk)
				d.run(t)
			}, decidesWait + "\n" + decidesOld, decidesOld},
			{"a new key beside the old", func() {
				d.settle()
				f.publish(mint.DefaultIssuer, one, two)
				pass(time.Hour)
			}, decidesOld + "\n" + decidesBoth, decidesBoth},
			{"the old key withdrawn", func() {
				d.settle()
				f.publish(mint.DefaultIssuer, two)
				pass(time.Hour)
			}, decidesBoth + "\n" + decidesNew, decidesNew},
		} {
			cuts := map[string]int{}
			if err := disk.Cut(func() error { c.change(); return nil }, func(moment string, found *powercut.Disk) {
				if t.Failed() {
					return // one moment says enough
				}
				after := dead.newDevice(stateDir, found)
				if w := after.warnings(); len(w) > 0 {
					t.Errorf("%s, %s: got the warnings %q, want none", c.name, moment, w)
				}
				decides := after.decide(old) + " / " + after.decide(rotated)
				cuts[decides]++
				if !slices.Contains(strings.Split(c.may, "\n"), decides) ||
					moment == "at the end" && decides != c.must {
					t.Errorf("%s, %s: got %s, want one of %s, and %s at the end",
						c.name, moment, decides, c.may, c.must)
				}
			}); err != nil {
				t.Error(err)
			}
			for _, want := range strings.Split(c.may, "\n") {
				if cuts[want] == 0 {
					t.Errorf("%s: no moment at which the device decides %s", c.name, want)
				}
			}
			t.Logf("%s: %v", c.name, cuts)
		}
		if got := d.decide(old) + " / " + d.decide(rotated); got != decidesNew {
			t.Errorf("the device itself: %s", got)
		}
	})
}

// The power fails at every moment while the time is written: the device remembers that of before or after.
func TestPowerCutOfTime(t *testing.T) {
	spec.Rules(t, "OPS-1")
	synctest.Test(t, func(t *testing.T) {
		f := newFacts(mint.DefaultIssuer)
		f.publish(mint.DefaultIssuer, mint.CachedKey("key-1", 2048))
		disk := powercut.New("/var/lib", stateDir)
		known := func(disk *powercut.Disk) time.Time {
			core, logs := observer.New(zapcore.InfoLevel)
			m := &persisted{dir: platform.StateDir{Path: stateDir, Disk: disk}, log: zap.New(core)}
			clock := &knownTime{f: f}
			m.recallTime(clock)
			if logs.Len() > 0 {
				t.Errorf("got %v in the log, want nothing", logs.All())
			}
			return clock.remembered
		}
		d := f.newDevice(stateDir, disk)
		d.run(t)
		pass(time.Minute) // the keys are written, by another goroutine
		go d.persisted.keepTime(t.Context(), d.times)
		pass(time.Hour)
		before, cuts := known(disk), map[time.Time]int{}
		if before.Sub(f.date()).Abs() > 2*time.Hour {
			t.Fatalf("an hour after the start %v is kept, and it is %v", before, f.date())
		}
		err := disk.Cut(func() error {
			d.settle()
			pass(time.Hour + 20*time.Minute)
			return nil
		}, func(_ string, found *powercut.Disk) { cuts[known(found)]++ })
		after := known(disk)
		if err != nil || len(cuts) != 2 || cuts[before] == 0 || cuts[after] == 0 || f.date().Sub(after) > 3*time.Hour {
			t.Errorf("before %v, after %v, found %v, %v", before, after, cuts, err)
		}
	})
}
