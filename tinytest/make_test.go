package tinytest

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var (
	target  = regexp.MustCompile(`(?m)^([a-z-]+):`)
	called  = regexp.MustCompile("(?m)(?:`|^(?:    |\\t)(?:[A-Z]+=\\S+ )?)make ([a-z][a-z-]*)")
	foreign = regexp.MustCompile(`make (?:install DESTDIR=|menuconfig|package/|build/)`) // of others, or a file
	comment = regexp.MustCompile(`(?m)(?://|#) .*"make ([a-z][a-z-]*)`)
)

// What "make help" prints fits a terminal, and each target that a document or a comment names is one.
func TestMake(t *testing.T) {
	const most = 80
	help := exec.Command("make", "-s", "help")
	help.Dir = root
	out, err := help.CombinedOutput()
	if err != nil {
		t.Skipf("make help: %v (apt-get install make)", err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) < 20 {
		t.Errorf("make help: got %d lines, want 20 or more", len(lines))
	}
	for _, line := range lines {
		if n := len([]rune(line)); n > most {
			t.Errorf("make help: got %d columns, want %d at most: %s", n, most, line)
		}
	}
	texts := trackedTexts(t)
	targets := map[string]bool{}
	for _, m := range target.FindAllStringSubmatch(texts["Makefile"], -1) {
		targets[m[1]] = true
	}
	found := 0
	for name, text := range texts {
		expression := called
		switch {
		case strings.HasSuffix(name, ".go"), strings.HasSuffix(name, ".sh"):
			expression = comment
		case !strings.HasSuffix(name, ".md"):
			continue
		}
		text = foreign.ReplaceAllString(text, "")
		for _, m := range expression.FindAllStringSubmatch(text, -1) {
			if found++; !targets[m[1]] {
				t.Errorf("%s: make %s: there is no such target", name, m[1])
			}
		}
	}
	if found < 60 {
		t.Errorf("got %d targets that are named, want 60 or more", found)
	}
}
