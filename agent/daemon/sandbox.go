package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

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

// runningPrograms is what the filter of system calls denies.
const runningPrograms = "running programs, from memory too, and tracing processes"

// confine has the daemon reach nothing but its own places from now on. The sockets are open by then, and the state folder is made.
func (d *daemon) confine() {
	if os.Geteuid() == 0 {
		d.log.Warn("running as root is not needed: start the daemon as a user of its own")
	}
	filtered := platform.DenyCalls()
	if filtered != nil {
		d.log.Warn("sandbox: the kernel does not refuse to run programs for the daemon", zap.Error(filtered))
	}
	if !d.opened.Sandbox.Landlock {
		d.unconfined = "off, by [sandbox] landlock"
		d.log.Info("sandbox: off, by [sandbox] landlock")
		return
	}
	s, err := platform.Confine(append(d.places(d.opened), d.socketPlaces...))
	switch {
	case err != nil:
		d.unconfined = "not in force: " + err.Error()
		d.log.Warn("sandbox: not in force", zap.Error(err))
		return
	case s.ABI == 0:
		d.unconfined = "not in force: " + s.Why
		d.log.Warn("sandbox: not in force: " + s.Why)
		return
	}
	if filtered == nil {
		s.InForce = append(s.InForce, runningPrograms)
	} else {
		s.Lacking = append(s.Lacking, runningPrograms)
	}
	d.sandbox = s
	var reads, writes []string
	for _, p := range s.Places {
		if p.Write {
			writes = append(writes, p.Path)
		} else {
			reads = append(reads, p.Path)
		}
	}
	d.log.Info("sandbox: in force", zap.Int("landlock", s.ABI), zap.Strings("denied", s.InForce), zap.Strings("not_denied", s.Lacking),
		zap.Strings("reads", reads), zap.Strings("writes", writes))
	for _, p := range s.Missing {
		d.log.Warn("sandbox: a place is not there; should it come, it is out of reach until the daemon is started again",
			zap.String("place", p.For), zap.String("path", p.Path))
	}
}

// outside returns an error if a configuration that was read again needs a place, other than those before, that the sandbox does
// not reach.
func (d *daemon) outside(c *config.Config) error {
	if d.sandbox == nil {
		return nil
	}
	before := d.places(d.inForce.Load().Config)
	for _, p := range d.places(c) {
		if !p.Optional && !slices.Contains(before, p) && !d.sandbox.Reaches(p) {
			return fmt.Errorf("%s %s is outside the sandbox; start the daemon again to put the configuration into force", p.For, p.Path)
		}
	}
	return nil
}

// places returns what the daemon needs by a configuration once it serves, all but its sockets. What changes after a restart
// alone is where it was at the start.
func (d *daemon) places(c *config.Config) []platform.Place {
	places := resolverPlaces()
	file, err := filepath.Abs(d.file)
	if err != nil { // the working directory is gone: what cannot be named cannot be read again
		file = d.file
	}
	places = append(places, foldersOf("the configuration", file, false)...)
	for _, path := range d.device.places.Reads {
		places = append(places, platform.Place{For: "the device", Path: path, Optional: true})
	}
	opened := config.Keys(d.opened)
	for i, k := range config.Keys(c) {
		if k.Traits&config.Restart != 0 {
			k = opened[i]
		}
		switch what := k.String(); {
		case k.Traits&config.RootsPlace != 0:
			places = append(places, rootPlaces(what, k.Path())...)
		case k.Traits&(config.ReadPlace|config.WritePlace) != 0 && k.Path() != "":
			places = append(places, foldersOf(what, k.Path(), k.Traits&config.WritePlace != 0)...)
		case k.Traits&config.PrivatePlace != 0 && k.Path() != "":
			places = append(places, platform.Place{For: what, Path: k.Path(), Write: true})
		}
	}
	return places
}

// foldersOf returns the folder in which a file lies and, where it is a link, that in which the real one does. A file that is
// replaced by renaming, as most are, is another file to the kernel, so the place is its folder. What is only read may also be
// replaced together with its folder, or by a link to one beside it (beside).
func foldersOf(what, file string, write bool) []platform.Place {
	places := []platform.Place{{For: what, Path: folderOf(file), Write: write}}
	if real := folderOf(platform.RealPath(file)); real != platform.RealPath(places[0].Path) {
		places = append(places, platform.Place{For: what, Path: real, Write: write})
	}
	if !write {
		places = append(places, beside(what, file, folderOf(file), folderOf(platform.RealPath(file)))...)
	}
	return places
}

// beside returns the folders in which another version of what is at the path may come to lie: those of the links on the way to
// it (current -> v1), and those above its folders, by name and in truth, in which v2 is put beside v1. Folders in which anybody may put something are
// left out.
func beside(what, path string, folders ...string) (places []platform.Place) {
	for _, swapped := range append(platform.Links(path), folders...) {
		dir := filepath.Dir(swapped)
		if info, err := os.Stat(dir); dir == "/" || err != nil || info.Mode().Perm()&0o002 != 0 {
			continue
		}
		if p := (platform.Place{For: what, Path: dir, Optional: true}); !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	return places
}

// folderOf returns the folder in which a file lies; for one in the root folder, which would be everything, the file itself.
func folderOf(file string) string {
	if dir := filepath.Dir(file); dir != "/" {
		return dir
	}
	return file
}

// rootPlaces returns where the roots of the authorization servers are (ReadRoots).
func rootPlaces(what, file string) (places []platform.Place) {
	if file == "" {
		for _, path := range systemRoots {
			for _, p := range strings.Split(path, ":") { // SSL_CERT_DIR
				if filepath.IsAbs(p) {
					places = append(places, platform.Place{For: what, Path: p, Optional: true})
					places = append(places, linked(what, p)...)
				}
			}
		}
		return places
	}
	if info, err := os.Stat(file); err != nil || !info.IsDir() {
		return foldersOf(what, file, false)
	}
	return append(append([]platform.Place{{For: what, Path: file}}, linked(what, file)...), beside(what, file, file, platform.RealPath(file))...)
}

// linked returns the folders to which links in a folder of certificates lead, each once.
func linked(what, dir string) (places []platform.Place) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	seen := map[string]bool{platform.RealPath(dir): true}
	for _, e := range entries {
		if e.Type()&os.ModeSymlink == 0 {
			continue
		}
		if real := folderOf(platform.RealPath(filepath.Join(dir, e.Name()))); !seen[real] {
			seen[real] = true
			places = append(places, platform.Place{For: what, Path: real, Optional: true})
		}
	}
	return places
}

// resolverPlaces returns what looking up names needs, Go's own resolver and discovery. All of /etc is readable, as far as the
// daemon's user may: whoever brings the network up writes a new hosts or resolv.conf in place of the old, or the first one. Either
// may also be a link into another folder.
func resolverPlaces() []platform.Place {
	places := []platform.Place{{For: "looking up names", Path: "/etc", Optional: true}}
	for _, file := range []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"} {
		places = append(places, platform.Place{For: file, Path: folderToCome(file), Optional: true})
	}
	return places
}

// folderToCome returns the folder in which a file of the system lies, or the first above it that is there.
func folderToCome(file string) string {
	dir := folderOf(platform.RealPath(file))
	// The folder may be made by who brings up the network, after the start.
	for parent := filepath.Dir(dir); parent != "/"; dir, parent = parent, filepath.Dir(parent) {
		if _, err := os.Stat(dir); err == nil {
			break
		}
	}
	return dir
}
