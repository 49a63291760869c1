package decide_test

import (
	"strings"
	"testing"

	"nmosauthd/agent/decide"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// A claim may rule paths outside /x-nmos; of prefixes that overlap the longest counts, and one in both lists needs a
// token.
func TestClaimPrefixes(t *testing.T) {
	spec.Rules(t, "PATH-4", "PATH-11")
	rules := decide.Rules{
		Public: []string{"/meters/help", "/both", "/ui"},
		Claims: []decide.Mapping{{Prefix: "/meters", API: []byte("events")}, {Prefix: "/both", API: []byte("node")},
			{Prefix: "/ui/admin", API: []byte("node")}},
	}
	for _, c := range []struct {
		path string
		want decide.Kind
		api  string
		rest string
	}{
		{"/meters", decide.Everything, "events", ""}, {"/meters/", decide.Everything, "events", ""},
		{"/meters/in-1", decide.Resource, "events", "in-1"}, {"/meters/in-1/level/",
			decide.Resource, "events", "in-1/level"},
		{"/meters2", decide.Outside, "", ""}, {"/meters/help", decide.Open, "", ""},
		{"/meters/help/a", decide.Open, "", ""},
		{"/both", decide.Everything, "node", ""}, {"/both/a", decide.Resource, "node", "a"},
		{"/ui/a", decide.Open, "", ""}, {"/ui/admin/a", decide.Resource, "node", "a"},
		{"/other", decide.Outside, "", ""},
	} {
		place := rules.Find([]byte(c.path))
		if place.Kind != c.want || string(place.API) != c.api || string(place.Rest) != c.rest {
			t.Errorf("%s: %v %q %q, want %v %q %q", c.path, place.Kind, place.API, place.Rest, c.want, c.api, c.rest)
		}
	}
}

func TestMethodAccess(t *testing.T) {
	spec.Rules(t, "PATH-1", "PATH-2")
	for method, want := range map[string]decide.Access{
		"GET": decide.Read, "HEAD": decide.Read,
		"POST": decide.Write, "PUT": decide.Write, "PATCH": decide.Write, "DELETE": decide.Write,
		"OPTIONS": decide.Preflight,
		"":        decide.NoAccess, "get": decide.NoAccess, "Get": decide.NoAccess, "GET ": decide.NoAccess,
		"options": decide.NoAccess, "TRACE": decide.NoAccess, "CONNECT": decide.NoAccess, "PROPFIND": decide.NoAccess,
		"GETS": decide.NoAccess, "*": decide.NoAccess,
	} {
		if got := decide.MethodAccess([]byte(method)); got != want {
			t.Errorf("%q: %v, want %v", method, got, want)
		}
	}
}

func TestFind(t *testing.T) {
	spec.Rules(t, "PATH-3", "PATH-4", "PATH-5", "PATH-10", "PATH-11", "PATH-15", "PATH-16")
	rules := decide.Rules{
		// the last is what no configuration says
		Public:  []string{"/meters", "/ui/", "/x-nmos/system", "/x-nmos/node"},
		Control: []string{"/ui/control", "/x-nmos/ncp/v1.0/slot-2"},
	}
	long := func(n int) string { return "/x-nmos/node/v1.3/" + strings.Repeat("a", n-len("/x-nmos/node/v1.3/")) }
	for _, c := range []struct {
		path      string
		kind      decide.Kind
		api, rest string
	}{
		{"/", decide.Root, "", ""},
		{"/x-nmos", decide.Root, "", ""},
		{"/x-nmos/", decide.Root, "", ""},
		{"/x-nmos/node", decide.Base, "node", ""},
		{"/x-nmos/node/", decide.Base, "node", ""},
		{"/x-nmos/node/v1.3", decide.Base, "node", ""},
		{"/x-nmos/node/v1.3/", decide.Base, "node", ""},
		{"/x-nmos/node/v1.3/self", decide.Resource, "node", "self"},
		{"/x-nmos/node/v1.3/self/", decide.Resource, "node", "self"},
		{"/x-nmos/ch-4-map/v12.345/a/b/", decide.Resource, "ch-4-map", "a/b"},
		{"/x-nmos/node/1.3/self", decide.BadVersion, "", ""},
		{"/x-nmos/node/v1/self", decide.BadVersion, "", ""},
		{"/x-nmos/node/v1.", decide.BadVersion, "", ""},
		{"/x-nmos/node/v.3", decide.BadVersion, "", ""},
		{"/x-nmos/node/V1.3", decide.BadVersion, "", ""},
		{"/x-nmos/node/v1.3.1", decide.BadVersion, "", ""},
		{"/x-nmos/node/v1.3a/self", decide.BadVersion, "", ""},
		{"/x-nmos/node/v+1.3", decide.BadVersion, "", ""},
		{"/x-nmos/node/latest", decide.BadVersion, "", ""},
		{"/x-nmos/Node/v1.3/self", decide.BadVersion, "", ""},
		{"/x-nmos/no_de/v1.3/self", decide.BadVersion, "", ""},
		{"/x-nmos/no.de", decide.BadVersion, "", ""},
		{"/x-nmos/%20/v1.3", decide.BadVersion, "", ""},
		{"/x-nmosnode/v1.3/self", decide.Outside, "", ""},
		{"/x-nmo", decide.Outside, "", ""},
		{"/X-NMOS/node/v1.3/self", decide.Outside, "", ""},
		{"/vendor/x-nmos/node/v1.3/self", decide.Outside, "", ""},
		{"/meters", decide.Open, "", ""},
		{"/meters/", decide.Open, "", ""},
		{"/meters/1", decide.Open, "", ""},
		{"/meters2", decide.Outside, "", ""},
		{"/meter", decide.Outside, "", ""},
		{"/Meters", decide.Outside, "", ""},
		{"/ui", decide.Open, "", ""},
		{"/ui/index.html", decide.Open, "", ""},
		{"/uix", decide.Outside, "", ""},
		{"/x-nmos/system", decide.Open, "", ""},
		{"/x-nmos/system/v1.0/global", decide.Open, "", ""},
		{"/x-nmos/systems/v1.0", decide.Base, "systems", ""},
		{"/x-nmos/ncp", decide.Base, "ncp", ""},
		{"/x-nmos/ncp/", decide.Base, "ncp", ""},
		{"/x-nmos/ncp/v1.0", decide.Control, "", ""},
		{"/x-nmos/ncp/v1.0/", decide.Control, "", ""},
		{"/x-nmos/ncp/v2.13", decide.Control, "", ""},
		{"/x-nmos/ncp/v1", decide.BadVersion, "", ""},
		{"/x-nmos/ncp/v1.0/a", decide.Resource, "ncp", "a"},
		{"/x-nmos/ncp/v1.0/slot-2", decide.Control, "", ""},
		{"/x-nmos/ncp/v1.0/slot-2/", decide.Control, "", ""},
		{"/x-nmos/ncp/v1.0/slot-20", decide.Resource, "ncp", "slot-20"},
		{"/ui/control", decide.Control, "", ""},
		{"/ui/control/", decide.Control, "", ""},
		{"/ui/control/a", decide.Open, "", ""},
		{long(decide.DefaultPathBytes), decide.Resource, "node",
			long(decide.DefaultPathBytes)[len("/x-nmos/node/v1.3/"):]},
		{long(decide.DefaultPathBytes + 1), decide.TooLong, "", ""},
		{"/ui/" + long(decide.DefaultPathBytes), decide.TooLong, "", ""},
	} {
		got := rules.Find([]byte(c.path))
		if got.Kind != c.kind || string(got.API) != c.api || string(got.Rest) != c.rest {
			t.Errorf("%s: kind %d, api %q, rest %q; want %d, %q, %q",
				c.path, got.Kind, got.API, got.Rest, c.kind, c.api, c.rest)
		}
	}
}

// The bound on a path can be set, and 0 is not "none".
func TestPathBytes(t *testing.T) {
	spec.Rules(t, "PATH-16")
	for _, c := range []struct{ most, length, want int }{
		{256, 256, int(decide.Outside)}, {256, 257, int(decide.TooLong)}, {4096, 4096, int(decide.Outside)},
		{4096, 4097, int(decide.TooLong)},
		{0, 2048, int(decide.Outside)}, {0, 2049, int(decide.TooLong)},
	} {
		rules := decide.Rules{PathBytes: c.most}
		if got := rules.Find([]byte("/" + strings.Repeat("a", c.length-1))).Kind; int(got) != c.want {
			t.Errorf("%d bytes of %d: kind %d, want %d", c.length, c.most, got, c.want)
		}
	}
}

// What the handshake of a Query API's socket needs does not stand in the path of the socket.
func TestSocket(t *testing.T) {
	spec.Rules(t, "PATH-14")
	rules := decide.Rules{Claims: []decide.Mapping{{Prefix: "/registry", API: []byte("query")}}}
	for path, want := range map[string]decide.Kind{
		"/x-nmos/query": decide.Everything, "/x-nmos/query/v1.3": decide.Everything,
		"/x-nmos/query/v1.3/": decide.Everything, "/x-nmos/query/v1.3/subscriptions": decide.Everything,
		"/x-nmos/query/v1.3/subscriptions/1":  decide.Everything,
		"/x-nmos/query/v1.3/subscriptions/1/": decide.Everything, "/registry/subscriptions/1": decide.Everything,
		"/registry": decide.Everything, "/x-nmos/query/v1.3/nodes": decide.Resource,
		"/x-nmos/query/v1.3/nodes/": decide.Resource, "/x-nmos/query/v1.3/subscription": decide.Resource,
		"/x-nmos/events/v1.0/subscriptions/1": decide.Resource, "/x-nmos/events/v1.0": decide.Base,
		"/x-nmos/ncp/v1.0": decide.Control, "/": decide.Root, "/query": decide.Outside,
	} {
		if got := rules.Find([]byte(path)).Socket().Kind; got != want {
			t.Errorf("%s: kind %d, want %d", path, got, want)
		}
	}
}

// A token that nobody verified permits nothing, anywhere; and the zero values deny.
func TestPermitFailsClosed(t *testing.T) {
	spec.Rules(t, "PATH-5")
	places := []decide.Place{{}, {Kind: decide.Kind(200)}, {Kind: decide.Open}, {Kind: decide.TooLong},
		{Kind: decide.Everything}}
	for _, path := range []string{"/", "/x-nmos/node", "/x-nmos/node/v1.3/self", "/x-nmos/node/x",
		"/vendor", "/x-nmos/ncp/v1.0"} {
		places = append(places, (&decide.Rules{}).Find([]byte(path)))
	}
	for _, place := range places {
		for _, access := range []decide.Access{decide.NoAccess, decide.Read, decide.Write, decide.Preflight, 200} {
			if got := (&decide.Rules{}).Permit(access, place, new(token.Token)); got.Allowed() {
				t.Errorf("access %d to %+v: %v", access, place, got)
			}
		}
	}
	if got := decide.WithoutToken(decide.NoAccess, decide.Place{}); got.TokenNeeded() || got.Answer() != wire.Method {
		t.Errorf("the zero values: %v, want %v", got.Answer(), wire.Method)
	}
}

// Before a token is looked at, "one is needed" is not an answer that allows, and the zero value says just that.
func TestTokenNeededDenies(t *testing.T) {
	spec.Rules(t, "PATH-5")
	needed := decide.WithoutToken(decide.Read, decide.Place{Kind: decide.Resource})
	if needed != (decide.Early{}) || !needed.TokenNeeded() {
		t.Errorf("reading a resource: %+v, want the zero value, which needs a token", needed)
	}
	if got := needed.Answer(); got.Allowed() || got.Info().Status != 503 {
		t.Errorf("whoever does not ask whether a token is needed answers %v, want a denial", got)
	}
	free := decide.WithoutToken(decide.Read, decide.Place{Kind: decide.Open})
	if free.TokenNeeded() || free.Answer() != wire.Public {
		t.Errorf("reading an open path: %v, want %v", free.Answer(), wire.Public)
	}
}
