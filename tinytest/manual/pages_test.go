package manual_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var pages = []string{"configs/man/nmos-authd.1", "configs/man/nmos-authd.toml.5"}

// The programs that show manual pages find nothing to complain about.
func TestPagesAreWellFormed(t *testing.T) {
	for name, args := range map[string][]string{
		"man":    {"--warnings=w", "--encoding=UTF-8", "--local-file"},
		"groff":  {"-ww", "-man", "-Tutf8", "-z"},
		"mandoc": {"-T", "lint", "-W", "warning"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(name); err != nil {
				t.Skipf("%s is not installed", name)
			}
			for _, page := range pages {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				c := exec.CommandContext(ctx, name, append(slices.Clone(args), filepath.Join(root, page))...)
				var complaints strings.Builder
				c.Stderr = &complaints
				if name == "mandoc" {
					c.Stdout = &complaints
				}
				if err := c.Run(); err != nil || complaints.Len() > 0 {
					t.Errorf("%s: %v\n%s", page, err, complaints.String())
				}
			}
		})
	}
}

// A line of the pages is printable ASCII: consoles of devices show no more.
func TestPagesAreASCII(t *testing.T) {
	for _, page := range pages {
		for n, line := range strings.Split(read(t, page), "\n") {
			if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
				t.Errorf("%s:%d: %q", page, n+1, line[i:])
			}
		}
	}
}

// The page lists what the two sockets for administration have, each path with its methods.
func TestPageHasEveryPathOfTheSockets(t *testing.T) {
	_, sockets, _ := strings.Cut(plain(read(t, pages[0])), "SH SOCKETS")
	for file, socket := range map[string]string{"admin.go": "admin.sock", "view.go": "view.sock"} {
		_, routes, _ := strings.Cut(read(t, "agent/admin/"+file), "Routes = []route{\n")
		routes, _, _ = strings.Cut(routes, "\n}")
		found := regexp.MustCompile(`\{"(/[a-z/]+)", http\.Method([A-Za-z]+),`).FindAllStringSubmatch(routes, -1)
		if len(found) < 7 {
			t.Fatalf("%s has %d routes; want more: is it read rightly?", file, len(found))
		}
		_, paragraph, _ := strings.Cut(sockets, socket)
		paragraph, _, _ = strings.Cut(paragraph, "/run/")
		clauses := strings.Split(strings.Join(strings.Fields(paragraph), " "), ";")
		for _, f := range found {
			path := regexp.MustCompile(regexp.QuoteMeta(f[1]) + `(?:[ ,]|$)`)
			if !slices.ContainsFunc(clauses, func(c string) bool {
				return path.MatchString(c) && strings.Contains(c, strings.ToUpper(f[2]))
			}) {
				t.Errorf("the page does not list %s %s of %s", strings.ToUpper(f[2]), f[1], socket)
			}
		}
	}
}

// flag is one flag of a command.
type flag struct {
	value string // what stands for its value; "": it takes none
	text  string
}

// The commands and flags of the page are those of the program, neither more nor fewer, with the same words for their
// values and the same defaults.
func TestPageHasEveryCommandAndFlag(t *testing.T) {
	inPage, inProgram := pageCommands(t), programCommands(t)
	if len(inProgram) < 8 {
		t.Fatalf("the program has %d commands", len(inProgram))
	}
	defaults := 0
	for command, flags := range inProgram {
		described, there := inPage[command]
		if !there {
			t.Errorf("the page lacks the command %s", command)
			continue
		}
		for name, f := range flags {
			if name == "config" { // described once for all
				continue
			}
			d, there := described[name]
			switch value := regexp.MustCompile(`\(default "?([^")]*)"?\)`).FindStringSubmatch(f.text); {
			case !there:
				t.Errorf("%s: the page lacks --%s", command, name)
			case d.value != f.value:
				t.Errorf("%s --%s: the page calls its value %q, the program %q", command, name, d.value, f.value)
			case value != nil:
				if defaults++; !strings.Contains(d.text, "by default "+value[1]) {
					t.Errorf("%s --%s: the page lacks \"by default %s\": %s", command, name, value[1], d.text)
				}
			}
		}
		for name := range described {
			if _, there := flags[name]; !there {
				t.Errorf("%s: the program has no --%s", command, name)
			}
		}
	}
	for command := range inPage {
		if _, there := inProgram[command]; !there {
			t.Errorf("the program has no command %s", command)
		}
	}
	if defaults < 3 {
		t.Errorf("%d flags with a default were compared", defaults)
	}
}

// pageCommands reads what the page says of each command.
func pageCommands(t *testing.T) map[string]map[string]flag {
	t.Helper()
	page := plain(read(t, pages[0]))
	_, page, _ = strings.Cut(page, "\n.SH COMMANDS\n")
	page, _, _ = strings.Cut(page, "\n.SH ")
	all := map[string]map[string]flag{}
	for _, section := range strings.Split("\n"+page, "\n.SS ")[1:] {
		heading, text, _ := strings.Cut(section, "\n")
		command := regexp.MustCompile(`^[a-z-]+( [a-z]+)?`).FindString(heading)
		all[command] = map[string]flag{}
		for _, paragraph := range strings.Split("\n"+text, "\n.TP\n")[1:] {
			m := regexp.MustCompile(`^\.BI? --([a-z-]+)(?: " ([A-Za-z]+)")?\n((?s:.*))$`).FindStringSubmatch(paragraph)
			if m == nil {
				t.Errorf("%s: %q is not a flag", command, paragraph)
				continue
			}
			words := regexp.MustCompile(`(?m)^\.[A-Z]+ `).ReplaceAllString(m[3], "")
			all[command][m[1]] = flag{m[2], strings.Join(strings.Fields(words), " ")}
		}
	}
	return all
}

// plain takes the escapes off that stand for characters.
func plain(page string) string {
	return strings.NewReplacer(`\-`, "-", `\(dq`, `"`, `\&`, "").Replace(page)
}

// programCommands asks the program itself.
func programCommands(t *testing.T) map[string]map[string]flag {
	t.Helper()
	all := map[string]map[string]flag{}
	for _, m := range regexp.MustCompile(`(?m)^  nmos-authd ([a-z-]+)(.*?) \[flags\]`).FindAllStringSubmatch(
		output(t, "help"), -1) {
		names := []string{m[1]}
		// report | reset
		if words := regexp.MustCompile(`(?:^ |\| )([a-z]+)\b`).FindAllStringSubmatch(m[2], -1); words != nil {
			names = nil
			for _, w := range words {
				names = append(names, m[1]+" "+w[1])
			}
		}
		for _, name := range names {
			all[name] = programFlags(output(t, append(strings.Fields(name), "-h")...))
		}
	}
	return all
}

func programFlags(help string) map[string]flag {
	flags := map[string]flag{}
	for _, m := range regexp.MustCompile(
		`(?m)^  -([a-z-]+)(?: ([A-Za-z]+))?\n((?:      .*\n)+)`).FindAllStringSubmatch(help, -1) {
		flags[m[1]] = flag{m[2], strings.Join(strings.Fields(m[3]), " ")}
	}
	return flags
}

func output(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("nmos-authd %q: %v\n%s", args, err, out)
	}
	return string(out)
}
