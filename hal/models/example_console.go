package models

import (
	"crypto/tls"
	"path/filepath"
	"strconv"
	"strings"

	"nmosauthd/hal"
)

// exampleConsole is a mixing console around a PC board: DMI says what it is, a table of its channels what it has, and
// at each start a TPM unseals its key to memory. It shows its state on its screens, so it has no indicator.
var exampleConsole = hal.Model{
	Name: "example-console",
	Is: func(root string) bool {
		return field(root, "sys/class/dmi/id/sys_vendor") == "Example Audio" &&
			strings.HasPrefix(field(root, "sys/class/dmi/id/product_name"), "Console ")
	},
	Identify:  identifyGeneric, // DMI and the host name say all there is
	Inventory: listConsole,
	Places: func(root string) hal.Places {
		return hal.Places{Reads: reads(root, filepath.Dir(consoleChannels))}
	},
	Key:   keyOfConsole,
	Maker: makerOfConsole,
}

const (
	// consoleChannels has a line for each channel, with tabs between: number, label, and the ids of its sender, its
	// receiver and its level meter, or - if it has none. The console rewrites it when the operator changes the layout.
	consoleChannels = "var/lib/console/channels"
	// consoleKey is in memory, not on the disk.
	consoleKey = "run/example/device-key"
	// consoleMaker has the maker's certificate with its chain, and its key. A key that never leaves a TPM would be a
	// crypto.Signer in its place.
	consoleMaker = "var/lib/console/maker.pem"
)

// listConsole names everything by the channel's number, which is what an operator and a remote control say; labels
// change. Each channel also has a fader, which is not part of NMOS: a path of the maker's own, and a right that [paths]
// claims gives.
func listConsole(root string) ([]hal.Resource, error) {
	text, err := read(root, consoleChannels, maxTable)
	if err != nil {
		return nil, err
	}
	var all []hal.Resource
	used := map[string]bool{}
	for i, line := range lines(text) {
		if line == "" || line[0] == '#' {
			continue
		}
		more, what := consoleChannel(used, line)
		if what != "" {
			return nil, fault(root, consoleChannels, i+1, what)
		}
		all = append(all, more...)
	}
	if len(all) == 0 {
		return nil, fault(root, consoleChannels, 0, "no channel")
	}
	return all, nil
}

// consoleChannel returns what the channel on this line has, or what is wrong with it. used holds the numbers and ids of
// the lines before.
func consoleChannel(used map[string]bool, line string) (all []hal.Resource, what string) {
	words := strings.Split(line, "\t")
	if len(words) != 5 {
		return nil, "not five columns"
	}
	number, err := strconv.Atoi(words[0])
	if err != nil || number < 1 || number > 1024 {
		return nil, "the channel is not a number from 1 to 1024"
	}
	name := strconv.Itoa(number)
	if used[name] {
		return nil, "channel " + name + " is there twice"
	}
	used[name] = true
	for i, kind := range []string{"sender", "receiver", "meter"} {
		id := words[2+i]
		switch {
		case id == "-":
			continue
		case !isUUID(id):
			return nil, "the id of the " + kind + " is not a UUID in lower case"
		case used[id]:
			return nil, "the id of the " + kind + " is there twice"
		}
		used[id] = true
		all = append(all, hal.Resource{Kind: kind, Name: name, ID: id})
	}
	const fader = "/x-console/faders/{name}"
	return append(all, hal.Resource{Kind: "fader", Name: name, Read: fader, Write: fader}), ""
}

func makerOfConsole(root string) (*tls.Certificate, error) {
	text, err := read(root, consoleMaker, maxTable)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fault(root, consoleMaker, 0, err.Error())
	}
	return &pair, nil
}

func keyOfConsole(root string) ([]byte, error) {
	key, err := read(root, consoleKey, hal.KeySize)
	if err == nil && len(key) != hal.KeySize {
		err = fault(root, consoleKey, 0, "not "+strconv.Itoa(hal.KeySize)+" bytes")
	}
	return key, err
}
