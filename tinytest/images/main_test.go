// Package images_test tests what a maker puts into an image: packages, units, init scripts and recipes. Where the real
// thing can be run it is: the package is installed by dpkg, started by systemd and by init scripts, asked with real
// tokens, upgraded and purged, each time on a machine of its own (see machine), so that the one that tests stays as it
// is.
package images_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	root = "../.."
	// patience is how long anything is waited for that should come. Machines that test are slow at times.
	patience = time.Minute
	// What the packages under test say of themselves.
	version    = "1.2.3"
	sourceDate = "2026-08-01T12:00:00Z"
)

func TestMain(m *testing.M) {
	status := m.Run()
	os.RemoveAll(packagesDir)
	os.RemoveAll(archiveDir)
	os.Exit(status)
}

// needs skips a test that lacks a program.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// command runs a program in a folder and returns all that it printed. More is further environment.
func command(dir string, more []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	// A make that runs these tests leaves what would make another one talk, and share its jobs.
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "MAKE") ||
			strings.HasPrefix(v, "MFLAGS=")
	})
	c.Env = append(c.Env, more...)
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func mustRun(t *testing.T, dir string, more []string, name string, args ...string) string {
	t.Helper()
	out, err := command(dir, more, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(text), mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// packagesDir holds a copy of the sources in which the packages were made.
var packagesDir string

// packages makes the packages once and returns the folder of the sources; they are in build/packages.
func packages(t *testing.T) string {
	t.Helper()
	needs(t, "make", "tar", "sed")
	dir, err := makePackages()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var makePackages = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nmos-images-")
	if err != nil {
		return "", err
	}
	packagesDir = dir
	if _, err := command(root, nil, "sh", "-c", `tar -c --exclude=./build --exclude=./.git . | tar -x -C "$1"`,
		"sh", dir); err != nil {
		return "", err
	}
	_, err = command(dir, []string{"MAKEFLAGS=", "MAINTAINER=Test <test@example.com>"}, "make", "packages",
		"VERSION="+version, "SOURCE_DATE="+sourceDate)
	return dir, err
})

// built returns the path of a package, by the end of its name.
func built(t *testing.T, suffix string) string {
	t.Helper()
	return filepath.Join(packages(t), "build", "packages", "nmos-authd_"+version+"_"+suffix)
}
