package daemon

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nmosauthd/hal"
	"nmosauthd/platform"
)

const (
	// healthEvery is how often the health is checked without a reported change: each check wakes an idle device.
	healthEvery  = 5 * time.Second
	metricsEvery = 15 * time.Second
	// settling is how long after the start a lack of keys or clock counts as starting, not as degraded.
	settling = 15 * time.Second
)

// health is the daemon's health and where it is shown: the device's light and the service manager.
type health struct {
	began    time.Time
	troubles troubles
	resident platform.Resident
	refused  atomic.Pointer[error] // of the last reload
	ready    atomic.Bool           // every source of a snapshot is set

	counting sync.Mutex
	dropped  uint64    // decisions, at the last check
	lost     time.Time // when a check last found more dropped; zero if never

	changed chan struct{} // buffers one: check the health now

	light   hal.Indicator // nil if the device has none
	stop    context.CancelFunc
	running sync.WaitGroup

	// Used by the checking goroutine alone.
	line       string
	wasHealthy bool // at least once
	state      hal.State
	metrics    metricsFile
}

// openHealth opens what cannot be opened once the daemon is in its sandbox.
func (d *daemon) openHealth() {
	h := &d.health
	h.began = time.Now()
	var err error
	h.resident, err = platform.OpenResident()
	warn(d.log, "cannot read resident memory", err)
	if d.device.Indicator == nil {
		return
	}
	if h.light, err = d.device.Indicator("/"); err != nil {
		h.light = nil
	}
	warn(d.log, "the device's status light is not used", err)
	h.show(hal.Starting)
}

// startHealth checks the health regularly from now on.
func (d *daemon) startHealth() {
	ctx, cancel := context.WithCancel(context.Background())
	d.health.stop = cancel
	d.health.ready.Store(true)
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

// healthChanged triggers a check of the health, which may have changed.
func (d *daemon) healthChanged() {
	select {
	case d.health.changed <- struct{}{}:
	default: // a check is already due
	}
}

// stopHealth shows that the daemon stops, and writes the metrics a last time.
func (d *daemon) stopHealth() {
	d.health.stop()
	d.health.running.Wait()
	d.writeMetrics()
	d.health.show(hal.Stopping)
}

func (d *daemon) closeHealth() {
	if d.health.light != nil {
		d.health.show(hal.Stopping) // if a failed start skipped stopHealth
		d.health.light.Close()
	}
}

func (h *health) show(s hal.State) {
	h.state = s
	if h.light != nil {
		h.light.Show(s)
	}
}

// lookAtHealth shows the health if it has changed.
func (d *daemon) lookAtHealth() {
	h := &d.health
	s := d.snapshot()
	before, state := h.state, hal.Serving
	h.wasHealthy = h.wasHealthy || s.Healthy
	switch {
	case s.Healthy:
	case h.wasHealthy || time.Since(h.began) >= settling:
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
		d.log.Warn("degraded", fields(nil, "why", strings.Join(s.Degraded, "; and "))...)
	case before == hal.Degraded && s.Healthy:
		d.log.Info("healthy again")
	}
}

// writeMetrics writes the metrics to the configured file, if any.
func (d *daemon) writeMetrics() {
	path := d.inForce.Load().Metrics.File
	if path == "" {
		return
	}
	text, err := d.Metrics()
	if err == nil {
		if err = replaceMetrics(platform.RealPath(path), text); err != nil {
			err = fmt.Errorf("[metrics] file: %w", err)
		}
	}
	if m := &d.health.metrics; m.failed(path, err) {
		warn(d.log, "metrics not written", err)
	}
}

// metricsFile is the outcome of the last write of the metrics.
type metricsFile struct {
	path string
	bad  bool // the last write failed, and that was logged
}

// failed records the outcome of a write and reports whether to log it: the first failure of a run.
func (m *metricsFile) failed(path string, err error) bool {
	say := err != nil && !(m.bad && m.path == path)
	m.path, m.bad = path, err != nil
	return say
}

// replaceMetrics replaces the file atomically, so that no reader sees half of it. It need not survive a power cut.
func replaceMetrics(path string, text []byte) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !os.IsNotExist(err) {
		return err
	}
	// O_EXCL: never open what others put there, such as a link to elsewhere.
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
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
	}
	return err
}
