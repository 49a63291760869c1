package decide

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

func TestNeeds(t *testing.T) {
	spec.Rules(t, "PATH-4", "PATH-5", "PATH-15")
	rules := Rules{Controls: Controls{Claims: [][]byte{[]byte("control"), []byte("ncp")}},
		Public: []string{"/ui"}, Claims: []Mapping{{Prefix: "/meters", API: []byte("events")}},
		Control: []string{"/slot/2/ncp"}}
	const id = "6f1e0000-0000-4000-8000-000000000031"
	for _, c := range []struct {
		access     Access
		path, want string
	}{
		{Read, "/x-nmos/node/v1.3/self", "node read self"},
		{Read, "/x-nmos/node/v1.3/self/", "node read self"},
		{Write, "/x-nmos/connection/v1.1/single/senders/" + id + "/staged",
			"connection write single/senders/" + id + "/staged"},
		{Read, "/x-nmos/query", "query"},
		{Read, "/x-nmos/query/v1.3/", "query"},
		{Write, "/x-nmos/query/v1.3/", ""}, // nothing grants writing to the base of an API
		{Read, "/x-nmos/node/v1.3/a*b", "node read a*b wide"},
		{Read, "/x-nmos/node/v1.3/a%2Ab", "node read a%2Ab"},
		{Read, "/meters", "events read * wide"},
		{Write, "/meters", "events write * wide"},
		{Read, "/x-nmos/ncp/v1.0/", "control read root.* both"},
		{Read, "/slot/2/ncp", "control read root.* both"},
		{Write, "/x-nmos/ncp/v1.0", ""},
		{Read, "/x-nmos/ncp", "ncp"},
		{Read, "/x-nmos/node/v1.3/" + strings.Repeat("a", DefaultPathBytes), ""},
		{Read, "/meters/in-1/", "events read in-1"},
		{Write, "/meters/in-1", "events write in-1"},
		{Read, "/x-nmos/node/latest/self", ""},
		{Read, "/x-nmos/Node/v1.3/self", ""},
		{Write, "/x-nmos", ""},
		{Read, "/admin", ""},
		{NoAccess, "/x-nmos/node/v1.3/self", ""},
	} {
		path, ok := Normalize(nil, []byte(c.path))
		n, granted := rules.Needs(c.access, rules.Find(path))
		got := strings.TrimSpace(fmt.Sprintf("%s %s %s", n.API, n.Permission, n.Specifier))
		if n.Wide {
			got += " wide"
		}
		if n.Both {
			got += " both"
		}
		if !ok || granted != (c.want != "") || granted && got != c.want {
			t.Errorf("%d %s: %q %v, want %q", c.access, c.path, got, granted, c.want)
		}
	}
}

// The specifier that an access needs matches that path and none of the others, unless it says that it does.
func TestNeedsNothingBroader(t *testing.T) {
	spec.Rules(t, "PATH-5", "PATH-6", "PATH-7")
	r := rand.New(rand.NewPCG(1, 2))
	const letters = "ab/*%-"
	var rests []string
	for range 400 {
		b := make([]byte, 1+r.IntN(6))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		path, ok := Normalize(nil, []byte("/x-nmos/node/v1.3/"+strings.ReplaceAll(string(b), "%", "%2A")))
		if place := new(Rules).Find(path); ok && place.Kind == Resource {
			rests = append(rests, string(place.Rest))
		}
	}
	compared, wide := 0, 0
	for _, rest := range rests {
		n, ok := (&Rules{}).Needs(Read, Place{Kind: Resource, API: []byte("node"), Rest: []byte(rest)})
		if !ok || !matches(n.Specifier, []byte(rest)) {
			t.Fatalf("what %q needs does not grant it", rest)
		}
		if n.Wide {
			wide++
			continue
		}
		for _, other := range rests {
			if compared++; matches(n.Specifier, []byte(other)) != (other == rest) {
				t.Errorf("what %q needs grants %q", rest, other)
			}
		}
	}
	if compared < 1000 || wide == 0 {
		t.Errorf("compared %d, of them %d with a star", compared, wide)
	}
}
