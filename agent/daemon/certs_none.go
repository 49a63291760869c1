//go:build noest

package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"nmosauthd/agent/admin"
	"nmosauthd/agent/certs"
	"nmosauthd/agent/status"
)

// ownCerts is that of a daemon that was built without EST (tag noest): package config refuses to switch EST on.
type ownCerts struct{}

func (d *daemon) newOwnCerts() *ownCerts { return nil }

func (d *daemon) startCerts()     {}
func (d *daemon) configureCerts() {}

func (*ownCerts) Run(context.Context) {}
func (*ownCerts) ClockChanged()       {}
func (*ownCerts) NetworkChanged()     {}
func (*ownCerts) awaitHandOver()      {}

func (*ownCerts) Certificates() []*tls.Certificate { return nil }

var errNoEST = fmt.Errorf("this nmos-authd was built without EST: %w", admin.ErrFixed)

func (d *daemon) ChangeCerts(context.Context, bool) error          { return errNoEST }
func (d *daemon) InstallCertificate(context.Context, []byte) error { return errNoEST }
func (d *daemon) RemoveCertificates(context.Context, string) error { return errNoEST }

func (d *daemon) showCerts(s *status.Status, _ time.Time) {
	s.Certs = status.Certs{
		Phase: certs.Disabled.String(), Folder: d.startConfig.Certificates.Folder,
		Certificates: []status.Cert{}, Roots: []status.CertRoot{},
	}
}
