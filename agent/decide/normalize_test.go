package decide_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"nmosauthd/agent/decide"
	"nmosauthd/tinytest/spec"
)

var (
	encoded    = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	unreserved = regexp.MustCompile(`^[A-Za-z0-9._~-]$`)
)

// slowNormalize is the readable twin of Normalize: segment by segment.
func slowNormalize(target string) (string, bool) {
	path, _, _ := strings.Cut(target, "?")
	if !strings.HasPrefix(path, "/") || strings.ContainsFunc(path, neverRaw) {
		return "", false
	}
	segments := strings.Split(path[1:], "/")
	last := len(segments) - 1
	var kept []string
	for i, segment := range segments {
		text, err := url.PathUnescape(segment)
		if err != nil || !utf8.ValidString(text) || strings.ContainsFunc(text, neverHidden) || text == "" && i < last {
			return "", false
		}
		segment = encoded.ReplaceAllStringFunc(segment, func(e string) string {
			if c, _ := url.PathUnescape(e); unreserved.MatchString(c) {
				return c
			}
			return strings.ToUpper(e)
		})
		if segment != "." && segment != ".." {
			kept = append(kept, segment)
			continue
		}
		if segment == ".." && len(kept) == 0 {
			return "", false
		}
		if segment == ".." {
			kept = kept[:len(kept)-1]
		}
		if i == last { // a dot segment names a folder
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/"), true
}

func neverRaw(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' || r == '#' }

func neverHidden(r rune) bool {
	return r < ' ' || 0x7f <= r && r < 0xa0 || r == '/' || r == '\\' || r == ';'
}

var normalized = []struct{ target, want string }{
	{"/", "/"},
	{"/x-nmos/node/v1.3/self", "/x-nmos/node/v1.3/self"},
	{"/x-nmos/node/v1.3/self/", "/x-nmos/node/v1.3/self/"},
	{"/a?b=/../c", "/a"},
	{"/?", "/"},
	{"/a?b?c#d", "/a"},
	{"/%61%2D%7E%2e%5F%30%5a", "/a-~._0Z"},
	{"/%c3%a9%e2%82%ac%f0%9f%8e%9a", "/%C3%A9%E2%82%AC%F0%9F%8E%9A"},
	{"/%c2%a0", "/%C2%A0"},       // the first behind the C1 controls
	{"/%EF%BF%BD", "/%EF%BF%BD"}, // U+FFFD itself is no error
	{"/%20%22%23%25%3f%3C", "/%20%22%23%25%3F%3C"},
	{"/%252e%252e/a", "/%252e%252e/a"}, // decoded once, not twice
	{"/%252F", "/%252F"},
	{"/!$&'()*+,=:@", "/!$&'()*+,=:@"},
	{"/a?b;c=d", "/a"},
	{"/%253b", "/%253b"},
	{"/a/.", "/a/"},
	{"/a/./b", "/a/b"},
	{"/./a", "/a"},
	{"/.", "/"},
	{"/./", "/"},
	{"/a/..", "/"},
	{"/a/../", "/"},
	{"/a/../b", "/b"},
	{"/a/b/..", "/a/"},
	{"/a/b/../../c", "/c"},
	{"/a/%2e%2E/b", "/b"},
	{"/a/.%2e/b", "/b"},
	{"/a/%2e/b", "/a/b"},
	{"/x-nmos/node/../connection/v1.1/single", "/x-nmos/connection/v1.1/single"},
	{"/...", "/..."},
	{"/.a", "/.a"},
	{"/a.", "/a."},
	{"/a..b/c", "/a..b/c"},
	{"/..a/b", "/..a/b"},
}

func TestNormalize(t *testing.T) {
	spec.Rules(t, "PATH-8")
	for _, c := range normalized {
		got, ok := decide.Normalize([]byte("before"), []byte(c.target))
		if !ok || string(got) != "before"+c.want {
			t.Errorf("%q became %q, %v; want %q", c.target, got, ok, c.want)
		}
		compareNormalize(t, c.target)
	}
}

var ambiguous = []struct{ name, target string }{
	{"empty", ""},
	{"query-only", "?a"},
	{"no-slash", "x-nmos"},
	{"absolute-form", "http://node/x-nmos"},
	{"authority-form", "node:80"},
	{"asterisk", "*"},
	{"two-slashes", "/x-nmos//node"},
	{"two-slashes-first", "//x-nmos"},
	{"two-slashes-last", "/x-nmos//"},
	{"two-slashes-behind-dots", "/a/..//b"},
	{"two-slashes-behind-dot", "/.//b"},
	{"encoded-slash", "/single%2fsenders"},
	{"encoded-slash-in-capitals", "/single%2Fsenders"},
	{"encoded-slash-dots", "/a/..%2fb"},
	{"backslash", `/single\senders`},
	{"backslash-dots", `/a/..\b`},
	{"encoded-backslash", "/single%5csenders"},
	{"encoded-backslash-in-capitals", "/single%5Csenders"},
	{"nul", "/a\x00"},
	{"encoded-nul", "/a%00"},
	{"encoded-newline", "/a%0a"},
	{"encoded-carriage-return", "/a%0D"},
	{"encoded-delete", "/a%7f"},
	{"encoded-c1-control", "/a%c2%85"},
	{"newline", "/a\nb"},
	{"tab", "/a\tb"},
	{"delete", "/a\x7f"},
	{"space", "/a b"},
	{"space-last", "/a "},
	{"fragment", "/a#b"},
	{"not-ascii", "/é"},
	{"not-utf8", "/\xff"},
	{"percent-alone", "/a%"},
	{"percent-one-digit", "/a%4"},
	{"percent-no-digits", "/a%zz"},
	{"percent-one-bad-digit", "/a%4g"},
	{"percent-u", "/a%u002f"},
	{"percent-percent", "/%%32%66"},
	{"overlong-slash", "/a%c0%af"},
	{"overlong-slash-three-bytes", "/a%e0%80%af"},
	{"overlong-dots", "/%c0%ae%c0%ae/a"},
	{"utf8-cut-short", "/a%c3"},
	{"utf8-cut-short-by-text", "/a%c3b"},
	{"utf8-cut-short-by-slash", "/a%e2%82/"},
	{"utf8-surrogate", "/%ed%a0%80"},
	{"utf8-beyond-unicode", "/%f4%90%80%80"},
	{"utf8-lone-continuation", "/%80"},
	{"above-root", "/.."},
	{"above-root-slash", "/../x-nmos"},
	{"above-root-later", "/a/../../b"},
	{"above-root-encoded", "/%2e%2e/a"},
	{"parameter", "/a;b=c"},
	{"parameter-empty", "/a;/b"},
	{"parameter-alone", "/;"},
	{"parameter-encoded", "/a%3Bb"},
	{"parameter-encoded-in-small-letters", "/a%3b"},
	{"dots-with-parameter-encoded", "/a/..%3B/b"},
	{"segment-of-a-parameter-before-dots", "/a/;x/../receivers/1"},
	{"dots-with-parameter", "/a/..;/b"},
	{"dots-with-parameter-last", "/a/..;x=y"},
	{"dot-with-parameter", "/a/.;/b"},
	{"dots-encoded-with-parameter", "/a/%2e%2e;/b"},
}

func TestNormalizeRefuses(t *testing.T) {
	spec.Rules(t, "PATH-9")
	for _, c := range ambiguous {
		got, ok := decide.Normalize([]byte("before"), []byte(c.target))
		if ok || string(got) != "before" {
			t.Errorf("%s: %q became %q, %v", c.name, c.target, got, ok)
		}
		compareNormalize(t, c.target)
	}
}

// compareNormalize compares Normalize with its twin, and with what a normal form is.
func compareNormalize(t *testing.T, target string) {
	t.Helper()
	got, ok := decide.Normalize(nil, []byte(target))
	want, wantOK := slowNormalize(target)
	if ok != wantOK || ok && string(got) != want {
		t.Fatalf("%q became %q, %v; its twin says %q, %v", target, got, ok, want, wantOK)
	}
	if !ok {
		return
	}
	if again, ok := decide.Normalize(nil, got); !ok || string(again) != string(got) {
		t.Errorf("%q became %q, and that %q", target, got, again)
	}
	for _, never := range []string{"//", "/./", "/../", "\\", "%2F", "%5C", ";", "%3B"} {
		if strings.Contains(string(got), never) {
			t.Errorf("%q became %q, which holds %q", target, got, never)
		}
	}
	if strings.HasSuffix(string(got), "/.") || strings.HasSuffix(string(got), "/..") || got[0] != '/' ||
		len(got) > len(target) {
		t.Errorf("%q became %q", target, got)
	}
}

func FuzzPath(f *testing.F) {
	for _, c := range normalized {
		f.Add(c.target)
	}
	for _, c := range ambiguous {
		f.Add(c.target)
	}
	f.Fuzz(compareNormalize)
}
