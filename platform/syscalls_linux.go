package platform

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// deniedCalls are system calls that the daemon never makes: what runs another program, a file that was never on a disk
// (memfd_create, which Landlock does not see) among them; what looks into or steers other processes; and what whole
// kernels were taken over by. Each is there on every architecture that Go knows.
var deniedCalls = []uint32{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_MEMFD_CREATE,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_OPEN_BY_HANDLE_AT,
}

// auditArch is the kernel's name for an architecture, 0 if unknown. The numbers of calls are each one's own, and a
// kernel may take those of two.
func auditArch(arch string) uint32 {
	switch arch {
	case "386":
		return unix.AUDIT_ARCH_I386
	case "amd64":
		return unix.AUDIT_ARCH_X86_64
	case "arm":
		return unix.AUDIT_ARCH_ARM
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64
	case "riscv64":
		return unix.AUDIT_ARCH_RISCV64
	}
	return 0
}

// x32 is the bit by which amd64 tells the calls of x32, a third set of them.
const x32 = 0x40000000

// DenyCalls has the kernel answer EPERM to system calls that the daemon has no use for, for good and in all threads, by
// a filter of its own (seccomp(2)): on systems without systemd there is no other. New privileges are refused to all
// threads, too, even if the kernel has no filters.
func DenyCalls() error {
	err := filterCalls()
	if err != nil {
		err = errors.Join(err, wrap("refusing new privileges", refusePrivileges()))
	}
	return err
}

// filterCalls sets the filter. The kernel gives it to all threads, and with it the refusal of new privileges that is in
// force in this one: to have each thread refuse them by itself would stop all of them.
func filterCalls() error {
	arch := auditArch(runtime.GOARCH)
	if arch == 0 {
		return wrap("filtering system calls on "+runtime.GOARCH, errors.ErrUnsupported)
	}
	program := callFilter(arch, runtime.GOARCH == "amd64")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return wrap("refusing new privileges", err)
	}
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&p)))
	runtime.KeepAlive(program)
	switch {
	case errno != 0:
		return wrap("filtering system calls", errno)
	case thread != 0:
		return fmt.Errorf("filtering system calls: thread %d has a filter of its own", thread)
	}
	return nil
}

// callFilter returns the filter: a program that looks at a struct seccomp_data.
func callFilter(arch uint32, hasX32 bool) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		least = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K

		offsetCall, offsetArch = 0, 4
	)
	allow := unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW}
	deny := unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
	program := []unix.SockFilter{
		{Code: load, K: offsetArch},
		{Code: equal, Jt: 1, K: arch},
		deny,
		{Code: load, K: offsetCall},
	}
	if hasX32 {
		program = append(program, unix.SockFilter{Code: least, Jf: 1, K: x32}, deny)
	}
	for _, call := range deniedCalls {
		program = append(program, unix.SockFilter{Code: equal, Jf: 1, K: call}, deny)
	}
	return append(program, allow)
}
