package daemon

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"nmosauthd/platform"
)

// The sockets, by the keys of [sockets]. A service manager that opens them uses the same names (FileDescriptorName=).
const (
	authzSocket = "authz"
	httpSocket  = "http"
	adminSocket = "admin"
	viewSocket  = "view"
)

// takeSockets takes over the sockets that the service manager has opened.
func (d *daemon) takeSockets() (err error) {
	if d.given, err = platform.GivenSockets(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(d.given)) {
		switch name {
		case authzSocket, httpSocket, adminSocket, viewSocket:
		default:
			return fmt.Errorf("the service manager passed a socket named %q; its unit needs FileDescriptorName=%s, "+
				"%s, %s or %s", name, authzSocket, httpSocket, adminSocket, viewSocket)
		}
	}
	return nil
}

// listener returns the listener of one socket: the service manager's if it passed one, else a new one.
func (d *daemon) listener(name, path, group string) (*platform.Listener, error) {
	listen, adopt := platform.ListenStream, platform.AdoptStream
	if name == authzSocket {
		listen, adopt = platform.ListenPacket, platform.AdoptPacket
	}
	f := d.given[name]
	if f == nil {
		place := platform.Place{For: "[sockets] " + name, Path: filepath.Dir(path), Write: true}
		d.socketPlaces = append(d.socketPlaces, place)
		return listen(path, platform.Options{Group: group})
	}
	delete(d.given, name)
	if group != "" {
		d.log.Info("the socket keeps the service manager's group and mode; the configured group is not applied",
			fields(nil, "socket", path, "group", group)...)
	}
	return adopt(f, path)
}

// leaveSockets closes the service manager's sockets that the configuration does not use.
func (d *daemon) leaveSockets() {
	for name, f := range d.given {
		d.log.Warn("the service manager passed a socket that is not configured; nobody answers on it",
			fields(nil, "name", name)...)
		f.Close()
	}
	d.given = nil
}
