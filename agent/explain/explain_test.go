package explain_test

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/config"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// run explains q for the mint's device and returns what was printed.
func run(t *testing.T, q explain.Question) (string, wire.Reason) {
	t.Helper()
	if q.Config == nil {
		q.Config = config.Default()
		q.Config.Authorization.Servers = []string{mint.DefaultIssuer}
	}
	if q.Names == nil {
		q.Names = []string{mint.DefaultDevice}
	}
	if q.Now.IsZero() {
		q.Now = time.Now()
	}
	var out bytes.Buffer
	answer, err := explain.Explain(&out, q)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := answer.Unchecked, strings.Contains(out.String(), "not checked"); got != want {
		t.Errorf("unchecked: got %v, want %v by\n%s", got, want, out.String())
	}
	return out.String(), answer.Reason
}

// AMWA's own sample token, without its keys.
func TestSampleTokenOfINFO002(t *testing.T) {
	spec.Rules(t, "TOK-2", "CLM-7")
	tok, err := os.ReadFile("testdata/info-002-token.txt")
	if err != nil {
		t.Fatal(err)
	}
	tok = bytes.TrimSpace(tok)
	out, reason := run(t, explain.Question{Token: tok})
	if reason != wire.Expired {
		t.Errorf("decided by %v", reason)
	}
	for _, want := range []string{
		`TOK-2    ok  alg is "RS512"`, `CLM-1    ok  iss is "https://authorization-server.com"`,
		"TOK-6    ?   signature not checkable without keys", "CLM-7    NO  exp is 2021-02-08 14:11:56Z",
		"deny 401 token-expired", "rule CLM-7 (RFC 7519",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "CLM-6") {
		t.Errorf("it goes on behind the rule that decides:\n%s", out)
	}
}

// What explain says is what the agent says, for every token of the mint, and without keys too but for the signature; it
// stops at a line that says NO, or allows; and the signature is never in it.
func TestExplainsEveryTokenOfTheMint(t *testing.T) {
	for _, table := range [][]mint.Case{mint.Faults, mint.Variants} {
		for _, c := range table {
			t.Run(c.Rule+"/"+c.Name, func(t *testing.T) {
				base := mint.New(mint.Options{})
				tok := c.Make(base)
				published := []mint.JWK{base.Key.JWK()}
				if c.Publish != nil {
					published = append(published, c.Publish()...)
				}
				want := c.Want
				if want == "keys-pending" {
					want = c.Then
				}
				method, target := c.Request()
				q := explain.Question{Token: []byte(tok), Trust: true, Method: method, Target: target,
					JWKS: mint.JWKSOf(published...)}
				out, reason := run(t, q)
				if reason.String() != want {
					t.Errorf("decided by %v, want %s:\n%s", reason, want, out)
				}
				story, verdict, _ := strings.Cut(out, "\n\n")
				lines := strings.Split(story, "\n")
				last := lines[len(lines)-1]
				if said := strings.Contains(last, " NO "); said == reason.Allowed() {
					t.Errorf("the last line is %q, the verdict %q", last, verdict)
				}
				if !reason.Allowed() && !strings.HasPrefix(last, reason.Info().Rule[:4]) {
					t.Errorf("the last line is %q, the rule %s", last, reason.Info().Rule)
				}
				for _, line := range lines[:len(lines)-1] {
					if strings.Contains(line, " NO ") {
						t.Errorf("%q, and it went on", line)
					}
				}
				q.JWKS = nil
				if out, without := run(t, q); without != reason && reason != wire.Signature &&
					reason != wire.KeyUnknown {
					t.Errorf("decided by %v, without keys by %v:\n%s", reason, without, out)
				}
				if sig := tok[strings.LastIndexByte(tok, '.')+1:]; len(sig) > 8 && strings.Contains(out, sig) {
					t.Error("the signature is printed")
				}
			})
		}
	}
}

func TestExplainsRequests(t *testing.T) {
	base := mint.New(mint.Options{Permissions: map[string]mint.Permission{"connection": {Read: []string{"single/*"}}}})
	tok, jwks := []byte(base.Sign()), mint.JWKSOf(base.Key.JWK())
	ncp := map[string]mint.Permission{"ncp": {Read: []string{"*"}}}
	reads := []byte(mint.New(mint.Options{Permissions: ncp}).Sign())
	mapped := config.Default()
	mapped.Paths.Claims, mapped.Paths.Public = []string{"/levels=connection"}, []string{"/ui"}
	const receiver = "/x-nmos/connection/v1.1/single/receivers/1"
	for name, c := range map[string]struct {
		q      explain.Question
		reason wire.Reason
		line   string
	}{
		"PATH-1": {explain.Question{Token: tok, Method: "BREW", Target: "/"}, wire.Method,
			`PATH-1   NO  method "BREW"`},
		"PATH-2": {explain.Question{Method: "OPTIONS", Target: "/a"}, wire.Public, "no token is needed"},
		"PATH-3": {explain.Question{Method: "GET", Target: "/x-nmos"}, wire.Public, "no token is needed"},
		"PATH-4": {explain.Question{Token: tok, Method: "GET", Target: "/x-nmos/query"}, wire.APINotGranted,
			"PATH-4   NO  needs x-nmos-query"},
		"PATH-5": {explain.Question{Token: tok, Method: "PATCH", Target: receiver}, wire.PathNotGranted,
			`under write of x-nmos-connection; there: absent`},
		"allowed": {explain.Question{Token: tok, Method: "GET", Target: receiver + "?a=b"}, wire.OK,
			`there: ["single/*"]`},
		"PATH-9": {explain.Question{Token: tok, Method: "GET", Target: "/a//b"}, wire.AmbiguousPath, "PATH-9   NO "},
		"PATH-10": {explain.Question{Token: tok, Method: "GET", Target: "/x-nmos/query/latest/x"},
			wire.PathVersion, "PATH-10  NO "},
		"PATH-11": {explain.Question{Token: tok, Method: "GET", Target: "/admin"}, wire.PathClosed, "PATH-11  NO "},
		"PATH-4 mapped": {explain.Question{Token: tok, Method: "GET", Target: "/levels", Config: mapped},
			wire.PathNotGranted, `PATH-4   NO  needs the specifier "*" under read of x-nmos-connection`},
		"PATH-11 read only": {explain.Question{Token: tok, Method: "PUT", Target: "/ui/a", Config: mapped},
			wire.PathClosed, "PATH-11  NO "},
		"PATH-14": {explain.Question{Token: tok, Method: "GET", Target: "/x-nmos/query/v1.3/subscriptions/1"},
			wire.APINotGranted, "To open /x-nmos/query/v1.3/subscriptions/1 as a WebSocket needs the specifier *"},
		"PATH-15 nothing": {explain.Question{Token: tok, Method: "GET", Target: "/x-nmos/ncp/v1.0"}, wire.APINotGranted,
			`Missing: {"x-nmos-control":{"read":["root.*"],"write":["root.*"]}}`},
		"PATH-15": {explain.Question{Token: reads, Method: "GET", Target: "/x-nmos/ncp/v1.0"}, wire.ControlNotGranted,
			"PATH-15  NO  needs * or root.* under both read and write"},
		"PATH-16": {explain.Question{Token: tok, Method: "GET", Target: "/a/" + strings.Repeat("b", 2046)},
			wire.PathTooLong, "PATH-16  NO  2049 bytes"},
		"ANS-1": {explain.Question{Method: "GET", Target: receiver}, wire.NoToken, "ANS-1    NO  no token"},
		"KEY-5": {explain.Question{Token: tok, Trust: true, Config: config.Default()}, wire.IssuerUntrusted,
			"KEY-5    NO  the configuration does not trust"},
		"CLM-6":    {explain.Question{Token: tok, Names: []string{"other.example.com"}}, wire.Audience, "CLM-6    NO "},
		"verified": {explain.Question{Token: tok}, wire.OK, "one of the 1 keys verifies"},
	} {
		t.Run(name, func(t *testing.T) {
			c.q.JWKS = jwks
			out, reason := run(t, c.q)
			if reason != c.reason || !strings.Contains(out, c.line) {
				t.Errorf("decided by %v, want %v and %q:\n%s", reason, c.reason, c.line, out)
			}
		})
	}
}

// Without keys all but the signature is judged, whoever signed it.
func TestExplainsWithoutKeys(t *testing.T) {
	spec.Rules(t, "TOK-6")
	good := mint.New(mint.Options{}).Sign()
	forged := good[:strings.LastIndexByte(good, '.')] + "." + strings.Repeat("A", 342)
	for _, token := range []string{good, forged} {
		for target, want := range map[string]wire.Reason{"/x-nmos/node/v1.3/self": wire.OK,
			"/x-nmos/query/v1.3/nodes": wire.APINotGranted} {
			config := config.Default()
			config.Limits.TokenBytes = len(token) // none to spare
			out, reason := run(t, explain.Question{Config: config, Token: []byte(token), Method: "GET", Target: target})
			if reason != want || !strings.Contains(out, "TOK-6    ?   signature not checkable without keys") {
				t.Errorf("%s: decided by %v, want %v:\n%s", target, reason, want, out)
			}
		}
	}
}

// Where the daemon cannot trust its clock, it answers so to each token that it cannot refuse for another reason before;
// what typed claims would permit is told all the same.
func TestExplainsAnUntrustedClock(t *testing.T) {
	spec.Rules(t, "OPS-1")
	good, expired := mint.New(mint.Options{}), mint.New(mint.Options{Now: time.Now().Add(-48 * time.Hour)})
	nobody := mint.New(mint.Options{})
	nobody.Claims.Delete("sub")
	jwks := mint.JWKSOf(good.Key.JWK())
	for _, c := range []struct {
		q    explain.Question
		want wire.Reason
		says string
	}{
		{explain.Question{Token: []byte(good.Sign()), JWKS: jwks}, wire.ClockUntrusted,
			"OPS-1    NO  the daemon's clock is unset, 1970\n\ndeny 503 "},
		{explain.Question{Token: []byte(expired.Sign())}, wire.ClockUntrusted, "OPS-1    NO "},
		{explain.Question{Token: []byte(nobody.Sign())}, wire.SubjectMissing, "CLM-2    NO "},
		{explain.Question{Claims: []byte("{}")}, wire.OK, "CLM-7    ok "},
	} {
		c.q.Clock = "unset, 1970"
		if out, reason := run(t, c.q); reason != c.want || !strings.Contains(out, c.says) {
			t.Errorf("%v, want %v and %q\n%s", reason, c.want, c.says, out)
		}
	}
}

// A clock that is not synchronised judges a token as the daemon does: by the token's own iat if that is later (OPS-1).
func TestExplainsAnUnsynchronisedClock(t *testing.T) {
	spec.Rules(t, "OPS-1", "CLM-8")
	later := mint.New(mint.Options{Now: time.Now().Add(2 * time.Hour)})
	early := later.Clone()
	early.Claims.Set("nbf", later.Now.Add(time.Hour).Unix())
	jwks := mint.JWKSOf(later.Key.JWK())
	for _, c := range []struct {
		name           string
		token          *mint.Token
		unsynchronised bool
		want           wire.Reason
		says           string
	}{
		{"fresh, and the clock is behind", later, true, wire.OK, "CLM-8    ok "},
		{"the same by a synchronised clock", later, false, wire.IssuedLater, "CLM-8    NO "},
		{"nbf after that", early, true, wire.ClockUntrusted, "OPS-1    NO  the daemon's clock is not synchronised"},
	} {
		out, reason := run(t,
			explain.Question{Token: []byte(c.token.Sign()), JWKS: jwks, Unsynchronised: c.unsynchronised})
		if reason != c.want || !strings.Contains(out, c.says) {
			t.Errorf("%s: got %v, want %v and %q\n%s", c.name, reason, c.want, c.says, out)
		}
	}
}

// What a token says cannot draw on the terminal of whoever looks at it.
func TestPrintsNoControlCharacters(t *testing.T) {
	base := mint.New(mint.Options{})
	base.Claims.Set("scope", "\x1b[2J\u009bnode\nallow 200 ok")
	out, _ := run(t, explain.Question{Token: []byte(base.Sign())})
	for _, r := range out {
		if r != '\n' && r != '…' && (r < 0x20 || r > 0x7e) {
			t.Fatalf("%q is printed in\n%q", r, out)
		}
	}
	if strings.Contains(out, "\nallow 200 ok\n") {
		t.Errorf("a claim made a line of its own:\n%s", out)
	}
}

// An issuer that only discovery knows is trusted where it is known what discovery has found, and not denied if that is
// not known.
func TestIssuersFoundByDiscovery(t *testing.T) {
	spec.Rules(t, "KEY-5")
	tok := []byte(mint.New(mint.Options{}).Sign())
	for _, c := range []struct {
		name    string
		mode    config.DiscoveryMode
		found   []string
		unfound bool
		reason  wire.Reason
		says    string
	}{
		{"found", config.DiscoveryBoth, []string{"https://b.example.com", mint.DefaultIssuer + "/"},
			false, wire.OK, "KEY-5    ok  "},
		{"another found", config.DiscoveryBoth, []string{"https://b.example.com"}, false, wire.IssuerUntrusted,
			"KEY-5    NO  the configuration does not trust this issuer: neither servers nor trusted_issuers names " +
				"it, nor has discovery found it"},
		{"not known", config.DiscoveryBoth, nil, true, wire.OK, "KEY-5    ?   "},
		{"off", config.DiscoveryOff, nil, false, wire.IssuerUntrusted, "KEY-5    NO  the configuration does not " +
			"trust this issuer: neither servers nor trusted_issuers names it\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := config.Default()
			config.Discovery.Mode = c.mode
			out, reason := run(t, explain.Question{Config: config, Trust: true, Found: c.found, Unfound: c.unfound,
				Token: tok, JWKS: mint.JWKS(mint.New(mint.Options{}).Key)})
			if reason != c.reason || !strings.Contains(out, c.says) {
				t.Errorf("%v, want %v\n%s", reason, c.reason, out)
			}
		})
	}
}

// Without keys nobody can say who made a token: the headline says so. With those of the daemon it is said whose they
// are.
func TestUncheckedSignature(t *testing.T) {
	spec.Rules(t, "TOK-6")
	base := mint.New(mint.Options{Permissions: map[string]mint.Permission{"node": {Read: []string{"*"}}}})
	good := []byte(base.Sign())
	base.Key = mint.CachedKey("attacker", 2048)
	forged := []byte(base.Sign())
	held := func(issuer string) []byte {
		if issuer != mint.DefaultIssuer {
			t.Errorf("got asked about %q, want %q", issuer, mint.DefaultIssuer)
		}
		return mint.JWKS(mint.CachedKey("key-1", 2048))
	}
	none := func(string) []byte { return nil }
	for _, c := range []struct {
		name     string
		token    []byte
		held     func(string) []byte
		method   string
		headline string
		says     string
	}{
		{"forged", forged, nil, "GET", "allow, IF the signature is good: it was not checked",
			"Its claims permit this, but anybody can"},
		{"good", good, nil, "GET", "allow, IF the signature is good: it was not checked", "--jwks FILE"},
		{"good, alone", good, nil, "",
			"allow, IF the signature is good: it was not checked", "Its claims are those of a good token"},
		{"good, none held", good, none, "GET", "allow, IF the signature is good: it was not checked", "--jwks FILE"},
		{"good, held", good, held, "GET", "allow 200 ok: ",
			"one of the 1 keys that the daemon holds verifies the signature"},
		{"forged, held", forged, held, "GET", "deny 401 ", "none of the 1 keys that the daemon holds"},
		{"to write", good, nil, "PATCH", "deny 403 path-not-granted: ",
			"The signature was not checked: give the issuer's keys"},
	} {
		t.Run("TOK-6/"+c.name, func(t *testing.T) {
			out, _ := run(t,
				explain.Question{Token: c.token, Method: c.method, Target: "/x-nmos/node/v1.3/self", Held: c.held})
			if !strings.Contains(out, "\n"+c.headline) || !strings.Contains(out, c.says) {
				t.Errorf("got\n%s\nwant %q and %q", out, c.headline, c.says)
			}
			if strings.HasPrefix(c.headline, "allow, IF") &&
				(strings.Contains(out, "allow 200") || strings.Contains(out, "token is good")) {
				t.Errorf("it says that the token is good:\n%s", out)
			}
		})
	}
}

// What in a claim has the wrong type is named, and not shown as if it were absent or matched.
func TestMisshapenClaims(t *testing.T) {
	spec.Rules(t, "CLM-11")
	for _, c := range []struct{ claims, target, want string }{
		{`{"x-nmos-node":"{\"read\":[\"*\"]}"}`, "/x-nmos/node/v1.3/self", "x-nmos-node is a string, not an object"},
		{`{"x-nmos-node":"{\"read\":[\"*\"]}"}`, "/x-nmos/node", "x-nmos-node is a string, not an object"},
		{`{"x-nmos-node":["*"]}`, "/x-nmos/node/v1.3/self", "x-nmos-node is a list, not an object"},
		{`{"x-nmos-node":null}`, "/x-nmos/node/v1.3/self", "x-nmos-node is null, not an object"},
		{`{"x-nmos-node":{"read":"*"}}`, "/x-nmos/node/v1.3/self", "read of x-nmos-node is a string, not a list"},
		{`{"x-nmos-node":{"read":["*"],"write":"*"}}`, "/x-nmos/node/v1.3/self",
			"write of x-nmos-node is a string, not a list"},
		{`{"x-nmos-node":{"read":["*",5]}}`, "/x-nmos/node/v1.3/self",
			"read of x-nmos-node holds a number, not only strings"},
		{`{"x-nmos-control":true}`, "/x-nmos/control/v1.0", "x-nmos-control is true or false, not an object"},
		{`{}`, "/x-nmos/node/v1.3/self", "there: absent"},
		{`{"x-nmos-node":{}}`, "/x-nmos/node/v1.3/self", "there: absent"},
		{`{"x-nmos-node":{"read":["a"]}}`, "/x-nmos/node/v1.3/self", `there: ["a"]`},
	} {
		out, reason := run(t, explain.Question{Claims: []byte(c.claims), Method: "GET", Target: c.target})
		if reason.Allowed() || !strings.Contains(out, "; "+c.want) {
			t.Errorf("CLM-11: %s, %s: got %v\n%s\nwant %q", c.claims, c.target, reason, out, c.want)
		}
		if hint := strings.Contains(out, "Claim JSON Type"); hint != strings.Contains(c.want, ", not ") {
			t.Errorf("%s, %s: advice on fixing it: got %v\n%s", c.claims, c.target, hint, out)
		}
	}
	token := mint.New(mint.Options{})
	token.Claims.Delete("sub")
	if out, _ := run(t, explain.Question{Token: []byte(token.Sign())}); !strings.Contains(out, `client scope "basic"`) {
		t.Errorf("CLM-2: no word of Keycloak's client scope:\n%s", out)
	}
}

// Commands, resources and sockets are explained as requests are, in the inventory's names (CTL-86).
func TestExplainsCommandsResourcesAndSockets(t *testing.T) {
	spec.Rules(t, "CTL-11", "CTL-22", "CTL-40", "CTL-60", "CTL-64", "CTL-66", "CTL-86", "PATH-14")
	table, err := inventory.Parse([]byte(`{"resources": [
		{"kind": "meter", "name": "in-1", "id": "6f1e0000-0000-4000-8000-000000000021", "control": "root.meters.in-1"},
		{"kind": "channel", "name": "2", "control": "b:root.tx"},
		{"kind": "lamp", "name": "1", "read": "/lamps/1"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	models := config.Default()
	models.Control.Models = []string{"slot2B=b", "/slot/3=c"}
	asked := config.Default()
	asked.Control.Commands, asked.Control.Claims = config.CommandsAsked,
		[]config.ControlClaim{config.ClaimNCP, config.ClaimControl}
	public := config.Default()
	public.Paths.Public = []string{"/lamps"}
	tok := mint.New(mint.Options{Permissions: map[string]mint.Permission{
		"control":       {Read: []string{"root.meters.*", "root.rx", "b:root.tx"}},
		"configuration": {Read: []string{"root.a", "rolePaths/root.b*"}},
		"query":         {Read: []string{"nodes"}},
		"events":        {Read: []string{"*"}},
	}})
	raw, jwks := []byte(tok.Sign()), mint.JWKSOf(tok.Key.JWK())
	const bulk = "/x-nmos/configuration/v1.0/rolePaths/root.a/bulkProperties"
	for name, c := range map[string]struct {
		q    explain.Question
		want wire.Reason
		says []string
	}{
		"command": {explain.Question{Command: []string{"1.2.0.1", "1m1", "root.meters.in-1"}}, wire.OK,
			[]string{`method 1m1 of class 1.2.0.1 asks to read`, `the inventory calls it "meter" "in-1"`,
				`CTL-11   ok  needs a specifier for "root.meters.in-1" under read of x-nmos-control or x-nmos-ncp`}},
		"command of one of several models": {
			explain.Question{Command: []string{"1.2.0.1", "1m1", "root.tx"}, Model: "slot2B", Config: models}, wire.OK,
			[]string{`CTL-11   ok  needs a specifier for "b:root.tx" under read`,
				`the inventory calls it "channel" "2"`}},
		"command of another model": {explain.Question{Command: []string{"1.2.0.1", "1m1", "root.tx"}, Model: "/slot/3",
			Config: models}, wire.PathNotGranted, []string{`Missing: {"x-nmos-control":{"read":["c:root.tx"]}}`}},
		"command of no model that is named": {
			explain.Question{Command: []string{"1.2.0.1", "1m1", "root.tx"}, Config: models}, wire.PathNotGranted,
			[]string{`Missing: {"x-nmos-control":{"read":["root.tx"]}}`}},
		"command that writes": {explain.Question{Command: []string{"1.2.2.1", "4m3", "root.rx"}}, wire.PathNotGranted,
			[]string{"asks to write", `Missing: {"x-nmos-control":{"write":["root.rx"]}}`}},
		"command of a class unknown": {explain.Question{Command: []string{"-", "3m1", "root.rx"}}, wire.PathNotGranted,
			[]string{"asks to write"}},
		"resource": {explain.Question{Resource: []string{"meter", "in-1", "read"}}, wire.OK,
			[]string{`"meter" "in-1": to read it; in the inventory it stands for "root.meters.in-1"`}},
		"resource, written": {explain.Question{Resource: []string{"meter", "in-1", "write"}}, wire.PathNotGranted,
			[]string{`Missing: {"x-nmos-control":{"write":["root.meters.in-1"]}}`}},
		"resource unknown": {explain.Question{Resource: []string{"meter", "in-9", "read"}},
			wire.ResourceUnknown, []string{"no such resource"}},
		"resource that all may read": {explain.Question{Resource: []string{"lamp", "1", "read"}, Config: public},
			wire.Public, []string{`stands for "/lamps/1"`}},
		"path by its name": {explain.Question{
			Method: "GET", Target: "/x-nmos/events/v1.0/sources/6f1e0000-0000-4000-8000-000000000021/state"}, wire.OK,
			[]string{`CTL-86   ok  the inventory calls it "meter" "in-1"`}},
		"socket": {explain.Question{Method: "GET", Target: "/x-nmos/query/v1.3/nodes", Upgrade: "websocket"},
			wire.OK, nil},
		"socket of everything": {explain.Question{Method: "GET", Target: "/x-nmos/query/v1.3", Upgrade: "websocket"},
			wire.PathNotGranted,
			[]string{`needs the specifier "*" under read of x-nmos-query`, `Missing: {"x-nmos-query":{"read":["*"]}}`}},
		"IS-12 socket": {explain.Question{Method: "GET", Target: "/x-nmos/ncp/v1.0", Upgrade: "websocket"},
			wire.ControlNotGranted, []string{
				"needs * or root.* under both read and write of x-nmos-control or x-nmos-ncp"}},
		"IS-12 socket, commands asked about": {
			explain.Question{Method: "GET", Target: "/x-nmos/ncp/v1.0", Config: asked}, wire.OK,
			[]string{"PATH-15  ok  needs any specifier under read or write of x-nmos-ncp or x-nmos-control"}},
		"the same, no socket": {explain.Question{Method: "GET", Target: "/x-nmos/query/v1.3"}, wire.OK, nil},
		"IS-14 subtree": {explain.Question{Method: "GET", Target: bulk}, wire.SubtreeNotGranted,
			[]string{"CTL-64   NO", `Missing: {"x-nmos-configuration":{"read":["root.a.*"]}}`}},
		"IS-14 object": {explain.Question{Method: "GET", Target: bulk + "?recurse=false"}, wire.OK,
			[]string{"CTL-61   ok"}},
		"IS-14 list": {explain.Question{Method: "GET", Target: "/x-nmos/configuration/v1.0/rolePaths"}, wire.OK,
			[]string{"CTL-63   ok  needs any specifier under read"}},
		"IS-14, URL form": {explain.Question{Method: "GET", Target: "/x-nmos/configuration/v1.0/rolePaths/root.b"},
			wire.PathNotGranted, []string{"specifiers in URL form (rolePaths/…), which do not count",
				`Missing: {"x-nmos-configuration":{"read":["root.b"]}}`}},
		"IS-14, elsewhere": {explain.Question{Method: "GET", Target: "/x-nmos/configuration/v1.0/a/b"},
			wire.PathNotGranted, []string{"needs a path that begins with rolePaths", "No claim grants"}},
	} {
		c.q.Token, c.q.JWKS, c.q.Inventory = raw, jwks, table
		out, reason := run(t, c.q)
		if reason != c.want {
			t.Errorf("%s: got %v, want %v:\n%s", name, reason, c.want, out)
		}
		for _, text := range c.says {
			if !strings.Contains(out, text) {
				t.Errorf("%s: %q is missing in\n%s", name, text, out)
			}
		}
	}
	for name, q := range map[string]explain.Question{
		"no method":     {Command: []string{"1", "get", "root"}, Config: config.Default()},
		"no class":      {Command: []string{"NcObject", "1m1", "root"}, Config: config.Default()},
		"no model":      {Command: []string{"1", "1m1", "root"}, Model: "slot2B", Config: config.Default()},
		"no such model": {Command: []string{"1", "1m1", "root"}, Model: "slot2", Config: models},
		"a model of two lines": {Command: []string{"1", "1m1", "root"},
			Model: "slot2B\nsubscribe=root", Config: models},
		"no inventory": {Resource: []string{"meter", "in-1", "read"}, Config: config.Default()},
	} {
		if _, err := explain.Explain(io.Discard, q); err == nil {
			t.Errorf("%s: it is explained", name)
		}
	}
}
