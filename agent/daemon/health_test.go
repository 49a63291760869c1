package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"nmosauthd/agent/keys"
	"nmosauthd/agent/status"
	"nmosauthd/hal"
	"nmosauthd/tinytest/mint"
)

// lamp is an indicator that remembers.
type lamp struct {
	shown  []hal.State
	closed int
}

// Show keeps each change.
func (l *lamp) Show(s hal.State) {
	if len(l.shown) == 0 || l.shown[len(l.shown)-1] != s {
		l.shown = append(l.shown, s)
	}
}

func (l *lamp) Close() { l.closed++ }

const healthIssuer = "https://auth.example.com"

// newHealthy makes a daemon as newDaemon does, which listens nowhere and fetches nothing.
func newHealthy(t *testing.T, more string) *daemon {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.toml")
	text := fmt.Sprintf("mode = \"enforce\"\n[device]\nnames = [\"meter.example.com\"]\n[discovery]\nmode = \"off\"\n"+
		"[authorization]\nservers = [%q]\n[audit]\nsinks = []\n[state]\ndir = \"\"\n%s", healthIssuer, more)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := newDaemon(file, "test", NewLogQueue(io.Discard), nil)
	if err != nil {
		t.Fatal(err)
	}
	d.startAudit()
	t.Cleanup(d.closeAudit)
	return d
}

// hold gives the daemon a key, as the file of the state does.
func hold(t *testing.T, d *daemon) {
	t.Helper()
	set, _, err := keys.Parse(mint.JWKS(mint.CachedKey("key-1", 2048)))
	if err != nil {
		t.Fatal(err)
	}
	d.store.Hold(keys.Held{Name: healthIssuer, Keys: set})
}

// The light shows what the daemon is: without keys it is starting for a while and then degraded.
func TestLight(t *testing.T) {
	d, light := newHealthy(t, ""), &lamp{}
	d.device.Indicator = func(root string) (hal.Indicator, error) {
		if root != "/" {
			t.Errorf("root %q", root)
		}
		return light, nil
	}
	d.openHealth()
	want := func(when string, shown ...hal.State) {
		t.Helper()
		if !slices.Equal(light.shown, shown) {
			t.Errorf("%s: %v, want %v", when, light.shown, shown)
		}
	}
	want("opened", hal.Starting)
	d.lookAtHealth()
	want("without keys", hal.Starting)
	d.health.began = d.health.began.Add(-settling)
	d.lookAtHealth()
	want("and after a while", hal.Starting, hal.Degraded)
	hold(t, d)
	d.lookAtHealth()
	want("with keys", hal.Starting, hal.Degraded, hal.Serving)
	if d.health.line != "healthy: enforce, 1 server, 1 key" {
		t.Errorf("got %q, want healthy", d.health.line)
	}
	err := errors.New("a.toml:1: no")
	d.health.refused.Store(&err)
	d.health.began = time.Now() // however soon
	d.lookAtHealth()
	want("with another configuration refused", hal.Starting, hal.Degraded, hal.Serving, hal.Degraded)
	if d.health.line != "degraded: the configuration is refused, and the old one stays in force: a.toml:1: no" {
		t.Errorf("got %q, want degraded, and why", d.health.line)
	}
	d.startHealth()
	d.stopHealth()
	d.closeHealth()
	want("stopped", hal.Starting, hal.Degraded, hal.Serving, hal.Degraded, hal.Stopping)
	if light.closed != 1 {
		t.Errorf("closed %d times", light.closed)
	}
}

// A change is shown immediately, though the health is looked at seldom.
func TestHealthChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(30 * 365 * 24 * time.Hour) // from 2000, a time that no clock is believed
		d, light := newHealthy(t, ""), &lamp{}
		d.device.Indicator = func(string) (hal.Indicator, error) { return light, nil }
		d.openHealth()
		d.startHealth()
		defer d.stopHealth()
		synctest.Wait()
		hold(t, d)
		d.keysFetched(keys.Event{Issuer: healthIssuer})
		synctest.Wait()
		if want := []hal.State{hal.Starting, hal.Serving}; !slices.Equal(light.shown, want) {
			t.Errorf("as keys come: got %v, want %v", light.shown, want)
		}
		if err := os.WriteFile(d.file, []byte("mode = 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		d.reload()
		synctest.Wait()
		if want := []hal.State{hal.Starting, hal.Serving, hal.Degraded}; !slices.Equal(light.shown, want) {
			t.Errorf("as a configuration is refused: got %v, want %v", light.shown, want)
		}
	})
}

// Without a light, or with one that is broken, the daemon goes on.
func TestNoLight(t *testing.T) {
	d := newHealthy(t, "")
	d.device.Indicator = func(string) (hal.Indicator, error) { return nil, errors.New("the LED is missing") }
	d.openHealth()
	d.startHealth()
	d.stopHealth()
	d.closeHealth()
	if last := d.health.troubles.last(time.Now()); !slices.ContainsFunc(last, func(e status.Error) bool {
		return strings.Contains(e.Text, "the LED is missing")
	}) {
		t.Errorf("got %+v, want that the LED is missing", last)
	}
}

// Before all is there, there is no status.
func TestStatusTooEarly(t *testing.T) {
	d := newHealthy(t, "")
	if text, err := d.Status(); !errors.Is(err, errStarting) {
		t.Errorf("got %s, %v, want %v", text, err, errStarting)
	}
	if text, err := d.Metrics(); !errors.Is(err, errStarting) {
		t.Errorf("got %s, %v, want %v", text, err, errStarting)
	}
}

// A decision that was not recorded is seen once, also where a reload makes the sum smaller.
func TestDroppedLately(t *testing.T) {
	d := newHealthy(t, "")
	d.openHealth()
	hold(t, d)
	d.lookAtHealth()
	if !d.health.lost.IsZero() {
		t.Fatal("dropped before anything was")
	}
	d.health.dropped = 5 // as if a sink was left out
	d.lookAtHealth()
	if !d.health.lost.IsZero() || d.health.dropped != 0 {
		t.Error("a smaller sum is not a drop")
	}
}

// The file of the metrics is replaced whole, never what a link leads to; troubles with it are logged once.
func TestMetricsFile(t *testing.T) {
	dir := t.TempDir()
	file, victim := filepath.Join(dir, "sub", "nmos.prom"), filepath.Join(dir, "victim")
	d := newHealthy(t, fmt.Sprintf("[metrics]\nfile = %q\n", file))
	d.openHealth()
	d.health.ready.Store(true)
	troubles := func() (n int) {
		for _, e := range d.health.troubles.last(time.Now()) {
			if strings.Contains(e.Text, "metrics not written") {
				n += e.Times
			}
		}
		return n
	}
	d.writeMetrics()
	d.writeMetrics()
	if n := troubles(); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(victim, []byte("as it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, file+".new"); err != nil {
		t.Fatal(err)
	}
	d.writeMetrics()
	text, err := os.ReadFile(file)
	info, _ := os.Lstat(file)
	if err != nil || !strings.HasPrefix(string(text), "# HELP nmos_authd_info ") || info.Mode() != 0o644 {
		t.Errorf("got %v, %v, want a file of mode 0644 with metrics: %s", err, info, text)
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "as it was" {
		t.Errorf("got %v, %q, want the other file as it was", err, text)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("got %v, %v, want the file alone", left, err)
	}
	if n := troubles(); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if err := os.RemoveAll(filepath.Dir(file)); err != nil {
		t.Fatal(err)
	}
	d.writeMetrics()
	if n := troubles(); n != 2 {
		t.Errorf("logged %d times after it was well in between", n)
	}
}

// The file of the metrics is there from the start and renewed every 15 s.
func TestMetricsFileIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "nmos.prom")
		d := newHealthy(t, fmt.Sprintf("[metrics]\nfile = %q\n", file))
		d.openHealth()
		d.startHealth()
		defer d.stopHealth()
		for range 3 {
			synctest.Wait()
			if err := os.Remove(file); err != nil {
				t.Error(err)
			}
			time.Sleep(metricsEvery - healthEvery)
			synctest.Wait()
			if _, err := os.Stat(file); err == nil {
				t.Error("renewed too soon")
			}
			time.Sleep(healthEvery)
		}
	})
}

// The last troubles are kept, so many and so long, each with what it says in words; what comes again is counted.
func TestTroubles(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	var kept troubles
	log := kept.watch(zap.New(core))
	log.Info("all is well")
	log.Debug("and nobody cares")
	log.Warn("odd", zap.String("file", "a"), zap.Int("count", 3), zap.Error(errors.New("no disk")), zap.Error(nil))
	log.Error("worse", zap.Strings("all", []string{"b"}))
	log.Error("worse")
	now := time.Now()
	got := kept.last(now)
	if len(got) != 2 || got[0].Text != "odd; file: a; error: no disk" || got[0].Level != "warn" || got[0].Times != 1 ||
		got[1].Text != "worse" || got[1].Level != "error" || got[1].Times != 2 ||
		got[1].Time < status.At(now.Add(-time.Minute), now) {
		t.Errorf("got %+v, want odd once and worse twice", got)
	}
	if logs.Len() != 4 {
		t.Errorf("%d lines of the log passed, not 4", logs.Len())
	}
	for i := range 3 * troublesKept {
		log.Warn(fmt.Sprint(i, strings.Repeat("é", troubleBytes)))
	}
	got = kept.last(now)
	if len(got) != troublesKept || !strings.HasPrefix(got[troublesKept-1].Text, fmt.Sprint(3*troublesKept-1)) {
		t.Errorf("got %d: %+v, want the last %d", len(got), got, troublesKept)
	}
	for _, e := range got {
		if len(e.Text) > troubleBytes+3 || !strings.HasSuffix(e.Text, "é...") {
			t.Errorf("got %q, want %d bytes at most, cut behind a whole character", e.Text, troubleBytes+3)
		}
	}
	log.With(zap.String("of", "it")).Warn("with more")
	if got = kept.last(now); got[troublesKept-1].Text != "with more" || logs.Len() != 5+3*troublesKept {
		t.Errorf("got %+v and %d lines, want with more at the end", got, logs.Len())
	}
}
