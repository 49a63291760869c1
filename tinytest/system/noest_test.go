package system_test

import (
	"os/exec"
	"strings"
	"testing"

	"nmosauthd/tinytest/daemon"
)

// A daemon that was built without EST says so to who asks for it, and does all else.
func TestWithoutEST(t *testing.T) {
	without, err := daemon.Build(t.TempDir(), "-tags", "noest")
	if err != nil {
		t.Fatal(err)
	}
	const est = "[certificates]\nest = \"auto\"\ntrust_first = true\n"
	for _, c := range []struct{ program, want string }{
		{program, ""},
		{without, ":2: [certificates] est is not available: this nmos-authd was built without EST"},
	} {
		r := finish(t, exec.CommandContext(t.Context(), c.program, "check-config", "--config",
			file(t, "est.toml", est)), "")
		if got := strings.Contains(r.errors, "without EST"); got != (c.want != "") ||
			!strings.Contains(r.errors, c.want) {
			t.Errorf("%s: got %q, want %q", c.program, r.errors, c.want)
		}
	}
	folder := newDir(t)
	if err := folder.Write(daemon.Config{Admin: true}); err != nil {
		t.Fatal(err)
	}
	d := startCommand(t, exec.Command(without), folder)
	command(t, "", "certs", "enrol", "--config", d.ConfigFile()).check(t, 1, "", "built without EST")
	if _, status := (&box{t: t, caller: newCaller(t, folder), Daemon: d}).admin("GET", "/status",
		""); !strings.Contains(status, `"certs"`) {
		t.Errorf("the status has no certificates: %s", status)
	}
}
