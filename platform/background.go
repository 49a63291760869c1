package platform

import (
	"os"
	"runtime"
)

// backgroundNice is how much nicer threads in the background are: beside a normal one each gets two fifths of a
// processor. That is enough for the kernel to let one pass that wakes up. It is not more, since the collector of
// garbage waits for all threads that run Go: with 5, on a busy machine, everybody waited for one that got no processor.
const backgroundNice = 2

// Background starts threads that give way to the other threads of this process, one fewer than the runtime has
// processors, and returns what has a function run by the next of them that is free. It does not wait for the function's
// end. On a machine with one processor the runtime gets a second (unless the environment variable GOMAXPROCS says how
// many it has): the kernel then shares the one between what is in the background and the rest, where Go would finish a
// function first. slow waits until the threads have started, and says why they have the priority of the others; run
// works all the same. It is called once.
func Background() (run func(func()), slow func() error) {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) == 1 {
		runtime.GOMAXPROCS(2)
	}
	threads := max(runtime.GOMAXPROCS(0)-1, 1)
	work, lowered := make(chan func()), make(chan error, threads)
	for range threads {
		go func() {
			runtime.LockOSThread()
			lowered <- lowerPriority(backgroundNice)
			for f := range work {
				f()
			}
		}()
	}
	slow = func() (err error) {
		for range threads {
			if e := <-lowered; e != nil {
				err = e
			}
		}
		return err
	}
	return func(f func()) { work <- f }, slow
}
