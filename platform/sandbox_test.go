package platform

import (
	"os"
	"path/filepath"
	"testing"
)

// tree makes folders, files and links ("name -> target") below a folder of the test's own, whose real path it returns.
func tree(t *testing.T, folders, files []string, links map[string]string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range folders {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Skipf("no links here: %v", err)
		}
	}
	return dir
}

func TestRealPath(t *testing.T) {
	dir := tree(t, []string{"a/b", "c"}, []string{"a/b/file"}, map[string]string{
		"to-file":     "a/b/file",
		"to-folder":   "a/b",
		"dangling":    "c/none/x",
		"a/up":        "../c",
		"chain":       "to-folder/../up/late",
		"circle":      "circle",
		"circle-1":    "circle-2",
		"circle-2":    "circle-1",
		"c/to-dangle": "../dangling",
	})
	for path, want := range map[string]string{
		"a/b/file":       "a/b/file",
		"to-file":        "a/b/file",
		"to-folder/file": "a/b/file",
		"to-folder/none": "a/b/none",
		"dangling":       "c/none/x",
		"a/up/x/y":       "c/x/y",
		"c/to-dangle":    "c/none/x",
		"none/of/it":     "none/of/it",
		"chain":          "c/late",
	} {
		if got := RealPath(filepath.Join(dir, path)); got != filepath.Join(dir, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for _, path := range []string{"circle", "circle-1/x"} {
		RealPath(filepath.Join(dir, path)) // ends
	}
	if got := RealPath("/"); got != "/" {
		t.Errorf("got %s, want /", got)
	}
}

func TestSandboxReaches(t *testing.T) {
	dir := tree(t, []string{"read/below", "write", "other"},
		[]string{"single", "read/file", "other/file"}, map[string]string{
			"read/out":  "../other/file",
			"read/late": "../other/none",
			"in":        "read/file",
		})
	at := func(name string) string { return filepath.Join(dir, name) }
	s := &Sandbox{ABI: 1}
	for name, write := range map[string]bool{"read": false, "write": true, "single": false} {
		info, err := os.Stat(at(name))
		if err != nil {
			t.Fatal(err)
		}
		s.granted = append(s.granted, granted{info, write})
	}
	check := func(path string, write, want bool) {
		t.Helper()
		if got := s.Reaches(Place{Path: at(path), Write: write}); got != want {
			t.Errorf("%s, write %v: %v", path, write, got)
		}
	}
	check("read", false, true)
	check("read/file", false, true)
	check("read/below/none/x", false, true)
	check("read/file", true, false)
	check("write/x", true, true)
	check("write/x", false, true)
	check("single", false, true)
	check("in", false, true)
	check("read/out", false, false)
	check("read/late", false, false)
	check("other/file", false, false)
	check(".", false, false)
	check("none", false, false)

	// A folder that is put in the place of one is another.
	if err := os.Rename(at("read"), at("moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at("read"), 0o755); err != nil {
		t.Fatal(err)
	}
	check("read", false, false)
	check("moved/file", false, true)
	if none := (&Sandbox{}); !none.Reaches(Place{Path: "/anything", Write: true}) {
		t.Error("what is not in force denies")
	}
}
