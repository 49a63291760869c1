package platform

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

const (
	readRights  = landlock.AccessFSSet(ll.AccessFSReadFile | ll.AccessFSReadDir)
	writeRights = readRights | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSMakeReg | ll.AccessFSRemoveFile
	// fileRights are those that a file can have; the kernel refuses a rule that gives a file more.
	fileRights = landlock.AccessFSSet(ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate)
)

// restrictions are what is asked of the kernel, by the version of Landlock that brought it (landlock(7)).
var restrictions = []struct {
	abi  int
	what string
}{
	{1, "opening, making, linking, moving, removing and executing files elsewhere"},
	{3, "truncating files elsewhere"},
	{4, "listening on TCP ports"},
	{5, "ioctl on devices"},
	{6, "signals to other processes"},
	{6, abstractSockets},
}

// abstractSockets is not requested if it would cut the daemon off from the service manager.
const abstractSockets = "abstract sockets of other processes"

// Confine shuts the process in with Landlock, for good and in all its threads: from then on it opens nothing but what
// lies in one of the places, executes no file, listens on no TCP port, and neither signals other processes nor connects
// to their abstract sockets. Files that are open stay open. What the kernel at hand cannot do is left out and reported;
// with an error nothing can be said of what is in force.
//
// What is not limited: connecting, since authorization servers may listen on any port, and name servers be anywhere;
// UDP, by which mDNS listens; connecting to the Unix sockets of others by their path, since the service manager's is
// one and only kernels newer than what this was tested with can tell; and what Landlock does not know: looking at a
// file's attributes, changing those of files that belong to the daemon's user, listening on Multipath TCP (the kernel's
// own gap).
func Confine(places []Place) (*Sandbox, error) {
	s := &Sandbox{}
	s.ABI, s.Why = landlockABI()
	if s.ABI == 0 {
		return s, nil
	}
	// Of the newest version with which this was tested: what a newer one denies in addition might be needed.
	config := landlock.V7.BestEffort()
	config.HandledAccessNet = ll.AccessNetBindTCP
	manager := strings.HasPrefix(os.Getenv("NOTIFY_SOCKET"), "@") // it listens on an abstract socket, as old ones do
	if manager {
		config.Scoped &^= ll.ScopeAbstractUnixSocket
	}
	for _, r := range restrictions {
		if s.ABI >= r.abi && !(manager && r.what == abstractSockets) {
			s.InForce = append(s.InForce, r.what)
		} else {
			s.Lacking = append(s.Lacking, r.what)
		}
	}
	var rules []landlock.Rule
	for _, p := range places {
		real := RealPath(p.Path)
		info, err := os.Stat(real)
		if err != nil {
			if !p.Optional {
				s.Missing = append(s.Missing, p)
			}
			continue
		}
		if slices.ContainsFunc(s.granted, func(g granted) bool {
			return g.write == p.Write && os.SameFile(g.file, info)
		}) {
			continue
		}
		rights := readRights
		if p.Write {
			rights = writeRights
		}
		if !info.IsDir() {
			rights &= fileRights
		}
		// Where it goes away meanwhile, there is nothing to reach.
		rules = append(rules, landlock.PathAccess(rights, real).IgnoreIfMissing())
		s.granted = append(s.granted, granted{info, p.Write})
		p.Path = real
		s.Places = append(s.Places, p)
	}
	s.Missing = slices.DeleteFunc(s.Missing, s.Reaches) // what comes within another place can be reached
	if err := config.Restrict(rules...); err != nil {
		return nil, wrap("landlock", err)
	}
	return s, nil
}

// landlockABI returns the version of Landlock in this kernel; 0 if it has none, and why. A version 6 or newer that
// keeps the threads of one process from signalling each other, which Go's runtime does, counts as 5, as it does in the
// library.
func landlockABI() (abi int, why string) {
	abi, err := ll.LandlockGetABIVersion()
	switch {
	case errors.Is(err, unix.ENOSYS):
		return 0, "the kernel has no Landlock"
	case errors.Is(err, unix.EOPNOTSUPP):
		return 0, "the kernel has no Landlock among its lsm="
	case err != nil:
		return 0, "a filter of system calls forbids Landlock: " + err.Error()
	}
	if errata, err := ll.LandlockGetErrata(); abi > 5 && (err != nil || errata&2 == 0) {
		return 5, ""
	}
	return abi, ""
}
