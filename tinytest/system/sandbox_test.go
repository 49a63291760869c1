package system_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/spec"
)

// In which places the daemon may open what is tested where it is put together, agent/daemon. Here it is the real
// process that is shut in, and goes on with all it is for.

// needSandbox skips where the kernel gives none.
func (b *box) needSandbox() {
	b.t.Helper()
	if strings.Contains(b.Log(), "sandbox: not in force: the kernel has no Landlock") {
		b.t.Skip("this kernel has no Landlock, as the daemon's log says")
	}
	b.waitLog(0, `"message":"sandbox: in force"`)
}

// replace puts a file in the place of another by renaming.
func replace(t *testing.T, path string, put func(temp string) error) {
	t.Helper()
	if err := put(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Roots that are replaced where they lie are read, be they a file in place of another; through a link that leads
// elsewhere they are not, though the daemon's user may read them there. The server is called by name, which the
// system's files resolve.
func TestSandboxKeepsRootsIn(t *testing.T) {
	spec.Rules(t, "DIS-5")
	t.Parallel()
	elsewhere := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(elsewhere, ca(t).PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	toElsewhere := func(temp string) error { return os.Symlink(elsewhere, temp) }
	for _, sandboxed := range []bool{true, false} {
		t.Run(fmt.Sprint("sandboxed ", sandboxed), func(t *testing.T) {
			t.Parallel()
			server := newServer(t, authserver.Options{Host: "localhost"})
			config := trusting(t, server)
			config.More = fmt.Sprintf("refresh = \"5s\"\nretry = \"1s\"\n[sandbox]\nlandlock = %v", sandboxed)
			b := startKeeping(t, config)
			good := get(senders).bearing(everything(server).Sign())
			b.await(good, 200, "ok")
			b.waitKept(server.Issuer())

			after := len(b.Log())
			if !sandboxed {
				b.waitLog(0, "sandbox: off")
				server.Replace()
				replace(t, b.CAFile(), toElsewhere)
				b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
				return
			}
			b.needSandbox()
			replace(t, b.CAFile(), toElsewhere)
			b.waitLog(after, "keys not fetched; those held stay valid")
			if log := b.Log()[after:]; !strings.Contains(log, "ca_file: open "+b.CAFile()+": permission denied") {
				t.Errorf("the log does not say that the roots may not be read:\n%s", log)
			}
			b.want(good, 200, "ok")

			server.Replace()
			replace(t, b.CAFile(), func(temp string) error { return os.WriteFile(temp, ca(t).PEM(), 0o644) })
			b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
			b.waitKept("key-2")
		})
	}
}

// Roots whose link or folder is swapped for another version beside it are read without a restart.
func TestSandboxFollowsSwappedRoots(t *testing.T) {
	spec.Rules(t, "DIS-5")
	t.Parallel()
	stranger, err := authserver.NewCA("another CA")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ file, swap string }{
		"the link of the file":   {"etc/ca.pem", "ln -s ../data/v2/ca.pem etc/n && mv -T etc/n etc/ca.pem"},
		"a link on the way":      {"data/current/ca.pem", "ln -s v2 data/n && mv -T data/n data/current"},
		"a link to that":         {"etc/linked.pem", "ln -s v2 data/n && mv -T data/n data/current"},
		"the folder":             {"data/v1/ca.pem", "mv data/v1 data/old && mv data/v2 data/v1"},
		"a folder of such files": {"data/v1", "mv data/v1 data/old && mv data/v2 data/v1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, authserver.Options{})
			dir := newDir(t)
			put := func(version string, pem []byte) {
				folder := dir.File("data/" + version)
				if err := errors.Join(os.MkdirAll(folder, 0o755),
					os.WriteFile(folder+"/ca.pem", pem, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			put("v1", stranger.PEM())
			put("v2", ca(t).PEM())
			shell := func(script string) {
				t.Helper()
				command := exec.Command("sh", "-ec", script)
				command.Dir = dir.Path()
				if out, err := command.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			shell("mkdir etc; ln -s v1 data/current; ln -s ../data/v1/ca.pem etc/ca.pem; ln -s " +
				"../data/current/ca.pem etc/linked.pem")
			config := trusting(t, server)
			config.More = "refresh = \"5s\"\nretry = \"1s\""
			if err := dir.Write(config); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(dir.ConfigFile())
			if err != nil {
				t.Fatal(err)
			}
			if err := dir.WriteText(strings.Replace(string(text), dir.CAFile(), dir.File(c.file), 1)); err != nil {
				t.Fatal(err)
			}
			b := &box{t: t, config: config, caller: newCaller(t, dir)}
			b.Daemon = startIn(t, dir)
			b.needSandbox()
			b.waitLog(0, "comes from an authority that this device does not trust")
			shell(c.swap)
			b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
		})
	}
}

// What the daemon writes stays in its folder, too: where a link leads out of it, the state is not kept, and decisions
// go on.
func TestSandboxKeepsStateIn(t *testing.T) {
	spec.Rules(t, "KEY-3")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "refresh = \"5s\"\nretry = \"1s\""
	b := startKeeping(t, config)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	b.waitKept("key-1")
	b.needSandbox()
	elsewhere := t.TempDir()
	if err := os.Rename(b.config.State, b.config.State+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, b.config.State); err != nil {
		t.Fatal(err)
	}
	after := len(b.Log())
	server.Replace()
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	b.waitLog(after, "state not written")
	if log := b.Log()[after:]; !strings.Contains(log, "permission denied") {
		t.Errorf("it was not the sandbox:\n%s", log)
	}
	if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) > 0 {
		t.Errorf("outside: %v, %v", entries, err)
	}
}

// A configuration that needs what the sandbox does not reach is refused, and the log says that a restart is needed.
func TestReloadOutsideSandbox(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	b := start(t, trusting(t, server))
	token := get(senders).bearing(everything(server).Sign())
	b.await(token, 200, "ok")
	b.needSandbox()
	elsewhere := t.TempDir()
	inside, err := os.ReadFile(b.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := fmt.Sprintf("ca_file = %q", b.CAFile())
	for key, change := range map[string][2]string{
		"[authorization] ca_file": {roots, fmt.Sprintf("ca_file = %q", elsewhere+"/ca.pem")},
		"[inventory] file": {roots,
			roots + fmt.Sprintf("\n[inventory]\nfile = %q", elsewhere+"/inventory.json")},
		"[audit] file": {roots, roots + fmt.Sprintf("\n[audit]\nsinks = [\"file\"]\nfile = %q",
			elsewhere+"/audit.log")},
		"[metrics] file": {roots, roots + fmt.Sprintf("\n[metrics]\nfile = %q", elsewhere+"/nmos.prom")},
	} {
		after := len(b.Log())
		text := strings.Replace(string(inside), "mode = \"enforce\"", "mode = \"off\"", 1)
		if err := b.WriteText(strings.Replace(text, change[0], change[1], 1)); err != nil {
			t.Fatal(err)
		}
		b.hangUp("configuration not reread; the old one stays in force")
		b.waitLog(after, fmt.Sprintf("%s %s is outside the sandbox; restart the daemon", key, elsewhere))
		b.want(get(senders), 401, "no-token")
	}
	config := b.config
	config.More = "[sandbox]\nlandlock = false"
	if err := b.Write(config); err != nil {
		t.Fatal(err)
	}
	b.hangUp("[sandbox] landlock: a change takes effect after a restart")
	b.want(token, 200, "ok")

	// Started again, it reaches what it could not.
	if err := os.WriteFile(filepath.Join(elsewhere, "ca.pem"), ca(t).PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteText(strings.Replace(string(inside), roots,
		fmt.Sprintf("ca_file = %q", elsewhere+"/ca.pem"), 1)); err != nil {
		t.Fatal(err)
	}
	b.Kill()
	b.Daemon = startIn(t, b.Dir)
	b.caller = newCaller(t, b.Dir)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
}

// A configuration file that is named from the working folder is reread as any other.
func TestSandboxRelativeConfig(t *testing.T) {
	t.Parallel()
	dir, folder := newDir(t), t.TempDir()
	config := trusting(t)
	b := &box{t: t, config: config, caller: newCaller(t, dir)}
	put := func() {
		t.Helper()
		if err := dir.Write(config); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(dir.ConfigFile())
		if err != nil {
			t.Fatal(err)
		}
		replaceFile(t, folder+"/etc/nmos-authd.toml", string(text))
	}
	if err := os.Mkdir(folder+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	put()
	script := fmt.Sprintf("exec '%s' run --config etc/nmos-authd.toml", program)
	command := exec.Command("sh", "-c", script) // the arguments that are added are the shell's
	command.Dir = folder
	b.Daemon = startCommand(t, command, dir)
	b.needSandbox()
	b.waitLog(0, fmt.Sprintf("%q", folder+"/etc")) // what is read is named in full
	b.want(get(senders), 401, "no-token")
	config.Mode = "observe"
	put()
	b.hangUp("configuration reread")
	b.want(get(senders), 200, "observe")
}

// A place that is not there is no reason not to start, and the log says what follows from it, then and when it comes.
func TestSandboxPlaceMissing(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	config := trusting(t)
	config.CAPEM = nil
	config.State = dir.File("disk") + "/state"
	none := filepath.Join(t.TempDir(), "not", "there") // nor the folder above it
	config.Sockets = fmt.Sprintf("[inventory]\nfile = %q", none+"/inventory.json")
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir)}
	b.Daemon = startIn(t, dir)
	b.needSandbox()
	for key, path := range map[string]string{"[state] dir": config.State, "[inventory] file": none} {
		b.waitLog(0,
			fmt.Sprintf(`it will stay inaccessible until the daemon is restarted","place":%q,"path":%q`, key, path))
	}
	b.want(get("/x-nmos"), 200, "public")
	if err := os.MkdirAll(none, 0o755); err != nil {
		t.Fatal(err)
	}
	replaceFile(t, none+"/inventory.json", `{"resources": []}`)
	b.waitLog(0, "/inventory.json: permission denied (if its mode allows it, its folder is newer than the sandbox: "+
		"restart the daemon)")

	// It is no reason to refuse other changes either.
	config.Mode = "observe"
	b.reload(config)
	b.want(get(senders), 200, "observe")
}

// status returns fields of the kernel's account of every thread of the daemon (proc_pid_status(5)).
func status(t *testing.T, d *daemon.Daemon, field string) (values []string) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", d.PID()))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) { // a thread that has ended
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if value, found := strings.CutPrefix(line, field+":"); found {
				values = append(values, strings.TrimSpace(value))
			}
		}
	}
	if len(values) == 0 {
		t.Fatalf("no %s in %q", field, files)
	}
	return values
}

// The daemon runs as an ordinary user from the start, with folders that belong to it, and has no privilege nor a way to
// one. Root is told that it need not be root.
func TestOwnUser(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	dir := newDir(t)
	config := trusting(t, server)
	config.State = dir.File("state")
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program)
	if os.Getuid() == 0 {
		const user = 65534
		for _, path := range []string{dir.Path(), dir.ConfigFile(), dir.CAFile()} {
			if err := os.Chown(path, user, user); err != nil {
				t.Fatal(err)
			}
		}
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir)}
	b.Daemon = startCommand(t, command, dir)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	// whoever tests is another user, whom StateDir would not believe
	eventually(t, "the state to hold the issuer", func() bool {
		data, err := os.ReadFile(b.stateFile("keys"))
		return err == nil && strings.Contains(string(data), server.Issuer())
	})
	if log := b.troubles(); log != "" || strings.Contains(b.Log(), "running as root") {
		t.Errorf("the log of an ordinary user:\n%s", b.Log())
	}
	for field, want := range map[string]string{"NoNewPrivs": "1", "CapPrm": "0", "CapEff": "0", "CapAmb": "0"} {
		for _, value := range status(t, b.Daemon, field) {
			if strings.TrimLeft(value, "0") != strings.TrimLeft(want, "0") {
				t.Errorf("%s is %s, want %s", field, value, want)
			}
		}
	}
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(b.Authz()); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestRootIsWarned(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("this needs root")
	}
	b := start(t, trusting(t))
	b.waitLog(0, `"level":"warn","time":`)
	b.waitLog(0, "running as root is not needed")
	for _, value := range status(t, b.Daemon, "NoNewPrivs") {
		if value != "1" {
			t.Errorf("new privileges are not refused: %s", value)
		}
	}
}
