package platform

import (
	"os"
	"runtime"
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

func TestResident(t *testing.T) {
	if n := (Resident{}).Bytes(); n != 0 {
		t.Errorf("nobody knows, and yet it is %d", n)
	}
	r, err := OpenResident()
	if os.IsNotExist(err) && runtime.GOOS != "linux" {
		t.Skip("no /proc on this system")
	}
	if err != nil {
		t.Fatal(err)
	}
	before := r.Bytes()
	const more = 32 << 20
	held := make([]byte, more)
	for i := range held {
		held[i] = 1
	}
	if after := r.Bytes(); before < 1<<20 || after < before+more/2 {
		t.Errorf("%d before and %d after %d more were written to", before, after, more)
	}
	runtime.KeepAlive(held)
}
