package images_test

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/spec"
)

// exposure is the most that systemd-analyze may find, 0 to 10. What remains is what the daemon is for: a network, Unix
// sockets, who the callers are, and whether the clock is kept.
const exposure = 2.0

func TestUnitsAreHardened(t *testing.T) {
	needs(t, "systemd-analyze")
	out := mustRun(t, root, nil, "systemd-analyze", "--no-pager", "security", "--offline=true",
		"configs/systemd/nmos-authd.service")
	found := regexp.MustCompile(`Overall exposure level for nmos-authd.service: ([0-9.]+)`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("systemd-analyze does not rate the unit:\n%s", out)
	}
	if rate, err := strconv.ParseFloat(found[1], 64); err != nil || rate > exposure {
		t.Errorf("the unit is rated %s, at most %.1f are wanted:\n%s", found[1], exposure, out)
	}
}

func TestUnitsAreCorrect(t *testing.T) {
	needs(t, "systemd-analyze")
	dir := t.TempDir()
	files, err := filepath.Glob(filepath.Join(root, "configs/systemd/*"))
	if err != nil || len(files) != 7 {
		t.Fatalf("%d units, %v", len(files), err)
	}
	verify := []string{"--man=no", "verify"}
	for _, f := range files {
		copied := filepath.Join(dir, filepath.Base(f))
		// The daemon is not installed here; any other program does for the check.
		write(t, copied, strings.ReplaceAll(read(t, f), "/usr/bin/nmos-authd", "/bin/sh"), 0o644)
		verify = append(verify, copied)
	}
	if out := mustRun(t, dir, nil, "systemd-analyze", verify...); strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify says:\n%s", out)
	}
}

// The daemon adopts a socket by its name and only at its configured path.
func TestSocketUnitsAgreeWithTheConfiguration(t *testing.T) {
	const file = "configs/nmos-authd.toml"
	c, err := config.Parse(file, []byte(read(t, filepath.Join(root, file))))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct{ unit, name, listen string }{
		{"nmos-authd.socket", "authz", "ListenSequentialPacket=" + c.Sockets.Authz},
		{"nmos-authd-http.socket", "http", "ListenStream=" + c.Sockets.HTTP},
		{"nmos-authd-admin.socket", "admin", "ListenStream=" + c.Sockets.Admin},
		{"nmos-authd-view.socket", "view", "ListenStream=/run/nmos-authd/view.sock"}, // off in both
	} {
		text := read(t, filepath.Join(root, "configs/systemd", s.unit))
		for _, line := range []string{s.listen, "FileDescriptorName=" + s.name,
			"Service=nmos-authd.service", "SocketMode=0660"} {
			if !strings.Contains(text, "\n"+line+"\n") {
				t.Errorf("%s has no line %s", s.unit, line)
			}
		}
	}
}

// What would hide from the daemon what comes later, or keep it from running although it can serve with what it has.
func TestUnitLetsTheDaemonServe(t *testing.T) {
	spec.Rules(t, "CLM-4", "KEY-3")
	unit := read(t, filepath.Join(root, "configs/systemd/nmos-authd.service"))
	for _, c := range []struct{ setting, why string }{
		{"ProtectHostname", "a host name that DHCP brings is not seen: every token is 403 until a restart"},
		{"(?:State|Configuration|Logs|Cache)Directory", "it requires the disk to be mounted"},
		{"RequiresMountsFor", "it requires the disk to be mounted"},
		{"PrivateTmp", "it requires the disk of /var/tmp to be mounted"},
	} {
		if found := regexp.MustCompile(`(?m)^` + c.setting + `=.*`).FindString(unit); found != "" {
			t.Errorf("the unit has %s; want no %s=: %s", found, c.setting, c.why)
		}
	}
}
