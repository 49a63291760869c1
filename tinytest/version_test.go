package tinytest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Files that say which version this is, apart from the release notes. The expression finds it.
var versioned = map[string]string{
	"README.md": `(?m)^This is v(\S+?):`,
	"configs/yocto/recipes-nmos/nmos-authd/nmos-authd.bb": `(?m)^NMOS_AUTHD_VERSION \?= "(.*)"$`,
}

// Files that get the version from the archive or the Makefile, so that there is nothing in them to forget: the text
// that does it.
var derived = map[string]string{
	"Makefile": "VERSION ?= $(shell git describe --tags --always --dirty",
	"configs/buildroot/package/nmos-authd/nmos-authd.mk": "NMOS_AUTHD_VERSION = $(patsubst nmos-authd-%.tar.gz,%,",
	"configs/openwrt/nmos-authd/Makefile":                "ARCHIVE_VERSION:=$(patsubst nmos-authd-%.tar.gz,%,",
	"configs/nfpm/nfpm.yaml":                             "version: ${VERSION}",
}

// TestVersion: README and recipes name the newest release of the release notes, and a tag of this commit is that
// release.
func TestVersion(t *testing.T) {
	notes := readText(t, ".github/CHANGELOG.md")
	releases := regexp.MustCompile(`(?m)^## v(\d+)\.(\d+)\.(\d+) \((.+)\)$`).FindAllStringSubmatch(notes, -1)
	if len(releases) == 0 || strings.Count(notes, "\n## ") != len(releases) {
		t.Fatalf("got %d headings and %d releases, want a heading \"## v1.2.3 (date)\" for each release",
			strings.Count(notes, "\n## "), len(releases))
	}
	for i := 1; i < len(releases); i++ {
		if number(t, releases[i]) >= number(t, releases[i-1]) {
			t.Errorf("got %s below %s, want the newest release first", releases[i][0], releases[i-1][0])
		}
	}
	newest := strings.Join(releases[0][1:4], ".")
	for file, expression := range versioned {
		m := regexp.MustCompile(expression).FindStringSubmatch(readText(t, file))
		if m == nil || m[1] != newest {
			t.Errorf("%s: got version %q, want %s", file, m, newest)
		}
	}
	literal := regexp.MustCompile(`(?im)^(PKG_|NMOS_AUTHD_)?version *[:?]?[=:] *"?v?[0-9]`)
	for file, text := range derived {
		got := readText(t, file)
		if !strings.Contains(got, text) || literal.MatchString(got) {
			t.Errorf("%s: got the version %q, want it derived by %q", file, literal.FindString(got), text)
		}
	}
	for _, page := range []string{"configs/man/nmos-authd.1", "configs/man/nmos-authd.toml.5"} {
		header, _, _ := strings.Cut(readText(t, page)[strings.Index(readText(t, page), ".TH "):], "\n")
		if m := regexp.MustCompile(`\b\d+\.\d+\.\d+\b`).FindString(header); m != "" && m != newest {
			t.Errorf("%s: got version %s, want %s or none", page, m, newest)
		}
	}
	tag := exec.Command("git", "tag", "--points-at", "HEAD", "--list", "v*")
	tag.Dir = root
	if out, err := tag.Output(); err == nil && len(out) > 0 {
		if got := strings.TrimSpace(string(out)); got != "v"+newest || releases[0][4] == "not yet released" {
			t.Errorf("the commit has the tag %s and the newest release is v%s (%s)", got, newest, releases[0][4])
		}
	}
}

// number returns a release as a number to compare.
func number(t *testing.T, release []string) (n int) {
	t.Helper()
	for _, part := range release[1:4] {
		var digits int
		if _, err := fmt.Sscan(part, &digits); err != nil || digits > 999 {
			t.Fatalf("%s: %v", release[0], err)
		}
		n = n*1000 + digits
	}
	return n
}

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
