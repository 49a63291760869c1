package platform

import (
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"nmosauthd/tinytest/spec"
)

// What runs in the background gives way to all else (ANS-5): its threads have a lower priority, and the others keep
// theirs. On one processor the runtime gets a second, unless it was told how many.
func TestBackground(t *testing.T) {
	spec.Rules(t, "ANS-5")
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "")
	type thread struct{ id, nice int }
	this := func() thread {
		nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
		if err != nil {
			t.Error(err)
		}
		return thread{syscall.Gettid(), 20 - nice}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	mine := this()
	run, slow := Background()
	if err := slow(); err != nil {
		t.Fatal(err)
	}
	if n := runtime.GOMAXPROCS(0); n != 2 {
		t.Errorf("with one processor: got GOMAXPROCS %d, want 2", n)
	}
	ran := make(chan thread)
	for range 3 {
		run(func() { ran <- this() })
		if got, want := <-ran, min(mine.nice+backgroundNice, 19); got.nice != want || got.id == mine.id {
			t.Errorf("in the background: got thread %d of nice %d, want nice %d in another than %d",
				got.id, got.nice, want, mine.id)
		}
	}
	if now := this(); now != mine {
		t.Errorf("here: got %+v, want %+v as before", now, mine)
	}

	t.Setenv("GOMAXPROCS", "1")
	runtime.GOMAXPROCS(1)
	_, slow = Background()
	if err := slow(); err != nil || runtime.GOMAXPROCS(0) != 1 {
		t.Errorf("told to use one processor: got GOMAXPROCS %d and error %v", runtime.GOMAXPROCS(0), err)
	}
}
