package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// realClock is the clock of this machine. root stands before the paths of the marks and chrony in place of its address,
// for tests.
type realClock struct{ root, chrony string }

func (realClock) now() time.Time { return time.Now() }

// started is where uptime starts if the kernel does not have CLOCK_BOOTTIME.
var started = time.Now()

func (realClock) uptime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return time.Since(started)
	}
	return time.Duration(ts.Nano())
}

// Boot returns what names this boot of the system, "" if unknown, and the time since it, whatever is done to the clock,
// sleep of the system included.
func Boot() (id string, up time.Duration) {
	var ts unix.Timespec
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return "", time.Since(started)
	}
	return strings.TrimSpace(string(text)), time.Duration(ts.Nano())
}

// clockMarks are files that time services leave in a file system that is empty after a boot, once they have set the
// clock.
//
// There are fewer than one would think. ntpd, OpenNTPD, busybox ntpd and linuxptp tell the kernel, and so does chrony
// if its configuration has rtcsync, as that of the distributions does; else it is asked. The drift files of chrony and
// ntpd are not marks: both also write them when they stop, whether they ever had the time or not.
var clockMarks = []struct{ service, path string }{
	{
		"systemd-timesyncd",
		"/run/systemd/timesync/synchronized",
	}, // systemd-timesyncd.service(8), touched at each synchronisation
}

func (r realClock) vouchers(mark string) (all []voucher, tai time.Duration) {
	text, ok, tai := kernelVouches(unix.Adjtimex)
	all = append(all, voucher{name: "kernel", text: text, ok: ok})
	for _, m := range clockMarks {
		if v, there := r.markVoucher(m.service, m.path); there {
			all = append(all, v)
		}
	}
	if mark != "" {
		v, there := r.markVoucher("[clock] synchronised_file", mark)
		if !there {
			v.text = "[clock] synchronised_file: there is no " + mark
		}
		all = append(all, v)
	}
	if !ok { // with rtcsync it has told the kernel
		if v, there := chronyVouches(r.chrony); there {
			all = append(all, v)
		}
	}
	return all, tai
}

// markVoucher looks at a file that says by its being there that the clock is right, and by its time since when; there
// is false if it does not exist.
func (r realClock) markVoucher(service, path string) (v voucher, there bool) {
	info, err := os.Stat(filepath.Join(r.root, path))
	switch {
	case err == nil:
		return voucher{name: path, text: service + " says so: there is " + path, ok: true, at: info.ModTime()}, true
	case errors.Is(err, fs.ErrNotExist):
		return voucher{name: path}, false
	}
	return voucher{name: path, text: err.Error()}, true
}

// kernelVouches asks the kernel, which changes nothing without a mode and needs no privilege (adjtimex(2)). A time
// service clears STA_UNSYNC; the kernel sets it again when it has not heard from one for some nine hours.
func kernelVouches(adjtimex func(*unix.Timex) (int, error)) (text string, ok bool, tai time.Duration) {
	var t unix.Timex
	state, err := adjtimex(&t)
	tai = time.Duration(t.Tai) * time.Second
	switch {
	case err != nil: // a sandbox that keeps a program from setting the clock often keeps it from this too
		return fmt.Sprintf("not confirmed by a time service, and the kernel does not say: adjtimex: %v", err), false, 0
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		return "not confirmed by a time service", false, tai
	}
	return "a time service has told the kernel so", true, tai
}

// watch opens a timer that never comes to its time, but is cancelled when the clock is set (timerfd_create(2)).
func (realClock) watch() (clockWatch, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, wrap("a timer on the clock", err)
	}
	f := os.NewFile(uintptr(fd), "timer on the clock")
	never := int64(math.MaxInt64) // the year 2262
	if strconv.IntSize == 32 {
		never = math.MaxInt32 * int64(time.Second) // 2038, as far as these kernel calls go there
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(never)}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil); err != nil {
		f.Close()
		return nil, wrap("a timer on the clock", err)
	}
	return timerfd{f}, nil
}

// timerfd is the timer as a file: Close ends a read that waits.
type timerfd struct{ file *os.File }

func (f timerfd) Close() error { return f.file.Close() }

func (f timerfd) wait(d time.Duration) error {
	// The deadline of a file is kept by Go, on the monotonic clock.
	err := f.file.SetReadDeadline(time.Now().Add(d))
	if err == nil {
		var expirations [8]byte
		_, err = f.file.Read(expirations[:])
	}
	return timerResult(err)
}

// timerResult takes the ways in which a read of the timer ends well from those in which it fails: the clock was set, or
// the time is up. Without an error the timer has come to its time after all, since the clock is past it.
func timerResult(err error) error {
	if errors.Is(err, unix.ECANCELED) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}
