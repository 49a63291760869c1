package webserver_test

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nmosauthd/tinytest/spec"
)

// programs are firmware that serves and asks in one, by the C client and a file for its HTTP library: the README's
// lines are a whole program, which answers with the path that was judged.
var programs = []struct {
	name  string
	lines func(*testing.T, *rig) *front
}{
	{"civetweb", civetwebLines},
	{"mongoose", mongooseLines},
}

// The lines of a README that are a whole program serve the path that was judged, and nothing without the daemon.
func TestProgramOfTheREADME(t *testing.T) {
	spec.Rules(t, "ANS-1", "ANS-5", "PATH-9")
	for _, one := range programs {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			r := newRigWith(t)
			f := one.lines(t, r)
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
			if a := r.send(f.addr, get(self).bearing(good), t); a.status != 503 || a.retry != "1" ||
				!f.saysUnasked(a.body) {
				t.Errorf("without a daemon: %s", a.shown())
			}
		})
	}
}

// newProgram is a firmware that has yet to be compiled.
func newProgram(t *testing.T, name, install string, files ...string) *front {
	t.Helper()
	f := newFront(t, "cc", install, files...)
	f.name, f.asksItself, f.publishesNone = name, true, true
	return f
}

// build compiles a C file with those that are shipped.
func (f *front) build(main string, more ...string) {
	f.t.Helper()
	const client = "../../platform/cclient"
	program, folder := filepath.Join(f.dir, f.name), client+"/"+f.name
	args := append(strings.Fields("-std=c99 -pedantic -Wall -Wextra -Werror -Wshadow -Wconversion -g "+
		"-fsanitize=address,undefined -fno-sanitize-recover=all -I"+client+" -I"+folder+" -o"), program, main,
		folder+"/nmos_"+f.name+".c", client+"/nmos_authz.c")
	args = append(args, more...)
	if out, err := exec.CommandContext(f.t.Context(), f.program, args...).CombinedOutput(); err != nil {
		f.t.Fatalf("%s %q: %v\n%s", f.program, args, err, out)
	}
	f.program = program
}

// devicePort is where a firmware of the test fetches what it serves, see relay.h.
func (r *rig) devicePort() string {
	r.t.Helper()
	_, port, err := net.SplitHostPort(r.behind)
	if err != nil {
		r.t.Fatal(err)
	}
	return port
}

// saysUnasked reports whether a body says that the daemon cannot be asked.
func (f *front) saysUnasked(body string) bool {
	if f.asksItself {
		return strings.HasPrefix(body, `{"code":503,"error":"Service Unavailable","debug":"the daemon `)
	}
	return strings.TrimSpace(body) == cannotBeAsked
}
