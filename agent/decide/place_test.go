package decide_test

import (
	"testing"

	"nmosauthd/agent/decide"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
)

// A claim may rule paths outside /x-nmos; of prefixes that overlap the longest counts, and one in both lists needs a token.
func TestClaimPrefixes_PATH11(t *testing.T) {
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
		{"/meters", decide.Base, "events", ""}, {"/meters/", decide.Base, "events", ""},
		{"/meters/in-1", decide.Resource, "events", "in-1"}, {"/meters/in-1/level/", decide.Resource, "events", "in-1/level"},
		{"/meters2", decide.Outside, "", ""}, {"/meters/help", decide.Open, "", ""}, {"/meters/help/a", decide.Open, "", ""},
		{"/both", decide.Base, "node", ""}, {"/both/a", decide.Resource, "node", "a"},
		{"/ui/a", decide.Open, "", ""}, {"/ui/admin/a", decide.Resource, "node", "a"}, {"/other", decide.Outside, "", ""},
	} {
		place := rules.Find([]byte(c.path))
		if place.Kind != c.want || string(place.API) != c.api || string(place.Rest) != c.rest {
			t.Errorf("%s: %v %q %q, want %v %q %q", c.path, place.Kind, place.API, place.Rest, c.want, c.api, c.rest)
		}
	}
}

func TestMethodAccess_PATH1_PATH2(t *testing.T) {
	for method, want := range map[string]decide.Access{
		"GET": decide.Read, "HEAD": decide.Read,
		"POST": decide.Write, "PUT": decide.Write, "PATCH": decide.Write, "DELETE": decide.Write,
		"OPTIONS": decide.Preflight,
		"":        decide.NoAccess, "get": decide.NoAccess, "Get": decide.NoAccess, "GET ": decide.NoAccess, "options": decide.NoAccess,
		"TRACE": decide.NoAccess, "CONNECT": decide.NoAccess, "PROPFIND": decide.NoAccess, "GETS": decide.NoAccess, "*": decide.NoAccess,
	} {
		if got := decide.MethodAccess([]byte(method)); got != want {
			t.Errorf("%q: %v, want %v", method, got, want)
		}
	}
}

func TestFind_PATH3_PATH4_PATH5_PATH10_PATH11(t *testing.T) {
	rules := decide.Rules{Public: []string{"/meters", "/ui/"}}
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
	} {
		got := rules.Find([]byte(c.path))
		if got.Kind != c.kind || string(got.API) != c.api || string(got.Rest) != c.rest {
			t.Errorf("%s: kind %d, api %q, rest %q; want %d, %q, %q", c.path, got.Kind, got.API, got.Rest, c.kind, c.api, c.rest)
		}
	}
}

// A token that nobody verified permits nothing, anywhere; and the zero values deny.
func TestPermitFailsClosed_PATH5(t *testing.T) {
	places := []decide.Place{{}, {Kind: decide.Kind(200)}}
	for _, path := range []string{"/", "/x-nmos/node", "/x-nmos/node/v1.3/self", "/x-nmos/node/x", "/vendor"} {
		places = append(places, (&decide.Rules{}).Find([]byte(path)))
	}
	for _, place := range places {
		for _, access := range []decide.Access{decide.NoAccess, decide.Read, decide.Write, decide.Preflight, 200} {
			if got := decide.Permit(access, place, new(token.Token)); got.Allowed() {
				t.Errorf("access %d to %+v: %v", access, place, got)
			}
		}
	}
	if got := decide.WithoutToken(decide.NoAccess, decide.Place{}); got != wire.Method {
		t.Errorf("the zero values: %v", got)
	}
}
