package main

import (
	"cmp"
	"io"
	"os"

	"nmosauthd/agent/ascii"
	"nmosauthd/platform"
)

// serialWidth is that of a terminal which does not say how wide it is, as a serial console.
const serialWidth = 80

// terminal returns the width of the terminal on standard output, 0 if it is not a terminal, and whether to use colours.
func terminal() (width int, colour bool) {
	width, err := platform.TerminalWidth(os.Stdout)
	if err != nil {
		return 0, false
	}
	if width == 0 {
		width = serialWidth
	}
	return width, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// stdout returns standard output: folded on a terminal; else a line stays a line, whoever reads it.
func stdout() io.Writer {
	if width, _ := terminal(); width > 0 {
		return ascii.NewFolder(os.Stdout, width)
	}
	return os.Stdout
}

// stderr is stdout for standard error.
func stderr() io.Writer {
	width, err := platform.TerminalWidth(os.Stderr)
	if err != nil {
		return os.Stderr
	}
	return ascii.NewFolder(os.Stderr, cmp.Or(width, serialWidth))
}
