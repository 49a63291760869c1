package vectors_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/httpauth"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/vectors"
)

// python is the interpreter, without which the runner cannot be tried.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is missing: the Debian package python3")
	}
	return path
}

// result is the runner's report in JSON.
type result struct {
	Passed, Failed, Skipped int
	Skips                   map[string]int
	Failures                []struct{ Name string }
}

// runner runs run.py and returns its exit status, what it printed and its report.
func runner(t *testing.T, args ...string) (status int, out string, r result) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, python(t), append([]string{"run.py", "--report", file}, args...)...)
	text, err := c.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	if report, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(report, &r); err != nil {
			t.Fatal(err)
		}
	}
	return c.ProcessState.ExitCode(), string(text), r
}

// The rules, written once more in another language, give every case the same answer, down to the reason.
func TestCheckAgrees(t *testing.T) {
	status, out, r := runner(t, "--command", python(t)+" check.py", "--compare", "reason")
	if names := vectors.Names(allFiles(t)); status != 0 || r.Passed != len(names) {
		t.Errorf("status %d, %d of %d passed\n%s", status, r.Passed, len(names), out)
	}
}

// The runner asks the real daemon over http.sock. The files are signed for a server on loopback, since the daemon reads
// keys only from where the token's iss says.
func TestRunnerAsksTheDaemon(t *testing.T) {
	python(t)
	documents := map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document, ok := documents[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, document)
	}))
	t.Cleanup(server.Close)
	issuer := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	files, err := vectors.Generate(issuer)
	if err != nil {
		t.Fatal(err)
	}
	folder, program := t.TempDir(), ""
	for _, f := range files {
		text, err := f.Text()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, f.Name+".json"), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if program, err = daemon.Build(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	groups := map[string]*vectors.Group{}
	for _, f := range files {
		for _, g := range f.Groups {
			groups[g.Name] = g
			u, err := url.Parse(g.Device.Issuer)
			if err != nil {
				t.Fatal(err)
			}
			documents["/.well-known/oauth-authorization-server"+u.Path] = fmt.Sprintf(
				`{"issuer":%q,"jwks_uri":%q,"authorization_endpoint":%q,"token_endpoint":%q,"response_types_supported":["code"]}`,
				g.Device.Issuer, server.URL+"/"+g.Name, server.URL+"/a", server.URL+"/t")
			documents["/"+g.Name] = g.Device.JWKS
		}
	}
	// Each of these needs a daemon of its own; the other settings are tried in the process.
	asked := map[string][]string{"form": {}}
	for _, name := range []string{"paths-configured", "exponent-3", "keys-sizes", "keys-several", "keys-of-another"} {
		asked[name] = []string{"--group", name}
	}
	for name, args := range asked {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t, program, groups[name])
			args = append(args, "--vectors", folder, "--http", "unix:"+d.HTTP(), "--compare",
				"reason", "--patience", "240")
			status, out, r := runner(t, args...)
			if want := len(groups[name].Cases); status != 0 || r.Failed != 0 || r.Passed < want-8 {
				t.Errorf("status %d, %d passed of at least %d, %d failed\n%s", status, r.Passed, want, r.Failed, out)
			}
			if name == "form" && r.Passed < 1400 {
				t.Errorf("%d passed, want 1400 or more of the usual setting\n%s", r.Passed, out)
			}
		})
	}
}

// startDaemon starts the daemon in a group's setting, its clock confirmed.
func startDaemon(t *testing.T, program string, g *vectors.Group) *daemon.Daemon {
	t.Helper()
	dir, err := daemon.NewDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Remove() })
	mark := dir.File("synchronised")
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	more := "allow_http = true\nretry = \"1s\"\n[clock]\nsynchronised_file = \"" + mark + "\"\n"
	if p := g.Device.Paths; p != nil {
		claims := []string{}
		for prefix, api := range p.Claims {
			claims = append(claims, fmt.Sprintf("%q", prefix+"="+api))
		}
		more += fmt.Sprintf("[paths]\npublic = [%s]\nclaims = [%s]\ncontrol = [%s]\n",
			quoted(p.Public), strings.Join(claims, ","), quoted(p.Control))
	}
	err = dir.Write(daemon.Config{Names: g.Device.Names, Servers: []string{g.Device.Issuer}, More: more})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	d, err := daemon.Start(ctx, program, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Kill)
	if err := d.WaitLog(ctx, 0, "keys"); err != nil {
		t.Fatal(err)
	}
	return d
}

func quoted(all []string) string {
	for i := range all {
		all[i] = fmt.Sprintf("%q", all[i])
	}
	return strings.Join(all, ",")
}

// What the runner must see: a server that lets everything through, one that refuses everything, what cannot be asked,
// a command that says yes and no, and one that is wrong about a rule.
func TestRunnerSeesFaults(t *testing.T) {
	python(t)
	open := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != httpauth.Path {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(open.Close)
	status, out, r := runner(t, "--http", open.URL)
	if status != 1 || r.Passed < 300 || r.Failed < 1000 || r.Skipped < 50 {
		t.Errorf("a server that allows all: status %d, %d passed, %d failed, %d skipped\n%.2000s",
			status, r.Passed, r.Failed, r.Skipped, out)
	}
	for want, n := range map[string]int{"another setting (issuer, jwks)": 1, "HTTP cannot hold it": 5,
		"another setting (clock)": 1} {
		got := 0
		for reason, count := range r.Skips {
			if strings.Contains(reason, want) {
				got += count
			}
		}
		if got < n {
			t.Errorf("%d are skipped by %q, want %d or more: %v", got, want, n, r.Skips)
		}
	}
	if !strings.Contains(out, "TOK-2 alg-none-unsigned: 200; want 401 invalid_token token-algorithm") {
		t.Errorf("the report lacks the fault with alg none:\n%.3000s", out)
	}

	// A server of resources, which has the target itself.
	closed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="x", error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(closed.Close)
	status, out, r = runner(t, "--http", closed.URL, "--form", "plain", "--part", "token",
		"--compare", "error", "--level", "must")
	if status != 1 || r.Passed < 300 || r.Failed < 20 {
		t.Errorf("a server that refuses all: status %d, %d passed, %d failed\n%.2000s", status, r.Passed, r.Failed, out)
	}

	// Only yes and no, by a program that answers one question.
	script := filepath.Join(t.TempDir(), "yes.py")
	text := "import json, sys\nq = json.loads(sys.stdin.readline())\nprint(json.dumps({'allowed': q['name'] != " +
		"'alg-none'} if q['name'] != 'alg-empty' else {'skip': 'not today'}))\n"
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	status, out, r = runner(t, "--command", "python3 "+script, "--once", "--case", "alg-none", "--case", "alg-null",
		"--case", "base", "--case", "alg-empty")
	if status != 1 || r.Passed != 2 || r.Failed != 1 || r.Skips["not today"] != 1 || r.Failures[0].Name != "alg-null" {
		t.Errorf("yes and no: status %d, %+v\n%s", status, r, out)
	}

	// The set-up gets the setting, and may say that it cannot.
	setup := `[ "$VECTORS_NAMES" = node-1.example.com ] && grep -q '"keys"' "$VECTORS_JWKS" && case "$VECTORS_GROUP" in form) ;; *) echo "no $VECTORS_GROUP here"; exit 77;; esac`
	status, out, r = runner(t, "--http", closed.URL, "--setup", setup, "--group", "form", "--group", "header", "--case",
		"form-text", "--case", "alg-none")
	if status != 0 || r.Passed != 1 || r.Skips["no header here"] != 1 {
		t.Errorf("with a set-up: status %d, %+v\n%s", status, r, out)
	}
	if status, out, _ = runner(t, "--http", closed.URL, "--case", "no-such-case"); status != 2 {
		t.Errorf("nothing to ask: status %d\n%s", status, out)
	}
}

// Key sets and metadata on loopback.
func TestRunnerServesKeys(t *testing.T) {
	c := exec.Command(python(t), "run.py", "--serve", "0")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	base, _, _ := strings.Cut(strings.TrimPrefix(line, "serving on "), ";")
	for path, want := range map[string]string{
		"/form/jwks.json": `"kid":"key-1"`, "/keys-not-json/jwks.json": "<html>",
		"/.well-known/oauth-authorization-server/keys-plain": "/keys-plain/jwks.json",
	} {
		r, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 1<<16)
		n, _ := r.Body.Read(body)
		r.Body.Close()
		if r.StatusCode != 200 || !strings.Contains(string(body[:n]), want) {
			t.Errorf("%s: %s %.200s, want %s", path, r.Status, body[:n], want)
		}
	}
}
