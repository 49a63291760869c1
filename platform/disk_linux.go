package platform

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openNoFollow has a link not followed, and nobody kept waiting for the other end of a pipe.
const openNoFollow = unix.O_NOFOLLOW | unix.O_NONBLOCK

// checkOwn returns an error if somebody other than the daemon's user and root can have written a file. On FAT and exFAT
// all files belong to whom the mount options say, and have the mode that they say.
func checkOwn(f *os.File, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return unfit("its owner is unknown")
	}
	var system unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &system); err != nil {
		return err
	}
	switch {
	case stat.Nlink > 1:
		return unfit("it has %d names (hard links)", stat.Nlink)
	case isFAT(&system):
		return nil
	case stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return unfit("it belongs to user %d, and the daemon is user %d", stat.Uid, os.Geteuid())
	case info.Mode().Perm()&0o022 != 0:
		return unfit("others may write to it (mode %04o)", info.Mode().Perm())
	}
	return nil
}

func isFAT(system *unix.Statfs_t) bool {
	return uint32(system.Type) == unix.MSDOS_SUPER_MAGIC || uint32(system.Type) == unix.EXFAT_SUPER_MAGIC
}

// onFAT reports whether a directory is on FAT or exFAT.
func onFAT(dir string) bool {
	var system unix.Statfs_t
	return unix.Statfs(dir, &system) == nil && isFAT(&system)
}

// fileGroup returns the group of a file, -1 if unknown.
func fileGroup(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Gid)
	}
	return -1
}
