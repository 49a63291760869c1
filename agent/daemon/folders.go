package daemon

import (
	"os"
	"path/filepath"
	"slices"

	"nmosauthd/agent/config"
)

// OwnFolder is a folder that the daemon writes to, and the mode with which an init script creates it.
type OwnFolder struct {
	Mode os.FileMode
	Path string
}

// OwnFolders returns the folders of the sockets, which callers must be able to enter, and that of the state, each once.
func OwnFolders(c *config.Config) (folders []OwnFolder) {
	for _, k := range config.Keys(c) {
		var f OwnFolder
		switch {
		case k.Traits&config.SocketPlace != 0 && k.Path() != "":
			f = OwnFolder{0o755, filepath.Dir(k.Path())}
		case k.Traits&config.PrivatePlace != 0 && k.Path() != "":
			f = OwnFolder{0o700, k.Path()}
		case k.Traits&config.SharedPlace != 0 && c.Certificates.Enabled():
			f = OwnFolder{0o755, k.Path()}
		default:
			continue
		}
		if !slices.Contains(folders, f) {
			folders = append(folders, f)
		}
	}
	return folders
}
