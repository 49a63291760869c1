package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// KeyKind is the kind of a certificate's key (CERT-21).
type KeyKind string

// The kinds, as the configuration spells them.
const (
	KeyECDSA KeyKind = "ecdsa" // P-256
	KeyRSA   KeyKind = "rsa"   // 2048 bits
)

// What [certificates] est is, unless it is the URL of a server.
const (
	ESTOff  = "off"
	ESTAuto = "auto" // servers that unicast DNS-SD names (CERT-1)
)

// Certificates is [certificates]: the device's own, which it gets by EST (BCP-003-03).
type Certificates struct {
	// EST is ESTOff, ESTAuto, or where the server is: an https URL whose path is the label (CERT-3, CERT-5).
	EST string
	// TrustFirst has the first answer with roots believed, whoever sends it (CERT-11).
	TrustFirst bool
	// Fingerprint is the SHA-256 of the root, 64 hexadecimal digits in lower case, by which that answer is believed; ""
	// if unknown.
	Fingerprint string
	// CAFile is the path of roots that a person has installed for the server; "" if none.
	CAFile string
	// Keys are the kinds of keys, each with a certificate of its own.
	Keys []KeyKind
	// Names are the host names in the certificate (CERT-22), lower case. Empty: those of the device that have a domain.
	Names []string
	// Folder is where keys and certificates are written for the device's web server; absolute.
	Folder string
	// Mode is that of the files with keys, in octal; Group is their group, a name or a number, "" for the daemon's own.
	Mode, Group string
	// Renew has certificates renewed in time (CERT-6).
	Renew bool
	// MakerCertificate and MakerKey are the paths of the maker's certificate and its key (CERT-26), "" for those of the
	// device's model. Without MakerKey the first file holds the key, too.
	MakerCertificate, MakerKey string
}

// Enabled reports whether the device gets certificates.
func (c *Certificates) Enabled() bool { return c.EST != ESTOff }

// FileMode returns Mode as a number.
func (c *Certificates) FileMode() uint32 {
	mode, err := strconv.ParseUint(c.Mode, 8, 32)
	if err != nil {
		return 0o600 // cannot happen: Parse checked it
	}
	return uint32(mode)
}

// estServer checks where the EST server is.
func estServer(s string) (string, error) {
	if s == ESTOff || s == ESTAuto {
		return s, nil
	}
	u, err := new(Authorization).issuerURL(s)
	switch {
	case !strings.Contains(s, "://"):
		return refuse(s, "must be off, auto or the server's URL%s", meant(s, []string{ESTOff, ESTAuto}))
	case err != nil:
		return refuseURL(s, "%v", err)
	case strings.Contains(u.Host, "*"):
		return refuse(s, "holds a *; name the server")
	case strings.Contains(u.Path, "/.well-known"):
		return "", fmt.Errorf("%s: leave /.well-known/est out, and put what follows it, the label, behind the host",
			shown(s))
	}
	for _, c := range strings.Trim(u.EscapedPath(), "/") {
		if c != '/' && !isAlphanumeric(byte(c)) && !strings.ContainsRune("-._~", c) || strings.Contains(u.Path, "..") {
			return "", fmt.Errorf("%s: the label is not of letters, digits, -, ., _ and ~", shown(s))
		}
	}
	return strings.TrimRight(s, "/"), nil
}

// fingerprint checks a SHA-256 in hexadecimal, with or without colons, and returns it without.
func fingerprint(s string) (string, error) {
	plain := strings.ToLower(strings.ReplaceAll(s, ":", ""))
	if raw, err := hex.DecodeString(plain); err != nil || len(raw) != 32 && s != "" {
		return refuse(s, `is not a SHA-256 in 64 hexadecimal digits, as "openssl x509 -fingerprint -sha256" prints it`)
	}
	return plain, nil
}

// certificateName checks a name in a certificate: no address and no wildcard (CERT-22).
func certificateName(s string) (string, error) {
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return refuse(s, "is an address; a certificate is for names")
	}
	return hostName(s)
}

// keyFileMode checks the mode of a file with a key: its owner reads and writes it, and others do not read it.
func keyFileMode(s string) (string, error) {
	switch s {
	case "0600", "0640":
		return s, nil
	}
	return refuse(s, "must be 0600, or 0640 for the group to read it")
}

// folderPath checks the path of a folder that is needed.
func folderPath(s string) (string, error) {
	s, err := absolutePath(s)
	if err == nil && (s == "" || s == "/") {
		err = errors.New("the path does not name a folder")
	}
	return s, err
}

// crossCheckCertificates reports what of [certificates] does not go together.
func (r *reader) crossCheckCertificates() {
	c := &r.cfg.Certificates
	on, own := c.Enabled(), filepath.Join(c.Folder, "roots.pem")
	r.mistaken("certificates", []mistake{
		{on && !c.TrustFirst && c.Fingerprint == "" && c.CAFile == "", "est",
			"needs one of fingerprint, ca_file and trust_first, or no server can be trusted"},
		{on && c.TrustFirst && c.Fingerprint == "" && r.cfg.State.Dir == "", "trust_first",
			"needs [state] dir: without it, a root is taken unchecked at each start, not once"},
		{c.CAFile == own, "ca_file", "is " + own + ", which EST brings; it is for roots that somebody installed"},
		{on && len(c.Keys) == 0, "keys", "is empty: name ecdsa, rsa or both"},
		{c.MakerKey != "" && c.MakerCertificate == "", "maker_key",
			"is the key of maker_certificate, which is missing"},
		{on && c.Folder == r.cfg.State.Dir, "folder", "is [state] dir, which nobody else may enter"},
	})
}

// certificateWarnings is the part of Warnings for [certificates].
func (c *Config) certificateWarnings() (all []string) {
	x := &c.Certificates
	switch {
	case !x.Enabled():
	case x.TrustFirst && x.Fingerprint == "":
		all = append(all, "[certificates] trust_first: until the device holds a root, whoever answers in the server's "+
			"place gives it one; name the root in fingerprint")
	}
	if x.Enabled() && c.State.Dir == "" {
		all = append(all, "[certificates] est: [state] dir is empty, so the device asks for a certificate at each "+
			"start")
	}
	if x.Enabled() && !x.Renew {
		all = append(all, "[certificates] renew is false: the certificate ends unless somebody renews it")
	}
	return all
}
