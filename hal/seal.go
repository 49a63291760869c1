package hal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
)

// SealOverhead is how many bytes a sealed file is longer than what is in it.
const SealOverhead = len(sealed) + 12 + 16 // the nonce and the tag of GCM

// KeySize is the length of a device's key in bytes.
const KeySize = 32

// sealed begins every sealed file, so that one which is not is called by its name. The digit is the version of the
// format.
const sealed = "nmos-sealed-1\n"

// Sealer makes files that only this device can have written. The keys that the daemon keeps decide who is let in, so
// flash that was swapped, or written by another program, must not be believed.
//
// An older file of the same device opens as well: with it, keys that the authorization server has withdrawn since could
// come back until the daemon has reached the server.
type Sealer struct{ aead cipher.AEAD }

// NewSealer returns the sealer of the device with this key of KeySize bytes. A key that was never programmed, all bytes
// equal, is an error: every such device would have it.
//
// The files are sealed with AES-256-GCM under a key that is derived by HKDF-SHA256 (RFC 5869), so the device's key may
// also serve other ends.
func NewSealer(key []byte) (*Sealer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("hal: the device's key has %d bytes, not %d", len(key), KeySize)
	}
	if bytes.Count(key, key[:1]) == KeySize {
		return nil, fmt.Errorf("hal: the device's key was never programmed: every byte of it is %#02x", key[0])
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "nmos-authd state files 1", KeySize)
	if err != nil {
		return nil, fmt.Errorf("hal: deriving from the device's key: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, fmt.Errorf("hal: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("hal: %w", err)
	}
	return &Sealer{aead}, nil
}

// Seal returns what to write to the file of this name in place of plain. The name binds it: Open refuses it under any
// other. It is SealOverhead bytes longer than plain, and different each time.
func (s *Sealer) Seal(name string, plain []byte) ([]byte, error) {
	if uint64(len(plain)) > 1<<30 { // far below what GCM panics at, and far above any file of the daemon
		return nil, fmt.Errorf("hal: sealing %s: %d bytes are too many", name, len(plain))
	}
	return s.aead.Seal([]byte(sealed), nil, plain, []byte(sealed+name)), nil
}

// Open returns what was sealed under this name. Every error names the file and shows nothing of what is in it.
func (s *Sealer) Open(name string, file []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(file, []byte(sealed))
	if !ok {
		return nil, fmt.Errorf(
			"hal: %s is not sealed, so anyone may have written it: delete it, and the daemon creates it again", name)
	}
	plain, err := s.aead.Open(nil, nil, rest, []byte(sealed+name))
	if err != nil {
		return nil, fmt.Errorf("hal: %s: %w", name, errForeign)
	}
	return plain, nil
}

var errForeign = errors.New("sealed on another device or for another file, or changed since")
