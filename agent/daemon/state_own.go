package daemon

import (
	"crypto/sha256"
	"errors"
	"io/fs"
)

// ownFile is a file of which its owner knows when to write it, and must know whether it is written: it holds private
// keys (CLI-36, CERT-29).
type ownFile struct {
	data []byte            // to be written; nil if it is
	sum  [sha256.Size]byte // of the last known content; zero if unknown
}

// loadClient returns what keepClient wrote, nil if nothing ever was (CLI-36).
func (p *persisted) loadClient() ([]byte, error) { return p.loadOwn(&p.own, clientFile) }

// keepClient writes what the OAuth client keeps, durably when it returns nil.
func (p *persisted) keepClient(data []byte) error { return p.keepOwn(&p.own, clientFile, data) }

// loadCerts returns what keepCerts wrote, nil if nothing ever was.
func (p *persisted) loadCerts() ([]byte, error) { return p.loadOwn(&p.certs, certsFile) }

// keepCerts writes what certs.Client keeps, durably when it returns nil. Without a state folder, memory has to do.
func (p *persisted) keepCerts(data []byte) error {
	if err := p.keepOwn(&p.certs, certsFile, data); !errors.Is(err, errNoState) {
		return err
	}
	return nil
}

// loadOwn returns what keepOwn wrote, nil if nothing ever was. What cannot be read is an error, and stays as it is:
// there may well be a registration or a certificate in it, and the device must not ask for a second one. So it is if
// the folder is missing: its disk may be mounted later.
func (p *persisted) loadOwn(f *ownFile, name string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir.Path == "" {
		if why := p.trouble.Load(); why != nil { // no key to unseal it
			return nil, *why
		}
		return nil, nil
	}
	if err := p.dir.Prepare(); err != nil {
		return nil, err
	}
	data, err := p.readFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err == nil:
		f.sum = sha256.Sum256(data)
	}
	return data, err
}

// keepOwn writes a file, durably when it returns nil.
func (p *persisted) keepOwn(f *ownFile, name string, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir.Path == "" {
		if why := p.trouble.Load(); why != nil {
			return *why
		}
		return errNoState
	}
	if sum := sha256.Sum256(data); f.data == nil && sum == f.sum {
		return nil
	}
	f.data = data
	p.catchUp()
	return p.failing[name]
}

// catchUpOwn is the part of catchUp for such a file.
func (p *persisted) catchUpOwn(f *ownFile, name string) {
	if f.data == nil {
		return
	}
	err := p.write(name, f.data)
	if err == nil {
		err = p.write(name, f.data) // the other slot, too, so that no key or secret outlives its use there
	}
	p.result(name, err)
	if err == nil {
		f.sum, f.data = sha256.Sum256(f.data), nil // secrets are held no longer than needed
	}
}
