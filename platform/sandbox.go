package platform

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Place is a file, or a folder with all below it, that the process may go on to reach once it is shut in. Links are
// followed.
type Place struct {
	For  string // what it is for, for people: "[state] dir"
	Path string
	// Write lets files there also be made, written, renamed within their folder and removed. Nothing is ever
	// executable.
	Write bool
	// Optional is for one of many places where systems keep the same thing: that it is missing goes without saying.
	Optional bool
}

// Sandbox is what the kernel enforces. It does not change.
type Sandbox struct {
	ABI     int      // the version of Landlock; 0 if the kernel does not do it, and nothing is in force
	Why     string   // if ABI is 0, for people
	InForce []string // what is denied, for people
	Lacking []string // what is not: the kernel is too old, or the daemon needs it here
	Places  []Place  // those that can be reached
	Missing []Place  // not there, not optional and not within another: they stay out of reach should they come

	granted []granted
}

// granted is a place as the kernel knows it: not by its path.
type granted struct {
	file  fs.FileInfo
	write bool
}

// Reaches reports whether the sandbox leaves a place open: whether it, or a folder above it, is one of those that were
// there when the process was shut in. A folder that has since been put in place of one, or mounted over it, is another.
func (s *Sandbox) Reaches(p Place) bool {
	if s.ABI == 0 {
		return true
	}
	for dir := RealPath(p.Path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil {
			for _, g := range s.granted {
				if (g.write || !p.Write) && os.SameFile(g.file, info) {
					return true
				}
			}
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

// maxLinks is how many links are followed before they are taken for a circle, as the kernel does (path_resolution(7)).
const maxLinks = 40

// RealPath follows all links of an absolute path as the kernel does, also those whose target does not exist yet.
func RealPath(path string) string {
	real, _ := follow(path)
	return real
}

// Links returns the real paths of the links that are followed on the way to an absolute path.
func Links(path string) []string {
	_, links := follow(path)
	return links
}

func follow(path string) (real string, links []string) {
	rest := path
	real = "/"
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			real = filepath.Dir(real)
			continue
		}
		next := filepath.Join(real, name)
		target, err := os.Readlink(next)
		if err != nil { // not a link, or not there
			real = next
			continue
		}
		if links = append(links, next); len(links) > maxLinks {
			return filepath.Join(next, rest), links
		}
		if filepath.IsAbs(target) {
			real = "/"
		}
		rest = target + "/" + rest
	}
	return real, links
}
