//go:build linux

package load

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// processorTime is what processes have had of the processors, all their threads together; 0 if the kernel does not say.
func processorTime(pids []int) (sum time.Duration) {
	const sched = 2 // the clock that counts what the scheduler gave, in ns (clock_getcpuclockid(3))
	for _, pid := range pids {
		var t unix.Timespec
		if unix.ClockGettime(int32(^pid)<<3|sched, &t) != nil {
			return 0
		}
		sum += time.Duration(t.Nano())
	}
	return sum
}

// Calls are the calls of the kernel by which a process has read and written so far, those that had to wait included.
type Calls struct{ Reads, Writes int }

// CallsOf sums what the kernel has counted of processes (proc_pid_io(5)); ok is false if it does not say.
func CallsOf(pids ...int) (sum Calls, ok bool) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
		if err != nil {
			return Calls{}, false
		}
		var c Calls
		for line := range strings.Lines(string(text)) {
			fmt.Sscanf(line, "syscr: %d", &c.Reads)
			fmt.Sscanf(line, "syscw: %d", &c.Writes)
		}
		sum.Reads, sum.Writes = sum.Reads+c.Reads, sum.Writes+c.Writes
	}
	return sum, len(pids) > 0
}

// threadTime is what this thread has had of the processor.
func threadTime() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // cannot fail
	return time.Duration(t.Nano())
}

// Pin has this process, and those that it starts from now on, run on the first so many processors of those that it had
// at the start. It is an error if there are not so many.
func Pin(processors int) error {
	if len(atStart) < processors {
		return fmt.Errorf("pinning to %d processors: there are %d", processors, len(atStart))
	}
	var set unix.CPUSet
	for _, cpu := range atStart[:processors] {
		set.Set(cpu)
	}
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(filepath.Base(thread))
		if err != nil {
			return err
		}
		if err = unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return os.NewSyscallError("sched_setaffinity", err)
		}
	}
	return nil
}

// Processors is how many processors this process may use.
func Processors() int { return len(atStart) }

// atStart are the processors that this process may use.
var atStart = func() (cpus []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}()
