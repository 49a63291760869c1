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
		t.Errorf("%q, %v", m.Name, err)
	}
}

func TestGenericIdentity(t *testing.T) {
	type files map[string]string
	for _, c := range []struct {
		name  string
		files files
		want  hal.Identity
	}{
		{"nothing known", nil, hal.Identity{}},
		{"host name alone", files{"etc/hostname": "Node-1\n"},
			hal.Identity{Names: []string{"node-1", "node-1.local"}}},
		{"search domains", files{"etc/hostname": "# name\n\nnode-1\n", "etc/resolv.conf": "domain old.example\nnameserver 192.0.2.1\nsearch Studio.example.com. example.com .\n"},
			hal.Identity{Names: []string{"node-1", "node-1.studio.example.com", "node-1.example.com", "node-1.local"}}},
		{"host name with its domain", files{"etc/hostname": "node-1.example.com.\n", "etc/resolv.conf": "search example.com\n"},
			hal.Identity{Names: []string{"node-1.example.com", "node-1.local"}}},
		{"not set up: a name that every device has", files{"etc/hostname": "localhost\n", "etc/resolv.conf": "search example.com\n"}, hal.Identity{}},
		{"not set up, with domain", files{"etc/hostname": "localhost.localdomain\n"}, hal.Identity{}},
		{"not set up, no name", files{"etc/hostname": "(none)\n"}, hal.Identity{}},
		{"all of it", files{
			"etc/hostname":                    "amp",
			"etc/os-release":                  "NAME=Buildroot\nVERSION_ID=2026.02\nIMAGE_VERSION=\"1.4.2\"\n",
			"proc/device-tree/model":          "Example Audio AMP 8\x00",
			"proc/device-tree/serial-number":  "A0042\x00",
			"proc/device-tree/ignored-number": "x",
		}, hal.Identity{Product: "Example Audio AMP 8", Serial: "A0042", Firmware: "1.4.2", Names: []string{"amp", "amp.local"}}},
		{"system version", files{"etc/os-release": "VERSION_ID='12'\n"}, hal.Identity{Firmware: "12"}},
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

func TestGenericUnreadable(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/hostname"), 0o755); err != nil { // a directory where the file should be
		t.Fatal(err)
	}
	if id, err := generic.Identify(root); err == nil || !strings.HasPrefix(err.Error(), "hal: open "+root+"/etc/hostname: ") {
		t.Errorf("%+v, %v", id, err)
	}
}
