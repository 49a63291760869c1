package platform

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Disk is what a StateDir needs from the operating system, about a system call each, so that a test can cut the power
// between any two of them. Errors are those of package os, and ErrUnfit.
type Disk interface {
	// Mkdir makes a directory for its owner alone.
	Mkdir(path string) error
	// CheckDir returns an error unless path is a directory.
	CheckDir(path string) error
	// Open opens a file to be read.
	Open(path string) (io.ReadCloser, error)
	// Edit opens a file to be written over from its start, and makes it, for its owner alone, if it is not there. It
	// keeps its length.
	Edit(path string) (DiskFile, error)
	// Rename moves a file, in place of any that bears the new name.
	Rename(from, to string) error
	// Remove removes a file.
	Remove(path string) error
	// SyncDir returns once the names in a directory are as they will be found after a power cut.
	SyncDir(dir string) error
}

// DiskFile is a file being written.
type DiskFile interface {
	io.WriteCloser
	// Sync returns once the data written will survive a power cut.
	Sync() error
}

// realDisk is the disk of this machine.
type realDisk struct{}

func (realDisk) Mkdir(path string) error { return os.Mkdir(path, 0o700) }

func (realDisk) CheckDir(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	}
	return err
}

func (realDisk) Open(path string) (io.ReadCloser, error) {
	f, err := openOwn(path, os.O_RDONLY)
	if err != nil {
		return nil, err // not f, which would make an interface that is not nil
	}
	return f, nil
}

func (realDisk) Edit(path string) (DiskFile, error) {
	f, err := openOwn(path, os.O_WRONLY)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openOwn opens a regular file that nobody but the daemon's user and root can have written. A pipe would keep who opens
// it waiting, a device may do anything when it is opened, and a link leads to where its maker wants.
func openOwn(path string, flag int) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, unfit("not a regular file")
	}
	f, err := os.OpenFile(path, flag|openNoFollow, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil { // it may be another one by now
		if err = checkOwn(f, info); err == nil && !info.Mode().IsRegular() {
			err = unfit("not a regular file")
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func unfit(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnfit, fmt.Sprintf(format, args...))
}

func (realDisk) Rename(from, to string) error { return os.Rename(from, to) }

func (realDisk) Remove(path string) error { return os.Remove(path) }

func (realDisk) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err = f.Sync(); errors.Is(err, syscall.EINVAL) {
		return nil // the file system has nothing to sync a directory with (fsync(2)); there is no more to be done
	}
	return err
}
