package mint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// keptKey returns a new key, or the one of that name and size in the folder $NMOS_MINT_KEYS, where it also leaves a new
// one: under an emulator it takes many seconds to make a key, and milliseconds to read one that the host has made.
func keptKey(kid string, bits int) *Key {
	dir := os.Getenv("NMOS_MINT_KEYS")
	if dir == "" {
		return GenerateKey(kid, bits)
	}
	path := filepath.Join(dir, fmt.Sprintf("%x-%d.pem", kid, bits))
	text, err := os.ReadFile(path)
	if err == nil {
		var k *Key
		if k, err = ParseKey(kid, text); err == nil {
			return k
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		panic(fmt.Errorf("mint: %s: %w", path, err))
	}
	k := GenerateKey(kid, bits)
	if err := keep(dir, path, k); err != nil {
		panic(fmt.Errorf("mint: %w", err))
	}
	return k
}

// keep writes a key whole, since other processes may read it at any time.
func keep(dir, path string, k *Key) error {
	f, err := os.CreateTemp(dir, "new-")
	if err != nil {
		return err
	}
	_, err = f.Write(k.PEM())
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
