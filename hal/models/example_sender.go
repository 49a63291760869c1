package models

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strconv"

	"nmosauthd/hal"
)

// exampleSender is a stage box with microphone preamplifiers, each a sender on the network. The device tree says that
// it is one, an EEPROM on the board which, and one LED how it is.
var exampleSender = hal.Model{
	Name:      "example-sender",
	Is:        func(root string) bool { return slices.Contains(compatible(root), "example,stagebox") },
	Identify:  identifySender,
	Inventory: listSender,
	Places:    func(root string) hal.Places { return hal.Places{Reads: reads(root, senderEEPROM)} },
	Indicator: indicateSender,
}

// senderEEPROM is the memory at address 0x50 of the first I²C bus, as the kernel's driver at24 shows it.
const senderEEPROM = "sys/bus/nvmem/devices/0-00500/nvmem"

// senderBoard is what the factory writes to the EEPROM:
//
//	 0   4  "EXSB"
//	 4   1  layout, 1
//	 5   1  microphone inputs, 1 to 64
//	 6  10  serial number, ASCII, padded with zeros
//	16   4  CRC-32 (IEEE) of the above, big endian
type senderBoard struct {
	inputs int
	serial string
}

func readSenderBoard(root string) (b senderBoard, err error) {
	data, err := read(root, senderEEPROM, maxFile)
	if err != nil {
		return b, err
	}
	what := b.parse(data)
	if what != "" {
		return senderBoard{}, fault(root, senderEEPROM, 0, what)
	}
	return b, nil
}

// parse returns what is wrong with the data; "" if nothing is.
func (b *senderBoard) parse(data []byte) string {
	if len(data) < 20 {
		return "shorter than 20 bytes"
	}
	if string(data[:4]) != "EXSB" {
		return "not programmed: it does not begin with EXSB"
	}
	if crc32.ChecksumIEEE(data[:16]) != binary.BigEndian.Uint32(data[16:]) {
		return "the checksum is wrong"
	}
	if data[4] != 1 {
		return "its layout is not 1"
	}
	b.inputs, b.serial = int(data[5]), known(clean(data[6:16]))
	if b.inputs < 1 || b.inputs > 64 {
		return "the microphone inputs are not 1 to 64"
	}
	if b.serial == "" {
		return "no serial number"
	}
	return ""
}

func identifySender(root string) (hal.Identity, error) {
	id, err := identifyGeneric(root)
	if err != nil {
		return id, err
	}
	id.Maker = "Example Audio"
	if board, err := readSenderBoard(root); err == nil { // else it goes by what every device has
		id.Serial = board.serial
	}
	return id, nil
}

// listSender derives the ids from the serial number, as the firmware does.
func listSender(root string) ([]hal.Resource, error) {
	board, err := readSenderBoard(root)
	if err != nil {
		return nil, err
	}
	var all []hal.Resource
	for i := range board.inputs {
		name := "mic-" + strconv.Itoa(i+1)
		all = append(all, hal.Resource{Kind: "sender", Name: name, ID: uuid5(exampleSpace, board.serial+"/"+name)})
	}
	return all, nil
}

func indicateSender(root string) (hal.Indicator, error) {
	return openLights(root, looks{
		hal.Starting: "timer",
		hal.Serving:  "on",
		hal.Degraded: "heartbeat",
		hal.Stopping: "off",
	}, "status")
}
