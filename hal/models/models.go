// Package models is the list of the devices that the daemon knows.
//
// A new device is a file here and a row of the table. There is no registration by init: which models there are, and in which
// order they are asked, is to be read in one place.
package models

import (
	"errors"

	"nmosauthd/hal"
)

// table is asked from the top. The last row fits every device.
var table = []hal.Model{
	generic,
}

// Detect returns the model of the device whose file system has this root, "/" but in tests.
func Detect(root string) (hal.Model, error) {
	for _, m := range table {
		if m.Is(root) {
			return m, nil
		}
	}
	return hal.Model{}, errors.New("hal: no model fits this device")
}
