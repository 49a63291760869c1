package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/spec"
)

// Without ca_file there is an error if no server could be used, else a warning; what others could change is warned of.
func TestExamine(t *testing.T) {
	spec.Rules(t, "DIS-5")
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"own": 0o755, "shared": 0o777, "sticky": 0o777 | os.ModeSticky,
		"shared/own": 0o755, "sticky/own": 0o755} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil && !os.IsExist(err) {
			// made in any order
			if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	authority, err := authserver.NewCA("a CA")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "own", "ca.pem"), authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	const (
		own  = "[sockets]\nauthz = \"DIR/own/a\"\nhttp = \"\"\nadmin = \"\"\n[state]\ndir = \"DIR/own/state\"\n"
		none = "ca_file: open DIR/none.pem: no such file or directory: put the root certificate of your " +
			"authorization server there"
		plain = "[authorization] allow_http: whoever can answer on the network can make " +
			"tokens that this device accepts\n"
		warned  = plain + "[authorization] " + none
		without = "[authorization]\nca_file = \"DIR/none.pem\"\n"
		with    = "[authorization]\nca_file = \"DIR/own/ca.pem\"\n"
	)
	for _, c := range []struct{ what, text, warnings, err string }{
		{"all is well", with + own, "", ""},
		{"no roots", without + own, "", none},
		{"no roots, only https", without + "servers = [\"https://a\"]\nallow_http = true\n" + own,
			strings.TrimSuffix(plain, "\n"), none},
		{"no roots, http", without + "servers = [\"https://a\", \"http://b\"]\nallow_http = true\n" + own, warned, ""},
		{"no roots, http trusted", without +
			"servers = [\"https://a\"]\ntrusted_issuers = [\"http://b\"]\nallow_http = true\n" + own, warned, ""},
		{"no roots, http can be found", without + "allow_http = true\n" + own, warned, ""},
		{"no certificate in it", "[authorization]\nca_file = \"DIR/own\"\n" + own + "[audit]\nsinks = []\n", "", ""},
		{"sockets where others may write", with + strings.Replace(own, "DIR/own/a", "DIR/sticky/a", 1),
			"[sockets] authz: other users may write to DIR/sticky: any of them can answer in the daemon's place", ""},
		{"below it, but theirs it is not", with + strings.Replace(own, "DIR/own/a", "DIR/sticky/own/a", 1), "", ""},
		{"below one in which others may rename", with + strings.Replace(own, "DIR/own/a", "DIR/shared/own/a", 1),
			"[sockets] authz: other users may write to DIR/shared: any of them can answer in the daemon's place", ""},
		{"state that is made where others may write",
			with + strings.Replace(own, "DIR/own/state", "DIR/sticky/state", 1),
			"[state] dir: other users may write to DIR/sticky: any of them can prevent the keys from being saved", ""},
		{"an audit file in a missing folder", with + own + "[audit]\nsinks = [\"file\"]\nfile = " +
			"\"DIR/own/none/audit.log\"\n[metrics]\nfile = \"DIR/none/m\"\n",
			"[audit] file: the folder DIR/own/none is missing: create it and restart the daemon, or nothing is " +
				"recorded there\n" +
				"[metrics] file: the folder DIR/none is missing: create it and restart the daemon, or nothing is " +
				"written there", ""},
	} {
		cfg, err := config.Parse("test.toml", []byte(strings.ReplaceAll(c.text, "DIR", dir)))
		if err != nil {
			t.Fatal(err)
		}
		warnings, err := Examine(cfg, []string{"a"})
		if got := strings.ReplaceAll(strings.Join(warnings, "\n"), dir, "DIR"); got != c.warnings {
			t.Errorf("%s: got warnings\n%s\nwant\n%s", c.what, got, c.warnings)
		}
		got := ""
		if err != nil {
			got = strings.ReplaceAll(err.Error(), dir, "DIR")
		}
		if got != c.err {
			t.Errorf("%s: got error %q, want %q", c.what, got, c.err)
		}
	}
}
