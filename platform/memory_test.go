package platform

import (
	"runtime/debug"
	"testing"
)

func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	for _, c := range []struct {
		bytes int
		want  int64
	}{{0, before}, {64 << 20, 64 << 20}, {16 << 20, 16 << 20}, {0, before}} {
		LimitMemory(c.bytes)
		if got := debug.SetMemoryLimit(-1); got != c.want {
			t.Errorf("LimitMemory(%d): the limit is %d, want %d", c.bytes, got, c.want)
		}
	}
}
