package daemon

import (
	"time"

	"nmosauthd/agent/certs"
	"nmosauthd/agent/status"
)

// showCerts fills in the device's certificates.
func (d *daemon) showCerts(s *status.Status, now time.Time) {
	o := d.certs
	own, c := o.Status(), d.inForce.Load()
	o.mu.Lock()
	counts, began := o.counts, o.began
	o.mu.Unlock()
	v := &s.Certs
	*v = status.Certs{
		Enabled: c.Certificates.Enabled(), Phase: own.Phase.String(), Server: own.Server, Folder: o.files.dir.Path,
		Certificates: []status.Cert{}, Roots: []status.CertRoot{}, Tags: status.CertTagsOf(c.Certificates.Enabled()),
		Maker: status.CertMaker{
			Held: own.Maker.Held, Subject: own.Maker.Subject, Ends: dateOf(own.Maker.NotAfter),
			Error: textOf(own.Maker.Err),
		},
		Next: status.At(own.Next, now), Error: textOf(own.Err), Unwritten: textOf(own.HandOver),
		Issued: counts.issued, Failures: counts.failures,
	}
	if !v.Enabled {
		v.Phase = certs.Disabled.String()
	}
	if own.Err != nil {
		v.Failed = status.At(own.Failed, now)
	}
	held := len(own.Certificates) > 0
	for i := range own.Certificates {
		k := &own.Certificates[i]
		if !v.Enabled && !k.Held {
			continue
		}
		one := status.Cert{
			Key: string(k.Kind), Held: k.Held, Installed: k.Installed, Names: append([]string{}, k.Names...),
			Subject: k.Subject, Issuer: k.Issuer, Serial: k.SerialHex, Fingerprint: k.Fingerprint,
			Begins: dateOf(k.NotBefore), Ends: dateOf(k.NotAfter), Renewal: dateOf(k.Renewal),
			Expired: k.Expired, Revoked: k.Revoked, Waiting: k.Asked > 0, Error: textOf(k.Err),
		}
		if k.Err != nil {
			one.Failed = status.At(k.Failed, now)
		}
		held = held && k.Held && !k.Expired
		v.Certificates = append(v.Certificates, one)
	}
	for i := range own.Roots {
		r := &own.Roots[i]
		v.Roots = append(v.Roots, status.CertRoot{
			Subject: r.Subject, Fingerprint: r.Fingerprint, Ends: dateOf(r.NotAfter), Trust: string(r.Trust),
			Server: r.Server, Since: dateOf(r.Since),
		})
	}
	if v.Enabled && !held && !began.IsZero() && now.Sub(began) >= troubleAfter {
		v.Trouble = certTrouble(own.Phase)
	}
}

// certTrouble says what the device lacks that has no certificate for a while. Like that of the client it is no fault of
// the health: decisions do not depend on it.
func certTrouble(phase certs.Phase) string {
	switch phase {
	case certs.NoServer:
		return "the device has no certificate, and finds no EST server"
	case certs.NoRoot:
		return "the device has no certificate, and no root by which to trust the server"
	case certs.Waiting:
		return "the device has no certificate: somebody has to agree at the server"
	}
	return "the device has no certificate"
}

// dateOf is a date in a certificate, or another that is kept: by the clock that there was.
func dateOf(t time.Time) status.Time {
	if t.IsZero() {
		return 0
	}
	return status.Time(t.Unix())
}
