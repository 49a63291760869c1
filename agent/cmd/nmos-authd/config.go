package main

import (
	"errors"
	"fmt"
	"os"

	"nmosauthd/agent/config"
	"nmosauthd/agent/daemon"
	"nmosauthd/platform"
)

func runCheckConfig(args []string) error {
	set, file := flags("check-config", "")
	folders := set.Bool("folders", false,
		"print only the folders that the daemon must own before it starts, as \"mode path\"")
	if err := parse(set, args, 0, 0); err != nil {
		return err
	}
	err := checkConfig(*file, *folders)
	if err != nil {
		err = daemon.Denied{Err: err}
	}
	return err
}

func checkConfig(file string, folders bool) error {
	d, err := daemon.DetectDevice()
	if err != nil {
		return err
	}
	c, names, err := d.LoadConfig(file)
	if err != nil {
		return err
	}
	if folders {
		for _, f := range daemon.OwnFolders(c) {
			fmt.Printf("%#04o %s\n", f.Mode, f.Path)
		}
		return nil
	}
	warnings, err := daemon.Examine(c, names)
	if err != nil {
		return fmt.Errorf("%s: [authorization] %w", file, err)
	}
	for _, g := range [...][2]string{{"group", c.Sockets.Group}, {"admin_group", c.Sockets.AdminGroup},
		{"view_group", c.Sockets.ViewGroup}} {
		if err := platform.CheckGroup(g[1]); err != nil {
			return fmt.Errorf("%s: [sockets] %s: %w", file, g[0], err)
		}
	}
	if err := daemon.CheckClient(&c.Client); err != nil {
		data, _ := daemon.ReadConfig(file)
		return config.At(file, data, err)
	}
	if c.Inventory.File != "" {
		_, _, _, err := daemon.ReadInventory(c.Inventory.File)
		switch {
		case errors.Is(err, os.ErrNotExist): // the firmware may write it later
			warnings = append(warnings, "[inventory] file: "+c.Inventory.File+" does not exist yet")
		case err != nil:
			return err
		}
	}
	for _, w := range warnings {
		fmt.Fprintf(stderr(), "%s: warning: %s\n", file, w)
	}
	servers := fmt.Sprintf("%q", c.Authorization.Servers)
	if len(c.Authorization.Servers) == 0 && c.Discovers() != config.DiscoveryOff {
		servers = "by discovery"
	}
	fmt.Fprintf(stdout(), "%s: %s.\n%s: good. Mode %s; this device is %q, model %s; servers %s.\n",
		file, c.DiscoveryTrust(), file, c.Mode, names, d.Name, servers)
	return nil
}
