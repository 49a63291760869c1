package daemon

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"nmosauthd/hal"
	"nmosauthd/platform"
)

const (
	// healthEvery is how often the health is looked at if nothing is heard of that changes it: each look wakes an idle device.
	healthEvery  = 5 * time.Second
	metricsEvery = 15 * time.Second
	// settling is how long a daemon that has just started may be without keys or clock before that is called degraded.
	settling = 15 * time.Second
)

// health is what the daemon knows of how it is, and where it shows that: the device's light and the service manager.
type health struct {
	began    time.Time
	troubles troubles
	resident platform.Resident
	refused  atomic.Pointer[error] // of the last reload
	known    atomic.Bool           // all that a snapshot shows is there

	counting sync.Mutex
	dropped  uint64    // decisions, when last looked
	lost     time.Time // when some were last seen to have been; zero: never

	changed chan struct{} // holds one: look at the health now

	light   hal.Indicator // nil: the device has none
	stop    context.CancelFunc
	running sync.WaitGroup

	// Of the goroutine that looks.
	line    string
	well    bool // once
	state   hal.State
	metrics metricsFile
}

// openHealth opens what cannot be opened once the daemon is shut in.
func (d *daemon) openHealth() {
	h := &d.health
	h.began = time.Now()
	var err error
	if h.resident, err = platform.OpenResident(); err != nil {
		d.log.Warn("the memory is not measured", zap.Error(err))
	}
	if d.device.Indicator == nil {
		return
	}
	if h.light, err = d.device.Indicator("/"); err != nil {
		d.log.Warn("the device does not show how the daemon is", zap.Error(err))
		h.light = nil
	}
	h.show(hal.Starting)
}

// startHealth looks at the health now and then from now on.
func (d *daemon) startHealth() {
	ctx, cancel := context.WithCancel(context.Background())
	d.health.stop = cancel
	d.health.known.Store(true)
	d.health.running.Go(func() {
		look, write := time.NewTicker(healthEvery), time.NewTicker(metricsEvery)
		defer look.Stop()
		defer write.Stop()
		d.lookAtHealth()
		d.writeMetrics()
		for {
			select {
			case <-ctx.Done():
				return
			case <-d.health.changed:
				d.lookAtHealth()
			case <-look.C:
				d.lookAtHealth()
			case <-write.C:
				d.writeMetrics()
			}
		}
	})
}

// healthChanged has the health looked at now, should it be another than before.
func (d *daemon) healthChanged() {
	select {
	case d.health.changed <- struct{}{}:
	default: // it is about to be
	}
}

// stopHealth shows that the daemon stops. Metrics are written a last time.
func (d *daemon) stopHealth() {
	d.health.stop()
	d.health.running.Wait()
	d.writeMetrics()
	d.health.show(hal.Stopping)
}

func (d *daemon) closeHealth() {
	if d.health.light != nil {
		d.health.show(hal.Stopping) // should it not have come to that
		d.health.light.Close()
	}
}

func (h *health) show(s hal.State) {
	h.state = s
	if h.light != nil {
		h.light.Show(s)
	}
}

// lookAtHealth shows the health where it has changed.
func (d *daemon) lookAtHealth() {
	h := &d.health
	s := d.snapshot()
	before, state := h.state, hal.Serving
	h.well = h.well || s.Healthy
	switch {
	case s.Healthy:
	case h.well || time.Since(h.began) >= settling:
		state = hal.Degraded
	default:
		state = hal.Starting
	}
	h.show(state)
	if line := s.Line(); line != h.line {
		h.line = line
		d.notify(platform.Tell(line))
	}
	switch {
	case state == hal.Degraded && before != state:
		d.log.Warn("degraded", zap.String("why", strings.Join(s.Degraded, "; and ")))
	case before == hal.Degraded && s.Healthy:
		d.log.Info("healthy again")
	}
}

// writeMetrics writes the metrics where the configuration wants them.
func (d *daemon) writeMetrics() {
	path := d.inForce.Load().Metrics.File
	if path == "" {
		return
	}
	text, err := d.metricsText()
	if err == nil {
		err = replaceMetrics(platform.RealPath(path), text)
	}
	if m := &d.health.metrics; m.failed(path, err) {
		d.log.Warn("metrics not written", zap.Error(err))
	}
}

// metricsFile is what became of the file of the metrics.
type metricsFile struct {
	path string
	bad  bool // the last time, and that was logged
}

// failed tells whether a failure is to be logged: one of many.
func (m *metricsFile) failed(path string, err error) bool {
	say := err != nil && !(m.bad && m.path == path)
	m.path, m.bad = path, err != nil
	return say
}

// replaceMetrics puts a new file in place of the old one, so that no reader sees half of it. It need not outlive a power cut.
func replaceMetrics(path string, text []byte) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("[metrics] file: %w", err)
	}
	// Not one that others put there, such as a link to elsewhere.
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("[metrics] file: %w", err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(0o644) // whatever the umask took away
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		os.Remove(next)
		return fmt.Errorf("[metrics] file: %w", err)
	}
	return nil
}
