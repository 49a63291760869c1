package wildcard

import (
	"bytes"
	"strings"
	"testing"
	"time"
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

func TestMatch_PATH6(t *testing.T) {
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

func TestHost_CLM5(t *testing.T) {
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
		{"**.com", "a.b.com", false},
	} {
		if got := Host([]byte(c.pattern), []byte(c.host)); got != c.want {
			t.Errorf("Host(%q, %q) = %v", c.pattern, c.host, got)
		}
		if got := slowHost(c.pattern, c.host); got != c.want {
			t.Errorf("the twin: Host(%q, %q) = %v", c.pattern, c.host, got)
		}
	}
}

// A pattern made to defeat backtracking and one made to defeat rolling hashes: both would take minutes if matching were
// quadratic at this size; the bound is so wide that only that can break it.
func TestMatchIsLinear_PATH6(t *testing.T) {
	const n = 1 << 20
	a := strings.Repeat("a", n)
	thue := []byte{'a'}
	for len(thue) < n/2 {
		for _, c := range thue {
			thue = append(thue, 'a'+'b'-c)
		}
	}
	start := time.Now()
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*" + a[:n/2] + "b*", a, false},
		{"*" + strings.Repeat("a*", n/2) + "b", a, false},
		{"*b" + a[:n/2] + "*", a, false},
		{"*" + string(thue[:n/8]) + "c*", string(thue), false},
		{"*" + strings.Repeat("ab", n/8) + "b*", strings.Repeat("ab", n/2), false},
	} {
		if Match([]byte(c.pattern), []byte(c.text)) != c.want {
			t.Errorf("wrong for a pattern that starts %q", c.pattern[:20])
		}
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
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

func FuzzIndex(f *testing.F) {
	f.Add([]byte("abaababaab"), []byte("abaab"))
	f.Add([]byte("aaaaab"), []byte("aab"))
	f.Fuzz(func(t *testing.T, text, piece []byte) {
		for i := range text { // few letters, so that there is something to find
			text[i] = 'a' + text[i]%3
		}
		for i := range piece {
			piece[i] = 'a' + piece[i]%3
		}
		if got, want := index(text, piece), bytes.Index(text, piece); got != want {
			t.Errorf("index(%q, %q) = %d, want %d", text, piece, got, want)
		}
	})
}
