package daemon

import (
	"crypto/sha256"
	"errors"
	"io/fs"
)

// stateFile is a file that is written as a whole whenever its content changes.
type stateFile struct {
	data []byte            // the latest content; nil if it is unknown, or secret and written
	due  bool              // data is to be written
	sum  [sha256.Size]byte // of what is on flash; zero if unknown
}

// set takes the content that the file is to have.
func (f *stateFile) set(data []byte) {
	if f.due || sha256.Sum256(data) != f.sum {
		f.data, f.due = data, true
	}
}

// recall reads a file as read does. The caller holds mu, or is the only one.
func (p *persisted) recall(f *stateFile, name string, decode func([]byte) error) []byte {
	data := p.read(name, decode)
	if data != nil {
		f.sum = sha256.Sum256(data)
	}
	return data
}

// keepFile writes a file, durably when it returns nil and there is a folder.
func (p *persisted) keepFile(f *stateFile, name string, data []byte) error {
	return p.change(name, func() { f.set(data) })
}

// catchUpFile is the part of catchUp for such a file. One of which no earlier content may be found again is written to
// both slots: no key or secret outlives its use there, and if one slot is damaged, the other does not begin again what
// was ended (OPS-3).
func (p *persisted) catchUpFile(f *stateFile, name string, both bool) {
	if !f.due || p.dir.Path == "" {
		return
	}
	p.safe.Store(false)
	err := p.write(name, f.data)
	if err == nil && both {
		err = p.write(name, f.data)
	}
	p.result(name, err)
	if err != nil {
		return
	}
	f.due, f.sum = false, sha256.Sum256(f.data)
	if both {
		f.data = nil // secrets are held no longer than needed
	}
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

// keepOwn writes a file of which its owner must know whether it is written: it holds private keys (CLI-36, CERT-29).
// Without a folder it is not held in memory either.
func (p *persisted) keepOwn(f *stateFile, name string, data []byte) error {
	if p.dir.Path == "" {
		return p.unkept()
	}
	return p.keepFile(f, name, data)
}

// unkept is why nothing is kept without a state folder: there is no key to seal it with, or none is configured.
func (p *persisted) unkept() error {
	if why := p.trouble.Load(); why != nil {
		return *why
	}
	return errNoState
}

// loadOwn returns what keepOwn wrote, nil if nothing ever was. What cannot be read is an error, and stays as it is:
// there may well be a registration or a certificate in it, and the device must not ask for a second one. So it is if
// the folder is missing: its disk may be mounted later.
func (p *persisted) loadOwn(f *stateFile, name string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir.Path == "" {
		if err := p.unkept(); err != errNoState {
			return nil, err
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
