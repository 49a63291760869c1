package platform

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

var (
	// ErrReadOnly means that the file system does not accept writes, as on a device whose flash is locked or worn out.
	ErrReadOnly = errors.New("the file system is read-only")
	// ErrNoDirectory means that the directory is missing and so is the one that would hold it.
	ErrNoDirectory = errors.New("the directory and its parent do not exist")
	// ErrTooLarge means that a file is longer than anything that was ever written to it.
	ErrTooLarge = errors.New("the file is too large")
	// ErrTorn means that a slot is incomplete: the power failed during the write, or the medium is damaged.
	ErrTorn = errors.New("the slot is incomplete: the checksum is not that of the content")
	// ErrUnfit means that a file with the name of a state file must not be trusted or written to.
	ErrUnfit = errors.New("not used as a state file")
)

const damagedSuffix = ".damaged"

// secondSuffix makes the name of a file's second slot.
const secondSuffix = ".2"

// slots are the two places that a file has, as suffixes of its name, in the order in which they are first written: what
// an earlier release left under the plain name is whole until the second slot is.
var slots = [2]string{secondSuffix, ""}

// StateDir is a directory of small files that outlive a power cut at any moment (KEY-3): a file that is written is
// found complete with its old or its new content, whenever the power fails. Once WriteFile has returned nil it is the
// new.
//
// Each file has two slots, NAME and NAME.2, which are written in turn, in place, and never renamed or cut short; the
// one with the newer number that is whole counts. That asks the least of a file system: that writing to one file harms
// no other. A rename is more than FAT can do: there, it is not on the medium until the file is synced once more, and
// until then the name leads to clusters that are free. Nor may a slot be truncated: a power cut in the middle leaves a
// file whose chain of clusters is too short, at which Linux makes the whole file system read-only.
//
// What is not a regular file, has more than one name, is owned by another user than the daemon's or root, or can be
// written by others is neither believed nor written to, if the file system knows owners. Links are not followed, but
// the directory may be one.
//
// The directory is looked up at each call, so that it may come with a disk that is mounted late, and is never held
// busy. Methods may be called concurrently; of two writers of one file, the last wins. Two processes must not write to
// one directory concurrently. Every error names the file.
type StateDir struct {
	// Path is the directory, of which the daemon is the owner. If empty, nothing is kept: writing does nothing and
	// nothing is found.
	Path string
	// Disk is nil but in tests.
	Disk Disk
	// Told, if not nil, is called when a slot is not used although the other one is: with ErrTorn after a power cut,
	// with ErrUnfit for a file that somebody else may have put there.
	Told func(error)

	mu sync.Mutex
	// doubt has the slots whose last write failed. What can be read from them may not be on the medium: after a failed
	// sync, the kernel may have dropped the data and yet show them (fsync(2)).
	doubt map[string]bool
}

// Prepare makes the directory if only it and not its parent is missing. It is called once at the start. An error means
// that state will not be kept; the daemon runs nevertheless.
func (d *StateDir) Prepare() error {
	if d.Path == "" {
		return nil
	}
	err := d.disk().CheckDir(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		err = d.makeDirectory()
	}
	return failed("preparing", d.Path, err)
}

// WriteFile replaces the file's content by data, with mode 0600. The error is ErrReadOnly, ErrNoDirectory or one
// of the system's, such as a full disk; the file then has its previous content, or data.
func (d *StateDir) WriteFile(name string, data []byte) error {
	if d.Path == "" {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return failed("writing", d.file(name), d.write(name, data))
}

// write writes to the slot that does not count now. If the other one is then not whole, as at the first write, that is
// written, too: from then on a file with one slot that is not whole is one whose first write was cut short.
func (d *StateDir) write(name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	var read, whole [2]bool
	var numbers [2]uint64
	for i := range slots {
		number, _, err := d.readSlot(name, i, math.MaxInt)
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) {
			return err // it may be whole all the same, and the only one
		}
		read[i] = err == nil
		whole[i] = read[i] && !d.doubt[name+slots[i]]
		numbers[i] = number
	}
	target, other := 0, 1
	if whole[0] && (!whole[1] || newer(numbers[0], numbers[1])) {
		target, other = 1, 0
	}
	last := numbers[other]
	if read[target] && (!read[other] || newer(numbers[target], last)) {
		last = numbers[target]
	}
	if err := d.writeSlot(name, target, last+1, data); err != nil || whole[other] {
		return err
	}
	return d.writeSlot(name, other, last+2, data)
}

// writeSlot writes to one slot, whatever is there. It must not be the only one that is whole.
func (d *StateDir) writeSlot(name string, slot int, number uint64, data []byte) error {
	path := d.file(name + slots[slot])
	f, err := d.edit(path)
	if err != nil {
		return err
	}
	if d.doubt == nil {
		d.doubt = map[string]bool{}
	}
	d.doubt[name+slots[slot]] = true
	_, err = f.Write(slotOf(number, data))
	if err == nil {
		// A sync that failed is not tried again: the kernel may have dropped the data and call the second one good
		// (fsync(2)).
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		// Not only if the file is new: its creator may have been interrupted before this.
		err = d.disk().SyncDir(d.Path)
	}
	if err == nil {
		delete(d.doubt, name+slots[slot])
	}
	return err
}

// edit opens a slot to be written. Something that is not fit to be one is moved out of the way.
func (d *StateDir) edit(path string) (DiskFile, error) {
	f, err := d.disk().Edit(path)
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, fs.ErrNotExist):
		if err = d.makeDirectory(); err != nil {
			return nil, err
		}
	case d.disk().Rename(path, path+damagedSuffix) != nil:
		return nil, err
	}
	return d.disk().Edit(path)
}

// makeDirectory makes the directory for its owner alone; not its parent, whose absence is rather a disk that is not
// mounted.
func (d *StateDir) makeDirectory() error {
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

// ReadFile returns the file's content. The error wraps fs.ErrNotExist if there is none, ErrTooLarge if it is longer
// than limit, in bytes, ErrTorn if no slot is whole, and ErrUnfit if it may be somebody else's. What an earlier release
// wrote, without slots, is returned as it is, whole or not.
func (d *StateDir) ReadFile(name string, limit int) ([]byte, error) {
	if d.Path == "" {
		return nil, wrap("reading "+name+": no directory is configured", fs.ErrNotExist)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := checkName(name); err != nil {
		return nil, failed("reading", d.file(name), err)
	}
	var best []byte
	var bestNumber uint64
	var errs [2]error
	for i := range slots {
		number, data, err := d.readSlot(name, i, limit)
		if err == nil && (best == nil || newer(number, bestNumber)) {
			best, bestNumber = data, number
		}
		errs[i] = err
	}
	if best == nil {
		best, errs = d.withoutSlots(name, limit, errs)
	}
	result := error(nil)
	for i, err := range errs {
		if errors.Is(err, errPlain) {
			err = ErrTorn
		}
		if err == nil || result != nil && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		result = failed("reading", d.file(name+slots[i]), err)
		if best != nil && !errors.Is(err, fs.ErrNotExist) {
			d.told(result)
		}
	}
	if best != nil {
		return best, nil
	}
	return nil, result
}

// withoutSlots returns what there is if no slot is whole, nil if nothing, and what is wrong with the slots then.
func (d *StateDir) withoutSlots(name string, limit int, errs [2]error) ([]byte, [2]error) {
	var data []byte
	switch {
	case errors.Is(errs[1], errPlain):
		data, errs[1] = d.readPlain(name, limit)
	case errors.Is(errs[1], fs.ErrNotExist) && errors.Is(errs[0], ErrTorn):
		errs[0] = fs.ErrNotExist // a first write that was cut short, and of which nobody was told that it is done
	}
	return data, errs
}

func (d *StateDir) told(err error) {
	if d.Told != nil {
		d.Told(err)
	}
}

// slotMark begins every slot. The digit is the version of the format.
const slotMark = "nmos-authd-state-1 "

// headerMost is the most that a slot's first line can have: the mark, two numbers, and a SHA-256.
const headerMost = len(slotMark) + 2*21 + 2*sha256.Size + 1

// grain is what a slot's length is a multiple of: most writes then do not make it longer, and change nothing but its
// data.
const grain = 4096

// slotOf returns what a slot holds: a line with its number, the length of the data and a checksum of all, then the
// data. Zeros, or what is left of a longer one before, follow.
func slotOf(number uint64, data []byte) []byte {
	header := fmt.Sprintf("%s%d %d ", slotMark, number, len(data))
	slot := fmt.Appendf(make([]byte, 0, headerMost+len(data)+grain), "%s%s\n%s", header, slotSum(header, data), data)
	return append(slot, make([]byte, (grain-len(slot)%grain)%grain)...)
}

func slotSum(header string, data []byte) string {
	h := sha256.New()
	io.WriteString(h, header)
	h.Write(data)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// newer compares the numbers of slots, of which the highest is followed by 0 (RFC 1982): whoever wrote a slot with it
// could otherwise keep all that comes later from counting.
func newer(a, b uint64) bool { return int64(a-b) > 0 }

// errPlain means that a slot does not begin as one does: it may be the file of an earlier release.
var errPlain = errors.New("not a slot")

// readSlot returns a slot's number and data, never nil. A slot that is too large is an error only when limit, in bytes,
// says so.
func (d *StateDir) readSlot(name string, slot int, limit int) (number uint64, data []byte, err error) {
	f, err := d.disk().Open(d.file(name + slots[slot]))
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	begin := make([]byte, headerMost)
	n, err := io.ReadFull(f, begin)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return 0, nil, err
	}
	begin = begin[:n]
	if !bytes.HasPrefix(begin, []byte(slotMark)) {
		if slots[slot] != "" {
			return 0, nil, ErrTorn
		}
		return 0, nil, errPlain
	}
	line, rest, _ := bytes.Cut(begin, []byte("\n"))
	header, sum := string(line), ""
	if i := strings.LastIndexByte(header, ' '); i >= 0 {
		header, sum = header[:i+1], header[i+1:]
	}
	fields := strings.Fields(header)
	if len(fields) != 3 {
		return 0, nil, ErrTorn
	}
	number, err = strconv.ParseUint(fields[1], 10, 64)
	size, err2 := strconv.ParseUint(fields[2], 10, 62)
	switch {
	case err != nil || err2 != nil:
		return 0, nil, ErrTorn
	case size > uint64(limit):
		return 0, nil, tooLarge(limit)
	}
	data = append([]byte{}, rest[:min(uint64(len(rest)), size)]...)
	// As much as there is, whatever the line says.
	more, err := io.ReadAll(io.LimitReader(f, int64(size)-int64(len(data))))
	if err != nil {
		return 0, nil, err
	}
	if data = append(data, more...); uint64(len(data)) != size || slotSum(header, data) != sum {
		return 0, nil, ErrTorn
	}
	return number, data, nil
}

// readPlain reads the format of an earlier release.
func (d *StateDir) readPlain(name string, limit int) ([]byte, error) {
	f, err := d.disk().Open(d.file(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(data) > limit {
		return nil, tooLarge(limit)
	}
	return data, err
}

// SetAside moves a damaged file away without losing it: its slots are renamed to their names with ".damaged",
// in place of those that were set aside before, and can be looked at there. It returns the paths to tell people,
// separated by ", ".
func (d *StateDir) SetAside(name string) (paths string, err error) {
	if d.Path == "" {
		return "", nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err = checkName(name); err != nil {
		return "", wrap("setting "+d.file(name)+" aside", err)
	}
	var moved []string
	var missing error
	for _, slot := range [...]string{"", secondSuffix} {
		path := d.file(name + slot)
		moveErr := d.disk().Rename(path, path+damagedSuffix)
		switch {
		case moveErr == nil:
			moved = append(moved, path+damagedSuffix)
		case errors.Is(moveErr, fs.ErrNotExist):
			missing = moveErr
		default:
			err = moveErr
		}
	}
	if err == nil && len(moved) == 0 {
		err = missing
	}
	if err == nil {
		err = d.disk().SyncDir(d.Path)
	}
	return strings.Join(moved, ", "), wrap("setting "+d.file(name)+" aside", cause(err))
}

//go:noinline // for flash
func (d *StateDir) file(name string) string { return filepath.Join(d.Path, name) }

func (d *StateDir) disk() Disk {
	if d.Disk == nil {
		return realDisk{}
	}
	return d.Disk
}

// checkName refuses names that leave the directory or look like those that this file makes.
func checkName(name string) error {
	if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\\\x00") ||
		strings.HasSuffix(name, damagedSuffix) || strings.HasSuffix(name, secondSuffix) {
		return fmt.Errorf("%q cannot be the name of a state file", name)
	}
	return nil
}

func tooLarge(limit int) error { return fmt.Errorf("%w: over %d bytes", ErrTooLarge, limit) }

// failed says what was being done to a file when err came; nil if none did.
func failed(doing, path string, err error) error {
	if err == nil {
		return nil
	}
	return wrap(doing+" "+path, cause(err))
}

// cause takes off the operation and path that package os wraps around an error, since ours names the file already, and
// makes the kernel's "read-only file system" one that callers can recognise on every system.
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
