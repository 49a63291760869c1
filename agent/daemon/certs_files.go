package daemon

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"nmosauthd/agent/certs"
	"nmosauthd/platform"
)

// The files in [certificates] folder, and one more for each kind of key.
const (
	rootsFile   = "roots.pem"
	changedFile = "changed" // written last, so that whoever waits for news waits for it
)

// handOver writes keys and certificates where the device's web server reads them (CERT-29). Key and chain are one file:
// no reader ever finds a key beside the certificate of another.
type handOver struct {
	dir   platform.SharedDir
	files atomic.Pointer[fileModes]
	once  sync.Once
	first chan struct{} // closed once anything was given
}

// fileModes are those of the files with a key.
type fileModes struct {
	mode  fs.FileMode
	group string
}

func (d *daemon) newHandOver() *handOver {
	return &handOver{
		dir:   platform.SharedDir{Path: d.startConfig.Certificates.Folder},
		first: make(chan struct{}),
	}
}

// give implements certs.Options.HandOver.
func (h *handOver) give(b certs.Bundle) error {
	err := h.write(b)
	h.once.Do(func() { close(h.first) })
	return err
}

// write makes the folder hold this and no more.
func (h *handOver) write(b certs.Bundle) error {
	if len(b.Pairs) == 0 && len(b.Roots) == 0 && missing(h.dir.Path) {
		return nil // nothing was ever given
	}
	if err := h.dir.Prepare(); err != nil {
		return err
	}
	held := [...]struct {
		name         string
		text, public []byte
	}{{name: "ecdsa.pem"}, {name: "rsa.pem"}, {rootsFile, b.Roots, b.Roots}}
	for i := range b.Pairs {
		p, f := &b.Pairs[i], &held[0]
		if p.Kind == certs.RSA {
			f = &held[1]
		}
		f.text, f.public = append(bytes.Clone(p.Key), p.Chain...), p.Chain
	}
	var failed error
	var summary bytes.Buffer
	files := h.files.Load()
	for i := range held { // each is tried
		var err error
		switch f := &held[i]; {
		case len(f.text) == 0:
			err = h.dir.Remove(f.name)
		case f.name == rootsFile:
			err = h.dir.Write(f.name, f.text, 0o644)
		default:
			err = h.dir.Replace(f.name, f.text, files.mode, files.group)
		}
		if failed = cmp.Or(failed, err); len(held[i].text) > 0 {
			fmt.Fprintf(&summary, "%s %x\n", held[i].name, sha256.Sum256(held[i].public))
		}
	}
	if failed == nil {
		failed = h.dir.Write(changedFile, summary.Bytes(), 0o644)
	}
	return failed
}

// roots is the path of the roots, which [authorization] ca_file may name.
func (h *handOver) roots() string { return filepath.Join(h.dir.Path, rootsFile) }

// readCertificates returns the certificates in a PEM file, nil if path is "".
func readCertificates(path string) (all []*x509.Certificate, err error) {
	if path == "" {
		return nil, nil
	}
	text, err := readBounded(path, maxPEM)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, cert)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return all, nil
}

// readBounded returns what a regular file of at most so many bytes holds. Every error names it.
func readBounded(path string, most int) ([]byte, error) {
	f, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(text) > most {
		err = fmt.Errorf("%s is over %d bytes", path, most)
	}
	return text, err
}
