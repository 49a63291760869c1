package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"nmosauthd/agent/config"
	"nmosauthd/agent/daemon"
	"nmosauthd/platform"
)

func runCheckConfig(args []string) int {
	set, file := flags("check-config", "")
	folders := set.Bool("folders", false,
		"print only the folders that the daemon must own before it starts, as \"mode path\"")
	if status, done := parse(set, args, 0, 0); done {
		return status
	}
	d, err := daemon.DetectDevice()
	if err != nil {
		complain(err)
		return exitDeny
	}
	c, names, err := d.LoadConfig(*file)
	if err == nil && *folders {
		for _, f := range ownFolders(c) {
			fmt.Printf("%#04o %s\n", f.mode, f.path)
		}
		return exitOK
	}
	var warnings []string
	if err == nil {
		if warnings, err = daemon.Examine(c, names); err != nil {
			err = fmt.Errorf("%s: [authorization] %w", *file, err)
		}
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
	if err == nil {
		if err = daemon.CheckClient(&c.Client); err != nil {
			data, _ := daemon.ReadConfig(*file)
			err = config.At(*file, data, err)
		}
	}
	if err == nil && c.Inventory.File != "" {
		_, _, _, err = daemon.ReadInventory(c.Inventory.File)
		if errors.Is(err, os.ErrNotExist) { // the firmware may write it later
			warnings = append(warnings, "[inventory] file: "+c.Inventory.File+" does not exist yet")
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
	fmt.Printf("%s: good. Mode %s; this device is %q, model %s; servers %q.\n",
		*file, c.Mode, names, d.Name, c.Authorization.Servers)
	return exitOK
}

// ownFolder is a folder that the daemon writes to, and the mode with which an init script creates it.
type ownFolder struct {
	mode os.FileMode
	path string
}

// ownFolders returns the folders of the sockets, which callers must be able to enter, and that of the state, each once.
func ownFolders(c *config.Config) (folders []ownFolder) {
	for _, k := range config.Keys(c) {
		var f ownFolder
		switch {
		case k.Traits&config.SocketPlace != 0 && k.Path() != "":
			f = ownFolder{0o755, filepath.Dir(k.Path())}
		case k.Traits&config.PrivatePlace != 0 && k.Path() != "":
			f = ownFolder{0o700, k.Path()}
		case k.Traits&config.SharedPlace != 0 && c.Certificates.Enabled():
			f = ownFolder{0o755, k.Path()}
		default:
			continue
		}
		if !slices.Contains(folders, f) {
			folders = append(folders, f)
		}
	}
	return folders
}
