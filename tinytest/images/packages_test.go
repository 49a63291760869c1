package images_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

func TestPackagesAreMadeTheSameTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 s")
	}
	sources := packages(t)
	sums := func() string {
		return mustRun(t, filepath.Join(sources, "build/packages"), nil, "sh", "-c", "sha256sum *")
	}
	first := sums()
	if strings.Count(first, "\n") != 6 {
		t.Fatalf("6 packages are wanted:\n%s", first)
	}
	mustRun(t, sources, []string{"TZ=Asia/Tokyo", "MAINTAINER=Test <test@example.com>"}, "sh", "-c",
		"umask 077; sh scripts/package.sh "+version+" "+sourceDate+" build/nfpm")
	if again := sums(); again != first {
		t.Errorf("the packages are not the same a second time:\n%s\n%s", first, again)
	}
}

// Versions compare as releases follow each other.
func TestPackageVersions(t *testing.T) {
	needs(t, "dpkg", "git")
	script := read(t, filepath.Join(root, "scripts/package.sh"))
	begin, end := strings.Index(script, "case $version in"), strings.Index(script, "export VERSION")
	if begin < 0 || end < begin {
		t.Fatal("scripts/package.sh has changed; this test takes the rule from there")
	}
	var last string
	for _, git := range []string{"db75521", "v1.2.3", "v1.2.3-4-gabcdef0", "v1.2.3-4-gabcdef0-dirty",
		"v1.3.0-rc1", "v1.3.0", "1.4"} {
		debian := mustRun(t, root, nil, "sh", "-euc", "version=$1 date=$2\n"+script[begin:end]+"printf %s \"$VERSION\"",
			"sh", git, sourceDate)
		if _, err := command(root, nil, "dpkg", "--validate-version", debian); err != nil {
			t.Errorf("%s becomes %s: %v", git, debian, err)
		}
		if last != "" {
			if _, err := command(root, nil, "dpkg", "--compare-versions", last, "lt", debian); err != nil {
				t.Errorf("%s becomes %s, which is not later than %s", git, debian, last)
			}
		}
		last = debian
	}
}

func TestDebs(t *testing.T) {
	needs(t, "dpkg-deb")
	for _, p := range []struct {
		architecture string
		machine      elf.Machine
	}{{"amd64", elf.EM_X86_64}, {"arm64", elf.EM_AARCH64}, {"armhf", elf.EM_ARM}} {
		deb := built(t, p.architecture+".deb")
		fields := mustRun(t, root, nil, "dpkg-deb", "--field", deb, "Package", "Version", "Architecture", "Depends")
		if want := "Package: nmos-authd\nVersion: " + version + "\nArchitecture: " + p.architecture +
			"\nDepends: systemd | systemd-sysusers | adduser\n"; fields != want {
			t.Errorf("%s says\n%s", deb, fields)
		}
		dir := t.TempDir()
		mustRun(t, root, nil, "dpkg-deb", "--raw-extract", deb, dir)
		want := "/etc/init.d/nmos-authd\n/etc/nmos-authd/nmos-authd.toml\n"
		if got := read(t, filepath.Join(dir, "DEBIAN/conffiles")); got != want {
			t.Errorf("%s: conffiles are %q, want %q", deb, got, want)
		}
		binary, err := os.ReadFile(filepath.Join(dir, "usr/bin/nmos-authd"))
		if err != nil {
			t.Fatal(err)
		}
		isStatic(t, deb, binary, p.machine)
		for installed, source := range map[string]string{
			"etc/nmos-authd/nmos-authd.toml":                 "configs/nmos-authd.toml",
			"etc/init.d/nmos-authd":                          "configs/sysvinit/nmos-authd",
			"lib/systemd/system/nmos-authd.service":          "configs/systemd/nmos-authd.service",
			"lib/systemd/system/nmos-authd.socket":           "configs/systemd/nmos-authd.socket",
			"lib/systemd/system/nmos-authd-http.socket":      "configs/systemd/nmos-authd-http.socket",
			"lib/systemd/system/nmos-authd-admin.socket":     "configs/systemd/nmos-authd-admin.socket",
			"lib/systemd/system/nmos-authd-view.socket":      "configs/systemd/nmos-authd-view.socket",
			"usr/lib/sysusers.d/nmos-authd.conf":             "configs/sysusers.d/nmos-authd.conf",
			"usr/lib/tmpfiles.d/nmos-authd.conf":             "configs/tmpfiles.d/nmos-authd.conf",
			"usr/share/nmos-authd/cclient/nmos_authz.h":      "platform/cclient/nmos_authz.h",
			"usr/share/nmos-authd/cclient/nmos_authz.c":      "platform/cclient/nmos_authz.c",
			"usr/share/doc/nmos-authd/examples/nginx":        "configs/nginx",
			"usr/share/doc/nmos-authd/examples/lighttpd":     "configs/lighttpd",
			"usr/share/doc/nmos-authd/examples/caddy":        "configs/caddy",
			"usr/share/doc/nmos-authd/examples/envoy":        "configs/envoy",
			"usr/share/doc/nmos-authd/examples/haproxy":      "configs/haproxy",
			"usr/share/doc/nmos-authd/examples/apache":       "configs/apache",
			"usr/share/doc/nmos-authd/examples/traefik":      "configs/traefik",
			"usr/share/nmos-authd/cclient/civetweb":          "platform/cclient/civetweb",
			"usr/share/doc/nmos-authd/AUDIT.md":              "agent/audit/AUDIT.md",
			"usr/share/doc/nmos-authd/OBSERVE.md":            "agent/observe/OBSERVE.md",
			"usr/share/man/man1/nmos-authd.1.gz":             "configs/man/nmos-authd.1",
			"usr/share/man/man5/nmos-authd.toml.5.gz":        "configs/man/nmos-authd.toml.5",
			"usr/share/doc/nmos-authd/examples/no-such-file": "configs/no-such-file",
		} {
			source = filepath.Join(packages(t), source)
			info, err := os.Stat(source)
			got, gotErr := os.ReadFile(filepath.Join(dir, installed))
			_, isThere := os.Stat(filepath.Join(dir, installed))
			switch {
			case err != nil || info.IsDir() || strings.HasSuffix(installed, ".gz"):
				if (err == nil) != (isThere == nil) {
					t.Errorf("%s: %s: %v, but its source: %v", deb, installed, isThere, err)
				}
			case gotErr != nil || !bytes.Equal(got, []byte(read(t, source))):
				t.Errorf("%s: %s is not %s: %v", deb, installed, source, gotErr)
			}
		}
		hasLicences(t, deb, binary, read(t, filepath.Join(dir, "usr/share/doc/nmos-authd/copyright")))
		linksLead(t, dir)
	}
}

// linksLead checks that the documents in a package lead only to what is in it.
func linksLead(t *testing.T, dir string) {
	t.Helper()
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	pages := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(dir, "usr/share"), func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".md") {
			return err
		}
		pages[filepath.Base(path)] = true
		for _, m := range link.FindAllStringSubmatch(read(t, path), -1) {
			target := filepath.Join(filepath.Dir(path), m[1])
			if filepath.IsAbs(m[1]) {
				target = filepath.Join(dir, m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not in the package", strings.TrimPrefix(path, dir), m[1])
			}
		}
		return nil
	})
	for _, page := range []string{"PROTOCOL.md", "HTTP.md", "AUDIT.md", "OBSERVE.md", "STATUS.md", "OPERATING.md",
		"CONTROLS.md", "SERVERS.md", "CERTIFICATES.md"} {
		if !pages[page] {
			t.Errorf("%s is not in the package", page)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// hasLicences checks that the notices have one for everything that is linked into a program.
func hasLicences(t *testing.T, name string, program []byte, notices string) {
	t.Helper()
	linked, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil || len(linked.Deps) < 10 {
		t.Fatalf("%s does not say what is linked in: %v, %v", name, linked, err)
	}
	of := map[string]string{}
	for _, part := range strings.Split(notices, "\n==== ")[1:] {
		module, text, _ := strings.Cut(part, "\n")
		of[module] = text
	}
	for _, module := range append(linked.Deps, &debug.Module{Path: "Go,", Version: "https://go.dev"}) {
		if text := of[module.Path+" "+module.Version]; !strings.Contains(text, "opyright") || len(text) < 500 {
			t.Errorf("%s: the licence of %s %s is %q", name, module.Path, module.Version, text)
		} else if strings.HasSuffix(module.Path, "/go-jose/v4") && !strings.Contains(text, "Redistribution and use") {
			t.Errorf("%s: the licence of go-jose's folder json is missing", name) // another one than that of go-jose
		}
	}
}

func TestIpks(t *testing.T) {
	for _, p := range []struct {
		architecture string
		machine      elf.Machine
	}{{"x86_64", elf.EM_X86_64}, {"aarch64_generic", elf.EM_AARCH64}, {"arm_cortex-a7_neon-vfpv4", elf.EM_ARM}} {
		ipk := built(t, p.architecture+".ipk")
		outer := members(t, []byte(read(t, ipk)))
		if names := sortedKeys(outer); !slices.Equal(names,
			[]string{"control.tar.gz", "data.tar.gz", "debian-binary"}) {
			t.Fatalf("%s holds %q", ipk, names)
		}
		control := members(t, outer["control.tar.gz"])
		if names := sortedKeys(control); !slices.Equal(names, []string{"conffiles", "control", "postinst", "prerm"}) {
			t.Errorf("%s: its control part holds %q", ipk, names)
		}
		if string(control["conffiles"]) != "/etc/nmos-authd/nmos-authd.toml\n" {
			t.Errorf("%s: conffiles are %q", ipk, control["conffiles"])
		}
		for _, field := range []string{"Package: nmos-authd", "Version: " + version, "Architecture: " + p.architecture,
			"Require-User: nmos-authd:nmos-authd", "License: Apache-2.0 AND BSD-3-Clause AND MIT"} {
			if !strings.Contains("\n"+string(control["control"]), "\n"+field+"\n") {
				t.Errorf("%s: no field %s in\n%s", ipk, field, control["control"])
			}
		}
		data := members(t, outer["data.tar.gz"])
		if names := sortedKeys(data); !slices.Equal(names,
			[]string{"etc/init.d/nmos-authd", "etc/nmos-authd/nmos-authd.toml", "usr/bin/nmos-authd",
				"usr/share/doc/nmos-authd/copyright.gz"}) {
			t.Errorf("%s holds %q", ipk, names)
		}
		hasLicences(t, ipk, data["usr/bin/nmos-authd"], unzipped(t, data["usr/share/doc/nmos-authd/copyright.gz"]))
		isStatic(t, ipk, data["usr/bin/nmos-authd"], p.machine)
		for _, line := range []string{`authz = "/var/run/nmos-authd/authz.sock"`, `dir = "/etc/nmos-authd/state"`} {
			if !bytes.Contains(data["etc/nmos-authd/nmos-authd.toml"], []byte("\n"+line+"\n")) {
				t.Errorf("%s: its configuration has no line %s", ipk, line)
			}
		}
	}
}

// isStatic checks that a program is for the machine and asks for no loader.
func isStatic(t *testing.T, name string, program []byte, machine elf.Machine) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if f.Machine != machine {
		t.Errorf("%s: the program is for %v", name, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s: the program is not static", name)
		}
	}
}

func unzipped(t *testing.T, zipped []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// members reads the files of a .tar.gz.
func members(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(strings.NewReader(unzipped(t, archive))); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if header.Uid != 0 || header.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", header.Name, header.Uid, header.Gid)
		}
		if files[strings.TrimPrefix(header.Name, "./")], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func sortedKeys(m map[string][]byte) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
