package webserver_test

import "testing"

// newCivetWeb is a web server that has yet to be compiled.
func newCivetWeb(t *testing.T) *front {
	return newProgram(t, "civetweb", "apt-get install gcc libcivetweb-dev", "/usr/include/civetweb.h")
}

// startCivetWeb runs a firmware of the test's own that serves with CivetWeb, and asks by the C client and the file
// beside it.
func startCivetWeb(t *testing.T, r *rig) *front {
	f := newCivetWeb(t)
	f.build("testdata/civetweb.c", "-lcivetweb")
	f.start(f.addr, r.dir.Authz(), r.devicePort())
	return f
}

// civetwebLines compiles the program of the README.
func civetwebLines(t *testing.T, r *rig) *front {
	f := newCivetWeb(t)
	f.lines("../platform/cclient/civetweb/README.md",
		"main.c", "/run/nmos-authd/authz.sock", r.dir.Authz(), `"80"`, `"`+f.addr+`"`, ", 500)", ", 8000)")
	f.build(f.dir+"/main.c", "-lcivetweb")
	f.start()
	return f
}

// civetwebDifferences are mostly requests that CivetWeb refuses before it asks.
var civetwebDifferences = []difference{
	{
		`TOK-5/(token-100-kb|payload-nested-200000-deep)`,
		"400",
		"the C client says so, or CivetWeb: it is over max_request_size",
	},
	{
		`TOK-1/(payload-(carriage-return|nul|newline|tab)|signature-carriage-return-after)`,
		"400",
		"a control character for CivetWeb",
	},
	{
		`target.* (\?x|x|\*\*|@?nmos.*|ftp://.*|http://|http:/x-nmos|http://node-1\.example\.com([?#]x)?)`,
		"0|400",
		"no target for CivetWeb",
	},
	{`target.* /x-nmos/node/v1\.3/é`, "400", "nor this"},
	{
		`target.* (\*|(https?|HTTP)://.*/.*)|handshake absolute form`,
		"0|400",
		"CivetWeb ends the connection without a word",
	},
	{`target.* /x-nmos/node/v1\.3/self%(2|zz)?`, "400", "the device's HTTP server says so before the device can ask"},
	{`method.* (TRACE|[Gg]et|PATCHX|M-SEARCH) .*`, "400", "CivetWeb does not know the method"},
	{`header space before colon`, "200", "CivetWeb takes the space away, for the question and for the device"},
	{`header folded`, "400", "CivetWeb reads one line"},
	{`header with a delete`, "400", "a control character in a header"},
	{`body (of two lengths|of no length)`, "400|411", "in other words"},
	{`handshake asked for (elsewhere )?in a list, tabs`, "400", "a control character in a header"},
	{`handshake asked for of two protocols`, "426", "the test's firmware passes on websocket alone"},
	{`model dots out of it`, "401", "the C client takes the target as it came for one of IS-14"},
}
