// Command mutate changes one operator at a time in copies of the decision's packages and runs their tests on each: a change that no
// test notices is a test that is missing, or makes no difference. "make mutate" runs it; the report is build/mutations.txt.
//
// Changes that make no difference are listed in equivalent.txt beside this file, with the reason: "FILE FUNCTION: OLD -> NEW | reason".
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// mutation is one change of one file.
type mutation struct {
	file     string // from the root of the repository
	function string
	line     int
	from, to int // bytes of the file
	old, new string
}

// String names the mutation as equivalent.txt does: by what it does, not by its line, which moves.
func (m mutation) String() string {
	return fmt.Sprintf("%s %s: %s -> %s", m.file, m.function, m.old, m.new)
}

func main() {
	sample := flag.Int("sample", 0, "how many mutations, chosen at random; 0: all")
	seed := flag.Uint64("seed", 1, "of the choice")
	out := flag.String("out", "build/mutations.txt", "report `file`")
	also := flag.String("also", "./agent", "`packages` whose tests are run, too, if a package's own notice nothing")
	flag.Parse()
	if err := run(flag.Args(), *sample, *seed, *out, strings.Fields(*also)); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(folders []string, sample int, seed uint64, out string, also []string) error {
	var all []mutation
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			return err
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			found, err := mutationsOf(file, text)
			if err != nil {
				return err
			}
			all = append(all, found...)
		}
	}
	if len(all) == 0 {
		return fmt.Errorf("nothing to change in %q", folders)
	}
	if sample > 0 && sample < len(all) {
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:sample]
	}
	known, err := equivalent("scripts/mutate/equivalent.txt")
	if err != nil {
		return err
	}
	alive, err := survivors(all, also)
	if err != nil {
		return err
	}
	slices.SortFunc(alive, func(a, b mutation) int { return strings.Compare(a.String(), b.String()) })
	var report strings.Builder
	unexplained := 0
	for _, m := range alive {
		reason := known[m.String()]
		if reason == "" {
			unexplained++
			reason = "ALIVE"
		}
		fmt.Fprintf(&report, "%s | %s (line %d)\n", m, reason, m.line)
	}
	fmt.Fprintf(&report, "%d mutations, %d noticed, %d make no difference, %d alive\n",
		len(all), len(all)-len(alive), len(alive)-unexplained, unexplained)
	fmt.Print(report.String())
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(out, []byte(report.String()), 0o644); err != nil {
		return err
	}
	if unexplained > 0 {
		return fmt.Errorf("%d mutations are noticed by no test", unexplained)
	}
	return nil
}

// swaps are the operators that take each other's place.
var swaps = map[token.Token][]token.Token{
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL},
	token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS},
	token.LAND: {token.LOR}, token.LOR: {token.LAND},
	token.ADD: {token.SUB}, token.SUB: {token.ADD}, token.MUL: {token.QUO}, token.QUO: {token.MUL},
	token.AND: {token.OR}, token.OR: {token.AND}, token.SHL: {token.SHR}, token.SHR: {token.SHL},
}

// mutationsOf returns the changes that a file allows: another operator, a number one more, true for false, no "!", break for continue.
func mutationsOf(file string, text []byte) ([]mutation, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, text, 0)
	if err != nil {
		return nil, err
	}
	var found []mutation
	for _, d := range tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		add := func(pos token.Pos, old, new string) {
			p := set.Position(pos)
			found = append(found, mutation{file, f.Name.Name, p.Line, p.Offset, p.Offset + len(old), old, new})
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				for _, with := range swaps[n.Op] {
					add(n.OpPos, n.Op.String(), with.String())
				}
			case *ast.UnaryExpr:
				if n.Op == token.NOT {
					add(n.OpPos, "!", "")
				}
			case *ast.BasicLit:
				if v, err := strconv.ParseInt(n.Value, 0, 64); n.Kind == token.INT && err == nil {
					add(n.Pos(), n.Value, strconv.FormatInt(v+1, 10))
				}
			case *ast.Ident:
				switch n.Name {
				case "true":
					add(n.Pos(), "true", "false")
				case "false":
					add(n.Pos(), "false", "true")
				}
			case *ast.BranchStmt:
				switch {
				case n.Label != nil:
				case n.Tok == token.CONTINUE:
					add(n.Pos(), "continue", "break")
				case n.Tok == token.BREAK:
					add(n.Pos(), "break", "continue")
				}
			}
			return true
		})
	}
	return found, nil
}

// survivors runs the tests on every mutation, in as many copies of the repository as there are processors.
func survivors(all []mutation, also []string) ([]mutation, error) {
	var (
		mu     sync.Mutex
		alive  []mutation
		failed error
		done   int
		group  sync.WaitGroup
	)
	work := make(chan mutation)
	for range runtime.NumCPU() {
		dir, err := os.MkdirTemp("", "mutate-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		if err := copyTree(dir); err != nil {
			return nil, err
		}
		group.Go(func() {
			for m := range work {
				lives, err := survives(dir, m, also)
				mu.Lock()
				if err != nil {
					failed = err
				}
				if lives {
					alive = append(alive, m)
				}
				if done++; done%50 == 0 {
					fmt.Fprintf(os.Stderr, "%d of %d, %d not noticed so far\n", done, len(all), len(alive))
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range all {
		work <- m
	}
	close(work)
	group.Wait()
	return alive, failed
}

// survives reports whether no test notices the mutation. One that does not compile, or whose tests do not end, is noticed.
func survives(dir string, m mutation, also []string) (bool, error) {
	path := filepath.Join(dir, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	if string(text[m.from:m.to]) != m.old {
		return false, fmt.Errorf("%s has changed meanwhile", m)
	}
	changed := slices.Concat(text[:m.from], []byte(m.new), text[m.to:])
	if err := os.WriteFile(path, changed, 0o644); err != nil {
		return false, err
	}
	defer os.WriteFile(path, text, 0o644)
	for _, packages := range [][]string{{"./" + filepath.Dir(m.file)}, also} {
		if len(packages) > 0 && !passes(dir, packages) {
			return false, nil
		}
	}
	return true, nil
}

func passes(dir string, packages []string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	test := exec.CommandContext(ctx, "go", slices.Concat([]string{"test", "-count=1", "-failfast", "-timeout=60s"}, packages)...)
	test.Dir = dir
	return test.Run() == nil
}

// copyTree copies what the tests need of the repository.
func copyTree(dir string) error {
	return filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path == ".git" || path == "build" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(dir, path), 0o755)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		from, err := os.Open(path)
		if err != nil {
			return err
		}
		defer from.Close()
		to, err := os.Create(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		if _, err := io.Copy(to, from); err != nil {
			to.Close()
			return err
		}
		return to.Close()
	})
}

// equivalent reads which mutations make no difference, and why.
func equivalent(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	known := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if lines.Text() == "" || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		name, reason, ok := strings.Cut(lines.Text(), " | ")
		if !ok || reason == "" {
			return nil, fmt.Errorf("%s: %q has no \" | \" and reason", file, lines.Text())
		}
		known[name] = reason
	}
	return known, nil
}
