package observe_test

import (
	"slices"
	"strings"
	"testing"

	"nmosauthd/agent/audit"
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/observe"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// What a controller does to the device model is reported by role path and by the device's own names, whichever way it
// asked, with the claims for just that (CTL-86, CTL-88).
func TestModel(t *testing.T) {
	spec.Rules(t, "CTL-86", "CTL-88")
	r := newRig(t, observe.DefaultLimits, audit.Options{})
	table, err := inventory.Parse([]byte(`{"resources": [{"kind": "meter", "name": "in-1", "control": "root.meters.in-1",
		"id": "6f1e0000-0000-4000-8000-000000000021"}, {"kind": "gain", "name": "1", "control": "root.tx-1.gain"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.SetInventory(table)
	ask := r.asker(33)
	token := r.token("c", map[string]map[string][]string{"x-nmos-control": {"read": {"root.rx"}}})
	for _, packet := range []string{
		"control 1\napi=control\ncommand=1 1.2.0.1 1m1 root.meters.in-1\n",
		"control 1\napi=control\ncommand=1 1.2.0.1 1m2 root.tx-1.gain\nsubscribe=root.meters.in 2\n" +
			"command=2 1.2.2.1 1m1 root.rx\n",
		"control 1\napi=configuration\ncommand=1 1.2.0.1 3m1 root.a b\n",
		"resource 1\nkind=meter\nname=in-1\naccess=read\n",
		"decide 1\nmethod=GET\ntarget=/x-nmos/events/v1.0/sources/6f1e0000-0000-4000-8000-000000000021/state\n",
		"decide 1\nmethod=GET\ntarget=/x-nmos/configuration/v1.0/rolePaths/root.a/bulkProperties\n",
	} {
		ask(packet, token)
	}
	report := r.report()
	if len(report.Controllers) != 1 {
		t.Fatalf("got %d controllers, want 1", len(report.Controllers))
	}
	c := &report.Controllers[0]
	const want = `{"x-nmos-configuration":{"write":["root.a b"]},` + // a claim with a * is left to people
		`"x-nmos-control":{"read":["root.meters.in 2","root.meters.in-1"],"write":["root.tx-1.gain"]},` +
		`"x-nmos-events":{"read":["sources/6f1e0000-0000-4000-8000-000000000021/state"]}}`
	if got := c.Add.String(); got != want {
		t.Errorf("got the missing claims\n%s, want\n%s", got, want)
	}
	var got []string
	for _, a := range c.Accesses {
		got = append(got, strings.Join([]string{a.Access, a.Resource, a.Path, a.Reason}, "|"))
	}
	wants := []string{
		"read|meter in-1|/x-nmos/events/v1.0/sources/6f1e0000-0000-4000-8000-000000000021/state|api-not-granted",
		"read||/x-nmos/configuration/v1.0/rolePaths/root.a/bulkProperties|api-not-granted",
		"read|meter in-1|root.meters.in-1|path-not-granted",
		"read||root.meters.in 2|path-not-granted",
		"write||/x-nmos/configuration/v1.0/rolePaths/root.a%20b|api-not-granted",
		"write|gain 1|root.tx-1.gain|path-not-granted",
	}
	slices.Sort(got)
	slices.Sort(wants)
	if !slices.Equal(got, wants) {
		t.Errorf("got\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(wants, "\n"))
	}
	if !slices.ContainsFunc(c.Incomplete, func(why string) bool { return strings.Contains(why, "more targets") }) {
		t.Errorf("got %q, want that a command that was allowed is not listed", c.Incomplete)
	}
	var text strings.Builder
	if err := report.Write(&text); err != nil ||
		!strings.Contains(text.String(), "read meter in-1 root.meters.in-1\n") {
		t.Errorf("%v; the names are missing in\n%s", err, text.String())
	}
}

// Of several device models the claim names the one that was asked for; what was asked for without a model, or of one
// that is not configured, has none, since a claim without a prefix would hold in all (CTL-19).
func TestSeveralModels(t *testing.T) {
	spec.Rules(t, "CTL-19", "CTL-86", "CTL-88")
	r := newRig(t, observe.DefaultLimits, audit.Options{})
	c := *r.config
	c.Control.Models = []string{"slot2B=b", "slot3=c"}
	r.config = &c
	r.Configure(&c, []string{mint.DefaultDevice})
	ask := r.asker(33)
	token := r.token("c", map[string]map[string][]string{"x-nmos-control": {"read": {"b:root.seen"}}})
	for _, packet := range []string{
		"control 1\napi=control\nmodel=slot2B\ncommand=1 1.2.0.1 1m1 root.gain\nsubscribe=root.gain\n",
		"control 1\napi=control\nmodel=slot3\ncommand=1 1.2.0.1 1m2 root.gain\n",
		"control 1\napi=control\nmodel=slot4\ncommand=1 1.2.0.1 1m2 root.a\n",
		"control 1\napi=control\ncommand=1 1.2.0.1 1m2 root.b\n",
		"control 1\napi=control\nmodel=slot3\nsubscribe=b:root.c\n", // no prefix: it is the role path
		"control 1\napi=configuration\nmodel=slot2B\ncommand=1 1.2.0.1 1m2 root.d\n",
		"control 1\napi=configuration\nmodel=slot4\ncommand=1 1.2.0.1 1m2 root.e\n",
		"control 1\napi=configuration\ncommand=1 1.2.0.1 1m2 root.f\n",
		"decide 1\nmethod=GET\ntarget=/x-nmos/configuration/v1.0/rolePaths/root.g\n",
	} {
		ask(packet, token)
	}
	report := r.report()
	if len(report.Controllers) != 1 {
		t.Fatalf("got %d controllers, want 1", len(report.Controllers))
	}
	const want = `{"x-nmos-configuration":{"write":["b:root.d"]},` +
		`"x-nmos-control":{"read":["b:root.gain","c:b:root.c"],"write":["c:root.gain"]}}`
	if got := report.Controllers[0].Add.String(); got != want {
		t.Errorf("got the missing claims\n%s, want\n%s", got, want)
	}
	var text strings.Builder
	if err := report.Write(&text); err != nil || !strings.Contains(text.String(), "write slot3 root.gain\n") ||
		!strings.Contains(text.String(), "path-closed") {
		t.Errorf("%v; the model or its lack is missing in\n%s", err, text.String())
	}
}
