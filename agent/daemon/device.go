package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent/config"
	"nmosauthd/hal"
	"nmosauthd/hal/models"
)

// Device is the device that the daemon runs on. It is found once: behind the sandbox its files may be out of reach.
type Device struct {
	hal.Model
	places hal.Places
	asking sync.Mutex // the model is asked one thing at a time
}

// namesEvery is how often the device is asked for its names again: DHCP may bring one long after the start.
const namesEvery = 10 * time.Second

// DetectDevice finds out what device this is.
func DetectDevice() (*Device, error) {
	model, err := models.Detect("/")
	if err != nil {
		return nil, err
	}
	d := &Device{Model: model}
	if model.Places != nil {
		d.places = model.Places("/")
	}
	return d, nil
}

// names asks the device what it is called. It may have no name yet, or one that every device has (localhost).
func (d *Device) Names() ([]string, error) {
	d.asking.Lock()
	defer d.asking.Unlock()
	identity, err := d.Identify("/")
	return identity.Names, err
}

// inventory returns what asks the device for what it has, nil if it cannot say.
func (d *Device) inventory() func(root string) ([]hal.Resource, error) {
	if d.Inventory == nil {
		return nil
	}
	return func(root string) ([]hal.Resource, error) {
		d.asking.Lock()
		defer d.asking.Unlock()
		return d.Inventory(root)
	}
}

// NoName says what follows if there is nothing that a token's aud could name (CLM-6).
const NoName = `this device has no host name yet, so no token can name it in "aud": each is answered 403. ` +
	"Give it one, or set [device] names"

// watchNames sends the device's names whenever they have changed, until ctx ends. What cannot be found out changes nothing.
func (d *Device) watchNames(ctx context.Context, last []string, changed chan<- []string) {
	look := time.NewTicker(namesEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		names, err := d.Names()
		if err != nil || slices.Equal(names, last) {
			continue
		}
		select {
		case changed <- names:
			last = names
		case <-ctx.Done():
			return
		}
	}
}

// rename puts the device's new names into force. Those of the configuration win: the device's then count for nothing.
func (d *daemon) rename(names []string) {
	c := d.inForce.Load()
	if len(c.Device.Names) > 0 || slices.Equal(names, c.names) {
		return
	}
	d.inForce.Store(&inForceConfig{c.Config, names})
	d.agent.Configure(c.Config, names)
	d.log.Info("the device's names have changed", zap.Strings("names", names), zap.Strings("before", c.names))
	d.warnNameless(names)
}

func (d *daemon) warnNameless(names []string) {
	if len(names) == 0 {
		d.log.Warn(NoName)
	}
}

// defaults is the configuration of an empty file on this device.
func (d *Device) Defaults() *config.Config {
	c := config.Default()
	switch {
	case d.places.Stateless:
		c.State.Dir = ""
	case d.places.State != "":
		c.State.Dir = d.places.State
	}
	return c
}

// sealer returns what seals the state files, nil where the device has no key for it.
func (d *Device) sealer() (*hal.Sealer, error) {
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
