package daemon

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"nmosauthd/agent/config"
	"nmosauthd/platform"
)

// maxConfig is the most that is read of a configuration file, bytes; the parser refuses far less.
const maxConfig = 1 << 20

// ReadConfig returns what is in the file.
func ReadConfig(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConfig))
}

// LoadConfig reads the configuration and finds the names of the device.
func (d *Device) LoadConfig(file string) (*config.Config, []string, error) {
	data, err := ReadConfig(file)
	if err != nil {
		return nil, nil, err
	}
	c, err := config.ParseOver(d.Defaults(), file, data)
	if err != nil {
		return nil, nil, err
	}
	names := c.Device.Names
	if len(names) == 0 {
		if names, err = d.Names(); err != nil {
			return nil, nil, fmt.Errorf("%s: [device] names is empty, and the device's own cannot be read: %w", file,
				err)
		}
	}
	return c, names, nil
}

// LoadConfig is Device.LoadConfig for a subcommand that needs nothing else of the device.
func LoadConfig(file string) (*config.Config, []string, error) {
	d, err := DetectDevice()
	if err != nil {
		return nil, nil, err
	}
	return d.LoadConfig(file)
}

// Examine checks a valid configuration against this device. It returns warnings, and an error if no authorization
// server can be used. check-config fails with that error; the daemon logs it and goes on with the keys that it has,
// since a missing file may still appear.
func Examine(c *config.Config, names []string) (warnings []string, err error) {
	warnings = c.Warnings()
	err = examine(c, names, func(text string) { warnings = append(warnings, text) })
	return warnings, err
}

func examine(c *config.Config, names []string, warn func(string)) error {
	if len(names) == 0 {
		warn(NoName)
	}
	_, err := ReadRoots(c.Authorization.CAFile)
	if err != nil && !c.NeedsRoots() {
		warn("[authorization] " + err.Error())
		err = nil
	}
	for _, s := range [...][2]string{
		{authzSocket, c.Sockets.Authz}, {httpSocket, c.Sockets.HTTP}, {adminSocket, c.Sockets.Admin},
		{viewSocket, c.Sockets.View},
	} {
		if dir := sharedFolder(filepath.Dir(s[1])); s[1] != "" && dir != "" {
			warn("[sockets] " + s[0] + ": other users may write to " + dir +
				": any of them can answer in the daemon's place")
		}
	}
	if dir := sharedFolder(c.State.Dir); c.State.Dir != "" && dir != "" {
		warn("[state] dir: other users may write to " + dir + ": any of them can prevent the keys from being saved")
	}
	if slices.Contains(c.Audit.Sinks, config.AuditFile) {
		if dir := filepath.Dir(c.Audit.File); missing(dir) {
			warn("[audit] file: the folder " + dir +
				" is missing: create it and restart the daemon, or nothing is recorded there")
		}
	}
	if dir := filepath.Dir(c.Metrics.File); c.Metrics.File != "" && missing(dir) {
		warn("[metrics] file: the folder " + dir +
			" is missing: create it and restart the daemon, or nothing is written there")
	}
	return err
}

func missing(dir string) bool {
	_, err := os.Stat(dir)
	return os.IsNotExist(err)
}

// sharedFolder returns the folder through which every user can change what is at dir, "" if none: dir itself, or its
// first existing parent, if others may write to it; or one further up in which others may also replace files they do
// not own.
func sharedFolder(dir string) string {
	const others = 0o002
	found := false
	for dir = platform.RealPath(dir); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil {
			if info.Mode().Perm()&others != 0 && (!found || info.Mode()&os.ModeSticky == 0) {
				return dir
			}
			found = true
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}
