// Package models is the list of the devices that the daemon knows.
//
// A new device is a file here and a row of the table. There is no registration by init: which models there are, and in
// which order they are asked, is to be read in one place.
package models

import (
	"errors"

	"nmosauthd/hal"
)

// table is asked from the top. The last row fits every device. A port is a row above it.
var table = []hal.Model{
	generic,
}

// examples returns the reference models, one of each class: devices of a maker who does not exist, to be copied
// (PORTING.md). Tests ask them as rows above generic. It is a function, and called by tests alone, so that no binary
// holds their 25 KB.
func examples() []hal.Model {
	return []hal.Model{exampleSender, exampleReceiver, exampleMeter, exampleConsole}
}

// Detect returns the model of the device whose file system has this root, "/" but in tests.
func Detect(root string) (hal.Model, error) { return detect(table, root) }

func detect(table []hal.Model, root string) (hal.Model, error) {
	for _, m := range table {
		if m.Is(root) {
			return m, nil
		}
	}
	return hal.Model{}, errors.New("hal: no model fits this device")
}
