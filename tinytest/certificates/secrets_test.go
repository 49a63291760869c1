package certificates_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// secretForms are the forms in which a private key of a PEM file could stand in a text, in parts: its secret numbers in
// base64, as bytes, in hexadecimal and decimal.
func secretForms(text []byte) (all []string, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PRIVATE KEY" {
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		var numbers []*big.Int
		switch key := key.(type) {
		case *ecdsa.PrivateKey:
			d, err := key.Bytes()
			if err != nil {
				return nil, err
			}
			numbers = []*big.Int{new(big.Int).SetBytes(d)}
		case *rsa.PrivateKey:
			numbers = append(append(numbers, key.D), key.Primes...)
		default:
			return nil, errors.New("a key of another type")
		}
		for _, n := range numbers {
			for shift := range 3 { // base64 of something longer, wherever the number begins in it
				padded := append(make([]byte, shift), n.Bytes()...)
				coded := base64.RawStdEncoding.EncodeToString(padded)
				all = append(all, coded[4:20], coded[20:36]) // a line of PEM may end in one
			}
			all = append(all, string(n.Bytes()[:20]), hex.EncodeToString(n.Bytes())[:20], n.String()[:20])
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no private key")
	}
	return all, nil
}

// get asks the admin socket.
func (d *device) get(path string) (string, error) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", d.dir.Admin())
		},
		DisableKeepAlives: true,
	}}
	resp, err := client.Get("http://admin" + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(path + ": " + resp.Status)
	}
	return string(text), err
}

// quit has the daemon crash with its stacks.
func (d *device) quit() {
	d.t.Helper()
	if err := d.Signal(syscall.SIGQUIT); err != nil {
		d.t.Fatal(err)
	}
	select {
	case <-d.Ended():
	case <-time.After(patience):
		d.t.Fatal("the daemon does not end")
	}
}

// pairIn is pair for another file.
func (d *device) pairIn(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, err
	}
	return pair.Leaf, d.check(pair)
}
