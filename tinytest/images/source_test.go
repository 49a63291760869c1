package images_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The archive is built as a firmware's build system does it: no git, no network, no module that was fetched before.
func TestSourceArchiveBuildsAlone(t *testing.T) {
	needs(t, "git", "make", "tar", "gzip")
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		t.Skip("these sources are not in git, from which the archive is made")
	}
	dir := t.TempDir()
	sources := filepath.Join(dir, "sources")
	mustRun(t, dir, nil, "git", "clone", "-q", abs(t, root), sources)
	mustRun(t, sources, nil, "make", "dist", "VERSION="+version, "SOURCE_DATE="+sourceDate)
	archive := filepath.Join(sources, "build", "nmos-authd-"+version+".tar.gz")
	first := read(t, archive)
	// Another clock, mask and zone, and the same bits.
	mustRun(t, sources, []string{"TZ=Asia/Tokyo"}, "sh", "-c", `umask 077; touch Makefile; make dist VERSION=`+version+` SOURCE_DATE=`+sourceDate)
	if read(t, archive) != first {
		t.Error("make dist does not make the same archive twice")
	}

	mustRun(t, dir, nil, "tar", "-xf", archive)
	unpacked := filepath.Join(dir, "nmos-authd-"+version)
	write(t, filepath.Join(dir, "bin", "git"), "#!/bin/sh\necho git was asked for $* >&2\nexit 1\n", 0o755)
	alone := []string{
		"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"),
		"GOPROXY=off", "GOFLAGS=-mod=vendor", "GOMODCACHE=" + filepath.Join(dir, "modules"), "MAKEFLAGS=",
	}
	mustRun(t, unpacked, alone, "make")
	out := mustRun(t, unpacked, nil, "build/nmos-authd", "version")
	if !strings.HasPrefix(out, "nmos-authd "+version+" (") || !strings.Contains(out, sourceDate[:len("2026-08-01")]) {
		t.Errorf("nmos-authd version says %q; want version %s and sources of %s", out, version, sourceDate)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "modules")); err == nil && len(entries) > 0 {
		t.Errorf("the build has filled a module cache: %v", entries)
	}
	// The rules about the sources hold in the archive, too.
	mustRun(t, unpacked, alone, "go", "test", "-run", "TestImportRules|TestRootFolder", "./tinytest")
}

func abs(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
