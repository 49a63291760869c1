package decide_test

import (
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"nmosauthd/agent/decide"
	"nmosauthd/tinytest/spec"
)

// exhaustive is the length up to which everything is tried: long if $NMOS_EXHAUSTIVE is set ("make exhaust").
func exhaustive(short, long int) int {
	if os.Getenv("NMOS_EXHAUSTIVE") != "" {
		return long
	}
	return short
}

// every calls try for each text that is a start and at most n of the symbols, on all processors, until one returns a
// fault. It returns how many there were.
func every(t *testing.T, start string, symbols []string, n int, try func(text []byte) (fault string)) int64 {
	t.Helper()
	var tried atomic.Int64
	var failed atomic.Bool
	var grow func(text []byte, left int, count *int64)
	grow = func(text []byte, left int, count *int64) {
		if *count++; failed.Load() {
			return
		}
		if fault := try(text); fault != "" {
			failed.Store(true)
			t.Errorf("%q: %s", text, fault)
		}
		if left == 0 {
			return
		}
		for _, s := range symbols {
			grow(append(text, s...), left-1, count)
		}
	}
	work := make(chan string)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for first := range work {
				var count int64
				grow(append(make([]byte, 0, 256), first...), n-2, &count)
				tried.Add(count)
			}
		})
	}
	var few int64
	for _, a := range symbols {
		grow([]byte(start+a), 0, &few)
		for _, b := range symbols {
			work <- start + a + b
		}
	}
	close(work)
	workers.Wait()
	return tried.Load() + few
}

// Every target of a slash and a few more characters of an alphabet that has what normal forms are about: the normal
// form is that of the slow twin, and its own.
func TestEveryTarget(t *testing.T) {
	spec.Rules(t, "PATH-8", "PATH-9")
	symbols := strings.Split(`/ . a % 2 e F ; ? \`, " ")
	var good atomic.Int64
	n := every(t, "/", symbols, exhaustive(5, 8), func(target []byte) string {
		var room, again [64]byte
		got, ok := decide.Normalize(room[:0], target)
		want, wantOK := slowNormalize(string(target))
		switch {
		case ok != wantOK || ok && string(got) != want:
			return string(got) + ", its twin says " + want
		case !ok:
			return ""
		}
		good.Add(1)
		if twice, ok := decide.Normalize(again[:0], got); !ok || string(twice) != want {
			return want + ", and that " + string(twice)
		}
		return ""
	})
	t.Logf("FIGURES %d targets, %d of them have a normal form", n, good.Load())
	if n < 100_000 || good.Load() < n/20 {
		t.Errorf("%d targets and %d normal forms: not what was meant", n, good.Load())
	}
}

// placeRules are a configuration with one of everything.
var placeRules = decide.Rules{
	Public:  []string{"/meters", "/x-nmos/system"},
	Claims:  []decide.Mapping{{Prefix: "/ui", API: []byte("vendor")}},
	Control: []string{"/ui/ncp", "/x-nmos/ncp/v1.0/a"},
}

var (
	controlForm       = regexp.MustCompile(`^(/ui/ncp|/x-nmos/ncp/v1\.0/a|/x-nmos/ncp/v[0-9]+\.[0-9]+)/?$`)
	rootForm          = regexp.MustCompile(`^/(x-nmos/?)?$`)
	openForm          = regexp.MustCompile(`^(/meters|/x-nmos/system)(/.*)?$`)
	mappedForm        = regexp.MustCompile(`^/ui(?:/(.*?))?/?$`)
	baseForm          = regexp.MustCompile(`^/x-nmos/([a-z0-9-]+)(/(v[0-9]+\.[0-9]+/?)?)?$`)
	resourceForm      = regexp.MustCompile(`^/x-nmos/([a-z0-9-]+)/v[0-9]+\.[0-9]+/(.+?)/?$`)
	configurationForm = regexp.MustCompile(`^(?:([A-Za-z0-9_-]+)/)?rolePaths(?:/([^/]+)(?:/(.*))?)?$`)
	selectorForm      = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

// slowFind is the readable twin of Find under placeRules, for normal paths.
func slowFind(path string) decide.Place {
	is := func(kind decide.Kind, api, rest string) decide.Place {
		p := decide.Place{Kind: kind}
		if api != "" {
			p.API = []byte(api)
		}
		p.Rest = []byte(rest)
		return p
	}
	switch {
	case controlForm.MatchString(path):
		return is(decide.Control, "", "")
	case rootForm.MatchString(path):
		return is(decide.Root, "", "")
	case openForm.MatchString(path):
		return is(decide.Open, "", "")
	case !strings.HasPrefix(path, "/x-nmos/"):
		m := mappedForm.FindStringSubmatch(path)
		switch {
		case m == nil:
			return is(decide.Outside, "", "")
		case m[1] == "":
			return is(decide.Everything, "vendor", "")
		}
		return is(decide.Resource, "vendor", m[1])
	}
	if m := baseForm.FindStringSubmatch(path); m != nil {
		return is(decide.Base, m[1], "")
	}
	m := resourceForm.FindStringSubmatch(path)
	if m == nil {
		return is(decide.BadVersion, "", "")
	}
	if m[1] != "configuration" {
		return is(decide.Resource, m[1], m[2])
	}
	c := configurationForm.FindStringSubmatch(m[2])
	switch {
	case c == nil && selectorForm.MatchString(m[2]):
		return is(decide.Base, m[1], "")
	case c == nil, c[1] == "rolePaths" && c[2] == "":
		// Of "rolePaths/rolePaths" the first is the list, and the second an object.
		p := is(decide.RolePath, m[1], m[2])
		if first, role, _ := strings.Cut(m[2], "/"); first == "rolePaths" {
			p.Role = []byte(role)
		}
		return p
	case c[1] == "rolePaths": // the first one counts
		p := is(decide.RolePath, m[1], m[2])
		p.Role = []byte("rolePaths")
		p.Subtree = c[2] == "bulkProperties" && c[3] == ""
		return p
	case c[2] == "":
		return is(decide.RolePaths, m[1], m[2])
	}
	p := is(decide.RolePath, m[1], m[2])
	p.Role, p.Subtree = []byte(c[2]), c[3] == "bulkProperties"
	return p
}

// Every normal path of a few words: where it leads is where the slow twin says.
func TestEveryPlace(t *testing.T) {
	spec.Rules(t, "PATH-4", "PATH-5", "PATH-10", "PATH-11", "PATH-15", "CTL-60")
	symbols := []string{"/", "x-nmos", "node", "ncp", "system", "configuration", "rolePaths", "bulkProperties", "v1.0",
		"v1", "a", ".", "ui", "meters"}
	var seen [32]atomic.Int64
	// Of one that is not normal nothing follows that is.
	try := func(path []byte) string {
		var room [256]byte
		if normal, ok := decide.Normalize(room[:0], path); !ok || string(normal) != string(path) {
			return ""
		}
		got, want := placeRules.Find(path), slowFind(string(path))
		seen[got.Kind].Add(1)
		if got.Kind != want.Kind || string(got.API) != string(want.API) || string(got.Role) != string(want.Role) ||
			got.Subtree != want.Subtree || string(got.Rest) != string(want.Rest) {
			return show(got) + ", its twin says " + show(want)
		}
		return ""
	}
	n := int64(0)
	for _, start := range []string{"/", "/x-nmos/", "/x-nmos/node/v1.0", "/x-nmos/configuration/v1.0/"} {
		n += every(t, start, symbols, exhaustive(3, 6), try)
	}
	t.Logf("FIGURES %d paths", n)
	for _, kind := range []decide.Kind{decide.Outside, decide.Root, decide.Base, decide.Resource, decide.BadVersion,
		decide.Open, decide.Everything, decide.Control, decide.RolePaths, decide.RolePath} {
		if seen[kind].Load() == 0 {
			t.Errorf("no path of kind %d among %d", kind, n)
		}
	}
}

func show(p decide.Place) string {
	return strings.Join([]string{string(rune('0' + p.Kind)), string(p.API), string(p.Rest), string(p.Role)}, " ") +
		map[bool]string{true: " subtree"}[p.Subtree]
}
