package platform

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// filteredChild is set in the process that TestDenyCalls starts: there is no way out.
const filteredChild = "PLATFORM_TEST_FILTERED"

// A program is neither run from a file nor from memory, in threads that were there before and in new ones; what the
// daemon does goes on.
func TestDenyCalls(t *testing.T) {
	if os.Getenv(filteredChild) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDenyCalls$", "-test.count=1", "-test.v")
		cmd.Env = append(os.Environ(), filteredChild+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if strings.Contains(string(out), "--- SKIP") {
			t.Skipf("%s", out)
		}
		return
	}
	before := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range before {
			f()
		}
	}()
	before <- func() {}
	if err := Harden(); err != nil {
		t.Fatal(err)
	}
	if err := DenyCalls(); errors.Is(err, unix.ENOSYS) || errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err) // qemu has no filters
	} else if err != nil {
		t.Fatal(err)
	}
	denied := func(where string) {
		if n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || n != 1 {
			t.Errorf("no new privileges, in %s: got %d, %v, want 1", where, n, err)
		}
		for what, attempt := range map[string]func() error{
			"a program": func() error { return exec.Command("/bin/true").Run() },
			"memory":    func() error { _, err := unix.MemfdCreate("x", 0); return err },
			"execve":    func() error { return unix.Exec("/bin/true", []string{"true"}, nil) },
			"execveat": func() error {
				_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, 0, 0, 0, 0, 0, 0)
				return errno
			},
			"tracing": func() error { return unix.PtraceAttach(os.Getppid()) },
			"unshare": func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		} {
			if err := attempt(); !errors.Is(err, unix.EPERM) {
				t.Errorf("%s, in %s: got %v, want EPERM", what, where, err)
			}
		}
	}
	denied("the thread that asked")
	done := make(chan bool)
	before <- func() { denied("a thread that was there before"); done <- true }
	<-done

	// Many new threads, files, sockets, a look at the file system.
	var all sync.WaitGroup
	file := filepath.Join(socketDir(t), "file")
	for range 8 {
		all.Go(func() {
			runtime.LockOSThread()
			if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
				t.Error(err)
			}
			var fs unix.Statfs_t
			if err := unix.Statfs(file, &fs); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	var info unix.Utsname
	if err := unix.Uname(&info); err != nil {
		t.Error(err)
	}
}

// The filter looks at the architecture first, and knows each that the daemon is built for.
func TestCallFilter(t *testing.T) {
	for _, arch := range []string{"amd64", "arm", "arm64", "riscv64"} {
		if auditArch(arch) == 0 {
			t.Errorf("%s is not known", arch)
		}
	}
	for _, hasX32 := range []bool{false, true} {
		program := callFilter(7, hasX32)
		run := func(arch, call uint32) uint32 { // what the kernel would do
			var loaded uint32
			for at := 0; ; at++ {
				switch i := program[at]; i.Code {
				case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
					loaded = map[uint32]uint32{0: call, 4: arch}[i.K]
				case unix.BPF_RET | unix.BPF_K:
					return i.K
				default:
					jump := loaded == i.K
					if i.Code == unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K {
						jump = loaded >= i.K
					}
					if jump {
						at += int(i.Jt)
					} else {
						at += int(i.Jf)
					}
				}
			}
		}
		deny := unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		for _, call := range deniedCalls {
			if got := run(7, call); got != deny {
				t.Errorf("call %d: got %#x, want %#x", call, got, deny)
			}
		}
		for _, call := range []uint32{unix.SYS_READ, unix.SYS_FSTATFS, unix.SYS_UNAME, unix.SYS_CLONE,
			unix.SYS_FUTEX, unix.SYS_SECCOMP} {
			if got := run(7, call); got != unix.SECCOMP_RET_ALLOW {
				t.Errorf("call %d: got %#x, want it to be allowed", call, got)
			}
		}
		if got := run(8, unix.SYS_READ); got != deny {
			t.Errorf("another architecture: got %#x, want %#x", got, deny)
		}
		if got := run(7, x32+1); (got == deny) != hasX32 {
			t.Errorf("a call of x32, if there is x32: %v: got %#x", hasX32, got)
		}
	}
}
