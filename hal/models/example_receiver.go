package models

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"nmosauthd/hal"
)

// exampleReceiver is a powered loudspeaker. A file from the factory says what it is, ALSA which streams it can receive,
// and a file of its firmware by which ids NMOS knows them. It keeps its state on /data, and its key in the fuses of an
// STM32MP1.
var exampleReceiver = hal.Model{
	Name:      "example-receiver",
	Is:        isReceiver,
	Identify:  identifyReceiver,
	Inventory: listReceiver,
	Places: func(root string) hal.Places {
		return hal.Places{
			State: filepath.Join(root, "data/nmos-authd"),
			// The firmware replaces its file of ids by renaming, so the folder.
			Reads: reads(root, receiverFactory, "proc/asound", filepath.Dir(receiverIDs)),
		}
	},
	Key: keyOfReceiver,
}

const (
	receiverFactory = "etc/product.conf"
	receiverIDs     = "data/nmos/ids" // lines such as "rx-1 2c4c…", written by the firmware at its first start
	receiverOTP     = "sys/bus/nvmem/devices/stm32-romem0/nvmem"
	receiverCard    = "AES67" // the id of the sound card that is the network
)

func isReceiver(root string) bool {
	factory := settings(root, receiverFactory)
	return factory["MAKER"] == "Example Audio" && strings.HasPrefix(factory["PRODUCT"], "PL-")
}

// identifyReceiver adds the name by which the firmware announces itself over mDNS, made of its serial number.
func identifyReceiver(root string) (hal.Identity, error) {
	id, err := identifyGeneric(root)
	if err != nil {
		return id, err
	}
	factory := settings(root, receiverFactory)
	id.Maker, id.Product = factory["MAKER"], factory["PRODUCT"]
	serial := known(factory["SERIAL"])
	if serial == "" {
		return id, nil
	}
	id.Serial = serial
	if name := normal(serial + ".local"); name != "" && !slices.Contains(id.Names, name) {
		id.Names = append(id.Names, name)
	}
	return id, nil
}

// listReceiver lists a receiver for each stream that the network card captures.
func listReceiver(root string) ([]hal.Resource, error) {
	card, err := receiverCardNumber(root)
	if err != nil {
		return nil, err
	}
	ids, err := receiverIDsByName(root)
	if err != nil {
		return nil, err
	}
	const pcm = "proc/asound/pcm"
	text, err := read(root, pcm, maxFile)
	if err != nil {
		return nil, err
	}
	var all []hal.Resource
	for _, line := range lines(text) { // "00-01: Stream B :  : capture 1"
		numbers, rest, _ := strings.Cut(line, ":")
		c, device, _ := strings.Cut(numbers, "-")
		n, err := strconv.Atoi(device)
		if number, bad := strconv.Atoi(c); bad != nil || number != card || err != nil ||
			!strings.Contains(rest, ": capture") {
			continue // another card, or one that plays
		}
		name := "rx-" + strconv.Itoa(n+1)
		if ids[name] == "" {
			return nil, fault(root, receiverIDs, 0, "no id for "+name+", which is in /"+pcm+" once")
		}
		all = append(all, hal.Resource{Kind: "receiver", Name: name, ID: ids[name]})
		delete(ids, name)
	}
	if len(all) == 0 {
		return nil, fault(root, pcm, 0, "the card "+receiverCard+" captures nothing")
	}
	return all, nil
}

// receiverCardNumber finds the network's card by its id; the number may be another at each start.
func receiverCardNumber(root string) (int, error) {
	const cards = "proc/asound/cards"
	text, err := read(root, cards, maxFile)
	if err != nil {
		return 0, err
	}
	for _, line := range lines(text) { // " 0 [AES67          ]: AES67 - Network audio"
		number, rest, _ := strings.Cut(line, "[")
		id, _, ok := strings.Cut(rest, "]")
		if n, err := strconv.Atoi(strings.TrimSpace(number)); ok && err == nil &&
			strings.TrimSpace(id) == receiverCard {
			return n, nil
		}
	}
	return 0, fault(root, cards, 0, "no card "+receiverCard+"; is its driver loaded?")
}

func receiverIDsByName(root string) (map[string]string, error) {
	text, err := read(root, receiverIDs, maxFile)
	if err != nil {
		return nil, err
	}
	ids, used := map[string]string{}, map[string]bool{}
	for i, line := range lines(text) {
		words := strings.Fields(line)
		what := ""
		switch {
		case len(words) == 0:
			continue
		case len(words) != 2:
			what = "not a name and an id"
		case !isUUID(words[1]):
			what = "the id is not a UUID in lower case"
		case ids[words[0]] != "":
			what = "the name is there twice"
		case used[words[1]]:
			what = "the id is there twice"
		}
		if what != "" {
			return nil, fault(root, receiverIDs, i+1, what)
		}
		ids[words[0]], used[words[1]] = words[1], true
	}
	return ids, nil
}

// keyOfReceiver reads the key from the one-time programmable words 60 to 67, which ST leaves to the maker.
func keyOfReceiver(root string) ([]byte, error) {
	otp, err := read(root, receiverOTP, maxFile)
	if err != nil {
		return nil, err
	}
	const start = 60 * 4
	if len(otp) < start+hal.KeySize {
		return nil, fault(root, receiverOTP, 0, "it ends before the key does")
	}
	return otp[start : start+hal.KeySize], nil
}
