// Command mutate changes one operator at a time in copies of the decision's packages and runs their tests on each: a
// change that no test notices is a test that is missing, or makes no difference. "make mutate" runs it; the report is
// build/mutations.txt.
//
// Changes that make no difference are listed in equivalent.txt beside this file, each with the reason below it.
//
// The exit status is 0 if every change was noticed or is listed, 1 if not, and 2 if the run is incomplete: it was
// interrupted, or the tests fail without any change.
package main

import (
	"bufio"
	"context"
	"errors"
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
	"os/signal"
	"path/filepath"
	"regexp"
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
	function string // with its receiver's type
	text     string // of its line
	line     int
	nth      int // among those of the same name
	from, to int // bytes of the file
	old, new string
}

// String names the mutation as equivalent.txt does: by what it changes, not by the line's number, which moves.
func (m mutation) String() string {
	s := fmt.Sprintf("%s %s: %s: %s -> %s", m.file, m.function, m.text, m.old, m.new)
	if m.nth > 1 {
		s += fmt.Sprintf(" #%d", m.nth)
	}
	return s
}

// errAlive says that a mutation is noticed by no test.
var errAlive = errors.New("mutations are noticed by no test")

func main() {
	sample := flag.Int("sample", 0, "number of mutations, chosen at random; 0 for all")
	skip := flag.Int("skip", 0, "number of chosen mutations to skip, tried by an earlier run with the same seed")
	seed := flag.Uint64("seed", 1, "of the choice")
	match := flag.String("match", "", "only mutations whose name, as the report has it, matches this regular "+
		"`expression`")
	out := flag.String("out", "build/mutations.txt", "report `file`")
	also := flag.String("also", "./agent", "`packages` whose tests run if a package's own notice nothing; may be empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Args(), *match, *sample, *skip, *seed, *out, strings.Fields(*also)); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		if errors.Is(err, errAlive) {
			os.Exit(1)
		}
		os.Exit(2)
	}
}

func run(
	ctx context.Context, folders []string, match string, sample, skip int, seed uint64, out string, also []string,
) error {
	wanted, err := regexp.Compile(match)
	if err != nil {
		return err
	}
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
	all = slices.DeleteFunc(all, func(m mutation) bool { return !wanted.MatchString(m.String()) })
	if len(all) == 0 {
		return fmt.Errorf("nothing to change in %q", folders)
	}
	if sample > 0 || skip > 0 {
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[min(skip, len(all)):]
		if sample > 0 {
			all = all[:min(sample, len(all))]
		}
	}
	known, err := equivalent("scripts/mutate/equivalent.txt")
	if err != nil {
		return err
	}
	tried, err := try(ctx, all, also)
	if err != nil {
		return err
	}
	report, alive := reportOf(tried, known)
	fmt.Print(report)
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(out, []byte(report), 0o644); err != nil {
		return err
	}
	if len(tried) < len(all) {
		return fmt.Errorf("incomplete: %d of %d mutations were not tried", len(all)-len(tried), len(all))
	}
	if alive > 0 {
		return fmt.Errorf("%d %w", alive, errAlive)
	}
	return nil
}

// reportOf lists the mutations that were not noticed, and counts all by package. alive are those that nothing explains.
func reportOf(tried map[mutation]result, known map[string]string) (report string, alive int) {
	type count struct{ all, caught, late, broken, equivalent, alive int }
	counts := map[string]*count{}
	var lines []string
	for m, r := range tried {
		folder := filepath.Dir(m.file)
		c := counts[folder]
		if c == nil {
			c = &count{}
			counts[folder] = c
		}
		c.all++
		reason := known[m.String()]
		if r != survived && reason != "" {
			lines = append(lines, fmt.Sprintf("%s\n\tlisted in equivalent.txt, but %s (line %d)\n", m, r, m.line))
		}
		switch {
		case r == failed:
			c.caught++
		case r == timedOut:
			c.late++
		case r == notCompiled:
			c.broken++
		case reason != "":
			c.equivalent++
			lines = append(lines, fmt.Sprintf("%s\n\t%s\n", m, reason))
		default:
			c.alive++
			alive++
			lines = append(lines, fmt.Sprintf("%s\n\tALIVE (line %d)\n", m, m.line))
		}
	}
	slices.Sort(lines)
	report = strings.Join(lines, "")
	folders := make([]string, 0, len(counts))
	for folder := range counts {
		folders = append(folders, folder)
	}
	slices.Sort(folders)
	for _, folder := range folders {
		c := counts[folder]
		report += fmt.Sprintf("%s: %d mutations: %d noticed, %d noticed by time-out, %d not compiled, "+
			"%d make no difference, %d alive\n", folder, c.all, c.caught, c.late, c.broken, c.equivalent, c.alive)
	}
	return report, alive
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

// mutationsOf returns the changes that a file allows: another operator, a number one more, true for false, no "!",
// break for continue.
func mutationsOf(file string, text []byte) ([]mutation, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, text, 0)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(text), "\n")
	var found []mutation
	names := map[string]int{}
	for _, d := range tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		add := func(pos token.Pos, old, new string) {
			p := set.Position(pos)
			m := mutation{file: file, function: nameOf(f), text: strings.TrimSpace(lines[p.Line-1]), line: p.Line,
				from: p.Offset, to: p.Offset + len(old), old: old, new: new}
			names[m.String()]++
			m.nth = names[m.String()]
			found = append(found, m)
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

// nameOf returns the name of a function, with its receiver's type if it is a method.
func nameOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	kind := f.Recv.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	if id, ok := kind.(*ast.Ident); ok {
		return id.Name + "." + f.Name.Name
	}
	return f.Name.Name
}

// result is what became of a mutation.
type result int

const (
	survived result = iota
	failed
	timedOut
	notCompiled
)

func (r result) String() string {
	return [...]string{"no test notices it", "a test notices it", "its tests do not end", "it does not compile"}[r]
}

// trial is a run of the tests on mutations.
type trial struct {
	ctx   context.Context
	also  []string                 // packages whose tests run, too
	limit map[string]time.Duration // how long tests may take, by package; those of also by ""

	mu    sync.Mutex
	total int
	tried map[mutation]result
}

// try runs the tests on every mutation, and returns those that it has tried if it is interrupted.
func try(ctx context.Context, all []mutation, also []string) (map[mutation]result, error) {
	t := &trial{ctx: ctx, also: also, limit: map[string]time.Duration{}, total: len(all), tried: map[mutation]result{}}
	number := map[mutation]int{}
	byFolder := map[string][]mutation{}
	for n, m := range all {
		number[m] = n + 1
		byFolder[filepath.Dir(m.file)] = append(byFolder[filepath.Dir(m.file)], m)
	}
	dirs := make([]string, runtime.NumCPU())
	for n := range dirs {
		dir, err := os.MkdirTemp("", "mutate-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		if err := copyTree(dir); err != nil {
			return nil, err
		}
		dirs[n] = dir
	}
	if len(also) > 0 {
		if err := t.unchanged(dirs[0], "", also); err != nil {
			return nil, err
		}
	}
	var slow []mutation
	for folder, mutations := range byFolder {
		if err := t.unchanged(dirs[0], folder, []string{"./" + folder}); err != nil {
			return nil, err
		}
		quick, err := t.trySchema(folder, mutations, number)
		if err != nil {
			return nil, err
		}
		for _, m := range mutations {
			if !slices.Contains(quick, m) || t.tried[m] == survived && len(also) > 0 {
				slow = append(slow, m)
			}
		}
	}
	work := make(chan mutation)
	var group sync.WaitGroup
	errs := make([]error, len(dirs))
	for n, dir := range dirs {
		group.Go(func() {
			for m := range work {
				if err := t.tryOne(dir, m); err != nil {
					errs[n] = err
				}
			}
		})
	}
	for _, m := range slow {
		if ctx.Err() == nil {
			work <- m
		}
	}
	close(work)
	group.Wait()
	return t.tried, errors.Join(errs...)
}

// done takes the result of a mutation, unless the run was interrupted meanwhile.
func (t *trial) done(m mutation, r result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		delete(t.tried, m)
		return
	}
	t.tried[m] = r
	if r == survived {
		fmt.Fprintf(os.Stderr, "not noticed: %s (line %d)\n", m, m.line)
	}
	if len(t.tried)%50 == 0 {
		fmt.Fprintf(os.Stderr, "%d of %d tried\n", len(t.tried), t.total)
	}
}

// unchanged runs tests on what is not mutated, since tests that fail by themselves would notice everything, and sets
// how long they may take on a mutation.
func (t *trial) unchanged(dir, name string, packages []string) error {
	began := time.Now()
	if r, output := goTest(t.ctx, dir, packages, 10*time.Minute); r != survived {
		return fmt.Errorf("the tests of %s fail without a mutation:\n%s", strings.Join(packages, " "), output)
	}
	t.limit[name] = max(20*time.Second, 5*time.Since(began))
	return nil
}

// trySchema runs a package's own tests on the mutations that a schema of it can hold, and returns those.
func (t *trial) trySchema(folder string, mutations []mutation, number map[mutation]int) ([]mutation, error) {
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var quick, broken []mutation
	binary := filepath.Join(dir, "schema.test")
	for {
		if err := copyTree(dir); err != nil {
			return nil, err
		}
		held, err := writeSchema(dir, folder, mutations, number)
		if err != nil {
			return nil, err
		}
		build := exec.CommandContext(t.ctx, "go", "test", "-c", "-vet=off", "-o", binary, "./"+folder)
		build.Dir = dir
		output, err := build.CombinedOutput()
		if err == nil {
			quick = held
			break
		}
		before := len(broken)
		for _, found := range brokenMutant.FindAllSubmatch(output, -1) {
			for _, m := range held {
				if string(found[1]) == strconv.Itoa(number[m]) && !slices.Contains(broken, m) {
					broken = append(broken, m)
				}
			}
		}
		mutations = slices.DeleteFunc(slices.Clone(mutations),
			func(m mutation) bool { return slices.Contains(broken, m) })
		if len(broken) == before {
			fmt.Fprintf(os.Stderr, "%s: each mutation is compiled alone, since they cannot be together:\n%s", folder,
				output)
			return nil, nil
		}
	}
	for _, m := range broken {
		t.done(m, notCompiled)
	}
	try := func(n int) (result, string) {
		return test(t.ctx, filepath.Join(dir, folder), t.limit[folder], []string{fmt.Sprint("MUTANT=", n)},
			"sh", "-c", limited, "sh", binary, "-test.failfast", "-test.timeout="+t.limit[folder].String())
	}
	if r, output := try(0); r != survived {
		return nil, fmt.Errorf("the tests of %s fail with no mutation chosen:\n%s", folder, output)
	}
	work := make(chan mutation)
	var group sync.WaitGroup
	for range runtime.NumCPU() {
		group.Go(func() {
			for m := range work {
				r, _ := try(number[m])
				t.done(m, r)
			}
		})
	}
	for _, m := range quick {
		if t.ctx.Err() == nil {
			work <- m
		}
	}
	close(work)
	group.Wait()
	return append(quick, broken...), nil
}

// brokenMutant is how the compiler names a mutation of a schema that does not compile.
var brokenMutant = regexp.MustCompile(`MUTANT(\d+):`)

// tryOne runs the tests on one mutation in a copy of the repository; the package's own only if it was not tried yet.
func (t *trial) tryOne(dir string, m mutation) error {
	path := filepath.Join(dir, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := slices.Concat(text[:m.from], []byte(m.new), text[m.to:])
	if err := os.WriteFile(path, changed, 0o644); err != nil {
		return err
	}
	t.mu.Lock()
	r, again := t.tried[m]
	t.mu.Unlock()
	if folder := filepath.Dir(m.file); !again {
		r, _ = goTest(t.ctx, dir, []string{"./" + folder}, t.limit[folder])
	}
	if r == survived && len(t.also) > 0 {
		r, _ = goTest(t.ctx, dir, t.also, t.limit[""])
	}
	t.done(m, r)
	return os.WriteFile(path, text, 0o644)
}

// limited is a shell script that runs its arguments with 4 GB of addresses: a mutated loop may take all memory there
// is.
const limited = `ulimit -v 4194304 && exec "$@"`

// goTest runs the tests of packages in a copy of the repository.
func goTest(ctx context.Context, dir string, packages []string, limit time.Duration) (result, string) {
	return test(ctx, dir, limit+2*time.Minute, nil, "go", slices.Concat([]string{"test", "-count=1", "-failfast",
		"-vet=off", "-timeout=" + limit.String(), "-exec", `sh -c '` + limited + `' sh`}, packages)...)
}

// test runs a command that runs tests.
func test(
	ctx context.Context, dir string, limit time.Duration, environment []string, name string, args ...string,
) (result, string) {
	ctx, cancel := context.WithTimeout(ctx, limit+10*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = dir
	command.Env = append(os.Environ(), environment...)
	command.WaitDelay = 5 * time.Second
	output, err := command.CombinedOutput()
	switch text := string(output); {
	case err == nil:
		return survived, ""
	case ctx.Err() != nil || strings.Contains(text, "panic: test timed out after"):
		return timedOut, text
	case strings.Contains(text, "[build failed]"):
		return notCompiled, text
	default:
		return failed, text
	}
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

// equivalent reads which mutations make no difference, and why: the name of each, and the reason on indented lines
// below it.
func equivalent(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	known := map[string]string{}
	name := ""
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		reason, indented := strings.CutPrefix(line, "\t")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case indented && name != "":
			known[name] = strings.TrimSpace(known[name] + " " + reason)
		case indented:
			return nil, fmt.Errorf("%s: %q is the reason of nothing", file, reason)
		default:
			if _, again := known[line]; again {
				return nil, fmt.Errorf("%s: %q is listed twice", file, line)
			}
			name, known[line] = line, ""
		}
	}
	for name, reason := range known {
		if reason == "" {
			return nil, fmt.Errorf("%s: %q has no reason below it", file, name)
		}
	}
	return known, lines.Err()
}
