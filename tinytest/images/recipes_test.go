package images_test

import (
	"bytes"
	"crypto/md5"
	"debug/elf"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// These tests run what the recipes say with the archive of "make dist", for arm64 and without a network, in the few
// lines of each build system that the recipe touches (testdata). They do not run the build systems themselves.

// makeArchive makes the archive from what is committed.
var makeArchive = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nmos-archive-")
	if err != nil {
		return "", err
	}
	archiveDir = dir
	from, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	if _, err := command(dir, nil, "git", "clone", "-q", from, "sources"); err != nil {
		return "", err
	}
	sources := filepath.Join(dir, "sources")
	_, err = command(sources, []string{"MAKEFLAGS="}, "make", "dist", "VERSION="+version, "SOURCE_DATE="+sourceDate)
	return filepath.Join(sources, "build", "nmos-authd-"+version+".tar.gz"), err
})

var archiveDir string

// archive returns the path of the archive of "make dist".
func archive(t *testing.T) string {
	t.Helper()
	needs(t, "git", "make", "tar", "gzip")
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		t.Skip("these sources are not in git, from which the archive is made")
	}
	file, err := makeArchive()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// offline is an environment in which no module can be fetched.
func offline(t *testing.T) []string {
	return []string{"GOPROXY=off", "GOMODCACHE=" + filepath.Join(t.TempDir(), "modules"), "MAKEFLAGS="}
}

// holds checks that a root file system has the files, and that its program is the one for arm64 of this version.
func holds(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, f := range files {
		info, err := os.Stat(filepath.Join(dir, f))
		if err != nil || info.Size() == 0 {
			t.Errorf("%s is not installed: %v", f, err)
			continue
		}
		executable := strings.HasPrefix(f, "usr/bin/") || strings.HasPrefix(f, "etc/init.d/")
		if want := map[bool]os.FileMode{true: 0o755, false: 0o644}[executable]; info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", f, info.Mode(), want)
		}
	}
	program, err := os.ReadFile(filepath.Join(dir, "usr/bin/nmos-authd"))
	if err != nil {
		t.Fatal(err)
	}
	isStatic(t, "usr/bin/nmos-authd", program, elf.EM_AARCH64)
	if !bytes.Contains(program, []byte(version)) {
		t.Errorf("the program does not know its version, %s", version)
	}
}

var systemdFiles = []string{
	"usr/lib/systemd/system/nmos-authd.service", "usr/lib/systemd/system/nmos-authd.socket",
	"usr/lib/systemd/system/nmos-authd-http.socket", "usr/lib/systemd/system/nmos-authd-admin.socket",
	"usr/lib/systemd/system/nmos-authd-view.socket",
	"usr/lib/tmpfiles.d/nmos-authd.conf",
}

func TestBuildrootPackage(t *testing.T) {
	dir := t.TempDir()
	source := archive(t)
	external := filepath.Join(dir, "external")
	mustRun(t, dir, nil, "cp", "-R", abs(t, filepath.Join(root, "configs/buildroot")), external)
	harness := []string{"-f", abs(t, "testdata/buildroot.mk"), "BR2_EXTERNAL_NMOS_AUTHD_PATH=" + external,
		"WORK=" + dir, "TARGET_DIR=" + filepath.Join(dir, "target"), "WANT=" + version}
	if out, err := command(dir, nil, "make", harness...); err == nil || !strings.Contains(out, "put the archive") {
		t.Errorf("without the archive: %v\n%s", err, out)
	}
	older := filepath.Join(external, "dl/nmos-authd-1.2.2.tar.gz")
	write(t, older, "", 0o644)
	write(t, filepath.Join(external, "dl", filepath.Base(source)), read(t, source), 0o644)
	if out, err := command(dir, nil, "make", harness...); err == nil || !strings.Contains(out, "and no other") {
		t.Errorf("with two archives: %v\n%s", err, out)
	}
	if err := os.Remove(older); err != nil {
		t.Fatal(err)
	}
	mustRun(t, dir, offline(t), "make", append(harness, filepath.Join(dir, "build/nmos-authd/.stamp"))...)
	holds(t, filepath.Join(dir, "target"), append([]string{"usr/bin/nmos-authd", "etc/nmos-authd/nmos-authd.toml",
		"etc/init.d/S45nmos-authd"}, systemdFiles...)...)

	// The makeusers and makedevs tables of Buildroot's manual: so many fields, and these the user's, the group's and
	// the mode.
	tables := strings.Split(strings.TrimSpace(mustRun(t, dir, nil, "make", append(harness, "tables")...)), "\n")
	if len(tables) != 2 {
		t.Fatalf("tables: %q", tables)
	}
	if f := strings.Fields(tables[0]); len(f) < 9 || f[0] != "nmos-authd" || f[1] != "-1" ||
		f[2] != "nmos-authd" || f[4] != "*" {
		t.Errorf("the line of users is %q", tables[0])
	}
	if f := strings.Fields(tables[1]); len(f) != 10 || f[0] != "/var/lib/nmos-authd" || f[1] != "d" || f[2] != "700" ||
		f[3] != "nmos-authd" {
		t.Errorf("the line of permissions is %q", tables[1])
	}
	if menu := read(t, filepath.Join(external, "Config.in")); !strings.Contains(menu, "/package/nmos-authd/Config.in") {
		t.Errorf("Config.in is %q", menu)
	}
	for _, line := range []string{"config BR2_PACKAGE_NMOS_AUTHD\n",
		"depends on BR2_PACKAGE_HOST_GO_TARGET_ARCH_SUPPORTS\n"} {
		if !strings.Contains(read(t, filepath.Join(external, "package/nmos-authd/Config.in")), line) {
			t.Errorf("the package's Config.in has no %q", line)
		}
	}
	if name := read(t, filepath.Join(external, "external.desc")); !strings.Contains(name, "name: NMOS_AUTHD\n") {
		t.Errorf("external.desc is %q", name)
	}
}

func TestOpenWrtPackage(t *testing.T) {
	dir := t.TempDir()
	source := archive(t)
	mustRun(t, dir, nil, "cp", "-R", abs(t, filepath.Join(root, "configs/openwrt/nmos-authd")), "package")
	harness := []string{"-C", filepath.Join(dir, "package"), "TOPDIR=" + abs(t, "testdata/openwrt"),
		"WORK=" + dir, "WANT=" + version}
	if out, err := command(dir, nil, "make", append(harness, "WANT=0")...); err == nil ||
		!strings.Contains(out, "put the archive") {
		t.Errorf("without the archive: %v\n%s", err, out)
	}
	// apk refuses what is not digit{.digit}{_suffix{digit}}{~hash}.
	for archive, want := range map[string]string{
		"1.2.3": "1.2.3", "v1.2.3": "1.2.3", "v1.2.3-4-gabcdef0": "1.2.3_p4~abcdef0", "v1.3.0-rc1": "1.3.0_rc1",
		"55e3182": "0~55e3182",
	} {
		file := filepath.Join(dir, "package", "nmos-authd-"+archive+".tar.gz")
		write(t, file, "", 0o644)
		if got := mustRun(t, dir, nil, "make", append(harness, "-s", "version")...); got != want+"\n" {
			t.Errorf("the archive of %s makes the package %q, want %s", archive, got, want)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "package", filepath.Base(source)), read(t, source), 0o644)
	older := filepath.Join(dir, "package/nmos-authd-1.2.2.tar.gz")
	write(t, older, "", 0o644)
	if out, err := command(dir, nil, "make", append(harness, "WANT=1.2.2")...); err == nil ||
		!strings.Contains(out, "and no other") {
		t.Errorf("with two archives: %v\n%s", err, out)
	}
	if err := os.Remove(older); err != nil {
		t.Fatal(err)
	}
	mustRun(t, dir, offline(t), "make", harness...)
	installed := filepath.Join(dir, "root")
	holds(t, installed, "usr/bin/nmos-authd", "etc/nmos-authd/nmos-authd.toml", "etc/init.d/nmos-authd")
	if text := read(t, filepath.Join(installed, "etc/nmos-authd/nmos-authd.toml")); !strings.Contains(text,
		"\"/var/run/nmos-authd/authz.sock\"") || strings.Contains(text, "\"/run") {
		t.Error("the configuration does not have the paths of OpenWrt")
	}
}

func TestYoctoRecipe(t *testing.T) {
	dir := t.TempDir()
	layer := filepath.Join(root, "configs/yocto")
	recipe := read(t, filepath.Join(layer, "recipes-nmos/nmos-authd/nmos-authd.bb"))
	values := map[string]string{
		"NMOS_AUTHD_VERSION": version, "PN": "nmos-authd", "S": filepath.Join(dir, "nmos-authd-"+version),
		"D": filepath.Join(dir, "image"), "bindir": "/usr/bin", "sysconfdir": "/etc", "localstatedir": "/var",
		"nonarch_libdir": "/usr/lib", "docdir": "/usr/share/doc", "systemd_system_unitdir": "/usr/lib/systemd/system",
		"GO": "go",
	}
	inner := regexp.MustCompile(`\$\{([A-Za-z_]+(?::[a-z-]+)?)\}`)
	expand := func(text string) string {
		for range 3 { // ${SYSTEMD_SERVICE:${PN}} takes two turns
			text = inner.ReplaceAllStringFunc(text, func(v string) string {
				value, ok := values[inner.FindStringSubmatch(v)[1]]
				if !ok {
					t.Fatalf("the recipe uses %s, which this test does not know", v)
				}
				return value
			})
		}
		return text
	}
	setting := regexp.MustCompile(`(?m)^(?:export )?([A-Za-z_]+(?::\$\{PN\})?) \+?= "(.*)"$`)
	for _, line := range setting.FindAllStringSubmatch(recipe, -1) {
		values[expand(line[1])] = expand(line[2])
	}
	license := md5.Sum([]byte(read(t, filepath.Join(root, "LICENSE"))))
	for name, want := range map[string]string{
		"PV":               version,
		"SRC_URI":          "file://nmos-authd-" + version + ".tar.gz",
		"LICENSE":          "Apache-2.0 & BSD-3-Clause & MIT",
		"LIC_FILES_CHKSUM": "file://LICENSE;md5=" + hex.EncodeToString(license[:]),
		"USERADD_PACKAGES": "nmos-authd",
		"SYSTEMD_SERVICE:nmos-authd": "nmos-authd.service nmos-authd.socket nmos-authd-http.socket " +
			"nmos-authd-admin.socket",
		"CONFFILES:nmos-authd":   "/etc/nmos-authd/nmos-authd.toml",
		"INSANE_SKIP:nmos-authd": "already-stripped",
		"INITSCRIPT_NAME":        "nmos-authd",
		"GO_IMPORT":              "nmosauthd",
		"USERADD_PARAM:nmos-authd": "--system --user-group --no-create-home --home-dir /var/lib/nmos-authd --shell " +
			"/sbin/nologin nmos-authd",
	} {
		if values[name] != want {
			t.Errorf("%s is %q, want %q", name, values[name], want)
		}
	}
	if conf := read(t, filepath.Join(layer, "conf/layer.conf")); !strings.Contains(conf,
		`"${LAYERDIR}/recipes-*/*/*.bb"`) {
		t.Errorf("layer.conf is\n%s", conf)
	}
	mustRun(t, dir, nil, "tar", "-xf", archive(t))
	feature := regexp.MustCompile(`\$\{@bb\.utils\.contains\('DISTRO_FEATURES', '(?:systemd|sysvinit)', 'true', 'false', d\)\}`)
	for _, task := range []string{"do_compile", "do_install"} {
		body := regexp.MustCompile(`(?ms)^` + task + `\(\) \{\n(.*?)^\}$`).FindStringSubmatch(recipe)
		if body == nil {
			t.Fatalf("the recipe has no %s", task)
		}
		script := expand(feature.ReplaceAllString(body[1], "true"))
		mustRun(t, dir, append(offline(t), "GOOS=linux", "GOARCH=arm64"), "sh", "-euc",
			"oe_runmake() { make \"$@\"; }\n"+script)
	}
	holds(t, filepath.Join(dir, "image"), append([]string{"usr/bin/nmos-authd", "etc/nmos-authd/nmos-authd.toml",
		"etc/init.d/nmos-authd", "usr/share/doc/nmos-authd/copyright"}, systemdFiles...)...)
}
