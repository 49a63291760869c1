package system_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// IS-14: reading and writing by role path, backups and restores, and the body of errors.
func TestModelOverHTTP(t *testing.T) {
	spec.Rules(t, "CTL-60", "CTL-61", "CTL-62", "CTL-63", "CTL-64", "CTL-65", "CTL-67")
	t.Parallel()
	server, _, c := startModel(t, "")
	model := c.device.Objects()
	both := granting(server, "configuration", []string{"root.mic-1.*", "root"},
		[]string{"root.mic-1.*", "root.BulkPropertiesManager"})
	ncp := granting(server, "control", []string{"root.*"}, []string{"root.*"})
	at := configuration + "/rolePaths"
	gain := at + "/root.mic-1.gain"
	bulk := func(paths ...string) string {
		var values []string
		for _, path := range paths {
			values = append(values,
				fmt.Sprintf(`{"path":["%s"],"values":[{"id":{"level":1,"index":6},"value":"Drums"}]}`,
					strings.ReplaceAll(path, ".", `","`)))
		}
		return `{"arguments":{"dataSet":{"validationFingerprint":null,"values":[` + strings.Join(values, ",") +
			`]},"recurse":true,"restoreMode":0}}`
	}
	inMethod := `{"arguments":{"path":["root","mic-2"],"recurse":false,"restoreMode":0,"dataSet":{"values":[
		{"path":["root","mic-2"],"values":[{"id":{"level":1,"index":6},"value":"Drums"}]}]}}}`
	for _, row := range []struct {
		method, target, token, body string
		status, ncStatus            int
		changes                     bool
	}{
		{"GET", configuration, both, "", 200, 0, false},
		{"GET", at, both, "", 200, 0, false},
		{"GET", at, ncp, "", 403, 401, false},
		{"GET", at, "", "", 401, 401, false},
		{"GET", gain, both, "", 200, 0, false},
		{"GET", gain + "/descriptor", both, "", 200, 200, false},
		{"GET", gain + "/methods", both, "", 200, 0, false},
		{"GET", gain + "/properties", both, "", 200, 0, false},
		{"GET", gain + "/properties/3p1", both, "", 200, 0, false},
		{"GET", gain + "/properties/3p1/descriptor", both, "", 200, 200, false},
		{"GET", gain + "/properties/3p1/value", both, "", 200, 200, false},
		{"GET", gain + "/properties/9p9/value", both, "", 404, 404, false},
		{"GET", at + "/root.mic-1.nobody", both, "", 404, 404, false},
		{"GET", at + "/root.mic-2.gain/properties/3p1/value", both, "", 403, 401, false},
		{"PUT", gain + "/properties/3p1/value", both, `{"value":-3}`, 200, 200, true},
		{"PUT", gain + "/properties/3p1/value", both, `{"value":"loud"}`, 400, 417, false},
		{"PUT", gain + "/properties/1p5/value", both, `{"value":"loud"}`, 405, 405, false},
		{"PUT", gain + "/properties/3p1/value", both, `nonsense`, 400, 400, false},
		{"PUT", at + "/root.mic-2.gain/properties/3p1/value", both, `{"value":-3}`, 403, 401, false},
		{"PUT", at + "/root/properties/1p6/value", both, `{"value":"x"}`, 403, 401, false},
		{"PATCH", gain + "/methods/1m2", both, `{"arguments":{"id":{"level":3,"index":1},"value":-4}}`, 200, 200, true},
		{"PATCH", gain + "/methods/1m1", both, `{"arguments":{"id":{"level":3,"index":1}}}`, 200, 200, false},
		// CTL-62
		{"PATCH", at + "/root/methods/1m1", both, `{"arguments":{"id":{"level":1,"index":6}}}`, 403, 401, false},
		{"POST", gain, both, `{}`, 405, 405, false},
		{"DELETE", gain, both, `{}`, 405, 405, false},
		{"GET", at + "/root.mic-1/bulkProperties", both, "", 200, 200, false},
		{"GET", at + "/root/bulkProperties", both, "", 403, 401, false},
		{"GET", at + "/root/bulkProperties?recurse=false", both, "", 200, 200, false},
		{"PATCH", at + "/root.mic-1/bulkProperties", both, bulk("root.mic-1", "root.mic-1.gain"), 200, 200, false},
		{"PUT", at + "/root.mic-1/bulkProperties", both, bulk("root.mic-1", "root.mic-1.gain"), 200, 200, true},
		{"PUT", at + "/root.mic-2/bulkProperties", both, bulk("root.mic-2"), 403, 401, false},
		// The bulk properties manager may be called, but what it would reach may not be written.
		{"PATCH", at + "/root.BulkPropertiesManager/methods/3m3", both, inMethod, 403, 401, false},
		{"PATCH", at + "/root.BulkPropertiesManager/methods/3m1",
			both, `{"arguments":{"path":["root"]}}`, 403, 401, false},
		{"PATCH", at + "/root.BulkPropertiesManager/methods/3m3",
			both, strings.NewReplacer("mic-2", "mic-1", "Drums", "Bass").Replace(inMethod), 200, 200, true},
	} {
		before := model.Snapshot()
		got := c.send(row.method, row.target, row.token, row.body)
		name := row.method + " " + row.target
		var result struct {
			Status       int
			ErrorMessage string
		}
		if err := json.Unmarshal([]byte(got.body), &result); row.ncStatus > 0 && err != nil {
			t.Errorf("%s: %v: %s", name, err, got.body)
		}
		if got.status != row.status || result.Status != row.ncStatus ||
			(row.status >= 400) != (result.ErrorMessage != "") {
			t.Errorf("%s: got %d %s, want %d with %d", name, got.status, got.body, row.status, row.ncStatus)
		}
		if challenged := got.header.Get("WWW-Authenticate") != ""; challenged != (row.status == 401 ||
			row.status == 403) {
			t.Errorf("%s: %d with a challenge: %t", name, got.status, challenged)
		}
		if changed := model.Snapshot() != before; changed != row.changes {
			t.Errorf("%s: the model has changed: %t, want %t", name, changed, row.changes)
		}
	}
	// A restore whose target may be written, and what is below it not.
	narrow := granting(server, "configuration", nil, []string{"root.mic-2"})
	before := model.Snapshot()
	for method, paths := range map[string][]string{"PUT": {"root.mic-2", "root.mic-2.gain"},
		"PATCH": {"root.mic-2.gain"}} {
		if got := c.send(method, at+"/root.mic-2/bulkProperties", narrow, bulk(paths...)); got.status != 403 ||
			!strings.Contains(got.body, `"status":401`) {
			t.Errorf("%s: got %d %s, want 403", method, got.status, got.body)
		}
	}
	if model.Snapshot() != before {
		t.Error("the model has changed by a restore that was refused")
	}
	if got := c.send("PUT", at+"/root.mic-2/bulkProperties", narrow, bulk("root.mic-2")); got.status != 200 ||
		model.Snapshot() == before {
		t.Errorf("got %d %s, want the block restored", got.status, got.body)
	}
}
