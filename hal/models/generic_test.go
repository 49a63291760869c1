package models

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"nmosauthd/hal"
)

func TestDetectGeneric(t *testing.T) {
	m, err := Detect(t.TempDir())
	if err != nil || m.Name != "generic" {
		t.Errorf("got %q, error %v", m.Name, err)
	}
}

func TestGenericIdentity(t *testing.T) {
	const tree, dmi, net = "proc/device-tree/", "sys/class/dmi/id/", "sys/class/net/"
	type files map[string]string
	for _, c := range []struct {
		name  string
		files files
		want  hal.Identity
	}{
		{"nothing known", nil, hal.Identity{}},
		{"host name alone", files{"etc/hostname": "Node-1\n"},
			hal.Identity{Names: []string{"node-1", "node-1.local"}}},
		{"search domains", files{"etc/hostname": "# name\n\nnode-1\n",
			"etc/resolv.conf": "domain old.example\nnameserver 192.0.2.1\nsearch Studio.example.com. example.com .\n"},
			hal.Identity{Names: []string{"node-1", "node-1.studio.example.com", "node-1.example.com", "node-1.local"}}},
		{"host name with its domain",
			files{"etc/hostname": "node-1.example.com.\n", "etc/resolv.conf": "search example.com\n"},
			hal.Identity{Names: []string{"node-1.example.com", "node-1.local"}}},
		{"not set up: a name that every device has",
			files{"etc/hostname": "localhost\n", "etc/resolv.conf": "search example.com\n"}, hal.Identity{}},
		{"not set up, with domain", files{"etc/hostname": "localhost.localdomain\n"}, hal.Identity{}},
		{"not set up, no name", files{"etc/hostname": "(none)\n"}, hal.Identity{}},
		{"all of it", files{
			"etc/hostname":                    "amp",
			"etc/os-release":                  "NAME=Buildroot\nVERSION_ID=2026.02\nIMAGE_VERSION=\"1.4.2\"\n",
			"proc/device-tree/model":          "Example Audio AMP 8\x00",
			"proc/device-tree/serial-number":  "A0042\x00",
			"proc/device-tree/ignored-number": "x",
		}, hal.Identity{Product: "Example Audio AMP 8", Serial: "A0042", Firmware: "1.4.2",
			Names: []string{"amp", "amp.local"}}},
		{"system version", files{"etc/os-release": "VERSION_ID='12'\n"}, hal.Identity{Firmware: "12"}},
		{"host name that is none", files{"etc/hostname": "node 1\n"}, hal.Identity{}},
		{"search domain that is none",
			files{"etc/hostname": "node-1\n", "etc/resolv.conf": "search a\xffb .x studio.example.com\n"},
			hal.Identity{Names: []string{"node-1", "node-1.studio.example.com", "node-1.local"}}},
		{"maker in the model", files{tree + "model": "Example,AMP 8\x00", tree + "compatible": "other,amp8\x00"},
			hal.Identity{Maker: "Example", Product: "AMP 8"}},
		{"maker in compatible",
			files{tree + "model": "AMP 8, revision B\x00", tree + "compatible": "example,amp8\x00nxp,imx8\x00"},
			hal.Identity{Maker: "example", Product: "AMP 8, revision B"}},
		{"a PC", files{dmi + "sys_vendor": "Example Boards\n", dmi + "product_name": "IPC 4\n",
			dmi + "product_serial": "X-1\n"}, hal.Identity{Maker: "Example Boards", Product: "IPC 4", Serial: "X-1"}},
		{"a PC that nobody has filled in", files{dmi + "sys_vendor": "To Be Filled By O.E.M.\n",
			dmi + "product_name": "Default string\n", dmi + "product_serial": "None\n"}, hal.Identity{}},
		{"serial numbers that every device has",
			files{tree + "serial-number": "0000000000000000\x00", dmi + "product_serial": "xxxxxxx\n"}, hal.Identity{}},
		{"ARM with DMI: the device tree goes first, field by field",
			files{tree + "model": "AMP 8\x00", dmi + "sys_vendor": "Example\n", dmi + "product_name": "Board\n",
				dmi + "product_serial": "B-2\n"}, hal.Identity{Maker: "Example", Product: "AMP 8", Serial: "B-2"}},
		{"serial number of the chip", files{"sys/devices/soc0/serial_number": "00A1B2C3\n"},
			hal.Identity{Serial: "00A1B2C3"}},
		{"nothing to be shown", files{tree + "model": "AMP\x1b[2J\x00", tree + "serial-number": "A\x001\x00",
			dmi + "sys_vendor": "\xff\xfe\n", dmi + "product_name": strings.Repeat("long", 65)}, hal.Identity{}},
		{"address of an interface", files{
			net + "lo/address": "00:00:00:00:00:00\n", net + "lo/addr_assign_type": "0\n",
			// not hardware
			net + "br0/address": "02:00:5e:10:00:01\n", net + "br0/addr_assign_type": "0\n",
			// by chance
			net + "eth0/address":          "02:00:5e:10:00:02\n",
			net + "eth0/addr_assign_type": "1\n", net + "eth0/device/uevent": "",
			net + "eth1/address":          "00:00:00:00:00:00\n",
			net + "eth1/addr_assign_type": "0\n", net + "eth1/device/uevent": "",
			net + "eth2/address": "not yet\n", net + "eth2/addr_assign_type": "0\n", net + "eth2/device/uevent": "",
			net + "eth3/address":          "80:00:02:08:fe:80:00:00:00:00:00:00:e4:1d:2d:03:00:e0:49:11\n",
			net + "eth3/addr_assign_type": "0\n", net + "eth3/device/uevent": "",
			net + "eth4/address":          "02:00:5E:10:00:0A\n",
			net + "eth4/addr_assign_type": "0\n", net + "eth4/device/uevent": "",
			net + "eth5/address":          "02:00:5e:10:00:0b\n",
			net + "eth5/addr_assign_type": "0\n", net + "eth5/device/uevent": "",
		}, hal.Identity{Serial: "02:00:5e:10:00:0a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range c.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := generic.Identify(root)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

func TestGenericThisMachine(t *testing.T) {
	id, err := generic.Identify("/")
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if host = normal(host); host != "localhost" && host != "(none)" && (len(id.Names) < 2 || id.Names[0] != host) {
		t.Errorf("host name %s, names %s", host, strings.Join(id.Names, " "))
	}
}

// As on a device, where root alone may read the serial number of DMI.
func TestGenericMayNotRead(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read every file")
	}
	root := copyTree(t, "console")
	if err := os.Chmod(filepath.Join(root, "sys/class/dmi/id/product_serial"), 0); err != nil {
		t.Fatal(err)
	}
	if id, err := generic.Identify(root); err != nil || id.Serial != "02:00:5e:10:00:41" || id.Product != "Console 96" {
		t.Errorf("got %+v, error %v", id, err)
	}
}

func TestGenericUnreadable(t *testing.T) {
	root := t.TempDir()
	// a directory where the file should be
	if err := os.MkdirAll(filepath.Join(root, "etc/hostname"), 0o755); err != nil {
		t.Fatal(err)
	}
	if id, err := generic.Identify(root); err == nil ||
		!strings.HasPrefix(err.Error(), "hal: open "+root+"/etc/hostname: ") {
		t.Errorf("got %+v, error %v", id, err)
	}
}
