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

// Device is the device that the daemon runs on. It is detected once: the sandbox may make its files inaccessible.
type Device struct {
	hal.Model
	places hal.Places
	asking sync.Mutex // serializes calls of the model
}

// namesEvery is how often the device's names are read again: DHCP may bring one long after the start.
const namesEvery = 10 * time.Second

// DetectDevice determines which device this is.
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

// Names returns the device's host names: none if it has none yet, or only one that every device has (localhost).
func (d *Device) Names() ([]string, error) {
	identity, err := d.identify()
	return identity.Names, err
}

// identify returns what the device says of itself.
func (d *Device) identify() (hal.Identity, error) {
	d.asking.Lock()
	defer d.asking.Unlock()
	return d.Identify("/")
}

// inventory returns the function that lists the device's resources, nil if the model has none.
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

// NoName warns of a device without a name that a token's aud could contain (CLM-6).
const NoName = `this device has no host name yet, so no token can name it in "aud": each is answered 403. ` +
	"Give it one, or set [device] names"

// watchNames sends the device's names whenever they have changed, until ctx ends. An error changes nothing.
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

// rename applies the device's new names, unless the configuration sets names.
func (d *daemon) rename(names []string) {
	c := d.inForce.Load()
	if len(c.Device.Names) > 0 || slices.Equal(names, c.names) {
		return
	}
	d.inForce.Store(&inForceConfig{c.Config, names})
	d.agent.Configure(c.Config, names)
	d.log.Info("the device's names have changed", zap.Strings("names", names), zap.Strings("before", c.names))
	d.own.lookNow() // a client may be called by them
	d.configureCerts()
	d.certs.NetworkChanged() // the domain may be another one (CERT-17)
	d.warnNameless(names)
}

func (d *daemon) warnNameless(names []string) {
	if len(names) == 0 {
		d.log.Warn(NoName)
	}
}

// Defaults is the configuration of an empty file on this device.
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

// sealer returns what seals the state files, nil if the device has no key for it.
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
