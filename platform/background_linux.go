package platform

import "golang.org/x/sys/unix"

// lowerPriority raises the nice value of the calling thread: on Linux it is the thread's own (setpriority(2)).
func lowerPriority(by int) error {
	left, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // the call itself returns 20 less the nice value
	if err == nil {
		err = unix.Setpriority(unix.PRIO_PROCESS, 0, min(20-left+by, 19))
	}
	return wrap("setpriority", err)
}
