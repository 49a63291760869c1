package audit

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// What looks like a token is taken out of a text, and nothing else is.
func TestClean_OPS2(t *testing.T) {
	const tok = "eyJhbGciOiJSUzUxMiJ9.eyJpc3MiOiJ4In0.c2ln-_09"
	encoded := strings.ReplaceAll(tok, ".", "%2e")
	var all strings.Builder
	for _, c := range tok {
		fmt.Fprintf(&all, "%%%02X", c)
	}
	for text, want := range map[string]string{
		"":                                 "",
		"/x-nmos/connection/v1.1":          "/x-nmos/connection/v1.1",
		tok:                                "[token]",
		"/a/" + tok + "/b":                 "/a/[token]/b",
		"/a/" + tok + "/" + tok + "/":      "/a/[token]/[token]/",
		"/a/x" + tok:                       "/a/x[token]",
		"/a/" + tok + "!rest/b":            "/a/[token]/b",
		"/a/" + tok[:len(tok)-12] + "/b":   "/a/[token]/b", // without a signature
		"/a/" + encoded + "/b":             "/a/[token]/b",
		"/a/" + all.String() + "/b":        "/a/[token]/b",
		"/a/%" + tok:                       "/a/%[token]",
		"/a/%3" + tok:                      "/a/%3[token]",
		"/a/%3E" + tok[1:]:                 "/a/%3E[token]", // normalised
		"/a/N" + tok[1:]:                   "/a/N[token]",   // normalised, of %4
		"/a/%7" + tok:                      "/a/%7[token]",
		tok[1:]:                            "[token]",
		"/myJack.left.level":               "/myJack.left.level",
		"/myJack.%6cevel.%4" + tok:         "/myJack.%6cevel.%4[token]",
		"/a/%65yJ0.e%79Jx":                 "/a/[token]",
		"denied=/" + tok + "\ndenied=/b\n": "denied=/[token]\ndenied=/b\n",
		"/eyJ":                             "/eyJ",
		"/eyJ.":                            "/eyJ.",
		"/eyJoe.json":                      "/eyJoe.json",
		"/eyJoe.tar.gz":                    "/[token]", // it has three parts
		"/eyJa!.b.c":                       "/[token]",
		"/eyJa=.eyJb==.c":                  "/[token]",
		"/eyJa%2F.eyJb%2fc/d":              "/[token]/d",
		"/eyJ/a.b.c":                       "/eyJ/a.b.c",
		"/eyJa.exyJ":                       "/eyJa.exyJ",
		"/ey.eyJ/a":                        "/ey.eyJ/a",
		"/eyeyJa.eyJb":                     "/ey[token]",
		"/Monkey.Jar.a.b":                  "/Monkey.Jar.a.b",
		"/a%2Fb%":                          "/a%2Fb%",
		"/%zz%4":                           "/%zz%4",
	} {
		if got := string(appendClean(nil, []byte(text), MaxPath)); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// A token is found where the text has to be cut, too.
func TestCleanBeforeCut_OPS2(t *testing.T) {
	const tok = "eyJhbGciOiJSUzUxMiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl"
	for at := range MaxPath + 10 {
		r := allowed()
		r.Path = []byte(strings.Repeat("x", at) + tok + "/" + strings.Repeat("y", MaxPath))
		b, _ := r.append(nil)
		var back Record
		back.read(b)
		line := appendRecord(nil, &back, MaxPath)
		if bytes.Contains(back.Path, []byte("eyJhbG")) || len(back.Path) > MaxPath || !bytes.Contains(line, []byte(`"cut":["path"]`)) {
			t.Fatalf("at %d: %d bytes, %s", at, len(back.Path), line)
		}
	}
}

// The longest texts need no more memory than a record has, and hostile ones no more time than others.
func TestCleanAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: the race detector allocates on its own account")
	}
	r := allowed()
	for name, path := range map[string]string{
		"plain": strings.Repeat("x", 32<<10), "starts": strings.Repeat("eyJ", 10<<10), "percent": strings.Repeat("%65", 10<<10),
		"tokens": strings.Repeat("eyJ.eyJ/", 4<<10), "halves": strings.Repeat("eyJ.", 8<<10), "one": "eyJ" + strings.Repeat("a", 32<<10) + ".b.c",
	} {
		r.Path, r.Denied = []byte(path), []byte(path)
		scratch := make([]byte, 0, maxRecord)
		if n := testing.AllocsPerRun(10, func() { r.append(scratch) }); n > 0 {
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
		for at := range got {
			if n, found := token(got[at:]); found || n < 1 || n > len(got)-at {
				t.Errorf("%q: %q at %d", text, got, at)
			}
		}
		if !bytes.Contains(got, []byte(Cleaned)) && string(got) != text[:min(len(text), int(most)+1)] {
			t.Errorf("%q: %q", text, got)
		}
	})
}
