package system_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nmosauthd/platform"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/spec"
)

// What a token gets follows from the state of this machine's clock, whatever that is, and from the configuration, at
// once after a reload.
func TestClockOfThisMachine(t *testing.T) {
	spec.Rules(t, "OPS-1")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	judging := trusting(t, server)
	b := start(t, judging)
	token := get(senders).bearing(everything(server).Sign())
	b.await(token, 200, "ok")

	state := platform.NewClock().Status().State
	b.waitLog(0, `"message":"clock","state":"`+state.String()+`"`)
	denying := judging
	denying.More += "[clock]\nunsynchronised = \"deny\"\n"
	b.reload(denying)
	if state == platform.ClockSynchronised {
		b.want(token, 200, "ok")
	} else if a := b.askBoth(token); a.status != 503 || a.reason != "clock-untrusted" {
		t.Errorf("nobody vouches for the clock: %v", a)
	}
	b.want(get(senders), 401, "no-token")
	b.reload(judging)
	b.want(token, 200, "ok")
}

// A device that was switched on before its clock was set: to a daemon that is built in half a year the clock of this
// machine looks like that. The configuration has no say in it. Certificates that are valid then count meanwhile.
func TestClockUnset(t *testing.T) {
	spec.Rules(t, "OPS-1")
	t.Parallel()
	dir := t.TempDir()
	built := time.Now().AddDate(0, 6, 0).UTC().Format(time.RFC3339)
	later, err := daemon.Build(dir, "-ldflags=-X nmosauthd/platform.buildTime="+built)
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More += "[clock]\nunsynchronised = \"judge\"\n"
	folder := newDir(t)
	if err := folder.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, folder)}
	b.Daemon = startCommand(t, exec.Command(later), folder)

	good, broken := get(senders).bearing(everything(server).Sign()), get(senders).bearing("x.y.z")
	b.await(good, 503, "clock-untrusted")
	if a := b.askBoth(good); a.status != 503 || a.reason != "clock-untrusted" {
		t.Errorf("got %v, want 503 clock-untrusted", a)
	}
	if a := b.askBoth(broken); a.status != 401 {
		t.Errorf("broken: %v", a)
	}
	b.want(get("/x-nmos/"), 200, "public")
	b.waitLog(0, "clock; tokens are answered 503")
	b.waitLog(0, "but "+built+" was when this program was built")
}

// A server whose Date is wrong, be it of the only one or of another, changes no answer, is shown, and is not kept
// (OPS-1).
func TestClockOfServers(t *testing.T) {
	spec.Rules(t, "OPS-1")
	t.Parallel()
	for _, ahead := range []time.Duration{37 * time.Second, 73 * 365 * 24 * time.Hour, -time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			server := newServer(t, authserver.Options{Date: ahead})
			config := trusting(t, server)
			b := startKeeping(t, config)
			token := get(senders).bearing(everything(server).Sign())
			b.await(token, 200, "ok")
			b.want(token, 200, "ok")
			// Date has whole seconds, and is older by the time the answer is there.
			eventually(t, "the log to say that "+platform.ExplainOffset(-ahead, 0), func() bool {
				for late := time.Duration(0); late < patience; late += time.Second {
					about, _, _ := strings.Cut(platform.ExplainOffset(late-ahead, 0), "s ")
					if strings.Contains(b.Log(), about) {
						return true
					}
				}
				return false
			})
			b.waitKept(server.Issuer())
			server.Misbehave("", authserver.ResetConnect)
			b.again(nil)
			b.await(token, 200, "ok")
			if at, err := os.ReadFile(filepath.Join(b.config.State, "time")); strings.Contains(string(at), "20"+"99") {
				t.Errorf("kept: %q, %v", at, err)
			}
		})
	}
}

// A device whose clock was restored from a file at the boot is two hours behind its server, and nobody vouches for the
// clock: fresh tokens are good, those that they show to have expired are not, and one that the server cannot have dated
// yet is 503.
func TestClockBehindItsServer(t *testing.T) {
	spec.Rules(t, "OPS-1", "CLM-8")
	t.Parallel()
	if platform.NewClock().Status().State == platform.ClockSynchronised {
		t.Skip("skipped: the clock of this machine is synchronised, and decides")
	}
	const behind = 2 * time.Hour
	server := newServer(t, authserver.Options{Date: behind})
	b := start(t, trusting(t, server))
	dated := func(issued, expires time.Duration) question {
		tok, now := everything(server), time.Now().Add(behind)
		tok.Claims.Set("iat", now.Add(issued).Unix())
		tok.Claims.Set("exp", now.Add(expires).Unix())
		return get(senders).bearing(tok.Sign())
	}
	expired := dated(-time.Hour, -127*time.Second)
	b.await(expired, 200, "ok") // the clock cannot know better
	b.want(dated(-time.Second, time.Hour), 200, "ok")
	b.want(expired, 401, "token-expired")
	a := b.askBoth(dated(6*time.Minute, time.Hour))
	if a.status != 503 || a.reason != "clock-untrusted" || a.retry < 1 {
		t.Errorf("dated by a server six minutes ahead of itself: got %v, want 503 clock-untrusted", a)
	}
	b.want(dated(-time.Minute, time.Hour), 200, "ok")
}
