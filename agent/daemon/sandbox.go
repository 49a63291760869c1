package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"go.uber.org/zap"

	"nmosauthd/agent/config"
	"nmosauthd/platform"
)

// systemRoots are where package crypto/x509 looks for the system's roots.
var systemRoots = []string{
	"/etc/ssl/certs", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
	"/etc/pki/tls/certs", "/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem",
	os.Getenv("SSL_CERT_FILE"), os.Getenv("SSL_CERT_DIR"),
}

// runningPrograms describes what the system call filter denies.
const runningPrograms = "running programs, from memory too, and tracing processes"

// confine limits the daemon to its own places from now on. The sockets must be open and the state folder made before.
// filtered says why the kernel does not filter system calls, nil if it does.
func (d *daemon) confine(filtered error) {
	if os.Geteuid() == 0 {
		d.log.Warn("running as root is not needed: start the daemon as a user of its own")
	}
	warn(d.log, "sandbox: the kernel cannot stop the daemon from running programs", filtered)
	if !d.startConfig.Sandbox.Landlock {
		d.noSandboxReason = "off, by [sandbox] landlock"
		d.log.Info("sandbox: off, by [sandbox] landlock")
		return
	}
	s, err := platform.Confine(append(d.places(d.startConfig), d.socketPlaces...))
	switch {
	case err != nil:
		d.noSandboxReason = "not in force: " + err.Error()
		warn(d.log, "sandbox: not in force", err)
		return
	case s.ABI == 0:
		d.noSandboxReason = "not in force: " + s.Why
		d.log.Warn("sandbox: not in force: " + s.Why)
		return
	}
	denied := &s.InForce
	if filtered != nil {
		denied = &s.Lacking
	}
	*denied = append(*denied, runningPrograms)
	d.sandbox = s
	var reads, writes []string
	for i := range s.Places {
		into := &reads
		if s.Places[i].Write {
			into = &writes
		}
		*into = append(*into, s.Places[i].Path)
	}
	d.log.Info("sandbox: in force", zap.Int("landlock", s.ABI), zap.Strings("denied", s.InForce),
		zap.Strings("not_denied", s.Lacking), zap.Strings("reads", reads), zap.Strings("writes", writes))
	for _, p := range s.Missing {
		d.log.Warn("sandbox: path missing: it will stay inaccessible until the daemon is restarted",
			fields(nil, "place", p.For, "path", p.Path)...)
	}
}

// outside returns an error if a reread configuration needs a new place that the sandbox does not reach.
func (d *daemon) outside(c *config.Config) error {
	if d.sandbox == nil {
		return nil
	}
	if folder := d.startConfig.Certificates.Folder; c.Certificates.Enabled() && missing(folder) {
		return fmt.Errorf("[certificates] folder %s does not exist, and the sandbox does not let it be made; "+
			"restart the daemon to apply the configuration", folder)
	}
	before := d.places(d.inForce.Load().Config)
	for _, p := range d.places(c) {
		if !p.Optional && !slices.Contains(before, p) && !d.sandbox.Reaches(p) {
			return fmt.Errorf("%s %s is outside the sandbox; restart the daemon to apply the configuration", p.For,
				p.Path)
		}
	}
	return nil
}

// places returns what the daemon needs by a configuration once it serves, except for its sockets. Keys that need a
// restart count as they were at the start.
func (d *daemon) places(c *config.Config) (all []platform.Place) {
	var add adder = func(p platform.Place) {
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	add.resolver()
	file := d.file
	if !filepath.IsAbs(file) { // filepath.Abs would ask $PWD, too, for 1,600 bytes of flash
		if dir, err := syscall.Getwd(); err == nil { // else it is gone: the file cannot be reread anyway
			file = filepath.Join(dir, file)
		}
	}
	add.file("the configuration", file, false)
	for _, path := range d.device.places.Reads {
		add(platform.Place{For: "the device", Path: path, Optional: true})
	}
	now, opened := config.Keys(c), config.Keys(d.startConfig)
	for i := range now {
		k := &now[i]
		if k.Traits&config.Restart != 0 {
			k = &opened[i]
		}
		switch what := k.String(); {
		case k.Traits&config.RootsPlace != 0:
			add.roots(what, k.Path())
		case k.Traits&(config.ReadPlace|config.WritePlace) != 0 && k.Path() != "":
			add.file(what, k.Path(), k.Traits&config.WritePlace != 0)
		case k.Traits&config.PrivatePlace != 0 && k.Path() != "",
			k.Traits&config.SharedPlace != 0 && (c.Certificates.Enabled() || !missing(k.Path())):
			add(platform.Place{For: what, Path: k.Path(), Write: true})
		}
	}
	return all
}

// adder takes a place.
type adder func(platform.Place)

// file adds the folder of a file and, if it is a link, that of its target. To the kernel, a file that is replaced by
// renaming, as most are, is another file, so the place is its folder. A file that is only read may also be replaced
// together with its folder, or by a link to a sibling (beside).
func (add adder) file(what, file string, write bool) {
	named, real := folderOf(file), folderOf(platform.RealPath(file))
	add(platform.Place{For: what, Path: named, Write: write})
	if real != platform.RealPath(named) {
		add(platform.Place{For: what, Path: real, Write: write})
	}
	if !write {
		add.beside(what, file, named, real)
	}
}

// beside adds the folders in which another version of what is at the path may appear: those of the links on the way to
// it (current -> v1), and the parents of its folders, named and real, in which v2 is put beside v1. World-writable
// folders are left out.
func (add adder) beside(what, path string, folders ...string) {
	for _, swapped := range append(platform.Links(path), folders...) {
		dir := filepath.Dir(swapped)
		if info, err := os.Stat(dir); dir != "/" && err == nil && info.Mode().Perm()&0o002 == 0 {
			add(platform.Place{For: what, Path: dir, Optional: true})
		}
	}
}

// folderOf returns the folder of a file, or the file itself if that folder is "/", which would open everything.
func folderOf(file string) string {
	if dir := filepath.Dir(file); dir != "/" {
		return dir
	}
	return file
}

// roots adds where the roots of the authorization servers are (ReadRoots).
func (add adder) roots(what, file string) {
	if file == "" {
		for _, path := range systemRoots {
			for _, p := range strings.Split(path, ":") { // SSL_CERT_DIR
				if filepath.IsAbs(p) {
					add(platform.Place{For: what, Path: p, Optional: true})
					add.linked(what, p)
				}
			}
		}
		return
	}
	if info, err := os.Stat(file); err != nil || !info.IsDir() {
		add.file(what, file, false)
		return
	}
	add(platform.Place{For: what, Path: file})
	add.linked(what, file)
	add.beside(what, file, file, platform.RealPath(file))
}

// linked adds the folders that links in a folder of certificates point into.
func (add adder) linked(what, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Type()&os.ModeSymlink == 0 {
			continue
		}
		if real := folderOf(platform.RealPath(filepath.Join(dir, e.Name()))); real != platform.RealPath(dir) {
			add(platform.Place{For: what, Path: real, Optional: true})
		}
	}
}

// resolver adds what Go's resolver and discovery need. All of /etc is readable, as far as the daemon's user may: the
// network's scripts create or replace hosts and resolv.conf there. Either may also be a link into another folder.
func (add adder) resolver() {
	add(platform.Place{For: "looking up names", Path: "/etc", Optional: true})
	for _, file := range []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"} {
		add(platform.Place{For: file, Path: folderToCome(file), Optional: true})
	}
}

// folderToCome returns the folder of a system file, or its first existing parent.
func folderToCome(file string) string {
	dir := folderOf(platform.RealPath(file))
	// The network's scripts may make the folder after the start.
	for parent := filepath.Dir(dir); parent != "/"; dir, parent = parent, filepath.Dir(parent) {
		if _, err := os.Stat(dir); err == nil {
			break
		}
	}
	return dir
}
