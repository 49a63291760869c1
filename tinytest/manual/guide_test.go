package manual_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/agent/config"
	"nmosauthd/agent/status"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
)

// patience is how long anything is waited for that should come.
const patience = time.Minute

// block is one fenced block of commands in the guide, and the block of what they print, if it shows that.
type block struct {
	line     int
	heading  string
	commands []string
	prints   string // "…" stands for anything within a line, and on a line of its own for any lines
}

// blocks reads the guide.
func blocks(t *testing.T) (all []block) {
	t.Helper()
	var now *block
	heading, fence, after := "", "", false
	for n, line := range strings.Split(read(t, "configs/OPERATING.md"), "\n") {
		switch {
		case fence == "" && strings.HasPrefix(line, "## "):
			heading = line[3:]
		case fence == "" && strings.HasPrefix(line, "```"):
			if line == "```" && !after {
				t.Fatalf("line %d: what is printed follows no commands", n+1)
			}
			if fence = line; line != "```" {
				all = append(all, block{line: n + 1, heading: heading})
			}
			now = &all[len(all)-1]
			if line != "```sh" && line != "```" {
				t.Fatalf("line %d: %q is a block of another kind", n+1, line)
			}
		case line == "```":
			after, fence = fence == "```sh", ""
			continue
		case fence == "```sh":
			now.commands = append(now.commands, line)
		case fence == "```":
			now.prints += line + "\n"
		}
		after = false
	}
	return all
}

// facility is an authorization server, a daemon with the configuration that ships, and a controller.
type facility struct {
	*daemon.Daemon
	t      *testing.T
	server *authserver.Server
	path   string // PATH of the commands
}

const staged = "/x-nmos/connection/v1.1/single/receivers/6f1e0001-0000-4000-8000-000000000001/staged"

// newServer starts an authorization server, and makes a folder for a daemon.
func newServer(t *testing.T, host string) (*authserver.Server, daemon.Dir) {
	t.Helper()
	server, err := authserver.Start(authserver.Options{Host: host, Key: mint.CachedKey("key-1", 2048)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	dir, err := daemon.NewDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Remove(); err != nil {
			t.Error(err)
		}
	})
	return server, dir
}

// newFacility starts all that the guide's commands meet.
func newFacility(t *testing.T) *facility {
	t.Helper()
	server, dir := newServer(t, "")
	f := &facility{t: t, server: server, path: dir.File("bin") + ":" + os.Getenv("PATH")}
	for _, folder := range []string{"bin", "home", "log"} {
		if err := os.Mkdir(dir.File(folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	token := server.Token(mint.Options{Client: "multiviewer", Scope: "none",
		Permissions: map[string]mint.Permission{"connection": {Read: []string{"*"}}}}).Sign()
	// The program finds the configuration, and what speaks to systemd finds the daemon, without either being installed.
	for name, text := range map[string]string{
		"ca.pem":         string(server.CAPEM()),
		"inventory.json": `{"resources": [{"kind": "meter", "name": "in-1", "read": "/x-nmos/events/v1.0/sources/1/state"}]}`,
		"home/token.jwt": token,
		"bin/nmos-authd": fmt.Sprintf("#!/bin/sh\nc=$1; shift\ncase $c in observe|audit) c=\"$c $1\"; shift;; esac\n"+
			"exec %[1]s $c --config %[2]s \"$@\"\n", program, dir.ConfigFile()),
		"bin/journalctl": "#!/bin/sh\n[ \"$*\" = '-u nmos-authd -o cat' ] && cat " + dir.File("journal"),
		"bin/systemctl":  "#!/bin/sh\n[ \"$*\" = 'reload nmos-authd' ] && kill -HUP $(cat " + dir.File("pid") + ")",
	} {
		if err := os.WriteFile(dir.File(name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := dir.WriteText(f.config(dir)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	if f.Daemon, err = daemon.Start(ctx, program, dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f.Kill(); t.Failed() {
			t.Log(f.Log())
		}
	})
	if err := f.WaitLog(ctx, 0, "keys fetched"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir.File("pid"), fmt.Append(nil, f.PID()), 0o644); err != nil {
		t.Fatal(err)
	}
	return f
}

// config is the configuration that ships, with places of the test's own.
func (f *facility) config(dir daemon.Dir) string {
	f.t.Helper()
	text := read(f.t, "configs/nmos-authd.toml")
	for _, edit := range [][2]string{
		{"\nnames = []", "\nnames = [\"node-1.example.com\"]"},
		{"\nservers = []", fmt.Sprintf("\nservers = [%q]", f.server.Issuer())},
		{"\nmode = \"auto\"", "\nmode = \"off\""},
		{"\nsinks = [\"log\"]", "\nsinks = [\"log\", \"file\"]"},
		{"\ndir = \"/var/lib/nmos-authd\"", fmt.Sprintf("\ndir = %q", dir.File("state"))},
	} {
		if !strings.Contains(text, edit[0]) {
			f.t.Fatalf("the configuration that ships lacks %q", edit[0])
		}
		text = strings.Replace(text, edit[0], edit[1], 1)
	}
	for section, file := range map[string]string{"inventory": dir.File("inventory.json"),
		"audit": dir.File("log/audit.log")} {
		before, after, _ := strings.Cut(text, "\n["+section+"]\n")
		text = before + "\n[" + section + "]\n" +
			strings.Replace(after, "\nfile = \"\"", fmt.Sprintf("\nfile = %q", file), 1)
	}
	return f.placed(dir, text)
}

// placed has a text name the places of the test in place of the device's.
func (f *facility) placed(dir daemon.Dir, text string) string {
	return strings.NewReplacer("/etc/nmos-authd/", dir.Path()+"/", "/run/nmos-authd/", dir.File("run")+"/",
		"/var/log/nmos-authd/", dir.File("log")+"/").Replace(text)
}

// command is a shell command on the device.
func (f *facility) command(ctx context.Context, text string) *exec.Cmd {
	f.t.Helper()
	if err := os.WriteFile(f.File("journal"), []byte(f.Log()), 0o644); err != nil {
		f.t.Fatal(err)
	}
	c := exec.CommandContext(ctx, "sh", "-c", f.placed(f.Dir, text))
	c.Dir = f.File("home")
	c.Env = append(os.Environ(), "PATH="+f.path, "TERM=dumb")
	return c
}

// run runs a command to its end.
func (f *facility) run(t *testing.T, text string) (printed string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	logged := len(f.Log())
	c := f.command(ctx, text)
	var out, complaints bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaints
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", text, err)
	}
	if complaints.Len() > 0 && !strings.HasPrefix(text, "curl ") { // which shows its progress
		t.Errorf("%s complains:\n%s", text, complaints.String())
	}
	if strings.Contains(text, " reload ") {
		if err := f.WaitLog(ctx, logged, "configuration reread"); err != nil {
			t.Fatal(err)
		}
	}
	return out.String(), c.ProcessState.ExitCode()
}

// follow runs a command that does not end by itself, until it has printed a text, and then as Ctrl-C ends it.
func (f *facility) follow(t *testing.T, text, until string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	file, err := os.Create(f.File("followed"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c := f.command(ctx, "exec "+text)
	c.Stdout, c.Stderr = file, file
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	printed := func() string {
		b, err := os.ReadFile(file.Name())
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	for !strings.Contains(printed(), until) && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	c.Process.Signal(syscall.SIGINT)
	if err := c.Wait(); err != nil || !strings.Contains(printed(), until) {
		t.Errorf("%s: %v; it printed, want %q:\n%s", text, err, until, printed())
	}
	return printed()
}

// denied are the commands that end with 1, since what they ask about is denied.
var denied = []string{"nmos-authd explain --seq 2", "nmos-authd ask --token token.jwt PATCH " + staged,
	"nmos-authd explain --token token.jwt PATCH " + staged}

func TestGuidesCommands(t *testing.T) {
	all := blocks(t)
	if len(all) < 15 {
		t.Fatalf("the guide has %d blocks of commands", len(all))
	}
	f := newFacility(t)
	// What has happened before somebody opens the guide: number 1 was allowed, number 2 was not.
	f.ask(t, "GET", 0)
	f.ask(t, "PATCH", 1)
	f.await(t, `journalctl -u nmos-authd -o cat`, `"seq":2,`)
	ran := map[string]bool{}
	for _, b := range all {
		t.Run(fmt.Sprintf("%s, line %d", b.heading, b.line), func(t *testing.T) {
			var printed strings.Builder
			for _, command := range b.commands {
				ran[command] = true
				switch {
				case strings.HasPrefix(command, "nmos-authd watch "):
					printed.WriteString(f.follow(t, command, "path-not-granted"))
					continue
				case strings.HasPrefix(command, "curl "):
					if _, err := exec.LookPath("curl"); err != nil {
						t.Skip("curl is not installed")
					}
				}
				want := 0
				for _, d := range denied {
					if command == d {
						want = 1
					}
				}
				out, status := f.run(t, command)
				if status != want {
					t.Errorf("%s: exit status %d, want %d\n%s", command, status, want, out)
				}
				if out == "" && strings.HasPrefix(command, "curl ") {
					t.Errorf("%s printed nothing", command)
				}
				printed.WriteString(out)
				if command == "nmos-authd observe reset" { // and then somebody works with it
					f.ask(t, "PATCH", 0)
					f.await(t, "nmos-authd observe report --json", `"(decisions|waiting)": ?1\b`)
				}
			}
			if b.prints != "" && !pattern(b.prints).MatchString(printed.String()) {
				t.Errorf("the guide shows\n%s\nand they print\n%s", b.prints, printed.String())
			}
		})
	}
	for _, command := range denied {
		if !ran[command] {
			t.Errorf("the guide does not have the command %s any more", command)
		}
	}
	if err := f.Stop(); err != nil {
		t.Error(err)
	}
	const says = "the daemon is not running"
	out, err := f.command(t.Context(), "nmos-authd status").CombinedOutput()
	if err == nil || !strings.Contains(string(out), says) ||
		!strings.Contains(read(t, "configs/OPERATING.md"), says+":") {
		t.Errorf("without the daemon: %v\n%s", err, out)
	}
}

// ask has the controller ask for the receiver, which its token permits it to read.
func (f *facility) ask(t *testing.T, method string, want int) {
	t.Helper()
	if out, status := f.run(t, "nmos-authd ask --token token.jwt "+method+" "+staged); status != want {
		t.Fatalf("%s: exit status %d, want %d\n%s", method, status, want, out)
	}
}

// await runs a command until it prints something.
func (f *facility) await(t *testing.T, command, want string) {
	t.Helper()
	wanted := regexp.MustCompile(want)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		out, _ := f.run(t, command)
		if wanted.MatchString(out) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not print %s:\n%s", command, want, out)
		}
	}
}

// pattern is what the guide shows as a regular expression.
func pattern(shown string) *regexp.Regexp {
	var b strings.Builder
	for line := range strings.Lines(shown) {
		if line == "…\n" {
			b.WriteString(`(?:.*\n)*`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*"))
	}
	return regexp.MustCompile("^" + b.String() + "$")
}

// What the guide says of certificates that fail is what discover says of them.
func TestGuideOnCertificates(t *testing.T) {
	guide := read(t, "configs/OPERATING.md")
	server, dir := newServer(t, "localhost")
	if err := dir.Write(daemon.Config{Servers: []string{server.Issuer()}, CAPEM: server.CAPEM()}); err != nil {
		t.Fatal(err)
	}
	for fault, says := range map[authserver.Fault]string{
		authserver.CertOtherCA:   "the certificate comes from an authority that this device does not trust",
		authserver.CertExpired:   "certificate has expired or is not yet valid",
		authserver.CertOtherHost: "certificate is valid for …, not …",
		authserver.PlainPort:     "port … does not speak TLS",
	} {
		if !strings.Contains(guide, "\n| `"+says+"` |") {
			t.Errorf("the guide does not say %q", says)
		}
		server.Misbehave(authserver.PathMetadata, fault)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		out, err := exec.CommandContext(ctx, program, "discover", "--config", dir.ConfigFile()).CombinedOutput()
		cancel()
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) || exit.ExitCode() != 1 ||
			!regexp.MustCompile(strings.ReplaceAll(says, "…", ".*")).Match(out) {
			t.Errorf("%s: %v; want %q in\n%s", fault, err, says, out)
		}
	}
}

// The guide has a row for everything by which the daemon can be degraded.
func TestGuideOnHealth(t *testing.T) {
	_, table, _ := strings.Cut(read(t, "configs/OPERATING.md"), "\n| degraded: | go to |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	said := map[string]bool{}
	for row := range strings.SplitSeq(table, "\n") {
		first, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		for phrase := range strings.SplitSeq(first, ", ") {
			said[strings.TrimRight(phrase, ": …")] = false
		}
	}
	wrong := (&status.Status{
		Mode: "observe", Clock: status.Clock{State: "unset"}, Discovery: status.Discovery{Mode: "off"}, Refused: "x",
		Time: 1, Inventory: status.Inventory{Error: "x"}, State: status.State{Dir: "/x", Error: "x"},
		NotEnforced: []config.NotEnforced{{API: "x", Access: "read"}},
		Audit:       status.Audit{DroppedAt: 1, Sinks: []status.Sink{{Name: "file", Error: "x"}}},
	}).Health()
	if len(wrong) != 10 {
		t.Fatalf("%d things are wrong: %q", len(wrong), wrong)
	}
	for _, server := range []status.Server{{}, {Origin: status.Configured, KIDs: []string{"x"}}} {
		s := status.Status{Mode: "enforce", Clock: status.Clock{Trusted: true}, Servers: []status.Server{server},
			Refresh: 3600, Time: 100_000}
		wrong = append(wrong, s.Health()...)
	}
	wrong = append(wrong, (&status.Status{Mode: "enforce", Clock: status.Clock{Trusted: true}}).Health()...)
	for _, text := range wrong {
		found := false
		for phrase := range said {
			if strings.HasPrefix(text, phrase) {
				said[phrase], found = true, true
			}
		}
		if !found {
			t.Errorf("the guide does not say what to do when %q", text)
		}
	}
	for phrase, happens := range said {
		if !happens {
			t.Errorf("the guide speaks of %q, which is nothing that status says", phrase)
		}
	}
}

// TestNames: what the guide and the README call by name is there: commands, keys of the configuration. TestCitations in
// tinytest follows their links.
func TestNames(t *testing.T) {
	commands := programCommands(t)
	example := read(t, "configs/nmos-authd.toml")
	command := regexp.MustCompile("(?m)(?:^|^    |`|\\| |\")nmos-authd ([a-z-]+)(?: ([a-z]+))?")
	key := regexp.MustCompile("`\\[([a-z]+)\\] ([a-z_]+)") // in the table of reasons the advice's own test looks
	for document, least := range map[string]struct{ commands, keys int }{
		"configs/OPERATING.md": {25, 8},
		"README.md":            {8, 6},
		".github/CHANGELOG.md": {2, 6},
		".github/SECURITY.md":  {2, 2},
	} {
		text := read(t, document)
		shown := command.FindAllStringSubmatch(text, -1)
		for _, m := range shown {
			if name := m[1] + " " + m[2]; commands[m[1]] == nil && commands[name] == nil {
				t.Errorf("%s: got nmos-authd %s, want a command", document, name)
			}
		}
		keys := key.FindAllStringSubmatch(text, -1)
		for _, m := range keys {
			_, section, _ := strings.Cut(example, "\n["+m[1]+"]\n")
			section, _, _ = strings.Cut(section, "\n[")
			if !strings.Contains("\n"+section, "\n"+m[2]+" = ") {
				t.Errorf("%s: got %s`, want a key of the configuration", document, m[0])
			}
		}
		if len(shown) < least.commands || len(keys) < least.keys {
			t.Errorf("%s: got %d commands and %d keys, want at least %d and %d",
				document, len(shown), len(keys), least.commands, least.keys)
		}
	}
}
