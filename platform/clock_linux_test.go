package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nmosauthd/tinytest/spec"
)

func TestKernelVouches(t *testing.T) {
	spec.Rules(t, "OPS-1")
	for _, c := range []struct {
		name   string
		state  int
		status int32
		tai    int32
		err    error
		want   bool
		text   string
	}{
		{"synchronised", unix.TIME_OK, unix.STA_PLL, 37, nil, true, "a time service has told the kernel so"},
		{"a leap second is coming", unix.TIME_INS, unix.STA_PLL | unix.STA_INS, 37, nil, true,
			"a time service has told the kernel so"},
		{"as after a boot", unix.TIME_ERROR, unix.STA_UNSYNC, 0, nil, false, "not confirmed by a time service"},
		{"the flag alone", unix.TIME_OK, unix.STA_UNSYNC, 0, nil, false, "not confirmed by a time service"},
		{"a clock that fails", unix.TIME_ERROR, unix.STA_CLOCKERR, 37, nil, false, "not confirmed by a time service"},
		{"a sandbox", -1, 0, 37, unix.EPERM, false, "the kernel does not say: adjtimex: operation not permitted"},
	} {
		text, ok, tai := kernelVouches(func(x *unix.Timex) (int, error) {
			if x.Modes != 0 {
				t.Fatal("it would set the clock")
			}
			x.Status, x.Tai = c.status, c.tai
			return c.state, c.err
		})
		wantTAI := time.Duration(c.tai) * time.Second
		if c.err != nil {
			wantTAI = 0
		}
		if ok != c.want || !strings.HasSuffix(text, c.text) || tai != wantTAI {
			t.Errorf("%s: %q, %v, %v", c.name, text, ok, tai)
		}
	}
}

// The kernel of this machine is asked, and what it says is understood.
func TestKernelOfThisMachine(t *testing.T) {
	spec.Rules(t, "OPS-1")
	asked := 0
	text, ok, tai := kernelVouches(func(x *unix.Timex) (int, error) {
		asked++
		state, err := unix.Adjtimex(x)
		t.Logf("adjtimex: state %d, status %#x, TAI %d, %v", state, x.Status, x.Tai, err)
		return state, err
	})
	if asked != 1 || text == "" || tai < 0 || tai > time.Minute {
		t.Errorf("got %q, %v, %v", text, ok, tai)
	}
	now, state := NewClock().Now()
	if time.Since(now).Abs() > time.Minute || ok && state == ClockUnsynchronised {
		t.Errorf("%v at %v", state, now)
	}
}

// The mark of systemd-timesyncd, and one that the configuration names, stand if the kernel does not know.
func TestMarks(t *testing.T) {
	spec.Rules(t, "OPS-1")
	const configured = "/run/ptp/locked"
	root := t.TempDir()
	c := realClock{root: root, chrony: "127.0.0.1:1"}
	said := func(mark string) map[string]voucher {
		all, _ := c.vouchers(mark)
		by := map[string]voucher{}
		for _, v := range all {
			by[v.name] = v
		}
		return by
	}
	if all := said(""); len(all) != 1 || all["kernel"].text == "" {
		t.Errorf("no mark: got %v, want the kernel alone", all)
	}
	for _, m := range []struct{ configure, path, service string }{
		{"", "/run/systemd/timesync/synchronized", "systemd-timesyncd"},
		{configured, configured, "[clock] synchronised_file"},
	} {
		mark := filepath.Join(root, m.path)
		if err := os.MkdirAll(filepath.Dir(mark), 0o755); err != nil {
			t.Fatal(err)
		}
		missing := "[clock] synchronised_file: there is no " + configured
		if v := said(m.configure)[m.path]; v.ok || m.configure != "" && v.text != missing {
			t.Errorf("a service that is not done: got %+v", v)
		}
		if err := os.WriteFile(mark, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		v := said(m.configure)[m.path]
		want := m.service + " says so: there is " + m.path
		if !v.ok || v.text != want || time.Since(v.at).Abs() > time.Minute {
			t.Errorf("the mark: got %+v, want %q", v, want)
		}
	}
	run := filepath.Join(root, "run")
	if err := errors.Join(os.RemoveAll(run), os.WriteFile(run, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, v := range said(configured) {
		if v.name != "kernel" && (v.ok || !strings.Contains(v.text, "not a directory")) {
			t.Errorf("a mark that cannot be looked for: got %+v", v)
		}
	}
}

// A clock of this machine with a mark, which is there or not, is what the mark says, and stays so once it is gone.
func TestMarkVouches(t *testing.T) {
	spec.Rules(t, "OPS-1")
	if _, ok, _ := kernelVouches(unix.Adjtimex); ok {
		t.Skip("skipped: the kernel of this machine vouches for its clock")
	}
	root := t.TempDir()
	c := newClock(realClock{root: root, chrony: "127.0.0.1:1"})
	mark := filepath.Join(root, "locked")
	want := func(step string, want ClockState) {
		t.Helper()
		c.check()
		if s := c.Status(); s.State != want {
			t.Errorf("%s: got %v (%s), want %v", step, s.State, s.Why, want)
		}
	}
	c.UseMark("/locked")
	want("no mark", ClockUnsynchronised)
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-realClock{}.uptime() - time.Hour)
	if err := os.Chtimes(mark, old, old); err != nil {
		t.Fatal(err)
	}
	want("a mark from before the boot", ClockUnsynchronised)
	now := time.Now()
	if err := os.Chtimes(mark, now, now); err != nil {
		t.Fatal(err)
	}
	want("the mark", ClockSynchronised)
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	want("the mark is gone", ClockSynchronised)
}

// The timer is one that the kernel cancels when the clock is set. Setting it is not for a test, so the kernel is asked.
func TestTimerfd(t *testing.T) {
	spec.Rules(t, "OPS-1")
	w, err := realClock{}.watch()
	if err != nil {
		t.Fatal(err)
	}
	f := w.(timerfd)
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.file.Fd()))
	want := fmt.Sprintf("settime flags: 0%o\n", unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET)
	if err != nil || !strings.Contains(string(info), want) || !strings.Contains(string(info), "clockid: 0\n") {
		t.Errorf("got error %v, %s", err, info)
	}
	w.Close()
}

func TestTimerfdWaits(t *testing.T) {
	spec.Rules(t, "OPS-1")
	w, err := realClock{}.watch()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := w.wait(20 * time.Millisecond); err != nil || time.Since(start) < 20*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	waited := make(chan error)
	go func() { waited <- w.wait(time.Hour) }()
	w.Close()
	if err := <-waited; err == nil {
		t.Error("waits on when closed")
	}
	if err := w.wait(time.Hour); err == nil {
		t.Error("waits when closed")
	}
}

func TestTimerResult(t *testing.T) {
	spec.Rules(t, "OPS-1")
	for _, c := range []struct{ err, want error }{
		{nil, nil},
		{&fs.PathError{Op: "read", Path: "timer", Err: unix.ECANCELED}, nil},
		{&fs.PathError{Op: "read", Path: "timer", Err: os.ErrDeadlineExceeded}, nil},
		{os.ErrClosed, os.ErrClosed},
		{io.EOF, io.EOF},
	} {
		if got := timerResult(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

// The real clock runs, and ends when it is told to.
func TestClockRuns(t *testing.T) {
	spec.Rules(t, "OPS-1")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewClock().Run(ctx, func(e ClockEvent) {
			if e.Err != nil {
				t.Error(e.Err)
			}
		})
	}()
	cancel()
	<-done
}

func TestUptime(t *testing.T) {
	spec.Rules(t, "OPS-1")
	a := realClock{}.uptime()
	b := realClock{}.uptime()
	if a <= 0 || b < a {
		t.Errorf("%v, then %v", a, b)
	}
}
