package rows

import (
	"slices"
	"strings"

	"nmosauthd/tinytest/mint"
)

// ControlToken is the token of a controller that may read all monitors and reset one of them.
var ControlToken = mint.Options{Scope: "control", Permissions: map[string]mint.Permission{
	"control": {Read: []string{"root.receiver-monitors.*"}, Write: []string{"root.receiver-monitors.mon-1"}},
}}

// Control are questions about commands and what the reply says, TOKEN standing for the line of a token by ControlToken.
var Control = []struct {
	Name, Lines string
	First       string
	Reason      string
	Denied      []string
}{
	{"CTL-80/a command",
		"api=control\ncommand=2 1.2.2.1 1m1 root.receiver-monitors.mon-1\nTOKEN", "allow 200", "ok", nil},
	{"CTL-80/a subscription", "TOKENsubscribe=root.receiver-monitors.mon-2\napi=control\n", "allow 200", "ok", nil},
	{"CTL-80/IS-14", "api=configuration\nsubscribe=root.receiver-monitors.mon-1\nTOKEN", "deny 403", "api-not-granted",
		[]string{"subscribe root.receiver-monitors.mon-1 403 api-not-granted"}},
	{"CTL-80/no api", "subscribe=root\nTOKEN", "error 400", "packet-missing", nil},
	{"CTL-80/another api", "api=events\nsubscribe=root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-80/nothing asked", "api=control\nTOKEN", "error 400", "packet-missing", nil},
	{"CTL-80/api twice", "api=control\napi=control\nsubscribe=root\n", "error 400", "packet-twice", nil},
	{"CTL-80/another question's name", "api=control\nsubscribe=root\ntarget=/\n", "error 400", "packet-name", nil},
	{"CTL-80/an unknown model", "api=control\nmodel=b\nsubscribe=root.receiver-monitors.mon-1\nTOKEN",
		"deny 403", "path-closed", []string{"subscribe root.receiver-monitors.mon-1 403 path-closed"}},
	{"CTL-80/an empty model", "api=control\nmodel=\nsubscribe=root\nTOKEN", "error 400", "packet-value", nil},

	{"CTL-81/spaces in a role",
		"api=control\ncommand=1 1 1m1 root.receiver-monitors.mon 1 b\nTOKEN", "allow 200", "ok", nil},
	{"CTL-81/the class not known", "api=control\ncommand=1 - 1m1 root.receiver-monitors.mon-2\nTOKEN",
		"deny 403", "path-not-granted", []string{"command 1 403 path-not-granted"}},
	{"CTL-81/no role path", "api=control\ncommand=1 1 1m1\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/an empty role path", "api=control\ncommand=1 1 1m1 \nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/no class", "api=control\ncommand=1 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/two spaces", "api=control\ncommand=1  1 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a handle of letters", "api=control\ncommand=x 1 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a long handle", "api=control\ncommand=12345678901 1 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/no handle", "api=control\ncommand= 1 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/empty", "api=control\ncommand=\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a class with an empty part",
		"api=control\ncommand=1 1..2 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a class with a leading zero",
		"api=control\ncommand=1 1.02 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a class with minus zero", "api=control\ncommand=1 1.-0 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a class with a plus", "api=control\ncommand=1 1.+2 1m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a long class", "api=control\ncommand=1 1" + strings.Repeat(".1", 64) + " 1m1 root\nTOKEN",
		"error 400", "packet-value", nil},
	{"CTL-81/a property", "api=control\ncommand=1 1 1p1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a method of level 0", "api=control\ncommand=1 1 0m1 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a method with a leading zero",
		"api=control\ncommand=1 1 1m01 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a method over its range",
		"api=control\ncommand=1 1 1m65537 root\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-81/a method and more", "api=control\ncommand=1 1 1m1x root\nTOKEN", "error 400", "packet-value", nil},

	{"CTL-82/one handle, several objects", "api=control\ncommand=7 1.3.3 3m3 root.receiver-monitors.mon-1\n" +
		"command=7 1.3.3 3m3 root.receiver-monitors.mon-2\nTOKEN", "deny 403", "path-not-granted",
		[]string{"command 7 403 path-not-granted"}},

	{"CTL-84/some", "api=control\ncommand=2 1.2.2.1 1m1 root.receiver-monitors.mon-1\ncommand=3 1.2.2.1 4m3 " +
		"root.receiver-monitors.mon-2\n" +
		"command=4 1.1 2m1 root\nsubscribe=root.receiver-monitors.mon-1\nsubscribe=root.tx 3.gain\nTOKEN", "deny 403",
		"path-not-granted", []string{"command 3 403 path-not-granted", "command 4 403 path-not-granted",
			"subscribe root.tx 3.gain 403 path-not-granted"}},
	{"CTL-84/no token", "api=control\ncommand=2 1 1m1 root\nsubscribe=root\n", "deny 401", "no-token", []string{"*"}},
	{"CTL-84/a bad token", "api=control\nsubscribe=root\nauthorization=Bearer x\n",
		"deny 401", "token-malformed", []string{"*"}},
	{"CTL-84/two tokens", "api=control\nsubscribe=root\nauthorization=Bearer x, Bearer y\n",
		"deny 400", "two-tokens", []string{"*"}},

	{"CTL-85/a long role path", "api=control\nsubscribe=" + strings.Repeat("r", 1025) + "\nTOKEN",
		"error 400", "packet-value", nil},
	{"CTL-85/of a command", "api=control\ncommand=1 1 1m1 " + strings.Repeat("r", 1025) + "\nTOKEN",
		"error 400", "packet-value", nil},
	{"CTL-85/as long as may be", "api=control\nsubscribe=root.receiver-monitors." + strings.Repeat("r", 1001) +
		"\nTOKEN", "allow 200", "ok", nil},
	{"CTL-85/a control character", "api=control\nsubscribe=root.a\x1bb\nTOKEN", "error 400", "packet-value", nil},
	{"CTL-85/as many as may be", "api=control\n" + strings.Repeat("subscribe=a\n", 1024) + "TOKEN", "deny 403",
		"path-not-granted", slices.Repeat([]string{"subscribe a 403 path-not-granted"}, 1024)},
	{"CTL-85/too many", "api=control\n" + strings.Repeat("subscribe=a\n", 1025) + "TOKEN", "error 400",
		"packet-too-long", nil},
}
