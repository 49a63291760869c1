package wildcard

import (
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/spec"
)

// slow is the readable twin: the definition of "*", tried out by recursion with a table.
func slow(pattern, text string) bool {
	type at struct{ p, t int }
	seen := map[at]bool{}
	var match func(p, t int) bool
	match = func(p, t int) bool {
		if seen[at{p, t}] {
			return false
		}
		seen[at{p, t}] = true
		switch {
		case p == len(pattern):
			return t == len(text)
		case pattern[p] == '*':
			return match(p+1, t) || t < len(text) && match(p, t+1)
		default:
			return t < len(text) && pattern[p] == text[t] && match(p+1, t+1)
		}
	}
	return match(0, 0)
}

// slowHost is the readable twin of Host: it says what each label of the pattern may be.
func slowHost(pattern, host string) bool {
	if pattern == "" || host == "" {
		return false
	}
	p, h := strings.Split(pattern, "."), strings.Split(host, ".")
	if p[0] == "*" {
		if len(h) < len(p) {
			return false
		}
		h = h[len(h)-len(p)+1:]
		p = p[1:]
	}
	if len(p) != len(h) {
		return false
	}
	for i := range p {
		if !slow(p[i], h[i]) {
			return false
		}
	}
	return true
}

func TestMatch(t *testing.T) {
	spec.Rules(t, "PATH-6")
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"*", "a/b", true}, {"", "", true}, {"", "a", false},
		{"single/*", "single/senders/1/staged", true}, {"single/*", "single", false},
		{"single/*/staged", "single/senders/1/staged", true}, {"single/*/staged", "single/senders/1/active", false},
		{"a*b*c", "a-b-b-c", true}, {"a*b*c", "abc", true}, {"a*b*c", "acb", false}, {"**", "x", true},
		{"a**b", "ab", true}, {"*ab*", "aab", true}, {"*aab*", "aaab", true}, {"*abab*ab", "ababab", true},
		{"a.c", "abc", false}, {"a?c", "abc", false}, {"[a]", "a", false}, {"a+", "aa", false},
		{"ab*ba", "aba", false}, {"A", "a", false},
	} {
		if got := Match([]byte(c.pattern), []byte(c.text)); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.text, got)
		}
		if got := slow(c.pattern, c.text); got != c.want {
			t.Errorf("the twin: Match(%q, %q) = %v", c.pattern, c.text, got)
		}
	}
}

func TestHost(t *testing.T) {
	spec.Rules(t, "CLM-5")
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"*", "a", true}, {"*", "a.b.c", true}, {"*.example.com", "a.example.com", true},
		{"*.example.com", "a.b.example.com", true}, {"*.example.com", "example.com", false},
		{"node-*.example.com", "node-1.example.com", true}, {"node-*.example.com", "node-.example.com", true},
		{"node-*.example.com", "node-1.x.example.com", false}, {"*-1.example.com", "node-1.example.com", true},
		{"a.*.com", "a.b.com", true}, {"a.*.com", "a.b.c.com", false}, {"a.com", "a.com", true},
		{"a.com", "b.a.com", false}, {"", "a", false}, {".com", "a.com", false}, {"a..com", "a.b.com", false},
		{"*.*.com", "a.b.com", true}, {"*.*.com", "b.com", false}, {"a.", "a", false}, {"**.com", "a.com", true},
		{"**.com", "a.b.com", false}, {"*", "", false}, {"**", "", false}, {"", "", false},
	} {
		if got := Host([]byte(c.pattern), []byte(c.host)); got != c.want {
			t.Errorf("Host(%q, %q) = %v", c.pattern, c.host, got)
		}
		if got := slowHost(c.pattern, c.host); got != c.want {
			t.Errorf("the twin: Host(%q, %q) = %v", c.pattern, c.host, got)
		}
	}
}

// worst are the specifiers that make matching a path of n bytes slow, each filling a token of 16 KiB, whose payload
// holds 12 KiB, with its quotation marks and commas: many short ones, whose piece is nearly everywhere; long ones that
// defeat backtracking; and long ones that defeat rolling hashes, equal to the text's modulo any power of two (Thue and
// Morse) or different at their end only.
func worst(n int) (all []worstCase) {
	const room = 12 << 10
	thue := []byte{'a'}
	for len(thue) < n {
		for _, c := range thue {
			thue = append(thue, 'a'+'b'-c)
		}
	}
	as := strings.Repeat("a", n)
	for _, c := range []struct{ name, text, specifier string }{
		{"*ab*", as, "*ab*"},
		{"*b", as, "*b"},
		{"empty", as, ""},
		{"*a*a…b", as, "*" + strings.Repeat("a*", n/2) + "b"},
		{"*aa…ab*", as, "*" + as[:n/2] + "b*"},
		{"*baa…a*", as, "*b" + as[:n/2] + "*"},
		{"*aa…b*…", as, strings.Repeat("*"+as[:60]+"b", n/62)},
		{"Thue, Morse", string(thue[:n]), "*" + string(thue[:n/4]) + "c*"},
		{"Thue, Morse, no cubes", string(thue[:n]), "*" + strings.Repeat(string(thue[:n/8]), 3) + "*"},
	} {
		one := worstCase{c.name, []byte(c.text), nil}
		for left := room; left > 0; left -= len(c.specifier) + 3 {
			one.specifiers = append(one.specifiers, []byte(c.specifier))
		}
		all = append(all, one)
	}
	return all
}

type worstCase struct {
	name       string
	text       []byte
	specifiers [][]byte
}

// The time of a match is bounded by the product of both lengths (PATH-16). Each set below is at most 12 KiB of
// specifiers against the longest path that can be configured; a term worse than that would take minutes, and the bound
// is so wide that only that breaks it.
func TestWorstToken(t *testing.T) {
	spec.Rules(t, "PATH-16")
	for _, c := range worst(4096) {
		start := time.Now()
		for _, one := range c.specifiers {
			if Match(one, c.text) {
				t.Fatalf("%s: Match(%.20q…) is true, want false", c.name, one)
			}
		}
		took := time.Since(start)
		if took > 30*time.Second {
			t.Errorf("%s: took %v, want less than 30 s", c.name, took)
		}
		t.Logf("%s: %v", c.name, took)
	}
}

// BenchmarkWorstToken is what the worst token of 16 KiB costs a decision, on the longest path by default.
func BenchmarkWorstToken(b *testing.B) {
	for _, c := range worst(2048) {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				for _, one := range c.specifiers {
					Match(one, c.text)
				}
			}
		})
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("single/*/staged", "single/senders/1/staged")
	f.Add("*aab*aab*", "aaabaaaab")
	f.Add("*abaab*", "abaabaabab")
	f.Add("*.a*", "b.ac")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 200 || len(text) > 200 {
			return
		}
		if got, want := Match([]byte(pattern), []byte(text)), slow(pattern, text); got != want {
			t.Errorf("Match(%q, %q) = %v, its twin says %v", pattern, text, got, want)
		}
		if strings.Contains(text, "..") || strings.HasPrefix(text, ".") || strings.HasSuffix(text, ".") {
			return
		}
		if got, want := Host([]byte(pattern), []byte(text)), slowHost(pattern, text); got != want {
			t.Errorf("Host(%q, %q) = %v, its twin says %v", pattern, text, got, want)
		}
	})
}
