package models

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nmosauthd/hal"
)

// generic is any Linux device: what it says of itself, it says in the usual files.
var generic = hal.Model{
	Name:     "generic",
	Is:       func(string) bool { return true },
	Identify: identifyGeneric,
}

// maxFile bounds what is read of any of the files; they hold a few lines.
const maxFile = 64 << 10

// identifyGeneric reads the identity from the device tree (the machine's own description on ARM), /etc/os-release, and the
// host name. The names are the host name alone, with each search domain, and in .local, under which mDNS answers for it.
func identifyGeneric(root string) (hal.Identity, error) {
	host, err := hostName(root)
	if err != nil {
		return hal.Identity{}, fmt.Errorf("hal: the host name: %w", err)
	}
	id := hal.Identity{
		Product:  deviceTree(root, "model"),
		Serial:   deviceTree(root, "serial-number"),
		Firmware: osVersion(root),
	}
	// Before a device is set up its name is one of these, and every device's is. A token for one would fit all of them.
	if host == "" || host == "(none)" || host == "localhost" || strings.HasPrefix(host, "localhost.") {
		return id, nil
	}
	id.Names = append(id.Names, host)
	short, _, _ := strings.Cut(host, ".")
	for _, domain := range append(searchDomains(root), "local") {
		if name := short + "." + domain; !slices.Contains(id.Names, name) {
			id.Names = append(id.Names, name)
		}
	}
	return id, nil
}

// hostName returns the kernel's host name, or under another root that of /etc/hostname; "" where there is none.
func hostName(root string) (string, error) {
	if filepath.Clean(root) == "/" {
		name, err := os.Hostname()
		return normal(name), err
	}
	text, err := read(root, "etc/hostname")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' { // hostname(5)
			return normal(line), nil
		}
	}
	return "", nil
}

// searchDomains returns the domains that resolv.conf(5) searches: those of the last search or domain line.
func searchDomains(root string) (domains []string) {
	text, err := read(root, "etc/resolv.conf")
	if err != nil {
		return nil // a device without DNS has none
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "search" && words[0] != "domain" {
			continue
		}
		domains = domains[:0]
		for _, w := range words[1:] {
			if w = normal(w); w != "" {
				domains = append(domains, w)
			}
		}
	}
	return domains
}

// osVersion returns the version of os-release(5): the image's, which vendors of devices set, else the system's.
func osVersion(root string) (version string) {
	text, err := read(root, "etc/os-release")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch name {
		case "IMAGE_VERSION":
			return value
		case "VERSION_ID":
			version = value
		}
	}
	return version
}

// deviceTree returns a text property of the device tree's root, which ends with a NUL; "" where there is none.
func deviceTree(root, property string) string {
	text, err := read(root, "proc/device-tree/"+property)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.TrimRight(string(text), "\x00"))
}

func read(root, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// normal makes a host name comparable: lower case, no trailing dot.
func normal(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
