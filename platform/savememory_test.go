package platform

import (
	"runtime/debug"
	"testing"
)

// Garbage is collected early, unless whoever starts the daemon says when.
func TestSaveMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for gogc, want := range map[string]int{"": collectAt, "200": 100, "off": 100} {
		t.Setenv("GOGC", gogc)
		debug.SetGCPercent(100) // as the runtime would have it
		SaveMemory()
		if got := debug.SetGCPercent(100); got != want {
			t.Errorf("GOGC=%q: got %d %%, want %d", gogc, got, want)
		}
	}
}
