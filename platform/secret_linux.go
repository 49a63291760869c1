package platform

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ReadSecret returns the one line of a file that holds a secret, without white space around it. The file must be as
// ReadPrivate has it. Nothing of it is in an error.
func ReadSecret(path string, most int) (string, error) {
	text, err := ReadPrivate(path, most)
	if err != nil {
		return "", err
	}
	line := strings.TrimSpace(strings.TrimPrefix(string(text), "\ufeff"))
	switch {
	case line == "":
		return "", errors.New(path + " is empty")
	case strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }): // RFC 6749 appendix A
		return "", errors.New(path + " is not one line of printable ASCII")
	}
	return line, nil
}

// ReadPrivate returns what a file of at most so many bytes holds. It must belong to root or to this process's user, and
// be closed to others; its group may read it.
func ReadPrivate(path string, most int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // not kept waiting by a pipe
	if err != nil {
		return nil, wrap(path, cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, wrap(path, cause(err))
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return nil, errors.New(path + " is not a regular file")
	case mode.Perm()&0o027 != 0:
		return nil, fmt.Errorf("%s has mode %04o: others must not read it, nor its group write to it; chmod 640", path,
			mode.Perm())
	case !ok || stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return nil, errors.New(path + " belongs to another user than root and the daemon's")
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	switch {
	case err != nil:
		return nil, wrap(path, cause(err))
	case len(text) > most:
		return nil, fmt.Errorf("%s is over %d bytes", path, most)
	}
	return text, nil
}
