// Package powercut is a disk for tests whose power can fail at any moment. It keeps what has reached the medium apart
// from what the kernel still holds, and can say what may be found when the power comes back.
//
// It promises as little as a file system does: data that were not synced are there, or not, or cut off anywhere, or
// zeros; of data written over others, either end may still be the old one; each change of a directory that was not
// synced has happened or has not, whatever became of those before it. A program that is right on it is right on any
// file system whose rename is atomic; with LosesRenames, on FAT, too. Nothing here is safe for concurrent use.
package powercut

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path/filepath"
	"slices"

	"nmosauthd/platform"
)

// Disk is a platform.Disk in memory.
type Disk struct {
	// Step, where it is set, is told what happens next. An error makes that fail without an effect.
	Step func(next string) error
	// LosesRenames has a file that was renamed be lost, under its new name, until it is synced once more, as on FAT:
	// what a name leads to, a number of a cluster and a length, is written with the file, not with the directory.
	LosesRenames bool

	dirs map[string]*directory
}

// directory is one directory and the files in it. A directory inside another is not modelled as an entry there, but for
// its existence: see Mkdir.
type directory struct {
	entries map[string]*inode // as programs see it
	durable map[string]*inode // as it is on the medium
	pending []change          // what leads from durable to entries
	made    bool              // false: not on the medium yet, so that a power cut takes all of it
}

// change is one change of a directory, which happens whole or not at all.
type change struct {
	file  *inode // that it is about
	apply func(entries map[string]*inode)
}

// inode is a file without its name.
type inode struct {
	data    []byte // as programs see it
	durable []byte // what was synced; never longer than data, since files are not cut short
	moved   bool   // renamed since it was synced, on a disk that loses renames
}

// New returns a disk that holds these directories, empty.
func New(dirs ...string) *Disk {
	d := &Disk{dirs: map[string]*directory{}}
	for _, dir := range dirs {
		d.dirs[dir] = &directory{entries: map[string]*inode{}, durable: map[string]*inode{}, made: true}
	}
	return d
}

// Cut runs write and calls check, for every moment at which the power could fail meanwhile, with every disk that could
// then be found: before each step, and after the last. It returns what write returned.
func (d *Disk) Cut(write func() error, check func(moment string, found *Disk)) error {
	now := func(moment string) {
		for found := range d.Found() {
			check(moment, found)
		}
	}
	step := d.Step
	d.Step = func(next string) error {
		now("before " + next)
		if step != nil {
			return step(next)
		}
		return nil
	}
	err := write()
	d.Step = step
	now("at the end")
	return err
}

// Found returns every disk that may be found if the power fails now.
func (d *Disk) Found() iter.Seq[*Disk] {
	return func(yield func(*Disk) bool) {
		// What may become of each unsynced thing is counted through, like the digits of a number.
		paths := slices.Sorted(maps.Keys(d.dirs))
		remains := map[*inode][][]byte{}
		var files []*inode
		for _, path := range paths {
			for _, n := range d.dirs[path].files() {
				if remains[n] == nil {
					remains[n] = n.remains()
					files = append(files, n)
				}
			}
		}
		var bases []int
		for _, path := range paths {
			bases = append(bases, d.dirs[path].outcomes())
		}
		for _, n := range files {
			bases = append(bases, len(remains[n]))
		}
		for number := range count(bases) {
			found := New()
			found.LosesRenames = d.LosesRenames
			content := map[*inode][]byte{}
			for i, n := range files {
				content[n] = remains[n][number[len(paths)+i]]
			}
			for i, path := range paths {
				if dir := d.dirs[path].after(number[i], content); dir != nil {
					found.dirs[path] = dir
				}
			}
			if !yield(found) {
				return
			}
		}
	}
}

// count yields every number with digits of these bases. The slice is valid until the next one.
func count(bases []int) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		number := make([]int, len(bases))
		for {
			if !yield(number) {
				return
			}
			i := 0
			for ; i < len(bases); i++ {
				if number[i]++; number[i] < bases[i] {
					break
				}
				number[i] = 0
			}
			if i == len(bases) {
				return
			}
		}
	}
}

// everyLength is how many unsynced bytes are tried one by one; of those that follow, as many steps.
const everyLength = 32

// remains returns what may be found of a file. From the first byte that was not synced to the last, it is cut off
// anywhere, with or without zeros in place of the rest; where it was written over something, either part may still be
// that. A file that was lost is empty, or zeros.
func (n *inode) remains() [][]byte {
	begin := 0
	for begin < len(n.durable) && n.data[begin] == n.durable[begin] {
		begin++
	}
	old, unsynced := n.durable, len(n.data)-begin
	var all [][]byte
	for k, step := 0, 1; k < unsynced; k += step {
		if k == everyLength {
			step = max(1, (unsynced-k)/everyLength)
		}
		at := begin + k
		cut := n.data[:at]
		all = append(all, append(bytes.Clone(cut), make([]byte, unsynced-k)...))
		if at >= len(old) {
			all = append(all, cut)
		}
		if at < len(old) {
			all = append(all, append(bytes.Clone(cut), old[at:]...))
		}
		if at > begin && begin < len(old) {
			first := append(bytes.Clone(old[:min(at, len(old))]), make([]byte, max(0, at-len(old)))...)
			all = append(all, append(first, n.data[at:]...))
		}
	}
	if n.moved {
		all = append(all, nil, make([]byte, len(n.data)))
	}
	return append(all, n.data)
}

// files returns the files that may be found in a directory, some twice.
func (dir *directory) files() []*inode {
	all := slices.Collect(maps.Values(dir.durable))
	for _, c := range dir.pending {
		all = append(all, c.file)
	}
	return all
}

// outcomes is how many things may become of a directory: each pending change happened or not, and it is there or not.
func (dir *directory) outcomes() int {
	n := 1 << len(dir.pending)
	if !dir.made {
		n++
	}
	return n
}

// after returns the directory of one outcome; nil where it is gone.
func (dir *directory) after(outcome int, content map[*inode][]byte) *directory {
	if outcome == 1<<len(dir.pending) {
		return nil
	}
	entries := maps.Clone(dir.durable)
	for i, c := range dir.pending {
		if outcome>>i&1 == 1 {
			c.apply(entries)
		}
	}
	found := &directory{entries: map[string]*inode{}, durable: map[string]*inode{}, made: true}
	for name, n := range entries {
		data := content[n]
		found.entries[name] = &inode{data: data, durable: data}
		found.durable[name] = found.entries[name]
	}
	return found
}

// change applies a change as programs see it, and remembers that it has not reached the medium.
func (dir *directory) change(file *inode, apply func(entries map[string]*inode)) {
	apply(dir.entries)
	dir.pending = append(dir.pending, change{file, apply})
}

func (d *Disk) step(format string, args ...any) error {
	if d.Step == nil {
		return nil
	}
	return d.Step(fmt.Sprintf(format, args...))
}

// split returns the directory of a path and the name in it.
func (d *Disk) split(op, path string) (*directory, string, error) {
	parent, name := filepath.Split(path)
	dir := d.dirs[filepath.Clean(parent)]
	if dir == nil {
		return nil, "", &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
	}
	return dir, name, nil
}

// Mkdir implements platform.Disk.
func (d *Disk) Mkdir(path string) error {
	if err := d.step("mkdir %s", path); err != nil {
		return err
	}
	if _, _, err := d.split("mkdir", path); err != nil {
		return err
	}
	if d.dirs[path] != nil {
		return &fs.PathError{Op: "mkdir", Path: path, Err: fs.ErrExist}
	}
	d.dirs[path] = New("").dirs[""]
	d.dirs[path].made = false
	return nil
}

// CheckDir implements platform.Disk.
func (d *Disk) CheckDir(path string) error {
	if err := d.step("stat %s", path); err != nil {
		return err
	}
	if d.dirs[path] == nil {
		return &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	return nil
}

// Names returns what is in a directory, sorted.
func (d *Disk) Names(path string) ([]string, error) {
	dir := d.dirs[path]
	if dir == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return slices.Sorted(maps.Keys(dir.entries)), nil
}

// Create makes a file to be written, as os.OpenFile does with O_EXCL.
func (d *Disk) Create(path string) (platform.DiskFile, error) {
	if err := d.step("create %s", path); err != nil {
		return nil, err
	}
	dir, name, err := d.split("open", path)
	if err != nil {
		return nil, err
	}
	if dir.entries[name] != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrExist}
	}
	n := &inode{}
	dir.change(n, func(entries map[string]*inode) { entries[name] = n })
	return &file{disk: d, path: path, inode: n}, nil
}

// Edit implements platform.Disk.
func (d *Disk) Edit(path string) (platform.DiskFile, error) {
	dir, name, err := d.split("open", path)
	if err == nil && dir.entries[name] == nil {
		return d.Create(path)
	}
	if err := d.step("edit %s", path); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	return &file{disk: d, path: path, inode: dir.entries[name]}, nil
}

// Open implements platform.Disk.
func (d *Disk) Open(path string) (io.ReadCloser, error) {
	if err := d.step("open %s", path); err != nil {
		return nil, err
	}
	dir, name, err := d.split("open", path)
	if err != nil {
		return nil, err
	}
	n := dir.entries[name]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return io.NopCloser(bytes.NewReader(n.data)), nil
}

// Rename implements platform.Disk, within one directory.
func (d *Disk) Rename(from, to string) error {
	if err := d.step("rename %s %s", from, to); err != nil {
		return err
	}
	dir, old, err := d.split("rename", from)
	if err != nil {
		return err
	}
	n := dir.entries[old]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	if filepath.Dir(from) != filepath.Dir(to) {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrInvalid}
	}
	name := filepath.Base(to)
	n.moved = d.LosesRenames
	dir.change(n, func(entries map[string]*inode) {
		if entries[old] == n {
			delete(entries, old)
		}
		entries[name] = n
	})
	return nil
}

// Remove removes a file.
func (d *Disk) Remove(path string) error {
	if err := d.step("remove %s", path); err != nil {
		return err
	}
	dir, name, err := d.split("remove", path)
	if err != nil {
		return err
	}
	n := dir.entries[name]
	if n == nil {
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	dir.change(n, func(entries map[string]*inode) {
		if entries[name] == n {
			delete(entries, name)
		}
	})
	return nil
}

// SyncDir implements platform.Disk. It also makes the directories inside this one durable.
func (d *Disk) SyncDir(path string) error {
	if err := d.step("fsync directory %s", path); err != nil {
		return err
	}
	dir := d.dirs[path]
	if dir == nil {
		return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	for _, c := range dir.pending {
		c.apply(dir.durable)
	}
	dir.pending = nil
	for inner, sub := range d.dirs {
		if inner != path && filepath.Dir(inner) == path {
			sub.made = true
		}
	}
	return nil
}

// file is a file being written.
type file struct {
	disk  *Disk
	path  string
	inode *inode
	at    int // where the next bytes go
}

func (f *file) Write(p []byte) (int, error) {
	if err := f.disk.step("write %d bytes to %s", len(p), f.path); err != nil {
		return 0, err
	}
	data := append(bytes.Clone(f.inode.data[:f.at]), p...)
	if f.at += len(p); f.at < len(f.inode.data) {
		data = append(data, f.inode.data[f.at:]...)
	}
	f.inode.data = data
	return len(p), nil
}

func (f *file) Sync() error {
	if err := f.disk.step("fsync %s", f.path); err != nil {
		return err
	}
	f.inode.durable, f.inode.moved = f.inode.data, false
	return nil
}

func (f *file) Close() error { return f.disk.step("close %s", f.path) }
