// Package platform is what the daemon needs of the operating system: its listening sockets and who is at their other
// end, the service manager, the clock, files that outlive a power cut, and a process that leaves no core behind and
// reaches no file but its own.
//
// It works on Linux. On other systems the package builds, so that the rest can be worked on there, and whatever it
// cannot do answers with an error that wraps errors.ErrUnsupported. It knows nothing of tokens.
package platform

import (
	"fmt"
	"io/fs"
)

// Options are the access rights of a listening socket.
type Options struct {
	// Group is the group that may connect, a name or a number. Empty: the daemon's own group, and no rights are needed.
	Group string
	// Mode is the file mode of the socket, its permission bits alone. Zero: 0660.
	Mode fs.FileMode
}

// wrap says what an error is about, or what was being done when it came; nil if there is none.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (o Options) mode() fs.FileMode {
	if m := o.Mode.Perm(); m != 0 {
		return m
	}
	return 0o660
}
