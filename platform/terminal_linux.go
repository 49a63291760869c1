package platform

import (
	"os"

	"golang.org/x/sys/unix"
)

// TerminalWidth returns how many columns the terminal has that a file is. An error says that it is none.
func TerminalWidth(f *os.File) (int, error) {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, err
	}
	return int(size.Col), nil
}
