package clients_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// What a README tells people to write is run as it stands, with the stack that it speaks of around it: one request is
// served, the other refused.
func TestEveryReadme(t *testing.T) {
	block := regexp.MustCompile("(?s)```\\w+\n(.*?)```")
	for _, e := range entries {
		if e.readme == nil {
			continue // TestReadmeCompiles
		}
		t.Run(e.name, func(t *testing.T) {
			readme, err := os.ReadFile(filepath.Join(clientsDir, e.name, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			lines := block.FindSubmatch(readme)
			if lines == nil {
				t.Fatal("the README has no block of code")
			}
			if n := strings.Count(string(lines[1]), "\n"); n > 14 {
				t.Errorf("the README's first block has %d lines; want about ten", n)
			}
			l := newLiveDaemon(t, "enforce", nil)
			l.start()
			at := regexp.MustCompile(`/run/nmos-authd/\w+\.sock`).ReplaceAllLiteral(lines[1], []byte(e.socket(l.dir)))
			if string(at) == string(lines[1]) {
				t.Error("the README's first block names no socket")
			}
			program, got := e.readme(t, string(at)), ""
			// it waits for 200 ms, which is not much here
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
				got = output(t, "env", append([]string{"CLIENTS=" + clientsDir}, program...)...)
				if !strings.Contains(got, ": 503 ") {
					break
				}
			}
			const want = "/x-nmos/: served\n/x-nmos/node/v1.3/self: 401 no-token, Bearer realm=\"node-1.example.com\"\n"
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// around returns a file of the README's lines within what stands around them in testdata, in place of its line README.
func around(t *testing.T, name, lines string) string {
	t.Helper()
	stack, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(stack), "README\n")
	if !found {
		t.Fatalf("%s has no place for the README", name)
	}
	before = before[:strings.LastIndexByte(before, '\n')+1] // the comment sign
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(before+lines+after), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func cppReadme(t *testing.T, lines string) []string {
	file := around(t, "readme.cpp", lines)
	return []string{compileCpp(t, file, file+".run")} // its own: the lines have this test's socket
}

func rustReadme(t *testing.T, lines string) []string {
	file := around(t, "readme.rs", lines)
	return []string{compileRust(t, file, file+".run")}
}

func nodeReadme(t *testing.T, lines string) []string {
	return []string{tool(t, "node", "nodejs"), around(t, "readme.cjs", lines)}
}

func pythonReadme(t *testing.T, lines string) []string {
	return []string{tool(t, "python3"), around(t, "readme.py", lines)}
}
