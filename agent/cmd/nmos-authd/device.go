package main

import (
	"errors"
	"fmt"

	"nmosauthd/agent"
	"nmosauthd/hal"
	"nmosauthd/hal/models"
)

// thisDevice is the device that the daemon runs on. It is found once: behind the sandbox its files may be out of reach.
type thisDevice struct {
	hal.Model
	places hal.Places
}

// detectDevice finds out what device this is.
func detectDevice() (*thisDevice, error) {
	model, err := models.Detect("/")
	if err != nil {
		return nil, err
	}
	d := &thisDevice{Model: model}
	if model.Places != nil {
		d.places = model.Places("/")
	}
	return d, nil
}

// names asks the device what it is called.
func (d *thisDevice) names() ([]string, error) {
	identity, err := d.Identify("/")
	if err != nil {
		return nil, err
	}
	if len(identity.Names) == 0 {
		return nil, errors.New("it has no host name")
	}
	return identity.Names, nil
}

// defaults is the configuration of an empty file on this device.
func (d *thisDevice) defaults() *agent.Config {
	c := agent.Default()
	switch {
	case d.places.Stateless:
		c.State.Dir = ""
	case d.places.State != "":
		c.State.Dir = d.places.State
	}
	return c
}

// sealer returns what seals the state files, nil where the device has no key for it.
func (d *thisDevice) sealer() (*hal.Sealer, error) {
	if d.Key == nil {
		return nil, nil
	}
	key, err := d.Key("/")
	if err != nil {
		return nil, fmt.Errorf("the device's key: %w", err)
	}
	if key == nil {
		return nil, nil
	}
	return hal.NewSealer(key)
}
