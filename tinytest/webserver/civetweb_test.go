package webserver_test

import (
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// startCivetWeb runs a firmware of the test's own that serves with CivetWeb, and asks by the C client and the file beside
// it.
func startCivetWeb(t *testing.T, r *rig) *front {
	f := newCivetWeb(t)
	f.build(filepath.Join("testdata", "civetweb.c"))
	f.runCivetWeb(r)
	return f
}

// The lines of the README are a whole program: it serves the path that was judged, and nothing without the daemon.
func TestLinesOfTheREADME_CivetWeb_ANS1_ANS5_PATH9(t *testing.T) {
	r := newRigWith(t)
	f := newCivetWeb(t)
	f.lines(
		"../platform/cclient/civetweb/README.md",
		"main.c",
		"/run/nmos-authd/authz.sock",
		r.dir.Authz(),
		`"80"`,
		`"`+f.addr+`"`,
		", 500)",
		", 8000)",
	)
	f.build(filepath.Join(f.dir, "main.c"))
	f.start()
	good := r.good()
	for _, row := range []struct {
		request request
		status  int
		body    string
	}{
		{get(self), 401, "no-token"},
		{get(self).bearing(good), 200, self},
		{get("/x-nmos/node/v1.3/x/%2e%2e/sel%66?a").bearing(good), 200, self},
		{get("/x-nmos/node%2fv1.3/self").bearing(good), 400, "path-ambiguous"},
		{get(self + "?access_token=" + good), 401, "no-token"},
		{request{method: "PROPFIND", target: "/"}, 405, "method"},
	} {
		if a := r.send(f.addr, row.request, t); a.status != row.status || !strings.Contains(a.body, row.body) {
			t.Errorf("%s: %s, want %d and %s", row.request, a.shown(), row.status, row.body)
		}
	}
	if err := r.daemon.Stop(); err != nil {
		t.Error(err)
	}
	if a := r.send(f.addr, get(self).bearing(good), t); a.status != 503 || a.retry != "1" || !f.saysUnasked(a.body) {
		t.Errorf("without a daemon: %s", a.shown())
	}
}

// newCivetWeb is a web server that has yet to be compiled.
func newCivetWeb(t *testing.T) *front {
	f := newFront(t, "cc", "apt-get install gcc libcivetweb-dev", "/usr/include/civetweb.h")
	f.name, f.plainBodies, f.publishesNone = "civetweb", true, true
	return f
}

// build compiles a C file with those that are shipped.
func (f *front) build(main string) {
	f.t.Helper()
	const client = "../../platform/cclient"
	program := filepath.Join(f.dir, "civetweb")
	args := strings.Fields(
		"-std=c99 -pedantic -Wall -Wextra -Werror -Wshadow -Wconversion -g -fsanitize=address,undefined " +
			"-fno-sanitize-recover=all -I" + client + " -I" + client + "/civetweb -o " + program + " " + main + " " +
			client + "/civetweb/nmos_civetweb.c " + client + "/nmos_authz.c -lcivetweb",
	)
	if out, err := exec.CommandContext(f.t.Context(), f.program, args...).CombinedOutput(); err != nil {
		f.t.Fatalf("%s %q: %v\n%s", f.program, args, err, out)
	}
	f.program = program
}

func (f *front) runCivetWeb(r *rig) {
	f.t.Helper()
	_, device, err := net.SplitHostPort(r.behind)
	if err != nil {
		f.t.Fatal(err)
	}
	f.start(f.addr, r.dir.Authz(), device)
}

// plain is an error body as the C client writes it: the status in words, and of IS-14 the reason alone.
func (f *front) plain(body string) string {
	if !f.plainBodies {
		return body
	}
	body = strings.TrimSuffix(body, "\n")
	body = oursNMOS.ReplaceAllStringFunc(body, func(whole string) string {
		parts := oursNMOS.FindStringSubmatch(whole)
		return `{"code":` + parts[1] + `,"error":"` + phrases[parts[1]] + `","debug":"` + parts[2] + `"}`
	})
	return oursModel.ReplaceAllString(body, `{"status":$1,"errorMessage":"$2"}`)
}

// saysUnasked reports whether a body says that the daemon cannot be asked.
func (f *front) saysUnasked(body string) bool {
	if f.plainBodies {
		return strings.HasPrefix(body, `{"code":503,"error":"Service Unavailable","debug":"the daemon `)
	}
	return strings.TrimSpace(body) == cannotBeAsked
}

var (
	oursNMOS  = regexp.MustCompile(`^{"code":(\d+),"error":"[^"]*","debug":"([^"]*)"}$`)
	oursModel = regexp.MustCompile(`^{"status":(\d+),"errorMessage":"[^"]*\(([^"]*)\)"}$`)
	phrases   = map[string]string{
		"400": "Bad Request",
		"401": "Unauthorized",
		"403": "Forbidden",
		"405": "Method Not Allowed",
		"503": "Service Unavailable",
	}
)

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
	{`handshake for the sources? only`, "403", "the file beside the C client asks for the socket's own path"},
	{`handshake asked for (elsewhere )?in a list, tabs`, "400", "a control character in a header"},
	{`handshake asked for of two protocols`, "426", "the test's firmware passes on websocket alone"},
	{`model dots out of it`, "401", "the C client takes the target as it came for one of IS-14"},
}
