package platform

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

var (
	// ErrReadOnly says that the file system takes no writes, as on a device whose flash is locked or worn out.
	ErrReadOnly = errors.New("the file system is read-only")
	// ErrNoDirectory says that the directory is missing and so is the one that would hold it.
	ErrNoDirectory = errors.New("neither the directory is there nor the one to make it in")
	// ErrTooLarge says that a file is longer than anything that was ever written to it.
	ErrTooLarge = errors.New("the file is too large")
)

const (
	damagedSuffix = ".damaged"
	tempInfix     = ".new-" // between a file's name and random hex digits; a dot stands before the name
)

// StateDir is a directory of small files that outlive a power cut at any moment (KEY-3): a file that is written is found
// with its old or its new content, whole, whenever the power goes. Once WriteFile has returned nil it is the new.
//
// The directory is looked up at each call, so that it may come with a disk that is mounted late, and is never held busy.
// Methods may be called at the same time; of two writers of one file, the last wins. Every error names the file.
type StateDir struct {
	// Path is the directory, of which the daemon is the owner. "": nothing is kept; writing does nothing and nothing is found.
	Path string
	// Disk is nil but in tests.
	Disk Disk
}

// Prepare makes the directory, where only it and not its parent is missing, and removes what a power cut in the middle of a
// write has left. It is called once at the start. An error means that what is written will not be kept; it is no reason not
// to run.
func (d StateDir) Prepare() error {
	if d.Path == "" {
		return nil
	}
	names, err := d.disk().Names(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		err = d.makeDirectory()
	}
	for _, name := range names {
		if err == nil && isTemporary(name) {
			err = d.disk().Remove(d.file(name))
		}
	}
	if err != nil {
		return fmt.Errorf("preparing %s: %w", d.Path, cause(err))
	}
	return nil
}

// WriteFile puts data in place of what the file holds, with mode 0600. The error is ErrReadOnly, ErrNoDirectory or one of the
// system's, such as a full disk; the file then holds what it held, unless only the last step failed: making sure that the new
// name of the file outlives a power cut.
func (d StateDir) WriteFile(name string, data []byte) error {
	if d.Path == "" {
		return nil
	}
	if err := d.write(name, data); err != nil {
		return fmt.Errorf("writing %s: %w", d.file(name), cause(err))
	}
	return nil
}

// write is the sequence that everything here is about. Were the data not on the disk before the rename is, a power cut could
// leave the name on a file that is empty or full of zeros; were the directory not synced, the old file could come back after
// the caller was told that it is gone.
func (d StateDir) write(name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	disk := d.disk()
	temp := d.file("." + name + tempInfix + randomHex())
	f, err := disk.Create(temp)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.makeDirectory(); err == nil {
			f, err = disk.Create(temp)
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		// A sync that failed is not tried again: the kernel may have dropped the data and call the second one good (fsync(2)).
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = disk.Rename(temp, d.file(name))
	}
	if err != nil {
		disk.Remove(temp) // if this fails too, Prepare does it at the next start
		return err
	}
	return disk.SyncDir(d.Path)
}

// makeDirectory makes the directory for its owner alone; not its parent, whose absence is rather a disk that is not mounted.
func (d StateDir) makeDirectory() error {
	err := d.disk().Mkdir(d.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNoDirectory
	case errors.Is(err, fs.ErrExist): // another writer was quicker
		return nil
	case err != nil:
		return err
	}
	return d.disk().SyncDir(filepath.Dir(d.Path))
}

// ReadFile returns what the file holds. The error wraps fs.ErrNotExist where there is none, and ErrTooLarge where it is longer
// than limit, in bytes.
func (d StateDir) ReadFile(name string, limit int) ([]byte, error) {
	if d.Path == "" {
		return nil, fmt.Errorf("reading %s: no directory is configured: %w", name, fs.ErrNotExist)
	}
	data, err := d.read(name, limit)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.file(name), cause(err))
	}
	return data, nil
}

func (d StateDir) read(name string, limit int) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	f, err := d.disk().Open(d.file(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("%w: over %d bytes", ErrTooLarge, limit)
	}
	return data, err
}

// SetAside takes a damaged file out of the way without losing it: it is renamed to its name with ".damaged", in place of the
// one that was set aside before, and can be looked at there. It returns the path to tell people.
func (d StateDir) SetAside(name string) (path string, err error) {
	if d.Path == "" {
		return "", nil
	}
	path = d.file(name + damagedSuffix)
	if err = checkName(name); err == nil {
		err = d.disk().Rename(d.file(name), path)
	}
	if err == nil {
		err = d.disk().SyncDir(d.Path)
	}
	if err != nil {
		return "", fmt.Errorf("setting %s aside: %w", d.file(name), cause(err))
	}
	return path, nil
}

func (d StateDir) file(name string) string { return filepath.Join(d.Path, name) }

func (d StateDir) disk() Disk {
	if d.Disk == nil {
		return realDisk{}
	}
	return d.Disk
}

// checkName refuses names that leave the directory or look like those that this file makes.
func checkName(name string) error {
	if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\\\x00") || strings.HasSuffix(name, damagedSuffix) {
		return fmt.Errorf("%q is no name for a state file", name)
	}
	return nil
}

// isTemporary tells whether write made this name, for any file.
func isTemporary(name string) bool {
	i := strings.LastIndex(name, tempInfix)
	if i < 2 || name[0] != '.' {
		return false
	}
	b, err := hex.DecodeString(name[i+len(tempInfix):])
	return err == nil && len(b) == randomBytes
}

const randomBytes = 4

// randomHex returns digits that make a name unlike that of any other process.
func randomHex() string {
	var b [randomBytes]byte
	rand.Read(b[:]) // never fails, by its documentation
	return hex.EncodeToString(b[:])
}

// cause takes off the operation and path that package os wraps around an error, since ours names the file already, and makes
// the kernel's "read-only file system" one that callers can tell on every system.
func cause(err error) error {
	var link *os.LinkError
	var path *fs.PathError
	switch {
	case errors.Is(err, syscall.EROFS):
		return ErrReadOnly
	case errors.As(err, &link):
		return link.Err
	case errors.As(err, &path):
		return path.Err
	}
	return err
}
