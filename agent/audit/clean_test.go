package audit

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// What looks like a token is taken out of a text, and nothing else is.
func TestClean(t *testing.T) {
	spec.Rules(t, "OPS-2")
	const tok = "eyJhbGciOiJSUzUxMiJ9.eyJpc3MiOiJ4In0.c2ln-_09"
	const header = "eyJhbGciOiJSUzUxMiJ9"
	encoded := strings.ReplaceAll(tok, ".", "%2e")
	var all strings.Builder
	for _, c := range tok {
		fmt.Fprintf(&all, "%%%02X", c)
	}
	for text, want := range map[string]string{
		"":                               "",
		"/x-nmos/connection/v1.1":        "/x-nmos/connection/v1.1",
		tok:                              "[token]",
		"/a/" + tok + "/b":               "/a/[token]/b",
		"/a/" + tok + "/" + tok + "/":    "/a/[token]/[token]/",
		"/a/x" + tok:                     "/a/x[token]",
		"/a/b.c." + tok:                  "/a/b.c.[token]",
		"/a/" + tok + "!rest/b":          "/a/[token]/b",
		"/a/" + tok[:len(tok)-12] + "/b": "/a/[token]/b", // without a signature
		"/a/" + encoded + "/b":           "/a/[token]/b",
		"/a/" + strings.ReplaceAll(tok, ".", "%252E") + "/b":   "/a/[token]/b",
		"/a/" + strings.ReplaceAll(tok, ".", "%25252e") + "/b": "/a/[token]/b",
		"/a/" + strings.ReplaceAll(tok, "e", "%2565") + "/b":   "/a/[token]/b",
		"/a/" + all.String() + "/b":                            "/a/[token]/b",
		"/a/?access_token=" + tok:                              "/a/?access_token=[token]",
		"/a/%" + tok:                                           "/a/%[token]",
		"/a/%3" + tok:                                          "/a/[token]", // what the escape took is gone
		"/a/%3E" + tok[1:]:                                     "/a/[token]", // normalised
		"/a/N" + tok[1:]:                                       "/a/[token]", // normalised, of %4
		tok[1:]:                                                "[token]",
		tok[3:]:                                                "[token]",
		"/myJack.left.level":                                   "/myJack.left.level",
		"/myJack.%6cevel.%4" + tok:                             "/myJack.%6cevel.[token]",
		"/" + tok + "\n/b\n":                                   "/[token]\n/b\n",
		"/" + header:                                           "/" + header,
		"/" + header + ".":                                     "/" + header + ".",
		"/" + header + ".json":                                 "/" + header + ".json",
		"/" + header + ".a.b":                                  "/[token]", // it has three parts
		"/" + header + "!.b.c":                                 "/[token]",
		"/" + header + "=.eyJb==.c":                            "/[token]",
		"/" + header + "%2F.eyJb%2fc/d":                        "/[token]/d",
		"/" + header + "/a.b.c":                                "/" + header + "/a.b.c",
		"/" + header + ".exyJ":                                 "/" + header + ".exyJ",
		"/ey" + header + ".eyJb":                               "/ey[token]",
		"/eyJoe.tar.gz":                                        "/eyJoe.tar.gz",
		"/node30.node-1.example.com":                           "/node30.node-1.example.com",
		"/ICanSeeALongName.with.dots":                          "/ICanSeeALongName.with.dots",
		"/a-name-as-long-as-that.example":                      "/a-name-as-long-as-that.example",
		"/Monkey.Jar.a.b":                                      "/Monkey.Jar.a.b",
		"/a%2Fb%":                                              "/a%2Fb%",
		"/%zz%4":                                               "/%zz%4",
	} {
		if got := string(appendClean(nil, []byte(text), MaxPath)); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
		if got := string(Clean([]byte(text))); got != want {
			t.Errorf("Clean(%q) is %q, want %q", text, got, want)
		}
	}
}

// JSON may begin with white space, before its brace and behind it, and so a token need not begin with eyJ (issue 10,
// D.22).
func TestCleanWhiteSpace(t *testing.T) {
	spec.Rules(t, "OPS-2")
	var spaces []string
	for _, a := range []string{"", " ", "\t", "\n", "\r"} {
		for _, b := range []string{"", " ", "\t", "\n", "\r"} {
			for _, c := range []string{"", " ", "\r\n", "\t\t\t\t\t"} {
				spaces = append(spaces, a+b+c)
			}
		}
	}
	spaces = append(spaces, strings.Repeat(" ", 300), strings.Repeat("\r\n\t ", 90))
	encode := base64.RawURLEncoding.EncodeToString
	for i, before := range spaces {
		after := spaces[(7*i+3)%len(spaces)]
		for _, mark := range []string{"", "\ufeff"} {
			head := encode([]byte(mark + before + "{" + after + `"alg":"RS512"}`))
			for _, claims := range []string{encode([]byte(after + "{" + before + `"iss":"x"}`)), "AAAA"} {
				tok := head + "." + claims + ".c2lnbmF0dXJl"
				for text, want := range map[string]string{
					tok: "[token]", "/a/" + tok: "/a/[token]", "/a/x" + tok + "/b": "/a/x[token]/b",
					"Bearer%20" + tok: "Bearer%20[token]", "/" + strings.ReplaceAll(tok, ".", "%2E"): "/[token]",
					"/-_" + tok: "/-_[token]",
				} {
					if got := string(appendClean(nil, []byte(text), MaxPath)); got != want {
						t.Fatalf("%q (header %q): got %q, want %q", text, mark+before+"{"+after, got, want)
					}
				}
			}
		}
	}
}

// A token is found where the text has to be cut, too.
func TestCleanBeforeCut(t *testing.T) {
	spec.Rules(t, "OPS-2")
	tok := "eyJhbGciOiJSUzUxMiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl"
	for at := range 2 * (MaxPath + 10) {
		if at == MaxPath+10 { // with a header that is longer than all that is shown
			tok = "eyJhbGciOiJSUzUxMi" + strings.Repeat("x", 8<<10) + ".eyJpc3MiOiJ4In0.c2lnbmF0dXJl"
		}
		at %= MaxPath + 10
		r := allowed()
		r.Path = []byte(strings.Repeat("x", at) + tok + "/" + strings.Repeat("y", MaxPath))
		held := recorded(r)
		line, path := appendRecord(nil, held, MaxPath), held.Text(Path)
		if bytes.Contains(path, []byte("eyJhbG")) || len(path) > MaxPath ||
			!bytes.Contains(line, []byte(`"cut":["path"]`)) {
			t.Fatalf("at %d: %d bytes, %s", at, len(path), line)
		}
	}
}

// A long text costs a decision no more than it must: the search is linear in it.
func BenchmarkClean(b *testing.B) {
	for name, text := range map[string]string{
		"path":   "/x-nmos/connection/v1.1/single/receivers/6f1e0000-0000-4000-8000-000000000041/staged",
		"issuer": "https://auth.example.com/realms/nmos", "plain": strings.Repeat("x", 32<<10),
		"dots": strings.Repeat("xxxxxxxxxxxxxxxx.", 2<<10), "percent": strings.Repeat("%65", 10<<10),
		"spaces": strings.Repeat("ICAg", 8<<10) + "%", "many spaces": strings.Repeat("ICAgICAg.", 3<<10) + "%",
		"starts": strings.Repeat("eyJ", 10<<10) + ".",
	} {
		b.Run(name, func(b *testing.B) {
			dst := make([]byte, 0, maxTexts)
			for b.Loop() {
				appendClean(dst, []byte(text), MaxPath)
			}
		})
	}
}

// The longest texts need no more memory than a record has, and hostile ones no more time than others.
func TestCleanAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: the race detector allocates on its own account")
	}
	r := allowed()
	for name, path := range map[string]string{
		"plain": strings.Repeat("x", 32<<10), "starts": strings.Repeat("eyJ", 10<<10),
		"percent": strings.Repeat("%65", 10<<10), "tokens": strings.Repeat("eyJ.eyJ/", 4<<10),
		"halves": strings.Repeat("eyJ.", 8<<10), "one": "eyJ" + strings.Repeat("a", 32<<10) + ".b.c",
		"spaces": strings.Repeat("ICAg", 8<<10) + "%", "spaces encoded": strings.Repeat("%49%43%41%67", 3<<10),
	} {
		r.Path, r.Answers = []byte(path), []wire.Answer{{Target: []byte(path)}}
		held := Record{text: make([]byte, 0, maxTexts)}
		if n := testing.AllocsPerRun(10, func() { held.Set(1, &r) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzClean: what is left holds no token, and where there was none it is the text.
func FuzzClean(f *testing.F) {
	f.Add("/a/eyJhbGciOiJSUzUxMiJ9.eyJpc3MiOiJ4In0.c2ln/%65yJ%2e.x.y", uint16(1024))
	f.Add("eyJeyJ.eyJ", uint16(5))
	f.Add("%65%79%4A%2E%65%79%4A", uint16(100))
	f.Fuzz(func(t *testing.T, text string, most uint16) {
		got := appendClean(nil, []byte(text), int(most))
		if from, to := findToken(got, len(got)); from != len(got) || to != len(got) {
			t.Errorf("%q: what is left, %q, holds a token from %d to %d", text, got, from, to)
		}
		if !bytes.Contains(got, []byte(Cleaned)) && string(got) != text[:min(len(text), int(most)+1)] {
			t.Errorf("%q: got %q, want it cleaned, or as it was", text, got)
		}
	})
}
