package alerts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/status"
	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
)

const (
	root      = "../.."
	rulesFile = root + "/configs/prometheus/nmos-authd.rules.yml"
	testFile  = root + "/configs/prometheus/nmos-authd.test.yml"
	dashboard = root + "/configs/grafana/nmos-authd.json"
	guide     = root + "/configs/OPERATING.md"
)

var program string

func TestMain(m *testing.M) {
	os.Exit(daemon.Main(m, func(dir string) (err error) {
		program, err = daemon.Build(dir)
		return err
	}))
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// need skips the test if a program is missing.
func need(t *testing.T, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("there is no %s here: apt-get install %s", program, pkg)
	}
}

// deadline is how long a test may take on a machine that is busy.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// names returns what a pattern finds in a text, each once.
func names(pattern, text string) []string {
	var all []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestAlertRules(t *testing.T) {
	need(t, "promtool", "prometheus")
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", testFile}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Each alert has a test that wants it to fire, says how urgent it is, and names a section of the guide.
func TestEveryAlertIsTestedAndExplained(t *testing.T) {
	rules := read(t, rulesFile)
	alerts := names(`(?m)^ +- alert: (\w+)$`, rules)
	if len(alerts) < 15 {
		t.Fatalf("found %d alerts, want 15 or more: not looked in the right place", len(alerts))
	}
	if tested := names(`(?m)^ +- alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels`,
		read(t, testFile)); !slices.Equal(tested, alerts) {
		t.Errorf("tests want the alerts\n%v, the rules have\n%v", tested, alerts)
	}
	if n := len(regexp.MustCompile(`severity: (page|ticket)\}`).FindAllString(rules, -1)); n != len(alerts) {
		t.Errorf("%d severities for %d alerts", n, len(alerts))
	}
	sections := map[string]bool{}
	for _, h := range names(`(?m)^##+ (.+)$`, read(t, guide)) {
		h = regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(h), "")
		sections[strings.ReplaceAll(h, " ", "-")] = true
	}
	links := regexp.MustCompile(`runbook_url: OPERATING\.md#(\S+)`).FindAllStringSubmatch(rules, -1)
	if len(links) != len(alerts) {
		t.Errorf("%d links to the guide for %d alerts", len(links), len(alerts))
	}
	for _, l := range links {
		if !sections[l[1]] {
			t.Errorf("OPERATING.md has no section #%s", l[1])
		}
	}
}

// Rules and dashboard use metrics, labels' values and reasons that exist.
func TestMetricsExist(t *testing.T) {
	var reasons []string
	for r := range wire.Reasons {
		reasons = append(reasons, wire.Reason(r).String())
	}
	families := names(`(?m)^# TYPE (nmos_authd_\w+) `, string((&status.Status{}).Metrics()))
	for _, file := range []string{rulesFile, dashboard} {
		text := read(t, file)
		used := names(`\b(nmos_authd_\w+)`, text)
		if len(used) < 10 {
			t.Errorf("%s: found %d metrics, want 10 or more: not looked in the right place", file, len(used))
		}
		for _, name := range used {
			if !slices.Contains(families, name) {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
		for _, reason := range names(`reason!?=\\?"([a-z-]+)\\?"`, text) {
			if !slices.Contains(reasons, reason) {
				t.Errorf("%s: there is no reason %q", file, reason)
			}
		}
	}
}

func TestDashboard(t *testing.T) {
	cmd := exec.Command("go", "run", "-modfile=scripts/tools.mod", "scripts/grafana/check.go",
		"configs/grafana/nmos-authd.json")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); bytes.Contains(out, []byte("grafana-foundation-sdk")) &&
		!bytes.Contains(out, []byte("nmos-authd.json:")) {
		t.Skipf("Grafana's types cannot be fetched: %s", out)
	} else if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// A panel that says nothing of what it shows helps nobody at night.
	var d struct {
		Panels []struct{ Title, Description string }
	}
	if err := json.Unmarshal([]byte(read(t, dashboard)), &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		if p.Title == "" || p.Description == "" {
			t.Errorf("a panel without title or description: %+v", p)
		}
	}
}

func TestShorten(t *testing.T) {
	const rules = "expr: rate(x[5m]) > 1 and y[1h]\nfor: 15m\nfor: 2h\n# within 5m"
	const want = "expr: rate(x[50s]) > 1 and y[1m]\nfor: 15s\nfor: 2m\n# within 5m"
	if got := shorten(rules); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A real Prometheus scrapes real daemons, and its alerts fire for the right one. "make demo-fleet" tells more.
func TestFleet(t *testing.T) {
	need(t, Program, "prometheus")
	ctx := deadline(t)
	f, err := Start(ctx, program, 2, rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := f.WaitScraped(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WaitFiring(ctx, "NmosAuthdGone", 0); err != nil {
		t.Fatal(err)
	}
	f.Devices[0].Kill()
	firing, err := f.WaitFiring(ctx, "NmosAuthdGone", 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := firing[0].Labels["instance"]; got != f.Devices[0].Name {
		t.Errorf("the alert is about %q, want %q", got, f.Devices[0].Name)
	}
}

// A real rsyslog keeps the records of a real daemon, and the query of the hour finds who was denied what.
func TestLogStore(t *testing.T) {
	need(t, "rsyslogd", "rsyslog")
	need(t, "jq", "jq")
	ctx := deadline(t)
	logs := t.TempDir()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := port.Addr().(*net.TCPAddr)
	port.Close()
	config := read(t, root+"/configs/rsyslog/nmos-authd.conf")
	for _, change := range [][2]string{
		{"/var/log/nmos/", logs + "/"}, {`port="601"`, fmt.Sprintf(`address="127.0.0.1" port="%d"`, address.Port)},
	} {
		if strings.Count(config, change[0]) != 1 {
			t.Fatalf("%q stands %d times in the configuration", change[0], strings.Count(config, change[0]))
		}
		config = strings.Replace(config, change[0], change[1], 1)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "rsyslog.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	store := exec.CommandContext(ctx, "rsyslogd", "-n", "-f", file, "-i", filepath.Join(dir, "pid"))
	store.Stdout, store.Stderr = &said, &said
	if err := store.Start(); err != nil {
		t.Fatal(err)
	}
	defer store.Wait()
	defer store.Process.Kill()

	server, err := authserver.Start(authserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	d, err := daemon.NewDir()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Remove()
	const device = "stagebox-1.studio-a.example.com"
	err = d.Write(daemon.Config{
		Names: []string{device}, Servers: []string{server.Issuer()}, CAPEM: server.CAPEM(),
		More: fmt.Sprintf("\n[audit]\nsinks = [\"syslog\"]\nsyslog = \"tcp://%s\"\n", address),
	})
	if err != nil {
		t.Fatal(err)
	}
	run, err := daemon.Start(ctx, program, d)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Kill()
	asker := firmware.NewAsker(d.Authz(), time.Minute)
	defer asker.Close()
	token := server.Token(mint.Options{Device: device, Scope: "node", Client: "multiviewer"}).Sign()
	for _, target := range []string{"/x-nmos/node/v1.3/self", "/x-nmos/connection/v1.1/bulk"} {
		for {
			reply, err := asker.Ask("decide 1", "method=GET", "target="+target, "authorization=Bearer "+token)
			if err != nil {
				t.Fatal(err)
			}
			if reply.Status != 503 { // the keys are there
				break
			}
			if err := pause(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What is not a record, and a name that would be another folder, must change nothing.
	rogue, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer rogue.Close()
	fmt.Fprintf(rogue, "<109>1 2026-11-29T00:00:00Z a.../../../escaped x - - - {\"audit\":1,\"decision\":\"deny\"}\n"+
		"<109>1 2026-11-29T00:00:00Z a.studio-a.example.com x - - - no record\n")
	script, err := filepath.Abs(root + "/configs/rsyslog/denied.sh")
	if err != nil {
		t.Fatal(err)
	}
	for {
		query := exec.Command("sh", script, "studio-a.example.com")
		query.Env = append(os.Environ(), "NMOS_LOGS="+logs)
		out, err := query.CombinedOutput()
		// Before the keys were there, a question may have been denied too.
		line := regexp.MustCompile(`(?m)^ +1 +` + regexp.QuoteMeta(device) +
			` +multiviewer +api-not-granted +GET /x-nmos/connection/v1\.1/bulk$`)
		if err == nil && line.Match(out) {
			break
		}
		if ended := pause(ctx); ended != nil {
			t.Fatalf("%v: the query says %q (%v); rsyslog says %s", ended, out, err, said.String())
		}
	}
	folders, err := os.ReadDir(logs)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if f.Name() != "studio-a.example.com" && f.Name() != "unknown" {
			t.Errorf("rsyslog made the folder %q", f.Name())
		}
	}
}
