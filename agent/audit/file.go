package audit

import (
	"bytes"
	"context"
	"strconv"
)

// LogFile is what a File asks of the operating system; platform.LogFile is one.
type LogFile interface {
	Open() (size int64, err error)        // to be appended to, made if it is missing
	Tail(p []byte) (n int, err error)     // reads its last bytes
	Previous(p []byte) (n int, err error) // reads the last bytes of the file before it; 0 if there is none
	Write(p []byte) (n int, err error)
	Sync() error
	Moved() bool   // another file, or none, has its name now
	Rotate() error // makes it the file before; Open makes a new one
	Close() error
}

// File is a sink that appends to a file, and begins another when it has reached its size. The files before are kept up
// to a number. A file is synced every 5 s in which it was written to, and when it is closed, not at each line: that
// would wear the flash. A power cut may take what came later; the record that opens the stream again says so.
type File struct {
	file  LogFile
	path  string
	most  int64 // bytes of one file
	files int

	size    int64
	unended bool // a line feed must come first
}

// NewFile returns a sink named "file" that keeps so many files of so many bytes, at least 64 KiB. path and files are
// those of the LogFile, for Settings.
func NewFile(f LogFile, path string, bytes, files int) *File {
	return &File{file: f, path: path, most: int64(bytes), files: files}
}

// Name implements Sink.
func (f *File) Name() string { return "file" }

// Settings implements Sink.
func (f *File) Settings() string {
	return f.path + " " + strconv.FormatInt(f.most, 10) + " " + strconv.Itoa(f.files)
}

// MaxLine implements Sink.
func (f *File) MaxLine() int { return 0 }

// tailBytes are read of a file to find its last line: several of the longest.
const tailBytes = 8 * maxLine

// Open implements Sink: it finds out where the stream in the file ends.
func (f *File) Open(context.Context) (t Tail, err error) {
	size, err := f.file.Open()
	if err != nil {
		return t, err
	}
	buffer := make([]byte, tailBytes)
	if size > 0 {
		n, err := f.file.Tail(buffer)
		if err != nil {
			return t, err
		}
		end := buffer[:n]
		t = findTail(end)
		if !t.Found {
			t.Torn = size
		}
		f.unended = end[len(end)-1] != '\n'
	}
	if size+closing >= f.most { // not closed for want of room, or not rotated for want of rights
		if err := f.file.Rotate(); err != nil {
			return t, err
		}
		if size, err = f.file.Open(); err != nil {
			return t, err
		}
		f.unended = false
	} else if f.unended && t.Torn > 0 {
		t.Torn++ // the line feed
	}
	if !t.Found {
		n, err := f.file.Previous(buffer)
		if err != nil {
			return t, err
		}
		torn := t.Torn
		t = findTail(buffer[:n])
		t.Torn += torn
		t.Before = true
	}
	f.size = size
	return t, nil
}

// closing is more than a line takes that closes a stream.
const closing = 512

// Full implements rotater.
func (f *File) Full(next int) bool { return f.size+int64(next)+closing > f.most }

// Rotate implements rotater.
func (f *File) Rotate() error { return f.file.Rotate() }

// Write implements Sink.
func (f *File) Write(line []byte) error {
	if f.unended {
		if _, err := writeAll(f.file, []byte("\n")); err != nil {
			return err
		}
		f.size++
		f.unended = false
	}
	n, err := writeAll(f.file, line)
	f.size += int64(n)
	return err
}

// Sync implements syncer.
func (f *File) Sync() error { return f.file.Sync() }

// Stale implements checker.
func (f *File) Stale() bool { return f.file.Moved() }

// Close implements Sink.
func (f *File) Close() error {
	err := f.file.Sync()
	if e := f.file.Close(); err == nil {
		err = e
	}
	return err
}

// findTail finds the last good line in the last bytes of a file: one that follows the line before it, or one that opens
// a stream and says itself what it follows.
func findTail(b []byte) (t Tail) {
	var before chain
	known := false
	for offset := 0; offset < len(b); {
		line := b[offset:]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end+1]
			offset += len(line)
		} else {
			offset = len(b)
			line = append(line[:len(line):len(line)], '\n') // a power cut may have taken just that
		}
		c, hashed, ok := parseChain(line)
		if !ok {
			continue // what follows a torn line says what it follows
		}
		good := known && before.follows(c, hashed)
		if opened, is := seed(line, c); is && !good {
			good = opened.follows(c, hashed)
		}
		if good {
			t = Tail{Found: true, Closed: field(line, "event") == eventClose, Torn: int64(len(b) - offset), chain: c}
		}
		before, known = c, true
	}
	if !t.Found {
		t.Torn = int64(len(b))
	}
	return t
}
