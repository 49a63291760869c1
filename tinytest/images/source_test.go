package images_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The archive is built as a firmware's build system does it: no git, no network, no module that was fetched before.
func TestSourceArchiveBuildsAlone(t *testing.T) {
	made := archive(t)
	sources := filepath.Join(archiveDir, "sources")
	first := read(t, made)
	// Another clock, mask and zone, and the same bits.
	mustRun(t, sources, []string{"TZ=Asia/Tokyo"}, "sh", "-c",
		`umask 077; touch Makefile; make dist VERSION=`+version+` SOURCE_DATE=`+sourceDate)
	if read(t, made) != first {
		t.Error("make dist does not make the same archive twice")
	}

	dir := t.TempDir()
	mustRun(t, dir, nil, "tar", "-xf", made)
	unpacked := filepath.Join(dir, "nmos-authd-"+version)
	write(t, filepath.Join(dir, "bin", "git"), "#!/bin/sh\necho git was asked for $* >&2\nexit 1\n", 0o755)
	// A build system's own settings for modules are not those of the archive.
	alone := []string{
		"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"),
		"GOPROXY=off", "GOFLAGS=-mod=vendor", "GOMODCACHE=" + filepath.Join(dir, "unused"), "MAKEFLAGS=",
	}
	mustRun(t, unpacked, alone, "make")
	out := mustRun(t, unpacked, nil, "build/nmos-authd", "version")
	if !strings.HasPrefix(out, "nmos-authd "+version+" (") || !strings.Contains(out, sourceDate[:len("2026-08-01")]) {
		t.Errorf("nmos-authd version says %q; want version %s and sources of %s", out, version, sourceDate)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "unused")); err == nil && len(entries) > 0 {
		t.Errorf("the build has filled a module cache outside: %v", entries)
	}
	mustRun(t, sources, nil, "make", "VERSION="+version, "SOURCE_DATE="+sourceDate)
	if read(t, filepath.Join(sources, "build", "nmos-authd")) != read(t,
		filepath.Join(unpacked, "build", "nmos-authd")) {
		t.Error("the archive's binary is not the one that is built from git")
	}
	// The rules about the sources hold in the archive, too.
	modules := []string{
		"GOPROXY=file://" + filepath.Join(unpacked, "modules"), "GOMODCACHE=" +
			filepath.Join(unpacked, "build", "modules"),
		"GOSUMDB=off", "GOFLAGS=-modcacherw",
	}
	mustRun(t, unpacked, modules, "go", "test", "-run", "TestImportRules|TestRootFolder", "./tinytest")
}

func abs(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
