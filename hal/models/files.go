package models

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxFile  = 64 << 10  // bytes of a file of a few lines, which nearly all are
	maxTable = 256 << 10 // bytes of a table of channels
)

// open opens a file below the root that is there and is a regular one, as those of proc and sys are. It looks before it
// opens: to open a FIFO would hold up the start, and to open a device may set it off.
func open(root, name string, flag int) (*os.File, error) {
	path := filepath.Join(root, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	return os.OpenFile(path, flag, 0)
}

// read returns what a file below the root holds. One of more than limit bytes is an error: half a file is not what was
// meant.
func read(root, name string, limit int) ([]byte, error) {
	f, err := open(root, name, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("hal: %w", err) // it names the file
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(data) > limit {
		return nil, fault(root, name, 0, "more than "+strconv.Itoa(limit)+" bytes")
	}
	if err != nil {
		return nil, fmt.Errorf("hal: %w", err)
	}
	return data, nil
}

// field returns a file that holds one text, as those of sys and of the device tree do; "" if there is none to be had.
func field(root, name string) string {
	data, err := read(root, name, maxFile)
	if err != nil {
		return ""
	}
	return clean(data)
}

// clean returns the text in data without padding; "" if it is not text, or too long for a name.
func clean(data []byte) string {
	text := strings.TrimSpace(strings.TrimRight(string(data), "\x00"))
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if len(text) > 256 || !utf8.ValidString(text) || strings.ContainsFunc(text, control) {
		return ""
	}
	return text
}

// lines returns the lines of a text without what pads them; the line numbered n is at n-1.
func lines(text []byte) []string {
	all := strings.Split(string(text), "\n")
	for i, line := range all {
		all[i] = strings.TrimSpace(line)
	}
	return all
}

// settings returns what a file of lines NAME=value says that a shell could read, such as os-release(5); nil if there is
// none.
func settings(root, name string) map[string]string {
	text, err := read(root, name, maxFile)
	if err != nil {
		return nil
	}
	all := map[string]string{}
	for _, line := range lines(text) {
		name, value, _ := strings.Cut(line, "=")
		all[name] = clean([]byte(strings.Trim(value, `"'`)))
	}
	return all
}

// fault is the error that says what is wrong with a file below the root, and in which line; 0 if it has none.
func fault(root, name string, line int, what string) error {
	path := filepath.Join(root, name)
	if line > 0 {
		path += ":" + strconv.Itoa(line)
	}
	return errors.New("hal: " + path + ": " + what)
}

// reads returns Places.Reads: these files and folders, and those that identifyGeneric makes names of.
func reads(root string, names ...string) []string {
	names = append(names, "etc/hostname", "etc/resolv.conf")
	for i, name := range names {
		names[i] = filepath.Join(root, name)
	}
	return names
}
