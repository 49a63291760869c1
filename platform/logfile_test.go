package platform

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeLog(t *testing.T, l *LogFile, text string) {
	t.Helper()
	if n, err := l.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("got %d, error %v", n, err)
	}
}

func openLog(t *testing.T, l *LogFile) int64 {
	t.Helper()
	size, err := l.Open()
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// logFiles are the files of a log with their text, FILE, FILE.1 and so on.
func logFiles(t *testing.T, path string) string {
	t.Helper()
	names, _ := filepath.Glob(path + "*")
	var all []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimPrefix(name, path)+"="+string(text))
	}
	return strings.Join(all, " ")
}

func TestLogFile(t *testing.T) {
	l := &LogFile{Path: filepath.Join(t.TempDir(), "log"), Files: 3}
	for _, c := range []struct{ text, want string }{
		{"a", ".1=a"}, {"b", ".1=b .2=a"}, {"c", ".1=c .2=b"}, {"d", ".1=d .2=c"},
	} {
		if size := openLog(t, l); size != 0 {
			t.Errorf("a new file has %d bytes", size)
		}
		writeLog(t, l, c.text)
		if err := l.Rotate(); err != nil {
			t.Fatal(err)
		}
		if got := logFiles(t, l.Path); got != c.want {
			t.Errorf("after %s: %s, want %s", c.text, got, c.want)
		}
	}
	openLog(t, l)
	writeLog(t, l, "first ")
	if size := openLog(t, l); size != 6 {
		t.Errorf("%d bytes", size)
	}
	writeLog(t, l, "last")
	var b [6]byte
	if n, err := l.Tail(b[:]); err != nil || string(b[:n]) != "t last" {
		t.Errorf("the tail is %q, %v", b[:n], err)
	}
	if n, err := l.Previous(b[:]); err != nil || string(b[:n]) != "d" {
		t.Errorf("that of the file before is %q, %v", b[:n], err)
	}
	if err := l.Sync(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) || !strings.Contains(err.Error(), l.Path) {
		t.Errorf("writing after Close: %v", err)
	}
}

// A power cut between any two changes of names leaves a gap, which the next rotation closes over; no file is lost but
// the oldest.
func TestLogFileRotatesAfterAPowerCut(t *testing.T) {
	for left, want := range map[string]string{
		"log=d log.1=c log.2=b log.3=a": ".1=d .2=c .3=b", // before all
		"log=d log.1=c log.2=b":         ".1=d .2=c .3=b", // the oldest was removed
		"log=d log.1=c log.3=b":         ".1=d .2=c",
		"log=d log.2=c log.3=b":         ".1=d .3=c",
	} {
		l := &LogFile{Path: filepath.Join(t.TempDir(), "log"), Files: 4}
		for file := range strings.FieldsSeq(left) {
			name, text, _ := strings.Cut(file, "=")
			if err := os.WriteFile(filepath.Join(filepath.Dir(l.Path), name), []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		openLog(t, l)
		if err := l.Rotate(); err != nil {
			t.Fatal(err)
		}
		if got := logFiles(t, l.Path); got != want {
			t.Errorf("%s became %s, want %s", left, got, want)
		}
	}
}

func TestLogFileMoved(t *testing.T) {
	l := &LogFile{Path: filepath.Join(t.TempDir(), "log"), Files: 2}
	openLog(t, l)
	if l.Moved() {
		t.Error("moved at the start")
	}
	if err := os.Rename(l.Path, l.Path+".old"); err != nil {
		t.Fatal(err)
	}
	if !l.Moved() {
		t.Error("not noticed that it was renamed")
	}
	if err := os.WriteFile(l.Path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if !l.Moved() {
		t.Error("not noticed that another has its name")
	}
	openLog(t, l)
	if l.Moved() {
		t.Error("moved after it was opened again")
	}
}

// The errors name the file, and the kinds that a configuration gets wrong.
func TestLogFileErrors(t *testing.T) {
	dir := t.TempDir()
	missing := &LogFile{Path: filepath.Join(dir, "none", "log"), Files: 1}
	if _, err := missing.Open(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing.Path) {
		t.Errorf("without a folder: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(missing.Path)); err == nil {
		t.Error("the folder was made, as if its disk were not just unmounted")
	}
	folder := &LogFile{Path: dir, Files: 1}
	if _, err := folder.Open(); err == nil || !strings.Contains(err.Error(), "not a plain file") {
		t.Errorf("of a folder: %v", err)
	}
}
