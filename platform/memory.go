package platform

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
)

// collectAt is the percentage of what is held that garbage may be before it is collected, half of Go's usual one: the
// daemon holds little, so that a collection takes about a millisecond.
const collectAt = 50

// SaveMemory has the runtime collect garbage earlier than on a server, unless the environment variable GOGC says when
// (package runtime). What it costs stands in agent/ARCHITECTURE.md.
func SaveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}

// startLimit is the limit with which the runtime started: none, or that of the environment variable GOMEMLIMIT.
var startLimit = sync.OnceValue(func() int64 { return debug.SetMemoryLimit(-1) })

// LimitMemory sets the soft limit of the memory that Go's runtime manages, in bytes: near it garbage is collected more
// often (GOMEMLIMIT of package runtime). 0 is what the process was started with.
func LimitMemory(bytes int) {
	limit := startLimit()
	if bytes > 0 {
		limit = int64(bytes)
	}
	debug.SetMemoryLimit(limit)
}

// Resident is open to read how much memory the process occupies. The zero Resident does not know.
type Resident struct{ statm *os.File }

// OpenResident opens what a process that is shut in cannot open any more (proc_pid_statm(5)).
func OpenResident() (Resident, error) {
	f, err := os.Open("/proc/self/statm")
	return Resident{f}, err
}

// Bytes returns how much it is, 0 if that is not known.
func (r Resident) Bytes() uint64 {
	var text [128]byte
	n, _ := r.statm.ReadAt(text[:], 0) // it ends before the text is full
	_, rest, _ := strings.Cut(string(text[:n]), " ")
	resident, _, _ := strings.Cut(rest, " ")
	pages, _ := strconv.ParseUint(resident, 10, 64)
	return pages * uint64(os.Getpagesize())
}
