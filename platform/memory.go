package platform

import (
	"runtime/debug"
	"sync"
)

// startLimit is the limit with which the runtime started: none, or that of the environment variable GOMEMLIMIT.
var startLimit = sync.OnceValue(func() int64 { return debug.SetMemoryLimit(-1) })

// LimitMemory sets the soft limit of the memory that Go's runtime manages, in bytes: near it garbage is collected more often
// (GOMEMLIMIT of package runtime). 0 is what the process was started with.
func LimitMemory(bytes int) {
	limit := startLimit()
	if bytes > 0 {
		limit = int64(bytes)
	}
	debug.SetMemoryLimit(limit)
}
