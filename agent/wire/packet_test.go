package wire_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// packet is what a request says, in the types that a reader expects. A line that is absent is nil.
type packet struct {
	verb                               string
	method, authorization, upgrade, id *string
	kind, name, access                 *string
	scope, resource, refused           *string
	api, model                         *string
	targets                            []string
	commands                           []string // each with its parts between bars
	fault                              string   // the name that it is about
}

// slowGrammar is protocol §1 by names: the names that a question has, those it needs, those that may come many times.
var slowGrammar = map[string]struct{ has, needs, many string }{
	"decide 1":     {has: "method target authorization upgrade id", needs: "method target"},
	"verify 1":     {has: "authorization id"},
	"decide-all 1": {has: "method target authorization upgrade id", needs: "target", many: "target"},
	"control 1":    {has: "api model command subscribe authorization id", needs: "api", many: "command subscribe"},
	"resource 1":   {has: "kind name access authorization id", needs: "kind name access"},
	"token 1":      {has: "scope resource refused id", needs: "scope"},
	"ping 1":       {has: "id"},
}

// slowCommand is CTL-81: handle, class id or a dash, method id, role path.
var slowCommand = regexp.MustCompile(`(?s)\A([0-9]{1,10}) (-|(?:0|-?[1-9][0-9]*)(?:\.(?:0|-?[1-9][0-9]*))*) ([1-9][0-9]*m[1-9][0-9]*) (.+)\z`)

// slowParse is the readable twin of Request.Parse.
func slowParse(text string, limit int) (p packet, reason wire.Reason) {
	switch {
	case len(text) > limit:
		return p, wire.PacketTooLong
	case !utf8.ValidString(text) || strings.Contains(text, "\x00"):
		return p, wire.PacketText
	}
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	lines := strings.Split(text, "\n")
	unended := lines[len(lines)-1] != ""
	lines = lines[:len(lines)-1]
	if len(lines) == 0 {
		return p, wire.PacketForm
	}
	grammar, known := slowGrammar[lines[0]]
	if !known {
		return p, wire.PacketVerb
	}
	seen := map[string]bool{}
	for _, line := range lines[1:] {
		name, value, found := strings.Cut(line, "=")
		switch {
		case !found:
			return p, wire.PacketForm
		case name == "id" && (len(value) > 64 || strings.ContainsFunc(value, control)):
			p.fault = "id"
			return p, wire.PacketID
		case !slices.Contains(strings.Fields(grammar.has), name):
			for _, g := range slowGrammar {
				if slices.Contains(strings.Fields(g.has), name) {
					p.fault = name
				}
			}
			return p, wire.PacketName
		case seen[name] && !slices.Contains(strings.Fields(grammar.many), name):
			p.fault = name
			return p, wire.PacketTwice
		}
		seen[name] = true
		switch name {
		case "method":
			p.method = &value
		case "target":
			p.targets = append(p.targets, value)
		case "authorization":
			p.authorization = &value
		case "upgrade":
			p.upgrade = &value
		case "id":
			p.id = &value
		case "kind":
			p.kind = &value
		case "name":
			p.name = &value
		case "access":
			p.access = &value
		case "scope":
			p.scope = &value
		case "resource":
			p.resource = &value
		case "refused":
			p.refused = &value
		case "api":
			p.api = &value
		case "model":
			p.model = &value
		case "command", "subscribe":
			parts := slowCommand.FindStringSubmatch(value)
			if name == "subscribe" {
				parts = []string{"", "", "", "", value}
			}
			switch {
			case len(p.commands) == 1024:
				p.fault = name
				return p, wire.PacketTooLong
			case parts == nil || parts[4] == "" || len(parts[4]) > 1024 || len(parts[2]) > 128 ||
				strings.ContainsFunc(parts[4], control):
				p.fault = name
				return p, wire.PacketValue
			}
			for _, number := range strings.Split(parts[3], "m") {
				if n, err := strconv.Atoi(number); number != "" && (err != nil || n > 65535) {
					p.fault = name
					return p, wire.PacketValue
				}
			}
			p.commands = append(p.commands, strings.Join(parts[1:], "|"))
		}
	}
	if unended {
		return p, wire.PacketForm
	}
	for _, name := range strings.Fields(grammar.needs) {
		if !seen[name] {
			p.fault = name
			return p, wire.PacketMissing
		}
	}
	if lines[0] == "control 1" {
		switch {
		case len(p.commands) == 0:
			p.fault = "command or subscribe"
			return p, wire.PacketMissing
		case *p.api != "control" && *p.api != "configuration":
			p.fault = "api"
			return p, wire.PacketValue
		case p.model != nil && (*p.model == "" || len(*p.model) > 256 || strings.ContainsFunc(*p.model, control)):
			p.fault = "model"
			return p, wire.PacketValue
		}
	}
	if lines[0] == "resource 1" {
		within := func(v string, limit int) bool {
			return v != "" && len(v) <= limit && !strings.ContainsFunc(v, control)
		}
		switch {
		case !within(*p.kind, 64):
			p.fault = "kind"
		case !within(*p.name, 256):
			p.fault = "name"
		case !slices.Contains([]string{"read", "write"}, *p.access):
			p.fault = "access"
		}
		if p.fault != "" {
			return p, wire.PacketValue
		}
	}
	if lines[0] == "token 1" {
		names := strings.Split(*p.scope, " ")
		for _, n := range names {
			if !scopeName.MatchString(n) || len(*p.scope) > 256 {
				p.fault = "scope"
				return p, wire.PacketValue
			}
		}
		if p.resource != nil && (!indicator.MatchString(*p.resource) || len(*p.resource) > 1024) {
			p.fault = "resource"
			return p, wire.PacketValue
		}
		if p.refused != nil && !tokenID.MatchString(*p.refused) {
			p.fault = "refused"
			return p, wire.PacketValue
		}
	}
	p.verb = lines[0]
	return p, wire.Undecided
}

var (
	scopeName = regexp.MustCompile(`^[!#-\[\]-~]+$`) // RFC 6749 §3.3
	indicator = regexp.MustCompile(`^https?://[!$-.0-9:-\>@-\[\]-~][!$-\[\]-~]*$`)
	tokenID   = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// packets are one of each kind: what is wrong with it, and the answer.
var packets = []struct {
	name, text string
	want       wire.Reason
}{
	{"decide", "decide 1\nmethod=GET\ntarget=/\n", wire.Undecided},
	{"decide-in-full", "decide 1\nid=17\nupgrade=websocket\nauthorization=Bearer a.b.c\ntarget=/a?b=c\nmethod=GET\n",
		wire.Undecided},
	{"decide-all", "decide-all 1\ntarget=/a\ntarget=/b\ntarget=/a\n", wire.Undecided},
	{"decide-all-with-method", "decide-all 1\nmethod=PUT\ntarget=/a\n", wire.Undecided},
	{"verify", "verify 1\nauthorization=Bearer a.b.c\n", wire.Undecided},
	{"verify-nothing", "verify 1\n", wire.Undecided},
	{"resource", "resource 1\nkind=meter\nname=in-1\naccess=read\n", wire.Undecided},
	{"resource-in-full", "resource 1\nid=7\nauthorization=Bearer a.b.c\naccess=write\nname=Mikrofon links = ü/1\n" +
		"kind=sender\n", wire.Undecided},
	{"resource-at-limits", "resource 1\nkind=" + strings.Repeat("k", 64) + "\nname=" + strings.Repeat("n", 256) +
		"\naccess=read\n", wire.Undecided},
	{"token", "token 1\nscope=registration\n", wire.Undecided},
	{"token-in-full", "token 1\nid=7\nrefused=" + tokenName +
		"\nresource=https://registry.example.com/x-nmos?a=b\nscope=registration events\n", wire.Undecided},
	{"token-at-limits", "token 1\nscope=" + strings.Repeat("s", 256) + "\nresource=http://" +
		strings.Repeat("r", 1017) + "\n", wire.Undecided},
	{"ping", "ping 1\n", wire.Undecided},
	{"ping-with-id", "ping 1\nid=a b=c\n", wire.Undecided},
	{"values-empty", "decide 1\nmethod=\ntarget=\nauthorization=\nupgrade=\nid=\n", wire.Undecided},
	{"value-with-equals-signs", "decide 1\nmethod==\ntarget=a=b==\n", wire.Undecided},
	{"value-not-ascii", "decide 1\nmethod=é\ntarget=🎚\n", wire.Undecided},
	{"value-with-carriage-return", "decide 1\nmethod=GET\r\ntarget=/\r\n", wire.Undecided},
	{"id-at-limit", "ping 1\nid=" + strings.Repeat("x", 64) + "\n", wire.Undecided},

	{"too-long", "ping 1\nid=" + strings.Repeat("x", 4096) + "\n", wire.PacketTooLong},
	{"empty", "", wire.PacketForm},
	{"one-byte", "x", wire.PacketForm},
	{"newline-only", "\n", wire.PacketVerb},
	{"first-line-not-ended", "ping 1", wire.PacketForm},
	{"last-line-not-ended", "ping 1\nid=7", wire.PacketForm},
	{"cut-short", "decide 1\nmethod=GET\ntarg", wire.PacketForm},
	{"line-without-equals-sign", "decide 1\nmethod\ntarget=/\n", wire.PacketForm},
	{"empty-line", "decide 1\n\nmethod=GET\ntarget=/\n", wire.PacketForm},
	{"empty-line-at-end", "ping 1\n\n", wire.PacketForm},
	{"no-first-line", "method=GET\ntarget=/\n", wire.PacketVerb},
	{"version-missing", "decide\nmethod=GET\ntarget=/\n", wire.PacketVerb},
	{"version-2", "decide 2\nmethod=GET\ntarget=/\n", wire.PacketVerb},
	{"question-in-capitals", "PING 1\n", wire.PacketVerb},
	{"space-behind-question", "ping 1 \n", wire.PacketVerb},
	{"carriage-return-behind-question", "ping 1\r\n", wire.PacketVerb},
	{"question-unknown", "resources 1\n", wire.PacketVerb},
	{"nul", "ping 1\nid=\x00\n", wire.PacketText},
	{"nul-at-end", "ping 1\n\x00", wire.PacketText},
	{"not-utf8", "decide 1\nmethod=\xff\ntarget=/\n", wire.PacketText},
	{"overlong-utf8", "ping 1\nid=\xc0\x8a\n", wire.PacketText},
	{"surrogate", "ping 1\nid=\xed\xa0\x80\n", wire.PacketText},
	{"byte-order-mark", "\ufeffping 1\n", wire.PacketVerb},
	{"name-unknown", "ping 1\ncolour=x\n", wire.PacketName},
	{"resource-with-target", "resource 1\nkind=meter\nname=1\naccess=read\ntarget=/\n", wire.PacketName},
	{"resource-with-upgrade", "resource 1\nkind=meter\nname=1\naccess=read\nupgrade=websocket\n", wire.PacketName},
	{"resource-with-method", "resource 1\nkind=meter\nname=1\naccess=read\nmethod=GET\n", wire.PacketName},
	{"decide-with-kind", "decide 1\nmethod=GET\ntarget=/\nkind=meter\n", wire.PacketName},
	{"ping-with-name", "ping 1\nname=x\n", wire.PacketName},
	{"verify-with-access", "verify 1\naccess=read\n", wire.PacketName},
	{"name-of-another-question", "verify 1\ntarget=/\n", wire.PacketName},
	{"name-empty", "ping 1\n=x\n", wire.PacketName},
	{"name-in-capitals", "decide 1\nMethod=GET\ntarget=/\n", wire.PacketName},
	{"space-before-name", "decide 1\n method=GET\ntarget=/\n", wire.PacketName},
	{"space-behind-name", "decide 1\nmethod =GET\ntarget=/\n", wire.PacketName},
	{"method-twice", "decide 1\nmethod=GET\nmethod=GET\ntarget=/\n", wire.PacketTwice},
	{"target-twice", "decide 1\nmethod=GET\ntarget=/a\ntarget=/b\n", wire.PacketTwice},
	{"authorization-twice", "verify 1\nauthorization=Bearer a\nauthorization=Bearer b\n", wire.PacketTwice},
	{"upgrade-twice", "decide 1\nmethod=GET\ntarget=/\nupgrade=websocket\nupgrade=\n", wire.PacketTwice},
	{"id-twice", "ping 1\nid=1\nid=2\n", wire.PacketTwice},
	{"method-missing", "decide 1\ntarget=/\n", wire.PacketMissing},
	{"target-missing", "decide 1\nmethod=GET\n", wire.PacketMissing},
	{"targets-missing", "decide-all 1\nmethod=GET\n", wire.PacketMissing},
	{"kind-twice", "resource 1\nkind=meter\nkind=meter\nname=1\naccess=read\n", wire.PacketTwice},
	{"name-twice", "resource 1\nkind=meter\nname=1\nname=2\naccess=read\n", wire.PacketTwice},
	{"access-twice", "resource 1\nkind=meter\nname=1\naccess=read\naccess=write\n", wire.PacketTwice},
	{"kind-missing", "resource 1\nname=1\naccess=read\n", wire.PacketMissing},
	{"name-missing", "resource 1\nkind=meter\naccess=read\n", wire.PacketMissing},
	{"access-missing", "resource 1\nkind=meter\nname=1\n", wire.PacketMissing},
	{"access-neither", "resource 1\nkind=meter\nname=1\naccess=own\n", wire.PacketValue},
	{"access-empty", "resource 1\nkind=meter\nname=1\naccess=\n", wire.PacketValue},
	{"access-in-capitals", "resource 1\nkind=meter\nname=1\naccess=READ\n", wire.PacketValue},
	{"kind-empty", "resource 1\nkind=\nname=1\naccess=read\n", wire.PacketValue},
	{"kind-too-long", "resource 1\nkind=" + strings.Repeat("k", 65) + "\nname=1\naccess=read\n", wire.PacketValue},
	{"kind-with-tab", "resource 1\nkind=a\tb\nname=1\naccess=read\n", wire.PacketValue},
	{"resource-name-empty", "resource 1\nkind=meter\nname=\naccess=read\n", wire.PacketValue},
	{"resource-name-too-long", "resource 1\nkind=meter\nname=" + strings.Repeat("n", 257) + "\naccess=read\n",
		wire.PacketValue},
	{"resource-name-with-escape", "resource 1\nkind=meter\nname=\x1b[2J\naccess=read\n", wire.PacketValue},
	{"resource-name-with-delete", "resource 1\nkind=meter\nname=\x7f\naccess=read\n", wire.PacketValue},
	{"token-without-scope", "token 1\n", wire.PacketMissing},
	{"token-with-authorization", "token 1\nscope=a\nauthorization=Bearer a.b.c\n", wire.PacketName},
	{"token-version-2", "token 2\nscope=a\n", wire.PacketVerb},
	{"decide-with-scope", "decide 1\nmethod=GET\ntarget=/\nscope=a\n", wire.PacketName},
	{"resource-with-refused",
		"resource 1\nkind=meter\nname=1\naccess=read\nrefused=" + tokenName + "\n", wire.PacketName},
	{"verify-with-resource", "verify 1\nresource=https://a\n", wire.PacketName},
	{"scope-twice", "token 1\nscope=a\nscope=a\n", wire.PacketTwice},
	{"indicator-twice", "token 1\nscope=a\nresource=https://a\nresource=https://a\n", wire.PacketTwice},
	{"refused-twice", "token 1\nscope=a\nrefused=" + tokenName + "\nrefused=" + tokenName + "\n", wire.PacketTwice},
	{"scope-empty", "token 1\nscope=\n", wire.PacketValue},
	{"scope-space-before", "token 1\nscope= a\n", wire.PacketValue},
	{"scope-space-behind", "token 1\nscope=a \n", wire.PacketValue},
	{"scope-two-spaces", "token 1\nscope=a  b\n", wire.PacketValue},
	{"scope-tab", "token 1\nscope=a\tb\n", wire.PacketValue},
	{"scope-quote", "token 1\nscope=a\"b\n", wire.PacketValue},
	{"scope-backslash", "token 1\nscope=a\\b\n", wire.PacketValue},
	{"scope-not-ascii", "token 1\nscope=é\n", wire.PacketValue},
	{"scope-too-long", "token 1\nscope=" + strings.Repeat("s", 257) + "\n", wire.PacketValue},
	{"indicator-empty", "token 1\nscope=a\nresource=\n", wire.PacketValue},
	{"indicator-relative", "token 1\nscope=a\nresource=/x-nmos\n", wire.PacketValue},
	{"indicator-other-scheme", "token 1\nscope=a\nresource=file:///etc/passwd\n", wire.PacketValue},
	{"indicator-without-host", "token 1\nscope=a\nresource=https:///x\n", wire.PacketValue},
	{"indicator-host-is-a-query", "token 1\nscope=a\nresource=https://?x\n", wire.PacketValue},
	{"indicator-fragment", "token 1\nscope=a\nresource=https://a#b\n", wire.PacketValue},
	{"indicator-space", "token 1\nscope=a\nresource=https://a b\n", wire.PacketValue},
	{"indicator-too-long", "token 1\nscope=a\nresource=https://" + strings.Repeat("r", 1017) + "\n", wire.PacketValue},
	{"refused-empty", "token 1\nscope=a\nrefused=\n", wire.PacketValue},
	{"refused-short", "token 1\nscope=a\nrefused=" + tokenName[1:] + "\n", wire.PacketValue},
	{"refused-long", "token 1\nscope=a\nrefused=" + tokenName + "0\n", wire.PacketValue},
	{"refused-in-capitals", "token 1\nscope=a\nrefused=" + strings.ToUpper(tokenName) + "\n", wire.PacketValue},
	{"refused-is-a-token", "token 1\nscope=a\nrefused=eyJhbGciOiJSUzUxMiJ9.eyJpc3MiOiJ4In0.c2ln\n", wire.PacketValue},
	{"control", "control 1\napi=control\ncommand=2 1.2.2.1 4m3 root.receiver-monitors.mon-1\n", wire.Undecided},
	{"control-in-full",
		"control 1\nid=7\nsubscribe=root\ncommand=2 - 1m1 root\nauthorization=Bearer a.b.c\nmodel=slot2B\n" +
			"api=configuration\nsubscribe=root\ncommand=2 1.2.0.-132131.4 65535m65535 root.a b\n", wire.Undecided},
	{"control-at-limits", "control 1\napi=control\ncommand=1234567890 1" + strings.Repeat(".10", 42) + ".1 1m1 " +
		strings.Repeat("r", 1024) + "\n", wire.PacketValue},
	{"control-without-api", "control 1\nsubscribe=root\n", wire.PacketMissing},
	{"control-without-commands", "control 1\napi=control\n", wire.PacketMissing},
	{"control-of-another-api", "control 1\napi=node\nsubscribe=root\n", wire.PacketValue},
	{"control-with-target", "control 1\napi=control\nsubscribe=root\ntarget=/\n", wire.PacketName},
	{"control-model-empty", "control 1\napi=control\nsubscribe=root\nmodel=\n", wire.PacketValue},
	{"control-model-twice", "control 1\napi=control\nsubscribe=root\nmodel=a\nmodel=a\n", wire.PacketTwice},
	{"command-empty", "control 1\napi=control\ncommand=\n", wire.PacketValue},
	{"command-of-a-handle", "control 1\napi=control\ncommand=1\n", wire.PacketValue},
	{"command-without-role", "control 1\napi=control\ncommand=1 1 1m1\n", wire.PacketValue},
	{"command-with-an-empty-role", "control 1\napi=control\ncommand=1 1 1m1 \n", wire.PacketValue},
	{"command-of-minus-nothing", "control 1\napi=control\ncommand=1 1.- 1m1 r\n", wire.PacketValue},
	{"command-of-minus-zero", "control 1\napi=control\ncommand=1 -0 1m1 r\n", wire.PacketValue},
	{"command-of-two-dashes", "control 1\napi=control\ncommand=1 -- 1m1 r\n", wire.PacketValue},
	{"command-with-a-dot-at-the-end", "control 1\napi=control\ncommand=1 1. 1m1 r\n", wire.PacketValue},
	{"command-with-a-property", "control 1\napi=control\ncommand=1 1 1p1 r\n", wire.PacketValue},
	{"command-with-a-method-too-high", "control 1\napi=control\ncommand=1 1 1m65536 r\n", wire.PacketValue},
	{"command-with-a-method-far-too-high",
		"control 1\napi=control\ncommand=1 1 1m99999999999999999999 r\n", wire.PacketValue},
	{"command-with-a-tab", "control 1\napi=control\ncommand=1 1 1m1 a\tb\n", wire.PacketValue},
	{"subscribe-empty", "control 1\napi=control\nsubscribe=\n", wire.PacketValue},
	{"subscribe-too-long", "control 1\napi=control\nsubscribe=" + strings.Repeat("r", 1025) + "\n", wire.PacketValue},
	{"id-too-long", "ping 1\nid=" + strings.Repeat("x", 65) + "\n", wire.PacketID},
	{"id-with-tab", "ping 1\nid=a\tb\n", wire.PacketID},
	{"id-with-escape", "ping 1\nid=\x1b[2J\n", wire.PacketID},
	{"id-with-carriage-return", "ping 1\nid=7\r\n", wire.PacketID},
	{"id-with-delete", "ping 1\nid=\x7f\n", wire.PacketID},
}

const testLimit = 2048

const tokenName = "0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	spec.Rules(t, "ANS-4")
	var r wire.Request // one for all: what it held before must not show
	for _, c := range packets {
		if got := r.Parse([]byte(c.text), testLimit); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		comparePacket(t, c.text)
	}
}

// The limit is in bytes of the whole packet.
func TestParseLimit(t *testing.T) {
	spec.Rules(t, "ANS-4")
	const text = "ping 1\nid=7\n"
	var r wire.Request
	if got := r.Parse([]byte(text), len(text)); got != wire.Undecided {
		t.Errorf("at the limit: %v", got)
	}
	if got := r.Parse([]byte(text), len(text)-1); got != wire.PacketTooLong {
		t.Errorf("one byte over: %v", got)
	}
}

// A value that is appended to must not run into its neighbour in the packet.
func TestParseCapsItsSlices(t *testing.T) {
	for _, text := range []string{
		"decide 1\nmethod=GET\ntarget=/a\nauthorization=Bearer x\nupgrade=y\nid=7\n",
		"resource 1\nkind=meter\nname=1\naccess=read\nauthorization=Bearer x\nid=7\n",
		"token 1\nscope=a\nresource=https://a\nrefused=" + tokenName + "\nid=7\n",
		"control 1\napi=control\nmodel=m\ncommand=1 1 1m1 root\nsubscribe=root\nid=7\n",
	} {
		packet := []byte(text)
		var r wire.Request
		if got := r.Parse(packet, testLimit); got != wire.Undecided {
			t.Fatalf("got %v, want a good packet", got)
		}
		for _, v := range append(r.Targets, r.Method, r.Authorization, r.Upgrade, r.ID, r.Kind, r.Name, r.Access,
			r.Scope, r.Indicator, r.Refused, r.API, r.Model) {
			_ = append(v, "zzzz"...)
		}
		for i := range r.Commands {
			c := &r.Commands[i]
			for _, v := range [][]byte{c.Handle(), c.Class(), c.Method(), c.RolePath()} {
				_ = append(v, "zzzz"...)
			}
		}
		if string(packet) != text {
			t.Errorf("the packet became %q", packet)
		}
	}
}

// comparePacket parses text with Parse and with its twin.
func comparePacket(t *testing.T, text string) {
	t.Helper()
	old := []byte("old")
	r := wire.Request{
		Verb: wire.Ping, Method: old, Targets: [][]byte{old}, ID: old, Kind: old, Name: old, Access: old,
		Scope: old, Indicator: old, Refused: old, API: old, Model: old,
	}
	reason := r.Parse([]byte(text), testLimit)
	want, wantReason := slowParse(text, testLimit)
	if reason != wantReason {
		t.Fatalf("%q: %v, its twin says %v", text, reason, wantReason)
	}
	same := func(name string, got []byte, want *string) {
		if (got == nil) != (want == nil) || want != nil && string(got) != *want {
			t.Errorf("%q: %s is %q", text, name, got)
		}
	}
	same("id", r.ID, want.id)
	if string(r.Fault) != want.fault {
		t.Errorf("%q: got the fault in %q, its twin says %q", text, r.Fault, want.fault)
	}
	if reason != wire.Undecided {
		if r.Verb != wire.NoVerb {
			t.Errorf("%q: refused, with the verb %v", text, r.Verb)
		}
		return
	}
	same("method", r.Method, want.method)
	same("authorization", r.Authorization, want.authorization)
	same("upgrade", r.Upgrade, want.upgrade)
	same("kind", r.Kind, want.kind)
	same("name", r.Name, want.name)
	same("access", r.Access, want.access)
	same("scope", r.Scope, want.scope)
	same("resource", r.Indicator, want.resource)
	same("refused", r.Refused, want.refused)
	same("api", r.API, want.api)
	same("model", r.Model, want.model)
	var commands []string
	for i := range r.Commands {
		c := &r.Commands[i]
		parts := []string{string(c.Handle()), string(c.Class()), string(c.Method()), string(c.RolePath())}
		if id := fmt.Sprintf("%dm%d", c.Level(), c.Index()); c.Subscribes() != (parts[2] == "") ||
			!c.Subscribes() && id != parts[2] {
			t.Errorf("%q: got the method %s, %v, want %q", text, id, c.Subscribes(), parts[2])
		}
		commands = append(commands, strings.Join(parts, "|"))
	}
	if !slices.Equal(commands, want.commands) {
		t.Errorf("%q: got the commands %q, want %q", text, commands, want.commands)
	}
	targets := make([]string, len(r.Targets))
	for i := range r.Targets {
		targets[i] = string(r.Targets[i])
	}
	if r.Verb.String() != want.verb || !slices.Equal(targets, want.targets) {
		t.Errorf("%q: %v %q", text, r.Verb, targets)
	}
}

func FuzzPacket(f *testing.F) {
	for _, c := range packets {
		f.Add(c.text)
	}
	f.Fuzz(comparePacket)
}
