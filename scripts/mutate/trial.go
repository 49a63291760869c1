package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

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
			fmt.Fprintf(os.Stderr,
				"%s: each mutation is compiled alone, since they cannot be together:\n%s", folder, output)
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
