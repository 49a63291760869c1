package observe_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/observe"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// rig is an agent with an audit that an Observer listens to.
type rig struct {
	*agent.Agent
	t        *testing.T
	config   *config.Config
	log      *audit.Log
	observer *observe.Observer
	base     *mint.Token
}

// newRig makes one in observe mode. /meters is ruled by events, /ui is public; there is one fader that the inventory
// knows.
func newRig(t *testing.T, l observe.Limits, o audit.Options) *rig {
	t.Helper()
	r := &rig{t: t, config: config.Default(), observer: observe.New(l), base: mint.New(mint.Options{})}
	r.config.Mode = config.ModeObserve
	r.config.Authorization.Servers = []string{mint.DefaultIssuer}
	r.config.Paths.Public = []string{"/ui"}
	r.config.Paths.Claims = []string{"/meters=events"}
	store := keys.NewStore(nil, nil)
	store.Configure(agent.KeyPolicy(r.config))
	held, _, err := keys.Parse(mint.JWKSOf(r.base.Key.JWK()))
	if err != nil {
		t.Fatal(err)
	}
	store.Hold(keys.Held{Name: mint.DefaultIssuer, Keys: held})
	r.Agent = agent.New(r.config, []string{mint.DefaultDevice}, store, func() agent.Time {
		return agent.Time{Now: time.Now(), Trusted: true, State: audit.ClockSynchronised}
	})
	table, err := inventory.Parse([]byte(`{"kinds": {"fader": {"read": "/meters/{name}"}}, "resources": [{"kind": "fader", "name": "f-1"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.SetInventory(table)
	if o.QueueBytes == 0 {
		o.QueueBytes, o.Wait = 1<<20, true
	}
	o.Observe = r.observer.Observe
	r.log = audit.New(o)
	r.Audit(r.log)
	t.Cleanup(func() { r.log.Close(context.Background()) })
	return r
}

// enforce puts enforce mode into force.
func (r *rig) enforce() {
	c := *r.config
	c.Mode = config.ModeEnforce
	r.Configure(&c, []string{mint.DefaultDevice})
}

// token returns a token of this client with these x-nmos-* claims alone.
func (r *rig) token(client string, claims map[string]map[string][]string) string {
	t := r.base.Clone()
	for _, api := range strings.Fields(mint.DefaultScope) {
		t.Claims.Delete("x-nmos-" + api)
	}
	t.Claims.Delete("scope")
	t.Claims.Set("client_id", client)
	for name, value := range claims {
		t.Claims.Set(name, value)
	}
	return t.Sign()
}

// asker asks for one peer.
func (r *rig) asker(uid int64) func(question, token string) string {
	s := r.NewSessionOf(agent.Peer{UID: uid, PID: 7})
	return func(question, token string) string {
		if token != "" {
			question += "authorization=Bearer " + token + "\n"
		}
		first, rest, _ := strings.Cut(string(s.Packet(nil, []byte(question), 32<<10)), "\n")
		_, reason, _ := strings.Cut(rest, "reason=")
		reason, _, _ = strings.Cut(reason, "\n")
		return first + " " + reason
	}
}

// report waits until everything was observed, and takes the report as a program does: by its JSON.
func (r *rig) report() *observe.Report {
	r.t.Helper()
	r.log.Close(context.Background())
	rules := r.config.Rules()
	text, err := json.Marshal(r.observer.Report(time.Now(), "observe", &rules, r.log.Stats()))
	if err != nil {
		r.t.Fatal(err)
	}
	report := new(observe.Report)
	if err = json.Unmarshal(text, report); err != nil {
		r.t.Fatal(err)
	}
	return report
}

// deed is something that a controller does, as the test knows it: what it is to the rules is written down here a second
// time.
type deed struct {
	question  string // all but the token
	api       string
	write     bool
	rest      string // "": the API's base
	grantable bool   // some claim permits it, and the report may suggest that
	wide      bool   // it needs the specifier "*", which the report does not suggest
}

// same reports whether claims for one deed cannot but permit the other: a specifier holds in all versions and for the
// whole of reading or writing, and any claim opens the API's base.
func (d deed) same(o deed) bool {
	if d.api != o.api || !d.grantable || !o.grantable {
		return false
	}
	return d.rest == "" || d.write == o.write && d.rest == o.rest
}

// deeds are all that can be made of a few parts.
func deeds() []deed {
	var all []deed
	add := func(method, target, api, rest string) {
		write := method != "GET" && method != "HEAD"
		all = append(all, deed{
			question: "decide 1\nmethod=" + method + "\ntarget=" + target + "\n",
			api:      api, write: write, rest: rest, grantable: api != "" && !(rest == "" && write),
		})
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
		for _, api := range []string{"node", "node2", "connection", "events"} {
			for _, version := range []string{"v1.0", "v1.3"} {
				add(method, "/x-nmos/"+api+"/"+version+"/", api, "")
				for _, rest := range []string{
					"a", "ab", "b", "a/b", "a/b/c", "b/a", "%61b/x?y=z", "A", "a%2Fb%20", "a%20b", "a.b", "%2A", "in-1",
					"f-1",
				} {
					normal, _, _ := strings.Cut(strings.Replace(rest, "%61", "a", 1), "?")
					if strings.Contains(rest, "%2F") { // ambiguous
						add(method, "/x-nmos/"+api+"/"+version+"/"+rest, "", "")
						continue
					}
					add(method, "/x-nmos/"+api+"/"+version+"/"+rest, api, normal)
				}
				add(method, "/x-nmos/"+api+"/"+version+"/a/b/", api, "a/b")
			}
			add(method, "/x-nmos/"+api+"/latest/a", "", "")
		}
		all = append(all, deed{question: "decide 1\nmethod=" + method + "\ntarget=/meters\n", wide: true}) // PATH-4
		add(method, "/meters/in-1", "events", "in-1")
		add(method, "/meters/a/b", "events", "a/b")
		add(method, "/admin", "", "")
		add(method, "/admin/a", "", "")
	}
	all = append(all,
		deed{question: "decide 1\nmethod=BREW\ntarget=/x-nmos/node/v1.0/a\n"},
		deed{question: "resource 1\nkind=fader\nname=f-1\naccess=read\n", api: "events", rest: "f-1", grantable: true},
		deed{question: "resource 1\nkind=fader\nname=f-1\naccess=write\n"},
		deed{question: "resource 1\nkind=fader\nname=f-2\naccess=read\n"},
		deed{question: "decide-all 1\ntarget=/x-nmos/events/v1.0/a\n", api: "events", rest: "a", grantable: true},
	)
	return all
}

// What the report suggests, minted, permits all that was observed and can be permitted, and of everything else only
// what claims cannot tell apart from it. Controllers start with nothing, a little, too much scope, or no token at all.
func TestSuggestedClaimsPermitWhatWasObserved(t *testing.T) {
	spec.Rules(t, "OPS-3")
	universe := deeds()
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := newRig(t, observe.DefaultLimits, audit.Options{Repeat: time.Hour})
		ask := r.asker(33)
		had := map[string]map[string]map[string][]string{
			"nothing": {}, "little": {"x-nmos-node": {"read": {"a*"}}, "x-nmos-events": {}}, "": nil,
		}
		did := map[string][]deed{}
		for client, claims := range had {
			token := ""
			if client != "" {
				token = r.token(client, claims)
			}
			for range 2 + random.IntN(25) {
				d := universe[random.IntN(len(universe))]
				did[client] = append(did[client], d)
				for range 1 + random.IntN(3) {
					if got := ask(d.question, token); !strings.HasPrefix(got, "allow 200 ") {
						t.Fatalf("observe mode answers %q", got)
					}
				}
			}
		}
		report := r.report()
		enforced := newRig(t, observe.DefaultLimits, audit.Options{})
		enforced.enforce()
		for client, done := range did {
			at := slices.IndexFunc(report.Controllers, func(c observe.Controller) bool {
				return c.Client == client && (c.Token == observe.Verified || client == "" && c.Token == observe.None)
			})
			if at < 0 {
				if client != "" || slices.ContainsFunc(done, func(d deed) bool { return d.grantable }) {
					t.Errorf("seed %d: client %q is not in the report", seed, client)
				}
				continue
			}
			c := report.Controllers[at]
			if wide := slices.ContainsFunc(done, func(d deed) bool { return d.wide }); (len(c.Incomplete) > 0) != wide {
				t.Errorf("seed %d: incomplete: %q, want some: %v", seed, c.Incomplete, wide)
			}
			exact := enforced.token("new", c.Claims)
			more := enforced.token("new", merge(had[client], c.Add))
			before := enforced.token("new", had[client])
			askEnforced := enforced.asker(33)
			for _, d := range universe {
				observed := slices.ContainsFunc(done, func(o deed) bool { return o.question == d.question }) &&
					d.grantable
				same := d.grantable && (slices.ContainsFunc(done, d.same) || d.rest == "" && !d.write &&
					slices.ContainsFunc(done, func(o deed) bool { return o.grantable && o.api == d.api }))
				answer := askEnforced(d.question, exact)
				if got := strings.HasPrefix(answer, "allow"); got != same || observed && !same {
					t.Errorf("seed %d, client %q, claims %v:\n%s%s, observed %v, the same as something observed %v",
						seed, client, c.Claims, d.question, answer, observed, same)
				}
				got := strings.HasPrefix(askEnforced(d.question, more), "allow")
				if want := same || strings.HasPrefix(askEnforced(d.question, before), "allow"); got != want {
					t.Errorf("seed %d, client %q, added %v to %v:\n%sallowed %v, want %v",
						seed, client, c.Add, had[client], d.question, got, want)
				}
			}
		}
	}
}

// merge returns what both claims have.
func merge(a map[string]map[string][]string, b explain.Claims) map[string]map[string][]string {
	sum := map[string]map[string][]string{}
	for _, claims := range []map[string]map[string][]string{a, b} {
		for name, permissions := range claims {
			if sum[name] == nil {
				sum[name] = map[string][]string{}
			}
			for permission, specifiers := range permissions {
				sum[name][permission] = append(slices.Clone(sum[name][permission]), specifiers...)
			}
		}
	}
	return sum
}
