package decide

import (
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"nmosauthd/tinytest/spec"
)

// texts are all of at most n of the characters.
func texts(characters string, n int) []string {
	all := []string{""}
	for from := 0; n > 0; n-- {
		to := len(all)
		for _, t := range all[from:to] {
			for i := range characters {
				all = append(all, t+characters[i:i+1])
			}
		}
		from = to
	}
	return all
}

// expression is a specifier as a regular expression (PATH-6).
func expression(specifier string) *regexp.Regexp {
	return regexp.MustCompile(`^(?s:` + strings.ReplaceAll(regexp.QuoteMeta(specifier), `\*`, `.*`) + `)$`)
}

// Every specifier and every path of a few characters: what matches is what regular expressions made of the rules match.
func TestEverySpecifier(t *testing.T) {
	spec.Rules(t, "PATH-6", "PATH-7", "CTL-12", "CTL-13", "CTL-14", "CTL-18", "CTL-64")
	n := 4
	if os.Getenv("NMOS_EXHAUSTIVE") != "" {
		n = 7
	}
	var tried, matched atomic.Int64
	each := func(stops string, compare func(specifier string, paths []string) (n, found int)) {
		paths := texts("ab"+stops, n)
		work := make(chan string)
		var workers sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			workers.Go(func() {
				for specifier := range work {
					asked, found := compare(specifier, paths)
					tried.Add(int64(asked))
					matched.Add(int64(found))
				}
			})
		}
		for _, specifier := range texts("ab*"+stops, n) {
			work <- specifier
		}
		close(work)
		workers.Wait()
	}
	each("/", func(specifier string, paths []string) (asked, found int) {
		twin, s := expression(specifier), []byte(specifier)
		for _, path := range paths {
			// Either form of the path may be what the specifier means (PATH-7).
			want := twin.MatchString(path) || twin.MatchString(path+"/")
			if got := matches(s, []byte(path)); got != want {
				t.Errorf("specifier %q, path %q: %v, want %v", specifier, path, got, want)
			}
			if want {
				found++
			}
		}
		return len(paths), found
	})
	each(".", func(specifier string, paths []string) (asked, found int) {
		twin, s := expression(specifier), []byte(specifier)
		block, head := (*regexp.Regexp)(nil), strings.TrimRight(specifier, "*")
		if before, ends := strings.CutSuffix(head, "."); ends && head != specifier { // X.* gives X, too (CTL-13)
			block = expression(before)
		}
		g := makeGrant(s)
		for _, path := range paths {
			p := []byte(path)
			below := false // of an object that it names (CTL-14, by the draft's letter)
			for i := range path {
				below = below || path[i] == '.' && head == specifier && twin.MatchString(path[:i])
			}
			for draft := range DraftedRoot | DraftedBelow + 1 {
				want := specifier != "" && path != "" && (twin.MatchString(path) ||
					draft&DraftedRoot == 0 && block != nil && block.MatchString(path) || draft&DraftedBelow != 0 &&
					below)
				if got := matchRole(s, p, draft); got != want {
					t.Errorf("specifier %q, role path %q, draft %d: %v, want %v", specifier, path, draft, got, want)
				}
				if specifier != "" && g.matches(p, draft) != want {
					t.Errorf("specifier %q, role path %q, draft %d: made ready %v, want %v",
						specifier, path, draft, !want, want)
				}
				// It ends in *, and what is before that begins "<path>." (CTL-64).
				covers := path != "" && head != specifier && strings.HasPrefix(path+".", head) &&
					(draft&DraftedRoot == 0 || head != path+".") || draft&DraftedBelow != 0 && head == specifier && want
				if got := coversRole(s, p, draft); got != covers {
					t.Errorf("specifier %q, role path %q, draft %d: covers %v, want %v",
						specifier, path, draft, got, covers)
				}
				if covers && !want {
					t.Errorf("specifier %q, role path %q, draft %d: all below it and not itself",
						specifier, path, draft)
				}
				if want {
					found++
				}
			}
		}
		asked = 4 * len(paths)
		return asked, found
	})
	t.Logf("FIGURES %d pairs of specifier and path, %d match", tried.Load(), matched.Load())
	if tried.Load() < 50_000 || matched.Load() < 1000 {
		t.Errorf("%d pairs, %d match: not what was meant", tried.Load(), matched.Load())
	}
}
