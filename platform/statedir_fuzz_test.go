package platform_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"nmosauthd/platform"
	"nmosauthd/tinytest/powercut"
	"nmosauthd/tinytest/spec"
)

// slot is what a slot holds that is whole.
func slot(number uint64, data string) string {
	header := fmt.Sprintf("nmos-authd-state-1 %d %d ", number, len(data))
	return fmt.Sprintf("%s%x\n%s", header, sha256.Sum256([]byte(header+data)), data)
}

// Whatever is on the flash, a file is what one of its slots holds or an error says why not; and what is written from
// then on is what is read.
func FuzzStateDir(f *testing.F) {
	spec.Rules(f, "KEY-3")
	whole := []byte(slot(7, oldText))
	f.Add(whole, []byte(slot(8, newText)), false, false, uint64(0), uint64(0))
	f.Add(whole[:len(whole)-1], whole[:20], false, false, uint64(0), uint64(0))
	f.Add([]byte(oldText), []byte{}, false, false, uint64(0), uint64(0))
	f.Add([]byte("nmos-authd-state-1 1 4611686018427387903 0\n"), []byte("nmos-authd-state-1  "), false, false,
		uint64(0), uint64(0))
	for _, n := range []uint64{0, 1, math.MaxInt64 - 1, math.MaxInt64, math.MaxUint64 - 1, math.MaxUint64} {
		f.Add([]byte("a"), []byte("b"), true, true, n, n+1)
		f.Add([]byte("a"), []byte("b"), true, true, n, n/2)
		f.Add([]byte("a"), []byte("torn"), true, false, n, n)
		f.Add([]byte("torn"), []byte("b"), false, true, n, n)
	}
	f.Fuzz(func(t *testing.T, a, b []byte, aWhole, bWhole bool, aNumber, bNumber uint64) {
		disk := powercut.New("/var/lib", stateDir)
		held := map[string]bool{string(a): true} // as releases without slots wrote it
		for _, s := range []struct {
			name  string
			data  []byte
			whole bool
			n     uint64
		}{{kept, a, aWhole, aNumber}, {kept + ".2", b, bWhole, bNumber}} {
			text := string(s.data)
			if s.whole {
				held[text] = true
				text = slot(s.n, text)
			} else if _, within, is := strings.Cut(text, "\n"); is { // it may be a slot itself, as a seed is
				var n uint64
				fmt.Sscanf(text, "nmos-authd-state-1 %d ", &n)
				held[within] = held[within] || text == slot(n, within)
			}
			put(t, disk, s.name, text)
		}
		state := platform.StateDir{Path: stateDir, Disk: disk}
		const limit = 1 << 10
		got, err := state.ReadFile(kept, limit)
		switch {
		case err == nil && len(got) > limit:
			t.Errorf("read %d bytes, more than %d", len(got), limit)
		case err == nil && !held[string(got)]:
			t.Errorf("read %q, which no slot holds", got)
		case err != nil && (aWhole && len(a) <= limit || bWhole && len(b) <= limit):
			t.Errorf("a slot is whole, but %v", err)
		case err != nil && !errors.Is(err, platform.ErrTorn) && !errors.Is(err, platform.ErrTooLarge):
			t.Errorf("got %v", err)
		}
		for _, want := range []string{oldText, newText, "the third", ""} {
			if err := state.WriteFile(kept, []byte(want)); err != nil {
				t.Fatal(err)
			}
			if got, err := state.ReadFile(kept, limit); err != nil || string(got) != want {
				t.Fatalf("wrote %q, read %q, %v", want, got, err)
			}
		}
	})
}
