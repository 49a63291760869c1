package models

import (
	"strconv"
	"strings"

	"nmosauthd/hal"
)

// exampleMeter is a level meter that boots from an image which nothing can write to: it keeps no state. The image says
// what it is, the boot loader which, on the kernel's command line. Its LED is two in one, green and red.
var exampleMeter = hal.Model{
	Name:      "example-meter",
	Is:        func(root string) bool { return meterInputs(root) > 0 },
	Identify:  identifyMeter,
	Inventory: listMeter,
	Places: func(root string) hal.Places {
		return hal.Places{Stateless: true, Reads: reads(root, meterProduct, meterCommand)}
	},
	Indicator: indicateMeter,
}

const (
	meterProduct = "etc/example/product"
	meterCommand = "proc/cmdline"
)

// meterInputs returns how many inputs the product has: LM-2 or LM-8; 0 if it is neither.
func meterInputs(root string) int {
	switch field(root, meterProduct) {
	case "LM-2":
		return 2
	case "LM-8":
		return 8
	}
	return 0
}

// meterSerial finds the serial number among the words of the kernel's command line.
func meterSerial(root string) (string, error) {
	text, err := read(root, meterCommand, maxFile)
	if err != nil {
		return "", err
	}
	for _, word := range strings.Fields(string(text)) {
		if serial, ok := strings.CutPrefix(word, "example.serial="); ok && known(clean([]byte(serial))) != "" {
			return serial, nil
		}
	}
	return "", fault(root, meterCommand, 0, "no example.serial=; set it in the boot loader")
}

func identifyMeter(root string) (hal.Identity, error) {
	id, err := identifyGeneric(root)
	if err != nil {
		return id, err
	}
	id.Maker, id.Product = "Example Audio", field(root, meterProduct)
	if serial, err := meterSerial(root); err == nil {
		id.Serial = serial
	}
	return id, nil
}

func listMeter(root string) ([]hal.Resource, error) {
	serial, err := meterSerial(root)
	if err != nil {
		return nil, err
	}
	inputs := meterInputs(root)
	if inputs == 0 {
		return nil, fault(root, meterProduct, 0, "neither LM-2 nor LM-8")
	}
	var all []hal.Resource
	for i := range inputs {
		name := "in-" + strconv.Itoa(i+1)
		all = append(all, hal.Resource{Kind: "meter", Name: name, ID: uuid5(exampleSpace, serial+"/"+name)})
	}
	return all, nil
}

func indicateMeter(root string) (hal.Indicator, error) {
	return openLights(root, looks{
		hal.Starting: "timer off",
		hal.Serving:  "on off",
		hal.Degraded: "off on",
		hal.Stopping: "off off",
	}, "status-green", "status-red")
}
