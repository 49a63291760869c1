package models

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nmosauthd/hal"
)

// generic is any Linux device: what it says of itself, it says in the usual files. What it has, only an inventory file
// can say.
var generic = hal.Model{
	Name:     "generic",
	Is:       func(string) bool { return true },
	Identify: identifyGeneric,
	Places:   func(root string) hal.Places { return hal.Places{Reads: reads(root)} },
}

// identifyGeneric reads the identity from the device tree (the machine's own description on ARM), from DMI (the same of
// a PC), /etc/os-release, and the host name. The names are the host name alone, with each search domain, and in .local,
// under which mDNS answers for it. Where nothing has a serial number, the address of the first network interface is
// one.
func identifyGeneric(root string) (hal.Identity, error) {
	host, err := hostName(root)
	if err != nil {
		return hal.Identity{}, err
	}
	maker, product := treeModel(root)
	id := hal.Identity{
		Maker:   cmp.Or(maker, known(field(root, "sys/class/dmi/id/sys_vendor"))),
		Product: cmp.Or(product, known(field(root, "sys/class/dmi/id/product_name"))),
		Serial: cmp.Or(
			known(field(root, "proc/device-tree/serial-number")),
			known(
				field(root, "sys/class/dmi/id/product_serial")), // root alone may read it, unless a udev rule opens it
			known(field(root, "sys/devices/soc0/serial_number")),
		),
		Firmware: osVersion(root),
	}
	if id.Serial == "" {
		id.Serial = hardwareAddress(root)
	}
	// Before a device is set up its name is one of these, and every device's is. A token for one would fit all of them.
	if host == "" || host == "localhost" || strings.HasPrefix(host, "localhost.") {
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

// hostName returns the kernel's host name, or under another root that of /etc/hostname; "" if there is none.
func hostName(root string) (string, error) {
	if filepath.Clean(root) == "/" {
		name, err := os.Hostname()
		if err != nil {
			return "", fmt.Errorf("hal: the host name: %w", err)
		}
		return normal(name), nil
	}
	text, err := read(root, "etc/hostname", maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, line := range lines(text) {
		if line != "" && line[0] != '#' { // hostname(5)
			return normal(line), nil
		}
	}
	return "", nil
}

// searchDomains returns the domains that resolv.conf(5) searches: those of the last search or domain line.
func searchDomains(root string) (domains []string) {
	text, err := read(root, "etc/resolv.conf", maxFile)
	if err != nil {
		return nil // a device without DNS has none
	}
	for _, line := range lines(text) {
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
func osVersion(root string) string {
	system := settings(root, "etc/os-release")
	return cmp.Or(system["IMAGE_VERSION"], system["VERSION_ID"])
}

// treeModel returns maker and product by the device tree. Its specification wants the model as "maker,product"; most
// boards write the product alone, and have the maker before the comma of the first compatible text.
func treeModel(root string) (maker, product string) {
	product = known(field(root, "proc/device-tree/model"))
	if m, p, ok := strings.Cut(product, ","); ok && m != "" && p != "" && !strings.Contains(m, " ") {
		return m, strings.TrimSpace(p)
	}
	if c := compatible(root); len(c) > 0 {
		maker, _, _ = strings.Cut(c[0], ",")
	}
	return maker, product
}

// compatible returns what the device tree says that the machine is, the most exact first: "maker,board", "maker,chip".
func compatible(root string) []string {
	data, err := read(root, "proc/device-tree/compatible", maxFile)
	if err != nil {
		return nil
	}
	var all []string
	for _, text := range strings.Split(string(data), "\x00") {
		if text = clean([]byte(text)); text != "" {
			all = append(all, text)
		}
	}
	return all
}

// placeholders are what makers of boards leave in DMI where the maker of the device should write, in lower case. Every
// device with such a board has the same.
const placeholders = "|to be filled by o.e.m.|none|default string|default|not specified|not applicable|not " +
	"available|n/a|" +
	"unknown|undefined|empty|invalid|o.e.m.|oem|system manufacturer|system product name|system serial number|" +
	"system name|product name|serial number|123456789|0123456789|1234567890|"

// known returns text unless it is a placeholder: one of the above, or a single sign again and again.
func known(text string) string {
	if text == "" || strings.Contains(placeholders, "|"+strings.ToLower(text)+"|") ||
		strings.Count(text, text[:1]) == len(text) {
		return ""
	}
	return text
}

// hardwareAddress returns the address of the first network interface, by name, that is a piece of hardware and has an
// address of its own from the factory; "" if there is none.
func hardwareAddress(root string) string {
	const net = "sys/class/net"
	entries, err := os.ReadDir(filepath.Join(root, net)) // sorted by name
	if err != nil {
		return ""
	}
	for _, e := range entries {
		dir := net + "/" + e.Name()
		if _, err := os.Stat(filepath.Join(root, dir, "device")); err != nil ||
			field(root, dir+"/addr_assign_type") != "0" {
			continue // made by software, such as lo or a bridge; or with an address that is another each time
		}
		if a := strings.ToLower(field(root, dir+"/address")); isHardwareAddress(a) && a != "00:00:00:00:00:00" &&
			a != "ff:ff:ff:ff:ff:ff" {
			return a
		}
	}
	return ""
}

// isHardwareAddress reports whether a is six bytes as in 00:1a:2b:3c:4d:5e.
func isHardwareAddress(a string) bool {
	for i := range len(a) {
		if (i%3 == 2) != (a[i] == ':') || i%3 != 2 && !isHex(a[i]) {
			return false
		}
	}
	return len(a) == 17
}

func isHex(b byte) bool { return '0' <= b && b <= '9' || 'a' <= b && b <= 'f' }

// normal makes a host name comparable: lower case, no trailing dot. What is not a host name becomes "".
func normal(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for i := range len(name) {
		if b := name[i]; (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' && b != '.' && b != '_' {
			return ""
		}
	}
	if len(name) > 253 || strings.HasPrefix(name, ".") {
		return ""
	}
	return name
}
