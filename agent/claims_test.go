package agent_test

import (
	"slices"
	"testing"

	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// Each claim that counts opens objects by itself, and together they are added up, be it one command or several.
func TestClaimsAddUp(t *testing.T) {
	spec.Rules(t, "CTL-15")
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	list := func(s string) []string { return []string{s} }
	for name, claims := range map[string]map[string]claim{
		"CTL-15/control": {"control": {list("root.a"), nil, ""}},
		"CTL-15/ncp":     {"ncp": {list("root.a"), nil, ""}},
		"CTL-15/both":    {"control": {list("root.b"), nil, ""}, "ncp": {list("root.a"), nil, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			for lines, denied := range map[string][]string{
				"command=1 1 1m1 root.a\n": nil, "subscribe=root.a\n": nil,
				"command=1 1 1m1 root.a\nsubscribe=root.a\ncommand=2 1 1m2 root.a\n": {
					"command 2 403 path-not-granted"},
			} {
				got := d.ask(t, controlPacket("api=control\n"+lines+"TOKEN", tokenOf(claims, "")))
				if !slices.Equal(got.many, denied) || (got.first == "allow 200") != (denied == nil) {
					t.Errorf("%q: got %v, want denied %q", lines, got, denied)
				}
			}
		})
	}
}

// A specifier that matches nothing does not open the list of role paths either (CTL-18).
func TestEmptySpecifierOpensNothing(t *testing.T) {
	spec.Rules(t, "CTL-18", "CTL-63")
	d := newDevice(t, configured("role"), mint.New(mint.Options{}).Key.JWK())
	for want, read := range map[string][]string{
		"path-not-granted": {""}, "ok": {"", "root.a"},
	} {
		tok := tokenOf(map[string]claim{"configuration": {read, nil, ""}}, "")
		for _, path := range []string{"/rolePaths", "/slot2B/rolePaths"} {
			got := d.ask(t, "decide 1\nmethod=GET\ntarget=/x-nmos/configuration/v1.0"+path+
				"\nauthorization=Bearer "+tok+"\n")
			if got.reason() != want {
				t.Errorf("read %q, GET %s: got %v, want %s", read, path, got, want)
			}
		}
	}
}
