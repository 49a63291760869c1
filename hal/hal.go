// Package hal is the contract between the daemon and the device it runs on. A port to a device implements it in package
// models; the daemon asks through it and knows of no device itself.
//
// It knows nothing of tokens, and imports neither platform nor agent.
package hal

// Identity is what a device says of itself. Every field may be empty where the device does not know.
type Identity struct {
	Maker    string
	Product  string
	Serial   string
	Firmware string // version of the firmware
	// Names are the host names by which others reach the device, most usual first: lower case, no trailing dot, each once.
	// A token must name one of them in aud, so a name that other devices bear too does not belong here.
	Names []string
}

// Model is one kind of device.
type Model struct {
	// Name is what the model is called in logs and in the configuration.
	Name string
	// Is tells whether the device whose file system has this root is one of the kind. The root is "/" but in tests.
	Is func(root string) bool
	// Identify reads what the device says of itself. An error means that nothing could be found out at all.
	Identify func(root string) (Identity, error)
}
