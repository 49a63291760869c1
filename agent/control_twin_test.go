package agent_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/config"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// controlTable is the table of methods of MS-05-02 and the registered feature sets: the class that defines a method,
// the method, and what it needs by our choice. By the letter all need write.
const controlTable = `
1       1m1 read
1       1m2 write
1       1m3 read
1       1m4 write
1       1m5 write
1       1m6 write
1       1m7 read
1.1     2m1 read
1.1     2m2 read
1.1     2m3 read
1.1     2m4 read
1.3.2   3m1 read
1.3.2   3m2 read
1.3.3   3m1 read
1.3.3   3m2 write
1.3.3   3m3 write
1.2.2.1 4m1 read
1.2.2.1 4m2 read
1.2.2.1 4m3 write
1.2.2.2 4m1 read
1.2.2.2 4m2 write
`

// slowAccess is what a method of a class needs, from the rules alone (CTL-3 to CTL-5, CTL-40 to CTL-42).
func slowAccess(c *config.Control, class, method string) string {
	if class == "-" {
		return "write" // CTL-41
	}
	level, err := strconv.Atoi(strings.Split(method, "m")[0])
	if err != nil {
		panic(err)
	}
	parts := strings.Split(class, ".")
	defining := ""
	for i, indices := 0, 0; i < len(parts) && defining == ""; i++ {
		if n, _ := strconv.Atoi(parts[i]); n >= 1 { // CTL-4
			indices++
			if indices == level { // CTL-5
				defining = strings.Join(parts[:i+1], ".")
			}
		}
	}
	if c.Gets == config.GetsLetter {
		return "write"
	}
	if c.Gets == config.GetsWrite { // CTL-40
		if defining == "1" && slices.Contains([]string{"1m1", "1m3", "1m7"}, method) {
			return "read"
		}
		return "write"
	}
	if slices.Contains(c.ReadMethods, defining+":"+method) { // CTL-41
		return "read"
	}
	for row := range strings.Lines(controlTable) {
		if fields := strings.Fields(row); len(fields) == 3 && fields[0] == defining && fields[1] == method {
			return fields[2]
		}
	}
	return "write"
}

// slowGranted reports whether one of the specifiers matches a role path (CTL-12 to CTL-14, CTL-18, CTL-19).
func slowGranted(c *config.Control, specifiers []string, prefix, path string) bool {
	glob := func(pattern, text string) bool {
		quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `(?s:.*)`)
		return regexp.MustCompile(`\A` + quoted + `\z`).MatchString(text)
	}
	paths := []string{path}
	if prefix != "" {
		paths = append(paths, prefix+":"+path)
	}
	for _, s := range specifiers {
		for _, p := range paths {
			if s != "" && glob(s, p) {
				return true
			}
			if block, found := strings.CutSuffix(s, ".*"); found && glob(block, p) &&
				!slices.Contains(c.AsDrafted, config.DraftedRoot) {
				return true // CTL-13
			}
			if slices.Contains(c.AsDrafted, config.DraftedBelow) && s != "" && glob(s+".*", p) {
				return true // not CTL-14
			}
		}
	}
	return false
}

// claim is what a token has under one claim, in the form that the rules speak of.
type claim struct {
	read, write []string
	raw         string // in place of them: of a wrong type
}

func (c claim) String() string {
	if c.raw != "" {
		return c.raw
	}
	list := func(specifiers []string) string {
		var quoted []string
		for _, s := range specifiers {
			quoted = append(quoted, strconv.Quote(s))
		}
		return "[" + strings.Join(quoted, ",") + "]"
	}
	switch {
	case c.read == nil && c.write == nil:
		return "{}"
	case c.read == nil:
		return `{"write":` + list(c.write) + "}"
	case c.write == nil:
		return `{"read":` + list(c.read) + "}"
	}
	return `{"read":` + list(c.read) + `,"write":` + list(c.write) + "}"
}

// slowVerdict is the answer about an access to an object by a good token: "" if it is allowed.
func slowVerdict(c *config.Control, api string, claims map[string]claim, scope, access, prefix, path string) string {
	names := []string{"configuration"} // CTL-10
	if api == "control" {
		names = nil
		for _, name := range c.Claims { // CTL-15
			names = append(names, string(name))
		}
	}
	granted := false
	for _, name := range names {
		held, has := claims[name]
		granted = granted || has && held.raw == "" || slices.Contains(strings.Fields(scope), name)
		if held.raw != "" { // CTL-18
			continue
		}
		specifiers := held.read
		if access == "write" {
			specifiers = held.write // CTL-11: neither implies the other
		}
		if slowGranted(c, specifiers, prefix, path) {
			return ""
		}
	}
	if granted { // CTL-16: scope alone opens no object
		return "path-not-granted"
	}
	return "api-not-granted"
}

// The whole table: class and method, against what a token holds under read and write, in each form of claim and under
// each configuration, is answered as the rules say one by one.
func TestCommandsLikeTheRules(t *testing.T) {
	spec.Rules(t, "CTL-2", "CTL-10", "CTL-11", "CTL-15", "CTL-16", "CTL-18", "CTL-40", "CTL-41", "CTL-42",
		"CTL-62", "CTL-83", "CTL-84")
	classes := []string{
		"1", "1.1", "1.2", "1.3", "1.3.1", "1.3.2", "1.3.3", "1.2.1", "1.2.2", "1.2.2.1", "1.2.2.2", "1.2.3", "2", "-",
		"1.2.0.1", "1.2.0.2", "1.1.0.5", "1.2.2.1.-132131.1", "1.2.2.2.0.7.3", "1.0.2.2.1", "1.3.2.0",
	}
	var methods []string
	for level := 1; level <= 5; level++ {
		for index := 1; index <= 8; index++ {
			methods = append(methods, fmt.Sprintf("%dm%d", level, index))
		}
	}
	methods = append(methods, "1m33", "65535m65535")
	const path = "root.monitors.rx 1"
	forms := []struct {
		name string
		make func(r, w []string) (claims map[string]claim, scope string)
	}{
		{"control", func(r, w []string) (map[string]claim, string) {
			return map[string]claim{"control": {r, w, ""}}, ""
		}},
		{"ncp", func(r, w []string) (map[string]claim, string) {
			return map[string]claim{"ncp": {r, w, ""}}, "control"
		}},
		{"nc", func(r, w []string) (map[string]claim, string) { return map[string]claim{"nc": {r, w, ""}}, "" }},
		{"split", func(r, w []string) (map[string]claim, string) {
			return map[string]claim{"control": {r, nil, ""}, "ncp": {nil, w, ""}}, ""
		}},
		{"configuration", func(r, w []string) (map[string]claim, string) {
			return map[string]claim{"configuration": {r, w, ""}}, ""
		}},
		{"wrong type", func(r, w []string) (map[string]claim, string) {
			return map[string]claim{
				"control": {raw: `["*"]`}, "configuration": {raw: `"*"`}, "connection": {r, w, ""},
			}, ""
		}},
		{"beside a wrong type", func(r, w []string) (map[string]claim, string) {
			return map[string]claim{
				"control": {raw: `{"read":"*","write":{"*":true}}`}, "ncp": {r, w, ""},
			}, "configuration"
		}},
		{"scope", func(r, w []string) (map[string]claim, string) { return nil, "control ncp nc configuration" }},
		{"none", func(r, w []string) (map[string]claim, string) { return nil, "connection" }},
	}
	specifiers := []struct {
		name string
		of   []string
	}{
		{"object", []string{path}}, {"block", []string{"root.monitors.*"}}, {"block itself", []string{path + ".*"}},
		{"parent alone", []string{"root.monitors"}},
		{"another", []string{"root.monitors.rx 2", "", "root.monitors.rx"}},
	}
	settings := []struct {
		name   string
		change func(*config.Control)
	}{
		{"default", func(*config.Control) {}},
		{"write", func(c *config.Control) { c.Gets, c.ReadMethods = config.GetsWrite, []string{"1.2.0.1:3m1"} }},
		{"letter", func(c *config.Control) { c.Gets, c.ReadMethods = config.GetsLetter, []string{"1.2.0.1:3m1"} }},
		{"drafted", func(c *config.Control) {
			c.AsDrafted = []config.DraftedRule{config.DraftedRoot, config.DraftedBelow}
		}},
		{"drafted, CTL-13 alone", func(c *config.Control) { c.AsDrafted = []config.DraftedRule{config.DraftedRoot} }},
		{"drafted, CTL-14 alone", func(c *config.Control) { c.AsDrafted = []config.DraftedRule{config.DraftedBelow} }},
		{"more", func(c *config.Control) {
			c.Claims = []config.ControlClaim{config.ClaimNC, config.ClaimControl}
			c.ReadMethods = []string{"1.2.0.1:3m1", "1.2.2.1.-132131.1:5m2", "1.2.3:3m1"}
		}},
	}
	checked, allowed := 0, 0
	for _, setting := range settings {
		d := newDevice(t, func(c *config.Config) { setting.change(&c.Control) }, mint.New(mint.Options{}).Key.JWK())
		for _, form := range forms {
			for i, specifier := range specifiers {
				for grant, lists := range map[string][2][]string{
					"none": {}, "read": {specifier.of, nil}, "write": {nil, specifier.of},
					"both": {specifier.of, specifier.of},
				} {
					drafted := strings.HasPrefix(setting.name, "drafted")
					if i > 0 && (grant == "none" || setting.name != "default" && !drafted || form.name != "control") ||
						drafted && form.name != "control" {
						continue // once is enough
					}
					claims, scope := form.make(lists[0], lists[1])
					tok := tokenOf(claims, scope)
					for _, api := range []string{"control", "configuration"} {
						verdicts := map[string]string{} // by access: there is one object
						for _, access := range []string{"read", "write"} {
							verdicts[access] = slowVerdict(&d.config.Control, api, claims, scope, access, "", path)
						}
						name := strings.Join([]string{setting.name, form.name, specifier.name, grant, api}, "/")
						for chunk := range slices.Chunk(classes, 7) {
							packet := "control 1\napi=" + api + "\nauthorization=Bearer " +
								tok + "\nsubscribe=" + path + "\n"
							want := map[string]bool{}
							expect := func(line, access string) {
								checked++
								if verdicts[access] == "" {
									allowed++
									return
								}
								want[line+" 403 "+verdicts[access]] = true
							}
							expect("subscribe "+path, "read")
							handle := 0
							for _, class := range chunk {
								for _, method := range methods {
									handle++
									packet += fmt.Sprintf("command=%d %s %s %s\n", handle, class, method, path)
									access := "write" // CTL-62
									if api == "control" {
										access = slowAccess(&d.config.Control, class, method)
									}
									expect("command "+strconv.Itoa(handle), access)
								}
							}
							got := d.ask(t, packet)
							compareDenied(t, name+" of "+strings.Join(chunk, " "), got, want)
						}
					}
				}
			}
		}
	}
	t.Logf("%d commands and subscriptions, %d allowed", checked, allowed)
	if allowed < checked/20 || allowed > checked/2 {
		t.Errorf("%d of %d are allowed: the rows are not those meant", allowed, checked)
	}
}

// compareDenied compares the denied lines of a reply with those wanted, and the first line with them.
func compareDenied(t *testing.T, name string, got answer, want map[string]bool) {
	t.Helper()
	first := "allow 200"
	if len(want) > 0 {
		first = "deny 403"
	}
	if got.first != first || len(got.many) != len(want) {
		t.Errorf("%s: got %s with %d denied, want %s with %d", name, got.first, len(got.many), first, len(want))
	}
	for _, line := range got.many {
		if !want[line] {
			t.Errorf("%s: got denied=%s", name, line)
			return
		}
	}
}

// tokenOf signs a token with these claims, x-nmos- before each name.
func tokenOf(claims map[string]claim, scope string) string {
	m := mint.New(mint.Options{})
	m.Claims.Delete("scope")
	for _, name := range []string{"node", "connection", "query", "registration", "events", "channelmapping"} {
		m.Claims.Delete("x-nmos-" + name)
	}
	for name, claim := range claims {
		m.Claims.SetRaw("x-nmos-"+name, claim.String())
	}
	if scope != "" {
		m.Claims.Set("scope", scope)
	}
	return m.Sign()
}

// FuzzControl asks about whatever commands, by one of a few tokens, and compares each answer with what the rules say.
func FuzzControl(f *testing.F) {
	spec.Rules(f, "CTL-81", "CTL-82", "CTL-84")
	for _, row := range controlRows {
		f.Add(strings.ReplaceAll(row.Lines, "TOKEN", ""), uint8(0))
	}
	f.Add("command=1 1.2.2.1 4m3 root.a\ncommand=1 1.2.2.1 4m1 root.a\nsubscribe=root\n", uint8(1))
	f.Add("command=1 1.2.0.1 3m1 root.a\ncommand=2 1.2.0.1.1 3m1 root.b\nsubscribe=root.a b 403 x\n", uint8(2))
	f.Add("command=1 1 1m1 root\ncommand=2 1 1m2 root.b.x\nsubscribe=root\nsubscribe=root.receiver-monitors\n",
		uint8(10))
	var devices []*device
	for _, drafted := range [][]config.DraftedRule{
		nil, {config.DraftedRoot}, {config.DraftedBelow}, {config.DraftedRoot, config.DraftedBelow},
	} {
		devices = append(devices, newDevice(f, func(c *config.Config) {
			c.Control.ReadMethods, c.Control.AsDrafted = []string{"1.2.0.1:3m1"}, drafted
		}, mint.New(mint.Options{}).Key.JWK()))
	}
	holds := []map[string]claim{
		{"control": {[]string{"root.receiver-monitors.*"}, []string{"root.receiver-monitors.mon-1"}, ""}},
		{"ncp": {[]string{"root.*"}, []string{"*.a", "root.b*"}, ""}},
		{"control": {[]string{"*"}, nil, ""}, "ncp": {nil, []string{"root", ""}, ""}},
	}
	var tokens []string
	for _, claims := range holds {
		tokens = append(tokens, tokenOf(claims, ""))
	}
	now := time.Now() // for as long as it takes
	var sessions []*agent.Session
	for _, d := range devices {
		d.clock.Store(&now)
		sessions = append(sessions, d.NewSession())
	}
	f.Fuzz(func(t *testing.T, lines string, which uint8) {
		i, draft := int(which)%len(tokens), int(which)/len(tokens)%len(devices)
		d, s := devices[draft], sessions[draft]
		got := parseAnswer(t, s.Packet(nil, []byte("control 1\nauthorization=Bearer "+tokens[i]+"\n"+lines), 32<<10))
		if strings.HasPrefix(got.first, "error") {
			return // what is malformed is FuzzPacket's
		}
		api := "control"
		var want []string
		for line := range strings.Lines(lines) {
			if value, is := strings.CutPrefix(line, "api="); is {
				api = strings.TrimSuffix(value, "\n")
			}
			if strings.HasPrefix(line, "model=") {
				return // there is none
			}
		}
		for line := range strings.Lines(lines) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			access, path, what := "read", value, "subscribe "+value
			if name == "command" {
				parts := strings.SplitN(value, " ", 4)
				access, path, what = slowAccess(&d.config.Control, parts[1], parts[2]), parts[3], "command "+parts[0]
				if api == "configuration" {
					access = "write"
				}
			}
			if name != "command" && name != "subscribe" {
				continue
			}
			if verdict := slowVerdict(&d.config.Control, api, holds[i], "", access, "", path); verdict != "" {
				want = append(want, what+" 403 "+verdict)
			}
		}
		if !slices.Equal(got.many, want) || (got.first == "allow 200") != (want == nil) {
			t.Errorf("%q by token %d, as drafted %v: got %s %q, want %q",
				lines, i, d.config.Control.AsDrafted, got.first, got.many, want)
		}
	})
}
