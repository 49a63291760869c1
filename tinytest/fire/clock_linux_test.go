package fire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"nmosauthd/tinytest/daemon"
)

// step moves the daemon's clock to so far from that of this machine.
func (r *rig) step(to time.Duration) {
	if _, err := r.clock.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(to)), 0); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) newClock() *os.File {
	f, err := os.Create(r.dir.File("clock"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { f.Close() })
	return f
}

// steppedProgram is the daemon with stepped_clock.txt in place of its clock.
func steppedProgram(t *testing.T) string {
	t.Helper()
	path, err := buildStepped()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildStepped = sync.OnceValues(func() (string, error) {
	platform, err := filepath.Abs("../../platform")
	if err != nil {
		return "", err
	}
	source := filepath.Join(platform, "clock.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	changed := bytes.Replace(text, []byte("newClock(realClock{})"), []byte("newClock(steppedClock{})"), 1)
	if bytes.Equal(changed, text) {
		return "", errors.New("clock.go has no newClock(realClock{}) to replace")
	}
	hook, err := filepath.Abs("stepped_clock.txt")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(folder, "stepped")
	copied, overlay := filepath.Join(dir, "clock.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {
		source: copied, filepath.Join(platform, "stepped.go"): hook,
	}})
	err = errors.Join(err, os.Mkdir(dir, 0o755), os.WriteFile(copied, changed, 0o600),
		os.WriteFile(overlay, list, 0o600))
	if err != nil {
		return "", err
	}
	return daemon.Build(dir, "-trimpath", "-ldflags=-s -w", "-overlay="+overlay)
})
