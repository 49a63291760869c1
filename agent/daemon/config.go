package daemon

import (
	"fmt"
	"io"
	"os"

	"nmosauthd/agent/config"
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

// loadConfig reads the configuration and finds the names of the device.
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
			return nil, nil, fmt.Errorf("%s: [device] names is empty, and the device's own cannot be read: %w", file, err)
		}
	}
	return c, names, nil
}

// loadConfig is the same for a subcommand, which needs the device no more.
func LoadConfig(file string) (*config.Config, []string, error) {
	d, err := DetectDevice()
	if err != nil {
		return nil, nil, err
	}
	return d.LoadConfig(file)
}
