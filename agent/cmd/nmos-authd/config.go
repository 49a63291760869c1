package main

import (
	"errors"
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

// readConfig returns what is in the file.
func readConfig(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConfig))
}

// loadConfig reads the configuration and finds the names of the device.
func (d *thisDevice) loadConfig(file string) (*config.Config, []string, error) {
	data, err := readConfig(file)
	if err != nil {
		return nil, nil, err
	}
	c, err := config.ParseOver(d.defaults(), file, data)
	if err != nil {
		return nil, nil, err
	}
	names := c.Device.Names
	if len(names) == 0 {
		if names, err = d.names(); err != nil {
			return nil, nil, fmt.Errorf("%s: [device] names is empty, and the device's own cannot be read: %w", file, err)
		}
	}
	return c, names, nil
}

// loadConfig is the same for a subcommand, which needs the device no more.
func loadConfig(file string) (*config.Config, []string, error) {
	d, err := detectDevice()
	if err != nil {
		return nil, nil, err
	}
	return d.loadConfig(file)
}

func runCheckConfig(args []string) int {
	set, file := flags("check-config", "")
	folders := set.Bool("folders", false, "print only the folders that must be the daemon's own before it starts, as \"mode path\"")
	if status, done := parse(set, args, 0, 0); done {
		return status
	}
	d, err := detectDevice()
	if err != nil {
		complain(err)
		return exitDeny
	}
	c, names, err := d.loadConfig(*file)
	if err == nil && *folders {
		for _, f := range ownFolders(c) {
			fmt.Printf("%#04o %s\n", f.mode, f.path)
		}
		return exitOK
	}
	if err == nil {
		_, err = readRoots(c.Authorization.CAFile)
	}
	if err == nil {
		if err = platform.CheckGroup(c.Sockets.Group); err != nil {
			err = fmt.Errorf("%s: [sockets] group: %w", *file, err)
		}
	}
	if err == nil {
		if err = platform.CheckGroup(c.Sockets.AdminGroup); err != nil {
			err = fmt.Errorf("%s: [sockets] admin_group: %w", *file, err)
		}
	}
	var warnings []string
	if err == nil {
		warnings = c.Warnings()
		if len(names) == 0 {
			warnings = append(warnings, noName)
		}
	}
	if err == nil && c.Inventory.File != "" {
		_, _, _, err = readInventory(c.Inventory.File)
		if errors.Is(err, os.ErrNotExist) { // the firmware may write it later
			warnings = append(warnings, "[inventory] file: there is no "+c.Inventory.File+" yet")
			err = nil
		}
	}
	if err != nil {
		complain(err)
		return exitDeny
	}
	for _, w := range warnings {
		fmt.Fprintf(os.Stderr, "%s: warning: %s\n", *file, w)
	}
	fmt.Printf("%s: %s.\n", *file, c.DiscoveryTrust())
	fmt.Printf("%s: good. Mode %s; this device is %q, model %s; servers %q.\n", *file, c.Mode, names, d.Name, c.Authorization.Servers)
	return exitOK
}

// ownFolder is a folder that the daemon writes to, and what an init script makes of it.
type ownFolder struct {
	mode os.FileMode
	path string
}

// ownFolders returns those of the sockets, through which callers pass, and that of the state, each once.
func ownFolders(c *config.Config) (folders []ownFolder) {
	for _, path := range []string{c.Sockets.Authz, c.Sockets.HTTP, c.Sockets.Admin} {
		if f := (ownFolder{0o755, filepath.Dir(path)}); path != "" && !slices.Contains(folders, f) {
			folders = append(folders, f)
		}
	}
	if c.State.Dir != "" {
		folders = append(folders, ownFolder{0o700, c.State.Dir})
	}
	return folders
}
