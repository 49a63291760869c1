package main

import (
	"bytes"
	"context"
	"fmt"

	"nmosauthd/tinytest/estserver"
	"nmosauthd/tinytest/studio"
)

func (s *stage) deviceEnrols(ctx context.Context, _ *cast) error {
	say("The stage box is new. Its maker gave it a certificate that says which box it is; the engineer gave it the " +
		"fingerprint of the facility's root, and no more. Without a certificate of the facility its web server " +
		"cannot start. Nobody has to copy one: its nmos-authd finds the certificate server (EST) in DNS-SD, and " +
		"asks. (It would do so by itself within 5 s.)")
	if err := s.EnrolDevice(ctx); err != nil {
		return err
	}
	var operations []string
	for _, r := range s.EST.Requests() {
		operations = append(operations, r.Operation)
	}
	last := len(operations) - 1
	if operations[0] != estserver.CACerts || operations[last] != estserver.Enrol {
		return fmt.Errorf("the certificate server was asked for %q, want the root first and a certificate last",
			operations)
	}
	did("stage box", "fetches the facility's root, and compares it", "the right one")
	did("stage box", "shows its maker's certificate, and asks for its own", "a certificate")
	if err := s.shell(ctx, s.DeviceDaemon, "certs", "status"); err != nil {
		return err
	}
	before := s.EST.Issued()
	if err := s.shell(ctx, s.DeviceDaemon, "certs", "renew"); err != nil {
		return err
	}
	issued := s.EST.Issued()
	one := issued[len(issued)-1]
	if len(issued) == len(before) || one.Subject.CommonName != studio.DeviceHost ||
		bytes.Equal(one.RawSubjectPublicKeyInfo, before[len(before)-1].RawSubjectPublicKeyInfo) {
		return fmt.Errorf("%d certificates were issued, want one more for another key", len(issued))
	}
	did("stage box", "has renewed it, as it does by itself in time", "another key")
	return nil
}
