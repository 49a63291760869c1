package system_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/mint"
)

// result is what a command left behind.
type result struct {
	status      int
	out, errors string
}

// command runs the program to its end.
func command(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return finish(t, exec.CommandContext(ctx, program, args...), stdin)
}

func finish(t *testing.T, c *exec.Cmd, stdin string) result {
	t.Helper()
	var out, complaints bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &complaints
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{c.ProcessState.ExitCode(), out.String(), complaints.String()}
}

// check compares the exit status and looks for texts in what was printed to either side.
func (r result) check(t *testing.T, status int, out, complaint string) {
	t.Helper()
	if r.status != status || !strings.Contains(r.out, out) || !strings.Contains(r.errors, complaint) ||
		(out == "") != (r.out == "") || (complaint == "") != (r.errors == "") {
		t.Errorf("exit status %d, want %d\nprinted, want %q:\n%s\ncomplained, want %q:\n%s",
			r.status, status, out, r.out, complaint, r.errors)
	}
}

// file writes a file for a command to read.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args           string
		status         int
		out, complaint string
	}{
		{"", 2, "", "Usage:\n"},
		{"-h", 0, "check-config", ""},
		{"--help", 0, "check-config", ""},
		{"help", 0, "check-config", ""},
		{"help ask", 0, "", "-timeout duration"},
		{"help certs renew", 0, "", "Usage: nmos-authd certs renew"},
		{"help client", 0, "Usage: nmos-authd client", ""},
		{"help help", 0, "check-config", ""},
		{"help runn", 2, "", `unknown command "runn"`},
		{"runn", 2, "", `unknown command "runn"; "nmos-authd help" lists them`},
		{"--config /etc/x", 2, "", `unknown command "--config"`},
		{"version", 0, "nmos-authd dev (linux/", ""},
		{"version now", 2, "", `too few or too many arguments: ["now"]`},
		{"version --now", 2, "", "flag provided but not defined"},
		{"ask -h", 0, "", "-timeout duration"},
		{"run -h", 0, "", "-config file"},
		{"run --config /no/such/file", 1, "", "/no/such/file: no such file"},
		{"run extra", 2, "", "too many arguments"},
		{"check-config --config /no/such/file", 1, "", "/no/such/file: no such file"},
		{"check-config --config /", 1, "", "is a directory"},
		{"ask", 2, "", "METHOD and a TARGET"},
		{"ask GET", 2, "", "METHOD and a TARGET"},
		{"ask --verify GET /x-nmos", 2, "", "--verify alone"},
		{"ask --resource", 2, "", "--resource with a KIND, a NAME, and read or write"},
		{"ask --resource meter in-1", 2, "", "--resource with a KIND, a NAME, and read or write"},
		{"ask --resource meter in-1 read write", 2, "", "--resource with a KIND, a NAME, and read or write"},
		{"ask --resource --verify meter in-1 read", 2, "", "METHOD and a TARGET"},
		{"ask --socket /no/such/socket --resource meter in-1 read", 2, "",
			"cannot ask the daemon: dial unixpacket /no/such/socket"},
		{"ask --socket /no/such/socket GET /x-nmos", 2, "", "cannot ask the daemon: dial unixpacket /no/such/socket"},
		{"ask --config /no/such/file GET /x-nmos", 2, "", "/no/such/file"},
		{"ask GET /x-nmos --token /no/such/file", 2, "", `flags must come before arguments: "--token"`},
		{"ask --socket /x --token /no/such/file GET /x-nmos", 2, "",
			`--token takes a file, not the token; "-" reads standard input: no such file`},
		{"ask --socket /x --timeout soon GET /x-nmos", 2, "", `invalid value "soon"`},
		{"explain GET", 2, "", "a METHOD needs a TARGET"},
		{"explain --config /no/such/file", 2, "", "/no/such/file"},
		{"explain GET /x-nmos /x-nmos", 2, "", "too many arguments"},
	} {
		t.Run(c.args, func(t *testing.T) {
			command(t, "", strings.Fields(c.args)...).check(t, c.status, c.out, c.complaint)
		})
	}
}

// What check-config says, good or bad, is folded on a terminal of 80 columns, on either output.
func TestCheckConfigOnATerminal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, says string }{
		{"good", "mode = \"observe\"\n[authorization]\nca_file = \"\"\n[device]\nnames = [\"node-1.example.com\"]\n",
			"servers by discovery."},
		{"bad", "[authorization]\nservers = [\"http://auth.example.com\"]\n", "must be https"},
	} {
		master, slave := terminal(t, 80)
		path := file(t, "nmos-authd.toml", c.text)
		check := exec.CommandContext(t.Context(), program, "check-config", "--config", path)
		check.Stdout, check.Stderr = slave, slave
		stuck := time.AfterFunc(patience, func() { slave.Close(); master.Close() })
		check.Run()
		slave.Close()
		said, _ := io.ReadAll(master) // ends with an error, since nobody has the other end any more
		stuck.Stop()
		master.Close()
		if words := strings.Join(strings.Fields(string(said)), " "); !strings.Contains(words, c.says) {
			t.Errorf("%s: got %q, want it to say %q", c.name, said, c.says)
		}
		for line := range strings.Lines(string(said)) {
			line = strings.TrimRight(line, "\r\n")
			if len(line) > 80 && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("%s: got a line of %d columns, want at most 80: %q", c.name, len(line), line)
			}
		}
	}
}

// What is wrong with a configuration is said with its place, all of it together; run and check-config say the same.
func TestBrokenConfiguration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		complaints []string // behind the file's name
	}{
		{"not TOML", "mode = \"enforce\"\n[device\n", []string{":2: "}},
		{"no string", "mode = enforce\n", []string{":1: "}},
		{"unknown key", "\n\nmod = \"off\"\n", []string{`:3: unknown key "mod" (mode?)`}},
		{"unknown section", "[devices]\nnames = []\n", []string{":1: unknown section [devices] ([device]?)"}},
		{"key in a wrong section", "[device]\nleeway = \"1s\"\n",
			[]string{`:2: unknown key "leeway" in [device] (it belongs in [authorization])`}},
		{"key twice", "mode = \"off\"\nmode = \"enforce\"\n", []string{":2: "}},
		{"mode", "mode = \"of\"\n", []string{`:1: mode: "of" must be one of enforce, observe, off (off?)`}},
		{"type", "mode = 1\n[limits]\nconnections = \"many\"\n",
			[]string{":1: mode: must be one of", ":3: [limits] connections: must be a whole number"}},
		{"range", "[authorization]\nrefresh = \"4s\"\nleeway = \"61s\"\nretry = \"1\"\n", []string{
			":2: [authorization] refresh: 4s is out of range", ":3: [authorization] leeway: 61s is out of range",
			":4: [authorization] retry: \"1\" is not a duration"}},
		{"http", "[authorization]\nservers = [\"http://auth.example.com\"]\n",
			[]string{":2: [authorization] servers: \"http://auth.example.com\" must be https"}},
		{"secret in a URL", "[authorization]\nservers = [\"https://user:hunter2@auth.example.com\"]\n",
			[]string{":2: [authorization] servers: "}},
		{"sockets", "[sockets]\nauthz = \"run/authz.sock\"\nallow_uids = [-1]\n",
			[]string{":2: [sockets] authz: ", ":3: [sockets] allow_uids: -1 is not a user number"}},
		{"one socket twice", "[sockets]\nauthz = \"/run/x\"\nhttp = \"/run/x\"\n",
			[]string{":3: [sockets] authz and [sockets] http are both"}},
		{"NMOS path made public", "[paths]\npublic = [\"/X-NMOS/node\"]\n", []string{":2: [paths] public: "}},
		{"not UTF-8", "# \xff\n", []string{":1: the file is not UTF-8 text"}},
		{"huge", strings.Repeat("# nothing\n", 120_000), []string{":1: the file is over 256 KiB"}},
		{"nested", "mode = " + strings.Repeat("[", 20_000) + "\n",
			[]string{":1: arrays and inline tables are nested more than the maximum of 10000 levels deep"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := file(t, "broken.toml", c.text)
			for _, name := range []string{"check-config", "run"} {
				r := command(t, "", name, "--config", path)
				lines := strings.Split(strings.TrimSuffix(r.errors, "\n"), "\n")
				if r.status != 1 || r.out != "" || len(lines) != len(c.complaints) {
					t.Fatalf("%s: exit status %d, %d complaints, want %d\n%s%s",
						name, r.status, len(lines), len(c.complaints), r.out, r.errors)
				}
				for i, want := range c.complaints {
					if !strings.HasPrefix(lines[i], "nmos-authd: "+path+want) {
						t.Errorf("%s: %s\nwant %s", name, lines[i], path+want)
					}
				}
				if strings.Contains(r.errors, "hunter2") {
					t.Errorf("%s repeats a password: %s", name, r.errors)
				}
			}
		})
	}
	good := "[device]\nnames = [\"node-1.example.com\"]\n[authorization]\n" +
		"servers = [\"https://auth.example.com\"]\nca_file = "
	for _, key := range []string{"group", "admin_group", "view_group"} {
		command(t, "", "check-config", "--config",
			file(t, "a.toml", good+"\"\"\n[sockets]\n"+key+" = \"no-such-group\"\n")).
			check(t, 1, "", "[sockets] "+key+`: there is no group "no-such-group"`)
	}
	command(t, "", "check-config", "--config", file(t, "a.toml", good+"\"\"\n")).
		check(t, 0, `good. Mode enforce; this device is ["node-1.example.com"], model generic; servers ["https://auth.example.com"].`, "")
	command(t, "", "check-config", "--config", file(t, "a.toml", good+"\"/no/such/file.pem\"\n")).
		check(t, 1, "", "ca_file: open /no/such/file.pem")
	command(t, "", "check-config", "--config", file(t, "a.toml", good+"\""+file(t, "ca.pem", "not PEM")+"\"\n")).
		check(t, 1, "", "holds no certificate in PEM")
	command(t, "", "check-config", "--config", "../../configs/nmos-authd.toml").check(t, 1, "",
		"ca_file: open /etc/nmos-authd/ca.pem")
}

func TestAsk(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := start(t, trusting(t, server))
	token := everything(server).Sign()
	b.await(get(senders).bearing(token), 200, "ok")
	tokenFile := file(t, "token", "  Bearer "+token+"\n")
	readOnly := file(t, "token",
		server.Token(mint.Options{Permissions: map[string]mint.Permission{"connection": {Read: []string{"*"}}}}).Sign())
	const meter = "/x-nmos/events/v1.0/sources/1"
	for _, c := range []struct {
		name, stdin    string
		args           []string
		status         int
		out, complaint string
	}{
		{"public", "", []string{"GET", "/x-nmos/"}, 0, "allow 200\nreason=public\n", ""},
		{"no token", "", []string{"GET", senders}, 1, "deny 401\nreason=no-token\n", ""},
		{"a token in a file", "", []string{"--token", tokenFile, "GET", senders}, 0,
			"allow 200\nreason=ok\nclient-id=controller-1\n", ""},
		{"a token from standard input", token, []string{"--token", "-", "GET", senders}, 0,
			"allow 200\nreason=ok\n", ""},
		{"nothing on standard input", " \n", []string{"--token", "-", "GET", senders}, 2, "",
			"standard input is empty"},
		{"two lines on standard input", token + "\n" + token, []string{"--token", "-", "GET", senders}, 2, "",
			"contains a line end"},
		{"a target with a line end", "", []string{"GET", "/x-nmos\nauthorization=x"}, 2, "",
			"the target contains a line end"},
		{"permission missing", "", []string{"--token", readOnly, "PATCH", receiver}, 1,
			"deny 403\nreason=path-not-granted\n", ""},
		{"the token alone", "", []string{"--verify", "--token", tokenFile}, 0, "allow 200\nreason=ok\n", ""},
		{"no token alone", "", []string{"--verify"}, 1, "deny 401\nreason=no-token\n", ""},
		{"several targets", "", []string{"--token", tokenFile, "GET", senders, meter, "/x-nmos"}, 0,
			"allow 200\nreason=ok\n", ""},
		{"several targets, some denied", "", []string{"--token", readOnly, "GET", senders, meter, meter + "?a=b"}, 1,
			"denied=" + meter + "\ndenied=" + meter + "\n", ""},
		{"a handshake", "", []string{"--upgrade", "websocket", "GET", "/x-nmos/events/v1.0/ws?access_token=" + token},
			0, "reason=ok", ""},
		{"the same without", "", []string{"GET", "/x-nmos/events/v1.0/ws?access_token=" + token},
			1, "reason=no-token", ""},
		{"not UTF-8", "", []string{"GET", "/\xff"}, 2, "error 400\nreason=packet-text\n", ""},
		{"longer than a packet", strings.Repeat("x", 40_000), []string{"--token", "-", "GET", senders}, 2,
			"error 400\nreason=packet-too-long\n", ""},
		{"longer than the kernel takes", strings.Repeat("x", 260_000),
			[]string{"--token", "-", "GET", senders}, 2, "", "message too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"ask", "--config", b.ConfigFile()}, c.args...)
			command(t, c.stdin, args...).check(t, c.status, c.out, c.complaint)
		})
	}

	// A daemon that hangs costs as much time as was allowed, and no more.
	if err := b.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon to stand still", func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.PID()))
		return err != nil || strings.Contains(string(status), "State:\tT")
	})
	command(t, "", "ask", "--socket", b.Authz(), "--timeout", "200ms", "GET", "/x-nmos").check(t, 2, "",
		"no reply within 200ms")
	if err := b.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	command(t, "", "ask", "--socket", b.Authz(), "--timeout", "20s", "GET", "/x-nmos").check(t, 0, "allow 200", "")
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	command(t, "", "ask", "--config", b.ConfigFile(), "GET", "/x-nmos").check(t, 2, "",
		"cannot ask the daemon: dial unixpacket")
}

// Something else may listen where the daemon should: it must not be taken for a permission.
func TestAskAnImpostor(t *testing.T) {
	t.Parallel()
	for reply, complaint := range map[string]string{"": "hung up", "allowed\n": "", "allow200\n": "", "pong 1\n": ""} {
		dir := newDir(t)
		path := filepath.Join(dir.Path(), "s")
		l, err := net.Listen("unixpacket", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				if reply != "" {
					c.Read(make([]byte, 1024))
					c.Write([]byte(reply))
				}
				c.Close()
			}
		}()
		r := command(t, "", "ask", "--socket", path, "--timeout", "20s", "GET", "/x-nmos")
		l.Close()
		r.check(t, 2, reply, complaint)
	}
}

// The sample token of AMWA INFO-002, and tokens of our own, told rule by rule. The signature is never printed.
func TestExplain(t *testing.T) {
	t.Parallel()
	const sample = "../../agent/explain/testdata/info-002-token.txt"
	text, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(t, authserver.Options{})
	dir := newDir(t)
	if err := dir.Write(daemon.Config{Servers: []string{server.Issuer()}}); err != nil {
		t.Fatal(err)
	}
	keys := file(t, "jwks.json", string(mint.JWKS(server.Signer())))
	otherKeys := file(t, "jwks.json", string(mint.JWKS(mint.CachedKey("attacker", 2048))))
	good, lost := everything(server).Sign(), server.Token(mint.Options{Device: "other.example.com"}).Sign()
	forger := everything(server)
	forger.Key = mint.CachedKey("attacker", 2048)
	forged, opaque := forger.Sign(), "2YotnFZFEjr1zCsicMWpAA"
	for _, c := range []struct {
		name, token    string
		args           []string
		status         int
		out, complaint string
	}{
		{"sample", string(text), []string{"GET", "/x-nmos/registration/v1.0/resource"}, 1,
			"KEY-5    NO  the configuration does not trust this issuer", ""},
		{"good", good, []string{"--jwks", keys, "GET", senders}, 0, "allow 200 ok", ""},
		{"good, keys unknown", good, []string{"GET", senders}, 3,
			"allow, IF the signature is good: it was not checked", ""},
		{"forged, keys unknown", forged, []string{"GET", senders}, 3,
			"allow, IF the signature is good: it was not checked", ""},
		{"the token in place of a file", good, []string{"--token", good, "GET", senders}, 2, "",
			"--token takes a file, not the token; \"-\" reads standard input"},
		{"an opaque token in place of a file", opaque, []string{"--token", opaque, "GET", senders}, 2, "",
			"--token takes a file, not the token; \"-\" reads standard input: no such file"},
		{"the token in place of the keys", good, []string{"--jwks", good, "GET", senders}, 2, "",
			"--jwks takes a file, not the key set"},
		{"the token in place of a number", good, []string{"--seq", good}, 2, "", "invalid value"},
		{"the token in place of the configuration",
			good, []string{"--config", good, "GET", senders}, 2, "", "open [token]"},
		{"the token in place of the method", good, []string{good, "GET", senders}, 2, "",
			"too few or too many arguments"},
		{"good, the token alone", good, []string{"--jwks", keys}, 0, "allow 200 ok", ""},
		{"forged", good, []string{"--jwks", otherKeys, "GET", senders}, 1,
			"KEY-6    NO  none of the 1 keys has kid", ""},
		{"another device", lost, []string{"--jwks", keys, "GET", senders}, 1,
			"CLM-6    NO  this device is [\"node-1.example.com\"]", ""},
		{"another device, which is this one",
			lost, []string{"--jwks", keys, "--device", "other.example.com", "GET", senders}, 0, "allow 200 ok", ""},
		{"several names",
			lost, []string{"--jwks", keys, "--device", "a.example.com, Other.example.com", "GET", senders}, 0,
			"allow 200 ok", ""},
		{"byte order mark", "\ufeff" + good + "\r\n", []string{"--jwks", keys, "GET", senders}, 0, "allow 200 ok", ""},
		{"later", good, []string{"--jwks", keys, "--at", "2200-01-01T00:00:00Z", "GET", senders}, 1,
			"CLM-7    NO  exp is", ""},
		{"no token", good, []string{"--token", "", "GET", senders}, 1, "deny 401 no-token", ""},
		{"nonsense", "nonsense", []string{"GET", senders}, 1, "TOK-1    NO  ", ""},
		{"nothing", "", []string{"GET", senders}, 2, "", "standard input is empty"},
		{"no time", good, []string{"--at", "yesterday"}, 2, "", "--at: \"yesterday\" is not a time such as "},
		{"no key set", good, []string{"--jwks", file(t, "jwks.json", "{}")}, 2, "",
			"neither an object with \"keys\" nor an array of keys"},
		{"a key set of 1 MB", good, []string{"--jwks", file(t, "jwks.json", strings.Repeat(" ", 1<<20))}, 2, "",
			"is over 262144 bytes"},
		{"a key set without end", good, []string{"--jwks", "/dev/zero"}, 2, "",
			"the file of --jwks is over 262144 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := command(t, c.token, append([]string{"explain", "--config", dir.ConfigFile()}, c.args...)...)
			r.check(t, c.status, c.out, c.complaint)
			if leak := leaked(r.out+r.errors, c.token); leak != "" {
				t.Errorf("it prints %q of the token", leak)
			}
		})
	}

	trusting := newDir(t)
	if err := trusting.Write(daemon.Config{Servers: []string{"https://authorization-server.com"}}); err != nil {
		t.Fatal(err)
	}
	// Offline, so nothing may wait for a network: a busy machine is not so slow three times.
	var r result
	least := time.Hour
	for try := 0; try < 3 && least > 5*time.Second; try++ {
		begin := time.Now()
		r = command(t, "", "explain", "--config", trusting.ConfigFile(), "--token", sample, "GET",
			"/x-nmos/registration/v1.0/resource")
		least = min(least, time.Since(begin))
	}
	if least > 5*time.Second {
		t.Errorf("explain took %v at the least, want it to wait for nobody", least)
	}
	for _, want := range []string{`alg is "RS512"`, "signature not checkable without keys",
		"NO  exp is 2021-02-08 14:11:56Z", "deny 401 token-expired"} {
		r.check(t, 1, want, "")
	}
	if leak := leaked(r.out, string(text)); leak != "" {
		t.Errorf("it prints %q of the token", leak)
	}
}
