package audit

import (
	"context"
	"errors"
)

// Sink is where the lines of one stream go: a File, a Syslog or a Writer. One goroutine at a time uses it, but for Name
// and Settings.
type Sink interface {
	// Name tells the sink from others of a Log: "log", "file", "syslog".
	Name() string
	// Settings are equal for sinks that are set up the same, so that Reconfigure leaves such a one alone.
	Settings() string
	// MaxLine is the longest line that the sink takes, in bytes; 0 if any.
	MaxLine() int
	// Open makes the sink ready, at the start and after an error. It ends soon after ctx does, and so does any Write.
	Open(ctx context.Context) (Tail, error)
	// Write takes one line, line feed included. After an error the sink is closed and opened again, and the same line
	// is written again; but for errTooLong, which drops it.
	Write(line []byte) error
	// Close gives back what Open took, after an error too.
	Close() error
}

// Optional abilities of a Sink.
type (
	// rotater is a sink whose stream goes on in another place.
	rotater interface {
		Full(next int) bool // a line of so many bytes, and one that closes, no longer fit
		Rotate() error      // after the closing line; Open follows
	}
	// syncer is a sink that is told occasionally to make sure of what it was given.
	syncer interface{ Sync() error }
	// checker is a sink that may have to be opened again without an error of its own, as a file that was taken away.
	checker interface{ Stale() bool }
)

// Tail is where a stream goes on.
type Tail struct {
	// Resumed says that the stream goes on with the next line as if nothing had been.
	Resumed bool
	// Torn is how many bytes follow the last good line, as a power cut leaves them.
	Torn int64
	// Found says that chain and Closed are what the sink's medium holds; Before, that it is the file before that holds
	// them.
	Found  bool
	Before bool
	Closed bool // the last good line is a closing one
	chain  chain
}

// errTooLong is returned by a sink that will never take a line.
var errTooLong = errors.New("the line is too long for the sink")
