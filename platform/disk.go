package platform

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// Disk is what a StateDir asks of the operating system, about a system call each, so that a test can cut the power between any
// two of them. Errors are those of package os.
type Disk interface {
	// Mkdir makes a directory for its owner alone.
	Mkdir(path string) error
	// Names returns what is in a directory, in no order.
	Names(dir string) ([]string, error)
	// Create makes a file for its owner alone, to be written. One that is there already is an error.
	Create(path string) (DiskFile, error)
	// Open opens a file to be read.
	Open(path string) (io.ReadCloser, error)
	// Rename moves a file, in place of any that bears the new name, in one step.
	Rename(from, to string) error
	Remove(path string) error
	// SyncDir returns once the names in a directory are as they will be found after a power cut.
	SyncDir(dir string) error
}

// DiskFile is a file being written.
type DiskFile interface {
	io.WriteCloser
	// Sync returns once what was written will be found after a power cut.
	Sync() error
}

// realDisk is the disk of this machine.
type realDisk struct{}

func (realDisk) Mkdir(path string) error { return os.Mkdir(path, 0o700) }

func (realDisk) Names(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (realDisk) Create(path string) (DiskFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err // not f, which would make an interface that is not nil
	}
	return f, nil
}

func (realDisk) Open(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (realDisk) Rename(from, to string) error { return os.Rename(from, to) }
func (realDisk) Remove(path string) error     { return os.Remove(path) }

func (realDisk) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err = f.Sync(); errors.Is(err, syscall.EINVAL) {
		return nil // a file system that has nothing to sync a directory with says so (fsync(2)); there is no more to be done
	}
	return err
}
