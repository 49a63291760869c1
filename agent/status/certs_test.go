package status_test

import (
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/status"
	"nmosauthd/tinytest/spec"
)

// What is said of the certificates fits 80 columns, and draws on no terminal either. Whether all is well follows from
// it.
func TestTextCerts(t *testing.T) {
	spec.Rules(t, "CERT-49")
	ended, none, waiting := well(), well(), well()
	spoilCert(ended, 86400, -60, "https://est.example.com: connection refused. Is the server running?")
	ended.Certs.Certificates[0].Failed = now - 60
	none.Certs.Certificates[0] = status.Cert{Key: "ecdsa", Revoked: true}
	none.Certs.Roots, none.Certs.Maker = nil, status.CertMaker{Error: "/etc/maker.pem: permission denied"}
	none.Certs.Trouble, none.Certs.Error, none.Certs.Failed = "the device has no certificate", "no route", now-7
	waiting.Certs.Certificates[0].Waiting, waiting.Certs.Unwritten = true, "/run/x: full"
	for name, c := range map[string]struct {
		s    *status.Status
		want string // a part, without line breaks
		good bool
	}{
		"well":    {well(), "ends in 50 days at 2027-01-11T02:00:10Z, next in 3 days serial 4a01, SHA-256 0f0f", true},
		"file":    {well(), "in /run/nmos-authd/certs/ecdsa.pem", true},
		"maker":   {well(), "maker's certificate: CN=Meter 7, until 2051-07-14T02:00:10Z", true},
		"ended":   {ended, "ENDED at 2026-11-22T01:59:10Z", false},
		"failure": {ended, "failed 60 s ago: https://est.example.com: connection refused.", false},
		"none": {none, "for more than 5 min: the device has no certificate failed 7 s ago: no route ecdsa: none, " +
			"it was revoked", false},
		"no root": {none, "maker's certificate: none; /etc/maker.pem: permission denied", false},
		"waiting": {waiting, "not written: /run/x: full", false},
		"agree":   {waiting, "somebody has to agree at the server", false},
		"marked":  {marked(), "installed by hand", false},
		"off":     {&status.Status{}, "off: [certificates] est is \"off\"", false},
		"tag":     {well(), "tag of the IS-04 node: \"urn:x-nmos:tag:certprov\": [\"v1.0\"]", true},
		"no tag":  {&status.Status{}, "tag of the IS-04 node: \"urn:x-nmos:tag:certprov\": []", false},
	} {
		var b strings.Builder
		if err := c.s.WriteCerts(&b); err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
			if name != "marked" && len(line) > 80 || strings.ContainsFunc(line, unprintable) ||
				strings.HasPrefix(line, "certs       ") != (i == 0) || strings.TrimSpace(line[12:]) == "" {
				t.Errorf("%s: line %d: %q", name, i, line)
			}
		}
		if !strings.Contains(strings.Join(strings.Fields(b.String()), " "), c.want) {
			t.Errorf("%s: got\n%s\nwant %q in it", name, b.String(), c.want)
		}
		if good := c.s.Certs.Good(now); good != c.good {
			t.Errorf("%s: good is %v, want %v", name, good, c.good)
		}
	}
}

// The tags of the IS-04 node can be taken from the JSON as they are (CERT-49).
func TestCertTags(t *testing.T) {
	spec.Rules(t, "CERT-49")
	for enabled, want := range map[bool]string{
		true: `{"urn:x-nmos:tag:certprov":["v1.0"]}`, false: `{"urn:x-nmos:tag:certprov":[]}`,
	} {
		if got, err := json.Marshal(status.CertTagsOf(enabled)); string(got) != want || err != nil {
			t.Errorf("enabled %v: got %s, error %v, want %s", enabled, got, err, want)
		}
	}
}
