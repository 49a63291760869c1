package agent_test

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// CONTROLS.md says which claim grants just what. Each line is proved both ways: with the claim, what it grants is
// allowed and what it does not is denied; with a token that lacks it, all is denied.
func TestControlsDocument(t *testing.T) {
	spec.Rules(t, "CTL-11", "CTL-14", "CTL-61")
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	text, err := os.ReadFile("../configs/CONTROLS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "<!-- The test reads this table. -->")
	table, _, ended := strings.Cut(table, "<!-- End of the table. -->")
	if !ended {
		t.Fatal("CONTROLS.md has no table between its two comments")
	}
	quoted := regexp.MustCompile("`([^`]*)`")
	things := ""
	for line := range strings.Lines(table) {
		columns := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(columns) != 4 || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| thing") {
			continue
		}
		thing := strings.TrimSpace(columns[0])
		things += thing + "\n"
		t.Run(thing, func(t *testing.T) {
			var claims map[string]json.RawMessage
			if err := json.Unmarshal([]byte(strings.Trim(strings.TrimSpace(columns[1]), "`")), &claims); err != nil {
				t.Fatalf("the claim: %v", err)
			}
			held := map[string]claim{}
			for name, value := range claims {
				held[strings.TrimPrefix(name, "x-nmos-")] = claim{raw: string(value)}
			}
			with, without := tokenOf(held, ""), tokenOf(nil, "connection control configuration events channelmapping")
			grants, not := quoted.FindAllStringSubmatch(columns[2], -1), quoted.FindAllStringSubmatch(columns[3], -1)
			if len(grants) == 0 || len(not) == 0 {
				t.Fatal("it says nothing that it grants, or nothing that it does not")
			}
			check := func(question, tok, want string) {
				t.Helper()
				if got := d.ask(t, documentQuestion(t, question, tok)); got.first != want {
					t.Errorf("%s: got %v, want %s", question, got, want)
				}
			}
			for _, q := range grants {
				check(q[1], with, "allow 200")
				check(q[1], without, "deny 403")
			}
			for _, q := range not {
				check(q[1], with, "deny 403")
			}
		})
	}
	for _, thing := range []string{"sender", "receiver", "monitor", "gain", "meter", "channel map"} {
		if !strings.Contains(things, thing) {
			t.Errorf("CONTROLS.md has no line for a %s", thing)
		}
	}
}

// documentQuestion makes a packet of a question as CONTROLS.md writes it.
func documentQuestion(t *testing.T, question, tok string) string {
	authorization := "authorization=Bearer " + tok + "\n"
	first, rest, _ := strings.Cut(question, " ")
	switch first {
	case "command":
		return "control 1\napi=control\ncommand=1 " + rest + "\n" + authorization
	case "subscribe":
		return "control 1\napi=control\nsubscribe=" + rest + "\n" + authorization
	case "GET", "PUT", "POST", "PATCH", "DELETE":
		return "decide 1\nmethod=" + first + "\ntarget=" + rest + "\n" + authorization
	}
	t.Fatalf("%q is not a question", question)
	return ""
}

// CONTROLS.md names, for each choice against the draft, the key that switches it back, and a value that the daemon
// takes.
func TestControlsDocumentKeys(t *testing.T) {
	spec.Rules(t, "CTL-13", "CTL-14", "CTL-64")
	text, err := os.ReadFile("../configs/CONTROLS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## Where we chose")
	_, table, _ = strings.Cut(table, "<!-- The test reads this table. -->")
	table, _, ended := strings.Cut(table, "<!-- End of the table. -->")
	key := regexp.MustCompile("`\\[control\\] (\\w+ = [^`]+)`")
	rule := regexp.MustCompile(`^\| (CTL-\d+) \|`)
	var rules []string
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| rule") || line == "\n" {
			continue
		}
		named, way := rule.FindStringSubmatch(line), key.FindStringSubmatch(line)
		if named == nil || way == nil {
			t.Errorf("no number, or no way back: %s", line)
			continue
		}
		rules = append(rules, named[1])
		back, err := config.Parse("nmos-authd.toml", []byte("[control]\n"+way[1]+"\n"))
		if err != nil {
			t.Errorf("%s: %v", named[1], err)
			continue
		}
		same := reflect.DeepEqual(back.Control, config.Default().Control)
		if isDefault := strings.HasSuffix(way[1], " = []"); same != isDefault {
			t.Errorf("%s: %s changes nothing: %v, want %v", named[1], way[1], same, isDefault)
		}
	}
	if !ended || len(rules) < 9 {
		t.Errorf("got the rules %v, want at least 9", rules)
	}
	cited := regexp.MustCompile("`\\[(\\w+)\\] (\\w+)").FindAllStringSubmatch(string(text), -1)
	known := config.Keys(config.Default())
	for _, c := range cited {
		if !slices.ContainsFunc(known, func(k config.Key) bool { return k.Section == c[1] && k.Name == c[2] }) {
			t.Errorf("CONTROLS.md names [%s] %s, which is not a key", c[1], c[2])
		}
	}
	if len(cited) < 6 {
		t.Errorf("got %d keys, want at least 6", len(cited))
	}
}
