package platform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// SharedDir is a directory of files that other programs read, such as the web server its key and certificate, and of
// which each is whole at any moment, a power cut included: a reader finds all of the old file or all of the new one
// (CERT-29). The new one is written under a name of its own, synced, and renamed over the old one.
//
// On FAT a rename may be lost (see StateDir), so there a file NAME.EXT is one of NAME.a.EXT and NAME.b.EXT, and
// NAME.now says in one line which; NAME.now.2 says it again. The new file is written and synced beside the old one,
// then named in both, one after the other, and then the old one is removed. A reader takes the first of the two lines
// that names a file which is there.
//
// One process writes, and no two goroutines of it concurrently. Every error names the file.
type SharedDir struct {
	Path string
	// Disk is nil but in tests.
	Disk Disk
	// Pointers has files kept as on FAT. Prepare sets it there.
	Pointers bool
}

// Prepare makes the directory, if only it and not its parent is missing, so that all may enter it.
func (d *SharedDir) Prepare() error {
	err := d.disk().CheckDir(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		err = makeParent(d.Path)
	}
	if err != nil {
		return failed("preparing", d.Path, err)
	}
	d.Pointers = d.Pointers || d.Disk == nil && onFAT(d.Path)
	if d.Disk != nil || d.Pointers { // FAT knows no owners
		return nil
	}
	info, err := os.Stat(d.Path)
	switch {
	case err != nil:
		return failed("preparing", d.Path, err)
	case info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("preparing %s: others may write to it, so they could replace what is in it; chmod o-w",
			d.Path)
	}
	return nil
}

// Replace replaces a file's content, with this mode and group. What is so already is left alone.
func (d *SharedDir) Replace(name string, data []byte, mode fs.FileMode, group string) error {
	gid, err := groupID(group)
	switch {
	case err != nil:
	case d.Pointers:
		err = d.point(name, data)
	case !d.same(name, data, mode, gid):
		err = d.rename(name, data, mode, gid)
	}
	return d.failed("writing", name, err)
}

// Write is Replace for what all may read and nobody misses for a moment: on FAT it is renamed, too, and a power cut may
// leave it empty.
func (d *SharedDir) Write(name string, data []byte, mode fs.FileMode) error {
	if d.same(name, data, mode, -1) {
		return nil
	}
	return d.failed("writing", name, d.rename(name, data, mode, -1))
}

func (d *SharedDir) failed(doing, name string, err error) error {
	return failed(doing, d.file(name), err)
}

// rename writes a new file and moves it over the old one.
func (d *SharedDir) rename(name string, data []byte, mode fs.FileMode, gid int) error {
	if err := d.write(name+".new", data, mode, gid); err != nil {
		return err
	}
	err := d.disk().Rename(d.file(name+".new"), d.file(name))
	if err == nil && d.Pointers { // see StateDir
		err = d.edit(name, nil)
	}
	if err != nil {
		return err
	}
	return d.disk().SyncDir(d.Path)
}

// edit writes over the beginning of a file, and syncs it.
func (d *SharedDir) edit(name string, data []byte) error {
	f, err := d.disk().Edit(d.file(name))
	if err != nil {
		return err
	}
	return finish(f, data)
}

// finish writes a file to its end.
func finish(f DiskFile, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// write makes a file from nothing. Nobody reads it yet.
func (d *SharedDir) write(name string, data []byte, mode fs.FileMode, gid int) error {
	if err := d.remove(name); err != nil { // what a power cut left
		return err
	}
	f, err := d.disk().Edit(d.file(name))
	if err != nil {
		return err
	}
	if real, ok := f.(*os.File); ok && !d.Pointers {
		if gid >= 0 {
			err = real.Chown(-1, gid)
		}
		if err == nil {
			err = real.Chmod(mode)
		}
	}
	if err != nil {
		f.Close()
		return err
	}
	return finish(f, data)
}

// point writes the one of the two files that is not in use, points to it, and removes the other. What a power cut kept
// from being done is done, too: while one pointer is written, the other one must be right.
func (d *SharedDir) point(name string, data []byte) error {
	stem, ext := cutExt(name)
	next, old := stem+".a"+ext, stem+".b"+ext
	at := d.current(name)
	if at == next && !d.same(at, data, 0, -1) || at == old && d.same(at, data, 0, -1) {
		next, old = old, next
	}
	if at != next {
		err := d.pointTo(stem, at)
		if err == nil {
			err = d.write(next, data, 0, -1)
		}
		if err == nil {
			err = d.disk().SyncDir(d.Path)
		}
		if err != nil {
			return err
		}
	}
	if err := d.pointTo(stem, next); err != nil || d.read(old) == "" {
		return err
	}
	if err := d.remove(old); err != nil {
		return err
	}
	return d.disk().SyncDir(d.Path)
}

// pointTo has both pointers name a file, if there is one. One is written at a time.
func (d *SharedDir) pointTo(stem, at string) error {
	for _, pointer := range [...]string{stem + ".now", stem + ".now.2"} {
		if at == "" || d.read(pointer) == at+"\n" {
			continue
		}
		err := d.edit(pointer, []byte(at+"\n")) // as long as before
		if err == nil {
			err = d.disk().SyncDir(d.Path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Remove removes a file; that there is none is no error.
func (d *SharedDir) Remove(name string) (err error) {
	names := []string{name}
	if d.Pointers {
		stem, ext := cutExt(name)
		names = []string{stem + ".now", stem + ".now.2", stem + ".a" + ext, stem + ".b" + ext}
	}
	for _, n := range append(names, name+".new") {
		if err == nil {
			err = d.remove(n)
		}
	}
	if err == nil {
		err = d.disk().SyncDir(d.Path)
	}
	return d.failed("removing", name, err)
}

func (d *SharedDir) remove(name string) error {
	if err := d.disk().Remove(d.file(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// same reports whether a file is as it is to be.
func (d *SharedDir) same(name string, data []byte, mode fs.FileMode, gid int) bool {
	f, err := d.disk().Open(d.file(name))
	if err != nil {
		return false
	}
	defer f.Close()
	if real, ok := f.(*os.File); ok && !d.Pointers {
		info, err := real.Stat()
		if err != nil || info.Mode().Perm() != mode || gid >= 0 && fileGroup(info) != gid {
			return false
		}
	}
	has, err := io.ReadAll(io.LimitReader(f, int64(len(data))+1))
	return err == nil && bytes.Equal(has, data)
}

// read returns the beginning of a file, "" if it cannot be read.
func (d *SharedDir) read(name string) string {
	f, err := d.disk().Open(d.file(name))
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 256))
	return string(text)
}

// current returns which of two files is in use, "" if none.
func (d *SharedDir) current(name string) string {
	stem, ext := cutExt(name)
	for _, pointer := range [...]string{stem + ".now", stem + ".now.2"} {
		at := strings.TrimSuffix(d.read(pointer), "\n")
		if (at == stem+".a"+ext || at == stem+".b"+ext) && d.read(at) != "" {
			return at
		}
	}
	return ""
}

func cutExt(name string) (stem, ext string) {
	ext = filepath.Ext(name)
	return strings.TrimSuffix(name, ext), ext
}

func (d *SharedDir) file(name string) string { return filepath.Join(d.Path, name) }

func (d *SharedDir) disk() Disk {
	if d.Disk == nil {
		return realDisk{}
	}
	return d.Disk
}
