package agent_test

import (
	"strings"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// Each rule that can be judged as the draft has it is switched both ways, over IS-14, IS-12 and by a resource's name:
// it changes its own answers, and no others.
func TestAsDrafted(t *testing.T) {
	spec.Rules(t, "CTL-13", "CTL-14", "CTL-64")
	const bulk = "/bulkProperties"
	rules := []config.DraftedRule{config.DraftedRoot, config.DraftedBelow, config.DraftedTarget}
	object := func(path string) string { return "decide 1\nmethod=GET\ntarget=" + rolePaths + "/" + path + "\n" }
	command := func(path string) string { return "control 1\napi=configuration\ncommand=1 1 1m2 " + path + "\n" }
	subscribe := func(path string) string { return "control 1\napi=control\nsubscribe=" + path + "\n" }
	for _, c := range []struct {
		name, specifier, question string
		ours                      bool
		drafted                   [3]bool // with each of the rules alone
	}{
		{"the root block, IS-14", "root.*", object("root"), true, [3]bool{false, true, true}},
		{"the root block, IS-12", "root.*", subscribe("root"), true, [3]bool{false, true, true}},
		{"the root block, in a command", "root.*", command("root"), true, [3]bool{false, true, true}},
		{"all of the root block", "root.*", object("root" + bulk), true, [3]bool{false, true, true}},
		{"all of it, without the dot", "root*", object("root" + bulk), true, [3]bool{true, true, true}},
		{"below it", "root.*", subscribe("root.a"), true, [3]bool{true, true, true}},
		{"what is in a block, IS-14", "root.a", object("root.a.b"), false, [3]bool{false, true, false}},
		{"what is in a block, IS-12", "root.a", subscribe("root.a.b"), false, [3]bool{false, true, false}},
		{"what is in a block, in a command", "root.a", command("root.a.b.c"), false, [3]bool{false, true, false}},
		{"a block beside it", "root.a", subscribe("root.ab"), false, [3]bool{}},
		{"the object", "root.a", object("root.a"), true, [3]bool{true, true, true}},
		{"the object with all below", "root.a", object("root.a" + bulk), false, [3]bool{false, true, true}},
		{"the object, said to be alone", "root.a", object("root.a" + bulk + "?recurse=false"), true,
			[3]bool{true, true, true}},
		{"another object with all below", "root.a", object("root.b" + bulk), false, [3]bool{}},
	} {
		tok := tokenOf(map[string]claim{
			"control":       {[]string{c.specifier}, []string{c.specifier}, ""},
			"configuration": {[]string{c.specifier}, []string{c.specifier}, ""},
		}, "")
		for i := -1; i < len(rules); i++ {
			want, list := c.ours, []config.DraftedRule(nil)
			if i >= 0 {
				want, list = c.drafted[i], rules[i:i+1]
			}
			d := newDevice(t, func(c *config.Config) { c.Control.AsDrafted = list }, mint.New(mint.Options{}).Key.JWK())
			got := d.ask(t, c.question+"authorization=Bearer "+tok+"\n")
			if strings.HasPrefix(got.first, "allow") != want || !want && got.first != "deny 403" {
				t.Errorf("%s, as drafted %v: got %v, want it allowed: %v", c.name, list, got, want)
			}
		}
	}
}
