package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
)

// Sink is where the lines of one stream go: a File, a Syslog or a Writer. One goroutine at a time uses it, but for Name and
// Settings.
type Sink interface {
	// Name tells the sink from others of a Log: "log", "file", "syslog".
	Name() string
	// Settings are equal for sinks that are set up the same, so that Reconfigure leaves such a one alone.
	Settings() string
	// MaxLine is the longest line that the sink takes, in bytes; 0: any.
	MaxLine() int
	// Open makes the sink ready, at the start and after an error. It ends soon after ctx does, and so does any Write.
	Open(ctx context.Context) (Tail, error)
	// Write takes one line, line feed included. After an error the sink is closed and opened again, and the same line is written
	// again; but for errTooLong, which drops it.
	Write(line []byte, m Meta) error
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
	// syncer is a sink that is told now and then to make sure of what it was given.
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
	// Found says that chain and Closed are what the sink's medium holds; Before, that it is the file before that holds them.
	Found  bool
	Before bool
	Closed bool // the last good line is a closing one
	chain  chain
}

// Meta is what a sink may want to know of a line beside its text.
type Meta struct {
	Time  int64 // microseconds since 1970
	Clock Clock
	ID    string // "allow", "deny", "error", or the event's name
	Fault bool   // the daemon's own trouble: status 503, an error, records dropped

	lost // the decisions that the line stands for
}

func metaOf(r *Record) Meta {
	id := decision(r.Reason)
	return Meta{
		Time: r.Time, Clock: r.Clock, ID: id,
		Fault: id == "error" || id == "deny" && r.Reason.Info().Status == 503,
		lost:  lost{r.Count, r.First, r.Seq},
	}
}

// errTooLong is returned by a sink that will never take a line.
var errTooLong = errors.New("the line is too long for the sink")

// metaSize is the size of a Meta in a queue.
const metaSize = 8 + 3 + 24

var ids = [...]string{"allow", "deny", "error"}

func (m *Meta) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Time))
	fault := byte(0)
	if m.Fault {
		fault = 1
	}
	b = append(b, byte(m.Clock), byte(slices.Index(ids[:], m.ID)), fault)
	b = binary.LittleEndian.AppendUint64(b, m.count)
	b = binary.LittleEndian.AppendUint64(b, m.first)
	return binary.LittleEndian.AppendUint64(b, m.last)
}

func readMeta(b []byte) Meta {
	return Meta{
		Time: int64(binary.LittleEndian.Uint64(b)), Clock: Clock(b[8]), ID: ids[b[9]], Fault: b[10] != 0, lost: readLost(b[11:]),
	}
}
