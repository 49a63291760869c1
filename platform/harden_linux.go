package platform

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Harden makes sure that no token reaches a core file or a debugger. It is called once, before any token is read. The
// error joins whatever the kernel refused; the rest is in force.
func Harden() error {
	// A core limit of 0 does not stop a core_pattern that pipes into a program; not being dumpable does, and it also
	// keeps other processes of the same user from reading the memory (ptrace(2)).
	dumps := wrap("switching core dumps off", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
	cores := wrap("setting the core limit to 0", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}))
	return errors.Join(dumps, cores)
}

// refusePrivileges makes sure that nothing a thread could start gains rights, in all threads of the process.
//
// In a build with cgo, such as that of the race detector, it reaches the calling thread and those that it starts, since
// Go cannot reach threads it did not create.
func refusePrivileges() error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno == unix.ENOTSUP {
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}
