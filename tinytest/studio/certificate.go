package studio

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"time"

	"nmosauthd/hal/models"
	"nmosauthd/tinytest/estserver"
)

// EnrolDevice starts the facility's EST server and announces it, and starts the device's daemon, which holds nothing
// but its maker's certificate and the fingerprint of the facility's root. It has the device ask for a certificate now,
// which it would do by itself within 5 s, and returns when it has one. StartDevice then starts the device with it.
func (f *Studio) EnrolDevice(ctx context.Context) error {
	now := time.Now()
	serial, err := Serial()
	if err != nil {
		return err
	}
	root, key := f.ca.Root()
	f.EST, err = estserver.Start(estserver.Options{
		Host: ESTHost, Domain: Domain, Facility: estserver.CAOf(root, key, "Studio Example", now), FirstContact: true,
		AnySerial: serial == "",
	})
	if err != nil {
		return err
	}
	f.closers = append(f.closers, f.EST.Close)
	if err := f.DNS.SetZone(f.zone()); err != nil {
		return err
	}
	dir, err := f.newDir()
	if err != nil {
		return err
	}
	maker := f.EST.Maker().Device(serial, now.Add(-time.Hour), now.AddDate(30, 0, 0))
	err = errors.Join(os.WriteFile(dir.File("maker.pem"), maker.ChainPEM, 0o644),
		os.WriteFile(dir.File("maker.key"), maker.KeyPEM, 0o600))
	if err != nil {
		return err
	}
	folder := dir.File("certs")
	f.DeviceDaemon, err = f.start(ctx, dir, DeviceHost, folder+"/roots.pem", deviceKeys+fmt.Sprintf(
		"[certificates]\nest = \"auto\"\nfingerprint = %q\nfolder = %q\nmaker_certificate = %q\nmaker_key = %q\n",
		f.EST.Facility().Fingerprint(), folder, dir.File("maker.pem"), dir.File("maker.key")))
	if err != nil {
		return err
	}
	for what := "enrol"; ; what = "status" {
		text, err := f.Command(ctx, f.DeviceDaemon, "certs", what)
		if err == nil && what == "status" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the device has no certificate: %w: %s\n%s", ctx.Err(), text, f.DeviceDaemon.Log())
		case <-time.After(20 * time.Millisecond): // between two questions
		}
	}
}

// Serial is the serial number that the daemon finds for the machine that this runs on, "" if it has none.
func Serial() (string, error) {
	model, err := models.Detect("/")
	if err != nil {
		return "", err
	}
	id, err := model.Identify("/")
	return id.Serial, err
}

// deviceTLS has the device's web server show what its daemon handed over last, to each new connection.
func (f *Studio) deviceTLS() *tls.Config {
	pair := f.DeviceDaemon.File("certs/ecdsa.pem")
	return &tls.Config{MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(pair, pair)
			return &c, err
		}}
}
