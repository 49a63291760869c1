package platform

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// LogFile is a file that is only appended to, and the older ones beside it: FILE.1 is the one before, and so on. One
// goroutine at a time uses it. Every error names the file.
type LogFile struct {
	// Path is the file. Its directory must be there: its absence is rather a disk that is not mounted.
	Path string
	// Files are kept, the current one included; at least 1.
	Files int

	file *os.File // open; nil if none
}

// Open opens the file to be appended to, or makes it, for its owner to write and its group to read. It returns the
// bytes in it.
func (l *LogFile) Open() (size int64, err error) {
	l.Close()
	// A pipe or a device of that name could block, and a link lead elsewhere.
	there, missing := os.Lstat(l.Path)
	if missing == nil && !there.Mode().IsRegular() {
		return 0, l.failed("opening", fmt.Errorf("%s is not a plain file", there.Mode().Type()))
	}
	f, err := os.OpenFile(l.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return 0, l.failed("opening", err)
	}
	info, err := f.Stat()
	if err == nil && missing != nil {
		err = realDisk{}.SyncDir(filepath.Dir(l.Path)) // the new name outlives a power cut
	}
	if err != nil {
		f.Close()
		return 0, l.failed("opening", err)
	}
	l.file = f
	return info.Size(), nil
}

// Tail reads the last bytes of the open file into p.
func (l *LogFile) Tail(p []byte) (n int, err error) {
	if l.file == nil {
		return 0, l.failed("reading", fs.ErrClosed)
	}
	n, err = tail(l.file, p)
	return n, l.failed("reading", err)
}

// Previous reads the last bytes of FILE.1 into p; none if it is not there.
func (l *LogFile) Previous(p []byte) (n int, err error) {
	f, err := os.Open(l.old(1))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err == nil {
		defer f.Close()
		n, err = tail(f, p)
	}
	return n, failed("reading", l.old(1), err)
}

func tail(f *os.File, p []byte) (int, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	n, err := f.ReadAt(p, max(0, info.Size()-int64(len(p))))
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// Write appends p. After an error, n bytes of it may be in the file.
func (l *LogFile) Write(p []byte) (n int, err error) {
	if l.file == nil {
		return 0, l.failed("writing", fs.ErrClosed)
	}
	n, err = l.file.Write(p)
	return n, l.failed("writing", err)
}

// Sync returns once the data written will survive a power cut.
func (l *LogFile) Sync() error {
	if l.file == nil {
		return nil
	}
	return l.failed("syncing", l.file.Sync())
}

// Moved reports whether the open file is no longer the one at Path: removed, or renamed by a log rotation.
func (l *LogFile) Moved() bool {
	if l.file == nil {
		return false
	}
	at, err := os.Lstat(l.Path)
	if err != nil {
		return true
	}
	open, err := l.file.Stat()
	return err != nil || !os.SameFile(at, open)
}

// Rotate makes the file FILE.1, FILE.1 the next, and so on; those over Files are removed. Open then makes a new one.
// The names change from the oldest on, so that a power cut in between loses none, and the next Rotate does what is
// left.
func (l *LogFile) Rotate() error {
	if err := l.Sync(); err != nil {
		return err
	}
	l.Close()
	for i := max(l.Files, 1); ; i++ { // one now; more where Files was larger before
		// Files = 1 keeps no old one: the file itself goes.
		err := os.Remove(l.old(i - 1))
		if errors.Is(err, fs.ErrNotExist) {
			if i > max(l.Files, 1) {
				break
			}
			continue
		}
		if err != nil {
			return l.failed("rotating", err)
		}
	}
	for i := l.Files - 1; i > 0; i-- {
		if err := os.Rename(l.old(i-1), l.old(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return l.failed("rotating", err)
		}
	}
	return l.failed("rotating", realDisk{}.SyncDir(filepath.Dir(l.Path)))
}

// old names the file that was current i rotations ago.
func (l *LogFile) old(i int) string {
	if i == 0 {
		return l.Path
	}
	return l.Path + "." + strconv.Itoa(i)
}

// Close closes the file, if one is open.
func (l *LogFile) Close() error {
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	return l.failed("closing", f.Close())
}

func (l *LogFile) failed(what string, err error) error { return failed(what, l.Path, err) }
