package platform

import (
	"os"

	"golang.org/x/sys/unix"
)

// TerminalWidth returns the number of columns of the terminal f. An error means that f is not a terminal.
func TerminalWidth(f *os.File) (int, error) {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, err
	}
	return int(size.Col), nil
}
