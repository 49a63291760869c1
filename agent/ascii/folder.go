package ascii

import (
	"bytes"
	"io"
)

// Folder is a writer that folds lines to the width of a terminal.
type Folder struct {
	w     io.Writer
	width int
	begun []byte // of a line
}

// NewFolder returns one that writes to w. A line appears with its end.
func NewFolder(w io.Writer, width int) *Folder { return &Folder{w: w, width: width} }

func (f *Folder) Write(b []byte) (int, error) {
	var out []byte
	rest := append(f.begun, b...)
	for {
		line, behind, whole := bytes.Cut(rest, []byte("\n"))
		if !whole {
			break
		}
		out, rest = append(Fold(out, line, f.width), '\n'), behind
	}
	f.begun = bytes.Clone(rest)
	if _, err := f.w.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}
