package agent_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// counted are the questions whose instructions are counted: a decide by a token with ten specifiers, of which the last
// grants it, and the same about commands.
var counted = []struct {
	name   string
	packet func() string
	most   float64 // times the first
}{
	{"decide", controlDecide, 1},
	{"one command", func() string { return commands(1, 9, "all") }, 1.1},
	{"250 commands", func() string { return commands(250, 9, "all") }, 30},
	{"250, two kinds in turn", func() string { return commandsOf(250, func(i int) string { return kinds[i%2] }) }, 30},
	{"250, of all kinds",
		func() string { return commandsOf(250, func(i int) string { return kinds[i*7%len(kinds)] }) }, 30},
	{"250, to read and to write",
		func() string { return commandsOf(250, func(i int) string { return both[i%2] }) }, 30},
	{"250, of a vendor", func() string {
		return commandsOf(250,
			func(i int) string { return vendors[i%len(vendors)] })
	}, 30},
}

// kinds, both and vendors are classes and methods of which no two neighbours are alike.
var (
	kinds = []string{
		"1.2.2.1 4m1", "1.2.2.2 1m1", "1.1 2m1", "1.2.2.1 1m3", "1.3.2 3m1", "1.2.2.2 4m1", "1.2.0.1 1m7", "1.3.3 3m1",
		"1.1 2m4", "1.2.2.1 4m2",
	}
	both    = []string{"1.2.2.1 1m1", "1.2.2.1 1m2"}
	vendors = []string{"1.2.0.1 1m1", "1.2.0.2 3m1", "1.2.-132131.4 1m2", "1.2.2.1.-132131.1 4m1"}
)

// commandsOf returns commands on monitors, by a token of ten specifiers each way, of which the last grants them.
func commandsOf(n int, kind func(i int) string) string {
	lines := strings.Split(commands(n, 9, "all"), "\n")
	specifiers := make([]string, 10)
	for i := range specifiers {
		specifiers[i] = fmt.Sprintf("root.block-%d.*", i)
	}
	specifiers[9] = "root.receiver-monitors.*"
	if controlTokens["both"] == "" {
		controlTokens["both"] = tokenOf(map[string]claim{"control": {specifiers, specifiers, ""}}, "")
	}
	lines[2] = "authorization=Bearer " + controlTokens["both"]
	for i := 3; i < len(lines); i++ {
		if fields := strings.Fields(lines[i]); len(fields) == 4 {
			lines[i] = fields[0] + " " + kind(i) + " " + fields[3]
		}
	}
	return strings.Join(lines, "\n")
}

// One command costs at most 1.1 times a decide, and 250 in one packet at most 30 times, since the token is verified and
// its specifiers are read once. What is compared are instructions, each of which is stepped over: neither the machine
// nor what else it does takes part.
func TestCommandsCost(t *testing.T) {
	spec.Rules(t, "CTL-83", "CTL-85")
	counts := stepped(t, len(counted), answerCounted)
	for i, n := range counts {
		c, base := counted[i], float64(counts[0])
		t.Logf("%-26s %6d instructions, %.2f times decide, at most %g", c.name, n, float64(n)/base, c.most)
		if float64(n) > c.most*base || n < 1000 {
			t.Errorf("%s: got %d instructions, want at most %.0f", c.name, n, c.most*base)
		}
	}
}

// stepped returns how many instructions run between each two of n pairs of marks that answer makes, in a process of its
// own. Counting has another process of its own, which can be ended: one who waits for a thread that he traces may wait
// forever. In those two processes the test ends here.
func stepped(t *testing.T, n int, answer func(*testing.T)) (counts []int) {
	t.Helper()
	switch os.Getenv(counter) {
	case "answer":
		answer(t)
		return nil
	case "count":
		countInstructions(t, n)
		return nil
	}
	if raceEnabled {
		t.Skip("skipped: the race detector has instructions of its own")
	}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute) // seconds, if nobody else computes
		out, err := myself(ctx, t, "count").CombinedOutput()
		over := ctx.Err() != nil
		cancel()
		switch {
		case over:
			t.Logf("%s", out)
			continue
		case err != nil:
			t.Fatalf("counting: %v\n%s", err, out)
		case strings.Contains(string(out), "--- SKIP"):
			t.Skip("skipped: no process may be traced here")
		}
		for line := range strings.Lines(string(out)) {
			var n int
			if _, err := fmt.Sscanf(line, "counted %d", &n); err == nil {
				counts = append(counts, n)
			}
		}
		if len(counts) != n {
			t.Fatalf("got %d counts, want %d\n%s", len(counts), n, out)
		}
		return counts
	}
	t.Fatal("counting did not end in two attempts of four minutes")
	return nil
}

// myself is this test in another process.
func myself(ctx context.Context, t *testing.T, role string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, program, "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), counter+"="+role, "GODEBUG=asyncpreemptoff=1")
	cmd.WaitDelay = time.Second
	return cmd
}

// countInstructions steps over the answers of a process that answers, and prints how many instructions each took.
func countInstructions(t *testing.T, answers int) {
	cmd := myself(t.Context(), t, "answer")
	cmd.Args[1] = "-test.v=false" // it says the number of its thread first
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	traced := map[int]bool{}
	defer func() {
		for id := range traced { // else they would wait for this thread
			syscall.PtraceDetach(id)
		}
		cmd.Process.Kill()
		for id := range traced {
			syscall.Wait4(id, nil, syscall.WALL|syscall.WNOHANG, nil)
		}
		cmd.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	tid, err2 := strconv.Atoi(strings.TrimSpace(line))
	if err = errors.Join(err, err2); err != nil {
		t.Fatalf("the child says %q: %v", line, err)
	}
	runtime.LockOSThread() // a thread is traced by a thread
	defer runtime.UnlockOSThread()
	if err := attach(tid); errors.Is(err, syscall.EPERM) {
		t.Skip("skipped: no process may be traced here")
	} else if err != nil {
		t.Fatal(err)
	}
	traced[tid] = true
	if _, err = in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if err = runToMark(tid); err != nil { // the first: all that it needs from others it has by now
		t.Fatal(err)
	}
	stopOthers(t, cmd.Process.Pid, traced)
	for i := range answers {
		n, err := stepToMark(tid)
		if err != nil {
			t.Fatalf("answer %d: %v after %d instructions", i, err, n)
		}
		fmt.Println("counted", n)
		for range 2 { // that at its end, and that before the next
			if i == answers-1 {
				break
			}
			if err = runToMark(tid); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// answerCounted is the child: it says which thread answers, and answers once it is traced.
func answerCounted(t *testing.T) {
	runtime.LockOSThread()
	d := newDevice(t, nil, mint.New(mint.Options{}).Key.JWK())
	s := d.NewSession()
	var reply []byte
	var packets [][]byte
	for _, c := range counted {
		packets = append(packets, []byte(c.packet()))
	}
	for range 10 { // buffers grow to what they will hold
		for _, packet := range packets {
			reply = s.Packet(reply[:0], packet, 32<<10)
			if !strings.HasPrefix(string(reply), "allow 200\n") {
				t.Fatalf("answered %q", reply)
			}
		}
	}
	debug.SetGCPercent(-1)
	fmt.Println(syscall.Gettid())
	os.Stdin.Read(make([]byte, 1))
	for _, packet := range packets {
		syscall.RawSyscall(mark, 0, 0, 0)
		reply = s.Packet(reply[:0], packet, 32<<10)
		syscall.RawSyscall(mark, 0, 0, 0)
	}
}

func attach(tid int) error {
	if err := syscall.PtraceAttach(tid); err != nil {
		return err
	}
	return wait(tid)
}

// wait waits until a traced thread has stopped.
func wait(tid int) error {
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(tid, &status, syscall.WALL, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return err
		case !status.Stopped():
			return fmt.Errorf("the thread has ended: %#x", status)
		default:
			return nil
		}
	}
}

// runToMark lets the thread run until it is behind the next mark.
func runToMark(tid int) error {
	for in := false; ; {
		var regs syscall.PtraceRegs
		if err := syscall.PtraceSyscall(tid, 0); err != nil {
			return err
		}
		if err := wait(tid); err != nil {
			return err
		}
		if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
			return err
		}
		if regs.Orig_rax == mark {
			if in { // the stop at its end
				return nil
			}
			in = true
		}
	}
}

// stopOthers stops all other threads of the child, which would interrupt the one that takes so long.
func stopOthers(t *testing.T, pid int, traced map[int]bool) {
	for found := true; found; {
		found = false
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			id, err := strconv.Atoi(task.Name())
			if err != nil {
				t.Fatal(err)
			}
			if traced[id] {
				continue
			}
			if err = attach(id); err != nil {
				t.Fatal(err)
			}
			found, traced[id] = true, true
		}
	}
}

// stepToMark steps over one instruction after the other until the next mark, and returns their number.
func stepToMark(tid int) (n int, err error) {
	var regs syscall.PtraceRegs
	for ; regs.Rax != mark; n++ {
		if err = syscall.PtraceSingleStep(tid); err != nil {
			return n, err
		}
		if err = wait(tid); err != nil {
			return n, err
		}
		if err = syscall.PtraceGetRegs(tid, &regs); err != nil {
			return n, err
		}
	}
	return n, nil
}
