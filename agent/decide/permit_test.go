package decide_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/decide"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/token"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// Which accesses a token's claims permit.
func TestPermit(t *testing.T) {
	spec.Rules(t, "PATH-4", "PATH-5", "PATH-15")
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	key := mint.CachedKey(mint.DefaultKID, 2048)
	held, _, err := keys.Parse(mint.JWKS(key))
	if err != nil {
		t.Fatal(err)
	}
	store := keys.NewStore(nil, nil)
	store.Configure(keys.Policy{Servers: []string{mint.DefaultIssuer}, Refresh: time.Hour})
	store.Hold(keys.Held{Name: mint.DefaultIssuer, Keys: held})
	v := token.NewVerifier(token.Options{Names: token.Names{mint.DefaultDevice}})

	resource := decide.Place{Kind: decide.Resource, API: []byte("x"), Rest: []byte("a/b")}
	everything := decide.Place{Kind: decide.Everything, API: []byte("x")}
	base := decide.Place{Kind: decide.Base, API: []byte("x")}
	control := decide.Place{Kind: decide.Control}
	rules := decide.Rules{Controls: decide.Controls{Claims: [][]byte{[]byte("control"), []byte("ncp")}}}
	const ok, api, path, sockets = wire.OK, wire.APINotGranted, wire.PathNotGranted, wire.ControlNotGranted
	for _, c := range []struct {
		name   string
		claims map[string]string // x-nmos-<name>
		scope  string
		access decide.Access
		place  decide.Place
		want   wire.Reason
	}{
		{"base", map[string]string{"x": `{}`}, "", decide.Read, base, ok},
		{"base, by scope", nil, "y x", decide.Read, base, ok},
		{"base, written", map[string]string{"x": `{"write":["*"]}`}, "x", decide.Write, base, api},
		{"base, another API", map[string]string{"y": `{"read":["*"]}`}, "y", decide.Read, base, api},

		{"read", map[string]string{"x": `{"read":["a/b"]}`}, "", decide.Read, resource, ok},
		{"read, second specifier", map[string]string{"x": `{"read":["c","a/*"]}`}, "", decide.Read, resource, ok},
		{"read, with a slash", map[string]string{"x": `{"read":["a/b/"]}`}, "", decide.Read, resource, ok},
		{"read, not by write", map[string]string{"x": `{"write":["a/b"]}`}, "", decide.Read, resource, path},
		{"written", map[string]string{"x": `{"write":["a/b"]}`}, "", decide.Write, resource, ok},
		{"written, not by read", map[string]string{"x": `{"read":["*"]}`}, "", decide.Write, resource, path},
		{"read, another path", map[string]string{"x": `{"read":["a/c"]}`}, "", decide.Read, resource, path},
		{"read, no path", map[string]string{"x": `{"read":[]}`}, "", decide.Read, resource, path},
		{"read, an empty path", map[string]string{"x": `{"read":[""]}`}, "", decide.Read, resource, path},
		{"read, scope alone", nil, "x", decide.Read, resource, path},
		{"read, another API", map[string]string{"y": `{"read":["*"]}`}, "", decide.Read, resource, api},
		{"no access", map[string]string{"x": `{"read":["*"],"write":["*"]}`}, "",
			decide.NoAccess, resource, wire.Method},
		{"preflight", map[string]string{"x": `{"read":["*"],"write":["*"]}`}, "",
			decide.Preflight, resource, wire.Method},

		{"everything", map[string]string{"x": `{"read":["*"]}`}, "", decide.Read, everything, ok},
		{"everything, two stars", map[string]string{"x": `{"read":["**"]}`}, "", decide.Read, everything, ok},
		{"everything, two specifiers", map[string]string{"x": `{"read":["a","*"]}`}, "", decide.Read, everything, ok},
		{"everything, written", map[string]string{"x": `{"write":["*"]}`}, "", decide.Write, everything, ok},
		{"everything, a part", map[string]string{"x": `{"read":["a*"]}`}, "", decide.Read, everything, path},
		{"everything, one letter", map[string]string{"x": `{"read":["a"]}`}, "", decide.Read, everything, path},
		{"everything, an empty path", map[string]string{"x": `{"read":[""]}`}, "", decide.Read, everything, path},
		{"everything, not granted", map[string]string{"y": `{"read":["*"]}`}, "", decide.Read, everything, api},

		{"control", map[string]string{"control": `{"read":["root.*"],"write":["root.*"]}`}, "",
			decide.Read, control, ok},
		{"control, stars", map[string]string{"control": `{"read":["*"],"write":["*"]}`}, "", decide.Read, control, ok},
		{"ncp", map[string]string{"ncp": `{"read":["root.*"],"write":["*"]}`}, "", decide.Read, control, ok},
		{"control and ncp", map[string]string{"control": `{"read":["*"]}`, "ncp": `{"write":["*"]}`}, "",
			decide.Read, control, ok},
		{"ncp and control", map[string]string{"ncp": `{"read":["*"]}`, "control": `{"write":["*"]}`}, "",
			decide.Read, control, ok},
		{"control, then a part", map[string]string{"control": `{"read":["*","root.a"],"write":["*","root.a"]}`}, "",
			decide.Read, control, ok},
		{"control, by scope too", map[string]string{"ncp": `{"read":["*"],"write":["*"]}`}, "control",
			decide.Read, control, ok},
		{"control, read alone", map[string]string{"control": `{"read":["*"]}`}, "", decide.Read, control, sockets},
		{"control, write alone", map[string]string{"control": `{"write":["*"]}`}, "", decide.Read, control, sockets},
		{"control, a part", map[string]string{"control": `{"read":["*"],"write":["root.a"]}`}, "",
			decide.Read, control, sockets},
		{"control, scope alone", nil, "control", decide.Read, control, sockets},
		{"control, not granted", map[string]string{"x": `{"read":["*"],"write":["*"]}`}, "x",
			decide.Read, control, api},
		{"control, written", map[string]string{"control": `{"read":["*"],"write":["*"]}`}, "",
			decide.Write, control, api},

		{"bad version", map[string]string{"x": `{"read":["*"]}`}, "",
			decide.Read, decide.Place{Kind: decide.BadVersion}, wire.PathVersion},
		{"root", map[string]string{"x": `{"read":["*"]}`}, "",
			decide.Write, decide.Place{Kind: decide.Root}, wire.PathVersion},
		{"too long", map[string]string{"x": `{"read":["*"]}`}, "",
			decide.Read, decide.Place{Kind: decide.TooLong}, wire.PathTooLong},
		{"outside", map[string]string{"x": `{"read":["*"]}`}, "", decide.Read, decide.Place{}, wire.PathClosed},
		{"public, written", map[string]string{"x": `{"read":["*"]}`}, "",
			decide.Write, decide.Place{Kind: decide.Open}, wire.PathClosed},
	} {
		m := mint.New(mint.Options{Now: now})
		m.Claims.Delete("scope")
		for _, name := range []string{"node", "connection", "query", "registration", "events", "channelmapping"} {
			m.Claims.Delete("x-nmos-" + name)
		}
		for name, claim := range c.claims {
			m.Claims.SetRaw("x-nmos-"+name, claim)
		}
		if c.scope != "" {
			m.Claims.Set("scope", c.scope)
		}
		var tok token.Token
		got := v.Check([]byte(m.Sign()), token.Clock{Now: now.UnixMicro(), Trusted: true}, store.Set(), &tok)
		if got.Reason != wire.OK {
			t.Fatalf("%s: got %v, want a good token", c.name, got.Reason)
		}
		if got := rules.Permit(c.access, c.place, &tok); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		var none token.Token
		if got := rules.Permit(c.access, c.place, &none); got == wire.OK {
			t.Errorf("%s, not verified: got %v, want it denied", c.name, got)
		}
	}
}

// What is answered without a token: methods that NMOS does not use, paths that are too long, and what everybody may
// read; all else needs one.
func TestWithoutToken(t *testing.T) {
	spec.Rules(t, "PATH-1", "PATH-2", "PATH-3", "PATH-11", "PATH-16")
	kinds := []decide.Kind{decide.Outside, decide.Root, decide.Base, decide.Resource, decide.BadVersion, decide.Open,
		decide.Everything, decide.Control, decide.TooLong, decide.RolePaths, decide.RolePath}
	for _, kind := range kinds {
		for _, access := range []decide.Access{decide.NoAccess, decide.Read, decide.Write, decide.Preflight} {
			want := wire.Undecided
			switch {
			case access == decide.NoAccess:
				want = wire.Method
			case kind == decide.TooLong:
				want = wire.PathTooLong
			case access == decide.Preflight, access == decide.Read && (kind == decide.Root || kind == decide.Open):
				want = wire.Public
			}
			got := decide.WithoutToken(access, decide.Place{Kind: kind})
			if got.Answer() != want || got.TokenNeeded() != (want == wire.Undecided) {
				t.Errorf("access %d, kind %d: got %v, needed %v; want %v",
					access, kind, got.Answer(), got.TokenNeeded(), want)
			}
		}
	}
}

// A scheme that begins with "Bearer" is another scheme, however little it is longer.
func TestLongerScheme(t *testing.T) {
	spec.Rules(t, "ANS-9")
	for _, value := range []string{"Bearerx", "bearer1", "Bearer,", "Bearer\t", "Bearerx a.b.c", "Bearers a.b.c"} {
		got, tok, _ := decide.Credentials(&wire.Request{Method: []byte("GET"), Authorization: []byte(value)}, nil)
		if got != wire.NoToken || tok != nil {
			t.Errorf("%q: got %v, token %q; want no token", value, got, tok)
		}
	}
	r := wire.Request{Authorization: []byte("bEARER  x")}
	if got, tok, _ := decide.Credentials(&r, nil); got != wire.Undecided || string(tok) != "x" {
		t.Errorf("got %v, token %q; want no answer yet, x", got, tok)
	}
}

// Of the percent-encoded ASCII characters those that RFC 3986 §2.3 does not reserve are decoded, a few are refused, and
// all others stay encoded.
func TestEncodedASCII(t *testing.T) {
	spec.Rules(t, "PATH-9")
	const unreserved = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
	for c := range 128 {
		for _, format := range []string{"/a%%%02Xb", "/a%%%02xb"} {
			target := fmt.Sprintf(format, c)
			want, good := fmt.Sprintf("/a%%%02Xb", c), c >= ' ' && c < 0x7f && !strings.ContainsRune(`/\;`, rune(c))
			if strings.ContainsRune(unreserved, rune(c)) {
				want = fmt.Sprintf("/a%cb", c)
			}
			got, ok := decide.Normalize(nil, []byte(target))
			if ok != good || ok && string(got) != want {
				t.Errorf("%s: got %q, %v; want %q, %v", target, got, ok, want, good)
			}
		}
	}
}

// The paths of the shortest names: of an API, a version, a resource, a prefix.
func TestShortestPaths(t *testing.T) {
	spec.Rules(t, "PATH-3", "PATH-4", "PATH-5", "PATH-11")
	rules := decide.Rules{
		Public: []string{"/u"}, Claims: []decide.Mapping{{Prefix: "/m", API: []byte("events")}}, PathBytes: 20,
	}
	for path, want := range map[string]string{
		"/": "1  ", "/x-nmos": "1  ", "/x-nmos/": "1  ", "/x-nmos/a": "2 a ", "/x-nmos/a/": "2 a ", "/x-nmosa": "0  ",
		"/x-nmos/a/v1.0": "2 a ", "/x-nmos/a/v1.0/": "2 a ", "/x-nmos/a/v1.0/r": "3 a r", "/x-nmos/a/v1.0/r/": "3 a r",
		"/x-nmos/a/v": "4  ", "/x-nmos/a/v1": "4  ", "/x-nmos/a/v1.": "4  ", "/x-nmos/a/v.1": "4  ",
		"/x-nmos/a/v9.9": "2 a ",
		"/x-nmos/A":      "4  ", "/x-nmos/a/x": "4  ", "/u": "5  ", "/u/": "5  ", "/u/x": "5  ", "/ux": "0  ",
		"/v": "0  ", "/m": "6 events ", "/m/": "6 events ", "/m/r": "3 events r", "/m/r/": "3 events r", "/mm": "0  ",
		"/x-nmos/ncp": "2 ncp ", "/x-nmos/ncp/v1.0": "7  ", "/x-nmos/a/v1.0/1234": "3 a 1234",
		"/x-nmos/a/v1.0/12345":  "3 a 12345",
		"/x-nmos/a/v1.0/123456": "8  ",
	} {
		place := rules.Find([]byte(path))
		if got := fmt.Sprintf("%d %s %s", place.Kind, place.API, place.Rest); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// The prefix "/" is every path outside /x-nmos, and an empty one is none.
func TestShortestPrefixes(t *testing.T) {
	spec.Rules(t, "PATH-11")
	events := []byte("events")
	for _, c := range []struct {
		name  string
		rules decide.Rules
		path  string
		want  decide.Place
	}{
		{"public", decide.Rules{Public: []string{"/"}}, "/a/b", decide.Place{Kind: decide.Open}},
		{"public, empty", decide.Rules{Public: []string{""}}, "/a/b", decide.Place{}},
		{"claim", decide.Rules{Claims: []decide.Mapping{{Prefix: "/", API: events}}}, "/a/b",
			decide.Place{Kind: decide.Resource, API: events, Rest: []byte("a/b")}},
		{"claim, empty", decide.Rules{Claims: []decide.Mapping{{API: events}}}, "/a/b", decide.Place{}},
	} {
		got := c.rules.Find([]byte(c.path))
		if got.Kind != c.want.Kind || string(got.API) != string(c.want.API) || string(got.Rest) != string(c.want.Rest) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}
