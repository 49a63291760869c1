package certs

import "time"

// Trust says why a root is trusted.
type Trust string

// The kinds of trust.
const (
	TrustFirst   Trust = "first contact" // unchecked, by the configuration (CERT-10)
	TrustPinned  Trust = "fingerprint"   // it is the one that the configuration names (CERT-11)
	TrustChecked Trust = "checked"       // by a root that was held or installed before
)

// Status is what is known, for people and metrics. It holds no secret.
type Status struct {
	Phase        Phase
	Server       string       // URL of the last that was asked, without a path; empty if none was
	Roots        []RootStatus // that came by EST
	Certificates []CertificateStatus
	Maker        MakerStatus
	Looked       time.Time // when the roots were asked for last and came; zero if they did not since the start
	NextRoots    time.Time // when they are asked for again
	Next         time.Time // when anything is done again; zero if nothing is
	Err          error     // of the last failure; nil after a success
	Failed       time.Time
	HandOver     error // why the firmware does not have what is held; nil if it has
}

// RootStatus is a root that came by EST.
type RootStatus struct {
	Subject     string
	Fingerprint string // SHA-256, hex
	NotBefore   time.Time
	NotAfter    time.Time
	Trust       Trust
	Server      string // URL of the one that gave it first
	Since       time.Time
}

// CertificateStatus is a certificate that is wanted or held.
type CertificateStatus struct {
	Kind        KeyKind
	Held        bool // the next seven are known
	Installed   bool // by a person (CERT-47)
	Subject     string
	Names       []string
	Issuer      string
	SerialHex   string
	Fingerprint string // SHA-256, hex
	NotBefore   time.Time
	NotAfter    time.Time

	Since   time.Time // when it came
	Expired bool
	Revoked bool      // one that was held; it was taken away (CERT-45)
	Renewal time.Time // when the next is asked for; zero if not
	Asked   int       // times that the server wanted time for a request that waits; 0 if none does (CERT-27)
	Tries   int       // failures in a row
	Err     error     // of the last attempt; nil after a success
	Failed  time.Time
}

// MakerStatus is the maker's certificate.
type MakerStatus struct {
	Held     bool
	Subject  string
	Issuer   string
	NotAfter time.Time
	Err      error // why it cannot be used; nil if it can
}

// Status returns what is known now.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}
