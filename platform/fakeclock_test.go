package platform

import (
	"io/fs"
	"sync"
	"time"
)

// fakeClock is a system whose clock and time services do what a test says. Its time passes as that of the test does.
type fakeClock struct {
	mu       sync.Mutex
	start    time.Time     // of the test
	wall     time.Time     // the clock at the start
	text     string        // of the kernel, see vouchers
	vouched  bool          // by the kernel
	mark     *time.Time    // of the configured file; nil: it does not exist
	tai      time.Duration // see vouchers
	jitter   int           // readings during which the process is held up
	watchErr error
	watches  chan fakeWatch // opened
}

func newFakeClock(wall time.Time) *fakeClock {
	return &fakeClock{start: time.Now(), wall: wall, watches: make(chan fakeWatch, 1), text: "nobody vouches for it"}
}

func (f *fakeClock) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wall.Add(time.Since(f.start))
}

func (f *fakeClock) uptime() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.jitter > 0 {
		f.jitter--
		f.start = f.start.Add(-time.Second) // it is a second later by both clocks
	}
	return time.Since(f.start)
}

func (f *fakeClock) vouchers(mark string) ([]voucher, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []voucher{{name: "kernel", text: f.text, ok: f.vouched}}
	if mark != "" {
		v := voucher{name: mark, text: mark + " says so"}
		if f.mark != nil {
			v.ok, v.at = true, *f.mark
		}
		all = append(all, v)
	}
	return all, f.tai
}

// touch gives the configured file this age.
func (f *fakeClock) touch(age time.Duration) {
	at := f.now().Add(-age)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mark = &at
}

func (f *fakeClock) watch() (clockWatch, error) {
	if f.watchErr != nil {
		return nil, f.watchErr
	}
	w := fakeWatch{newTimerWatch(), make(chan error)}
	f.watches <- w
	return w, nil
}

// move sets the clock ahead by d, and nobody is told: of the vouchers the kernel takes its word back, as it does.
func (f *fakeClock) move(d time.Duration) {
	f.slew(d)
	f.vouch(false)
}

// slew is what a time service does that keeps its word.
func (f *fakeClock) slew(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wall = f.wall.Add(d)
}

func (f *fakeClock) vouch(ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.vouched = ok
}

// fakeWatch is told that the clock was set, by nil, or that it fails.
type fakeWatch struct {
	timerWatch
	tell chan error
}

func (w fakeWatch) wait(d time.Duration) error {
	select {
	case err := <-w.tell:
		return err
	case <-time.After(d):
		return nil
	case <-w.open.Done():
		return fs.ErrClosed
	}
}
