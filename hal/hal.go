// Package hal is the contract between the daemon and the device it runs on. A port to a device implements it in package
// models; the daemon asks through it and knows of no device itself. PORTING.md shows how, step by step.
//
// It knows nothing of tokens, and imports neither platform nor agent.
package hal

import "crypto/tls"

// Model is one kind of device. The daemon asks models.Detect for the model once, at its start, and then calls these
// functions, one at a time. The root that they get is that of the device's file system: "/" but in tests. A function
// that is nil says that the device has none of that; what the configuration says goes before what the model says.
//
// Every function reads files that may be missing, cut short or full of junk: it answers with an error or with less, and
// it ends soon. Errors name the file and say what is wrong with it.
type Model struct {
	// Name is what the model is called in logs and by check-config.
	Name string
	// Is reports whether the device is one of the kind. It is called for every model of the table until one says yes.
	Is func(root string) bool
	// Identify reads what the device says of itself. An error means that nothing could be found out at all; what is not
	// known is empty. It is called at the start, and again on SIGHUP and every 10 s, when only the names are looked at:
	// DHCP may bring one late. Never nil.
	Identify func(root string) (Identity, error)
	// Inventory lists what the device has. It is called at the start and again on SIGHUP, unless the configuration
	// names an inventory file, or one was pushed. With an error nothing of the list is used: the device goes on with
	// what was read before.
	Inventory func(root string) ([]Resource, error)
	// Places says where the device keeps things. It is called once, before everything below.
	Places func(root string) Places
	// Key returns KeySize bytes that no other device has and that are on none of the storage which it protects: from
	// fuses, from OTP memory, or a file that a TPM unsealed. It is given to NewSealer; a key that is nil, without an
	// error, says that this device has none. Called once, before the daemon shuts itself in. An error means that what
	// was sealed cannot be read, and nothing is kept until the next start.
	Key func(root string) ([]byte, error)
	// Maker returns the certificate that the maker has put into the device, with its chain, and what signs with its key
	// (crypto.Signer): the key itself may stay in a TPM or a secure element (BCP-003-03). Nil, without an error, says
	// that this device has none. Called once, before the daemon shuts itself in; what signs holds open what it needs.
	Maker func(root string) (*tls.Certificate, error)
	// Indicator opens the light (or whatever else) that shows how the daemon is. Called once, before the daemon shuts
	// itself in with Landlock; from then on it can open no file there, so an Indicator holds open what it writes to. An
	// error is logged, and the daemon runs without.
	Indicator func(root string) (Indicator, error)
}

// Identity is what a device says of itself. Every field may be empty if unknown.
type Identity struct {
	Maker    string
	Product  string
	Serial   string
	Firmware string // version of the firmware
	// Names are the host names by which others reach the device, most usual first: lower case, no trailing dot, each
	// once. None, if it has none yet. A token must name one of them in aud, so a name that other devices bear too does
	// not belong here.
	Names []string
}

// Resource is something in the device that others read or change by its own right, such as a sender or a level meter.
// Kind and Name together are what firmware asks by (`kind=meter name=in-1 access=read`), and each pair is listed once.
type Resource struct {
	// Kind is sender, receiver, meter or source, or any other word of at most 64 bytes with templates below.
	Kind string
	// Name is what the device itself calls it, which may be a number in decimal; at most 256 bytes.
	Name string
	// ID is the UUID by which NMOS knows it, in lower case. It stays the same for as long as the device lives. Empty if
	// no template has {id}.
	ID string
	// Read and Write are the API paths that a token must open, with {id} and {name} in place of the two above:
	// "/x-console/faders/{name}". Empty: those of the kind; a meter has none to write.
	Read, Write string
	// Control is the role path of the IS-12 object that the resource is, too, "root.meters.in-1": then it needs what a
	// command on that object needs, in place of the kind's paths. Empty if none.
	Control string
}

// Places says where the device keeps things. Paths begin with the root that was given.
type Places struct {
	// State is the folder for what must outlive a power cut; if "", that of the configuration, unless Stateless.
	State string
	// Stateless says that the device has no folder to write to: nothing is kept, and after a start the keys come from
	// the network. State is then "".
	Stateless bool
	// Reads are the files and folders, links followed, that Inventory opens and that the names are made of: what is
	// needed on SIGHUP. The daemon leaves them readable to itself when it shuts itself in. Of a file that is replaced
	// by renaming, name the folder.
	Reads []string
}

// State is how the daemon is, as far as a light can show it.
type State int

const (
	Starting State = iota // not yet able to judge tokens
	Serving               // judging tokens
	Degraded              // running, but not as it should: without keys, without a clock, or not enforcing
	Stopping              // about to end
)

// Indicator shows the state of the daemon to who stands before the device.
type Indicator interface {
	// Show is called when the state may have changed, at first with Starting; never concurrently. It does not wait, and
	// what goes wrong it keeps to itself: better a light that is dark than one that says Serving when that is not so.
	Show(State)
	// Close is called once at the end, after Show(Stopping).
	Close()
}
