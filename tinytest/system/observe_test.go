package system_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// observed is what is read of "observe report --json".
type observed struct {
	Mode                                              string
	Decisions, Denied, Off, Unseen, Waiting, Unlisted uint64
	Would                                             uint64 `json:"would_deny"`
	Controllers                                       []struct {
		Token, Client string
		Add, Claims   map[string]mint.Permission
		Incomplete    []string
		Mend          []struct{ Reason, Means, Do string }
		Accesses      []struct{ Access, Path, Resource, Reason string }
	}
}

// observeReport takes the report once it has so many decisions.
func (b *box) observeReport(decisions int) observed {
	b.t.Helper()
	var o observed
	eventually(b.t, fmt.Sprintf("a report of %d decisions", decisions), func() bool {
		r := command(b.t, "", "observe", "report", "--json", "--config", b.ConfigFile())
		o = observed{}
		if err := json.Unmarshal([]byte(r.out), &o); r.status != 0 || err != nil {
			b.t.Fatalf("%v: %+v", err, r)
		}
		return o.Decisions >= uint64(decisions) && o.Waiting == 0
	})
	if o.Decisions != uint64(decisions) {
		b.t.Errorf("%d decisions, want %d", o.Decisions, decisions)
	}
	return o
}

// deed is one thing that a controller does.
type deed struct {
	method, api, version, rest string // no rest: the API's base
	// "": decide; ws: a handshake; all: decide-all; vendor: below /meters; resource: meter in-1
	how string
}

func (d deed) write() bool { return !slices.Contains([]string{"GET", "HEAD"}, d.method) }

// key is what claims can tell it by: neither the version nor which of the reading or writing methods it is.
func (d deed) key() string {
	return fmt.Sprintf("%s %v %s", d.api, d.write(), strings.TrimSuffix(d.rest, "/"))
}

func (d deed) target() string {
	if d.how == "vendor" {
		return "/meters/" + d.rest
	}
	return "/x-nmos/" + d.api + "/" + d.version + "/" + d.rest
}

// do asks the daemon for it over one or both sockets, and says how many decisions that took.
func (b *box) do(d deed, token string) (status, decisions int) {
	b.t.Helper()
	lines := []string{"decide-all 1", "target=" + d.target()}
	switch d.how {
	case "resource":
		lines = []string{"resource 1", "kind=meter", "name=in-1", "access=read"}
	case "ws":
		q := question{method: "GET", target: d.target(), upgrade: "websocket"}
		if token != "" {
			q.target += "?access_token=" + token
		}
		return b.askBoth(q).status, 2
	case "all":
	default:
		q := question{method: d.method, target: d.target() + "?x=y"}
		if token != "" {
			q = q.bearing(token)
		}
		return b.askBoth(q).status, 2
	}
	if token != "" {
		lines = append(lines, "authorization=Bearer "+token)
	}
	r, err := b.packet.Ask(lines...)
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Status, 1
}

const (
	uuid1 = "6f1e0000-0000-4000-8000-000000000021"
	uuid2 = "6f1e0000-0000-4000-8000-000000000022"
)

// A facility observes, puts the report's claims into the authorization server, and switches to enforce: what was done
// goes on, and nothing else does.
func TestObserveReport(t *testing.T) {
	spec.Rules(t, "OPS-3")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	dir := newDir(t)
	config := trusting(t, server)
	config.Mode, config.Admin = "observe", true
	config.More = fmt.Sprintf("[paths]\nclaims = [\"/meters=events\"]\npublic = [\"/ui\"]\n[audit]\nrepeat = \"0s\"\n"+
		"deny_rate = 0\nallow_rate = 0\n[inventory]\nfile = %q\n", dir.File("inventory.json"))
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	replaceFile(t, dir.File("inventory.json"), metered("sources/"+uuid1+"/state"))
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	b.waitLog(0, "keys fetched")

	controllers := map[string]struct {
		had   map[string]mint.Permission // nil: no token
		deeds []deed
	}{
		"new": {map[string]mint.Permission{}, []deed{
			{"GET", "node", "v1.3", "self", ""}, {"HEAD", "node", "v1.2", "devices/", ""},
			{"GET", "query", "v1.3", "", ""},
			{"PATCH", "connection", "v1.1", "single/receivers/" + uuid1 + "/staged", ""},
			{"GET", "connection", "v1.1", "single/receivers/" + uuid1 + "/active", ""},
			{"GET", "events", "v1.0", "sources/" + uuid1 + "/state", "resource"},
			{"GET", "events", "v1.0", "in-1", "vendor"}, {"PUT", "events", "v1.0", "in-1/gain", "vendor"},
			{"GET", "events", "v1.0", "sources/" + uuid2, "all"}, {"GET", "events", "v1.0", "ws", "ws"},
		}},
		"partly": {map[string]mint.Permission{"connection": {Read: []string{"single/senders/*"}}, "node": {}}, []deed{
			{"GET", "connection", "v1.0", "single/senders/" + uuid1 + "/transportfile", ""},
			{"PATCH", "connection", "v1.1", "single/senders/" + uuid1 + "/staged", ""},
			{"POST", "connection", "v1.1", "bulk/senders", ""},
			{"DELETE", "registration", "v1.3", "resource/nodes/" + uuid2, ""},
			{"GET", "node", "v1.3", "%73elf/a%20b", ""}, {"GET", "node", "v1.3", "", ""},
			{"GET", "channelmapping", "v1.0", "map/active", ""},
		}},
		"": {nil, []deed{{"GET", "node", "v1.3", "senders", ""},
			{"POST", "channelmapping", "v1.0", "map/activations", ""}, {"GET", "events", "v1.0", "ws", "ws"},
			{"GET", "events", "v1.0", "sources/" + uuid1 + "/state", "resource"}}},
	}
	mintFor := func(client string, claims map[string]mint.Permission) string {
		if claims == nil {
			return ""
		}
		return server.Token(mint.Options{Client: client, Scope: "none", Permissions: claims}).Sign()
	}
	decisions := 0
	var tokens []string
	for client, c := range controllers {
		token := mintFor(client, c.had)
		tokens = append(tokens, token)
		for _, d := range c.deeds {
			status, n := b.do(d, token)
			if decisions += n; status != 200 {
				t.Fatalf("observe mode answers %d to %+v", status, d)
			}
		}
	}
	b.askBoth(get("/ui/a"))
	b.askBoth(get("/admin").bearing("nonsense"))
	report := b.observeReport(decisions + 4)
	if report.Mode != "observe" || len(report.Controllers) != 4 ||
		report.Denied+report.Off+report.Unseen+report.Unlisted != 0 || report.Would == 0 {
		t.Errorf("got %+v, want four controllers and nothing denied", report)
	}
	text := command(t, "", "observe", "report", "--config", b.ConfigFile())
	text.check(t, 0, `Client "new" of "`+server.Issuer()+`"`, "")
	text.check(t, 0, "Requests without a token", "")
	for _, token := range tokens {
		if token != "" && leaked(text.out+fmt.Sprint(report), token) != "" {
			t.Error("the report shows a token")
		}
	}

	config.Mode = "enforce"
	b.reload(config)
	for _, c := range report.Controllers {
		if c.Token == "refused" {
			if len(c.Mend) != 2 || c.Claims != nil || c.Add != nil {
				t.Errorf("got %+v, want two ways to repair it, and no claims", c)
			}
			continue
		}
		if len(c.Incomplete) > 0 {
			t.Errorf("%s is incomplete: %q", c.Client, c.Incomplete)
		}
		mine := controllers[c.Client]
		exact := mintFor(c.Client+"x", named(c.Claims))
		both := mintFor(c.Client+"x", together(mine.had, named(c.Add)))
		permitted := map[string]bool{}
		for _, d := range mine.deeds {
			permitted[normal(d).key()] = true
			permitted[deed{method: "GET", api: d.api}.key()] = true
			for _, token := range []string{exact, both} {
				if status, _ := b.do(d, token); status != 200 {
					t.Errorf("%q: %+v is answered %d with %v, %v", c.Client, d, status, c.Claims, c.Add)
				}
			}
		}
		denied := 0
		for _, d := range mine.deeds {
			for _, n := range neighbours(d) {
				want := 403
				if permitted[normal(n).key()] {
					want = 200
				} else {
					denied++
				}
				if a := b.ask(question{method: n.method, target: n.target()}.bearing(exact)); a.status != want {
					t.Errorf("%q, beside %+v: %s %s is answered %v, want %d\n%v",
						c.Client, d, n.method, n.target(), a, want, c.Claims)
				}
			}
		}
		if denied < 50 {
			t.Errorf("%q: %d neighbours", c.Client, denied)
		}
	}

	command(t, "", "observe", "reset", "--config", b.ConfigFile()).check(t, 0, "", "")
	if again := b.observeReport(0); len(again.Controllers) != 0 || again.Mode != "enforce" {
		t.Errorf("after a reset: %+v", again)
	}
	b.want(get("/x-nmos/node/v1.3/self"), 401, "no-token")
	if r := b.observeReport(1); r.Denied != 1 || r.Would != 0 || len(r.Controllers) != 1 ||
		r.Controllers[0].Accesses[0].Reason != "no-token" {
		t.Errorf("got %+v, want one denial, no-token", r)
	}
}

// normal has the path as the daemon sees it.
func normal(d deed) deed {
	d.rest = strings.ReplaceAll(d.rest, "%73", "s")
	return d
}

// named takes the claims' prefix off, which mint puts on.
func named(claims map[string]mint.Permission) map[string]mint.Permission {
	all := map[string]mint.Permission{}
	for name, p := range claims {
		all[strings.TrimPrefix(name, "x-nmos-")] = p
	}
	return all
}

func together(a, b map[string]mint.Permission) map[string]mint.Permission {
	all := map[string]mint.Permission{}
	for _, claims := range []map[string]mint.Permission{a, b} {
		for api, p := range claims {
			was := all[api]
			all[api] = mint.Permission{Read: append(slices.Clone(was.Read), p.Read...),
				Write: append(slices.Clone(was.Write), p.Write...)}
		}
	}
	return all
}

// neighbours are what lies next to a deed: other ids, parents, children, the other permission, other APIs and other
// spellings.
func neighbours(d deed) []deed {
	var all []deed
	add := func(n deed) { all = append(all, n) }
	n := d
	if n.how != "vendor" {
		n.how = ""
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		n.method = method
		add(n)
	}
	n.method = d.method
	for _, api := range []string{"node", "connection", "query", "events", "registration",
		"channelmapping", "connection2", "x"} {
		n.api, n.how = api, ""
		add(n)
	}
	n.api = d.api
	n.version = "v9.9"
	add(n)
	n.version = d.version
	rests := []string{"*", "a", d.rest + "x", "x" + d.rest, d.rest + "*", "*" + d.rest, d.rest + "/x", d.rest + "/*",
		"x/" + d.rest, strings.ToUpper(d.rest), strings.Replace(d.rest, uuid1, uuid2, 1),
		strings.Replace(d.rest, uuid2, uuid1, 1), strings.Replace(d.rest, uuid1, "*", 1),
		strings.Replace(d.rest, "staged", "active", 1), strings.Replace(d.rest, "single", "bulk", 1),
		strings.Replace(d.rest, "active", "constraints", 1)}
	if len(d.rest) > 1 {
		rests = append(rests, d.rest[1:], strings.TrimSuffix(d.rest, "/")[:len(strings.TrimSuffix(d.rest, "/"))-1])
	}
	for parent := d.rest; strings.Contains(parent, "/"); {
		parent = parent[:strings.LastIndexByte(parent, '/')]
		rests = append(rests, parent, parent+"/*")
	}
	for _, rest := range rests {
		if rest = strings.ReplaceAll(rest, "//", "/"); strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, "73") {
			continue
		}
		for _, method := range []string{d.method, "PUT"} {
			n.method, n.rest = method, rest
			add(n)
		}
	}
	return all
}

// What the daemon cannot be asked is said.
func TestObserveWithoutDaemon(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	if err := dir.Write(daemon.Config{}); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"report", "reset"} {
		command(t, "", "observe", what, "--config", dir.ConfigFile()).check(t, 2, "", `[sockets] admin is ""`)
	}
	if err := dir.Write(daemon.Config{Admin: true}); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"report", "reset"} {
		command(t, "", "observe", what, "--config", dir.ConfigFile()).check(t, 2, "", dir.Admin())
	}
	command(t, "", "observe").check(t, 2, "", "observe report")
	command(t, "", "observe", "--help").check(t, 0, "observe reset", "")
	command(t, "", "observe", "reports").check(t, 2, "", "observe report")
	command(t, "", "observe", "report", "now").check(t, 2, "", "too many arguments")
}
