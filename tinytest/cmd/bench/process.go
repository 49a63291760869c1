//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/load"
	"nmosauthd/tinytest/mint"
)

// withinProcess compares answers from packet to packet with what they cannot do without.
func (b *bench) withinProcess() error {
	device, stop, err := b.device()
	if err != nil {
		return err
	}
	defer stop()
	recorded, stop, err := b.device()
	if err != nil {
		return err
	}
	defer stop()
	c := config.Default()
	log := audit.New(audit.Options{ // as shipped
		Sinks: []audit.Sink{audit.NewWriter(io.Discard)}, QueueBytes: c.Audit.QueueBytes, Repeat: c.Audit.Repeat,
		Rates: audit.Rates{Denials: c.Audit.DenyRate, Allows: c.Audit.AllowRate}, RingBytes: c.Audit.RingBytes,
	})
	defer log.Close(context.Background())
	recorded.Audit(log)

	floor, err := b.floor()
	if err != nil {
		return err
	}
	var wrong error
	answers := func(s *agent.Session, tokens []string) func() {
		packets := make([][]byte, len(tokens))
		for i, q := range all(tokens, question) {
			packets[i] = []byte(q)
		}
		var reply []byte
		n := 0
		return func() {
			reply = s.Packet(reply[:0], packets[n%len(packets)], 32<<10)
			if n++; wrong == nil && !bytes.HasPrefix(reply, []byte("allow 200\n")) {
				wrong = fmt.Errorf("answered %q", reply)
			}
		}
	}
	caller := agent.Peer{UID: 1000, PID: 1000}
	load.PrintCosts(os.Stdout, "within the process", load.Measure(b.rounds, b.each/2,
		load.Work{Name: "crypto/rsa: the signature alone", Do: floor},
		load.Work{Name: "new token", Do: answers(device.NewSession(), b.tokens)},
		load.Work{Name: "known token", Do: answers(device.NewSession(), b.tokens[:1])},
		load.Work{Name: "known token, with its audit record", Do: answers(recorded.NewSessionOf(caller), b.tokens[:1])},
	))
	return wrong
}

// floor is crypto/rsa's verification of one of the tokens.
func (b *bench) floor() (func(), error) {
	signed := b.tokens[0]
	dot := strings.LastIndexByte(signed, '.')
	sig, err := base64.RawURLEncoding.DecodeString(signed[dot+1:])
	text, public := []byte(signed[:dot]), &b.server.Signer().Private.PublicKey
	verify := func() error {
		digest := sha512.Sum512(text)
		return rsa.VerifyPKCS1v15(public, crypto.SHA512, digest[:], sig)
	}
	return func() { verify() }, errors.Join(err, verify())
}

// device is an agent that holds the server's key.
func (b *bench) device() (a *agent.Agent, stop func(), err error) {
	c := config.Default()
	c.Device.Names = []string{mint.DefaultDevice}
	c.Authorization.Servers = []string{b.server.Issuer()}
	document := mint.JWKSOf(b.server.Signer().JWK())
	store := keys.NewStore(func(context.Context, string) ([]byte, error) { return document, nil }, func(keys.Event) {})
	began := time.Now()
	a = agent.New(c, c.Device.Names, store, func() agent.Time {
		now := time.Now()
		return agent.Time{Now: now, Trusted: true, Run: now.Sub(began)}
	})
	store.Configure(agent.KeyPolicy(c))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		store.Run(ctx)
		close(done)
	}()
	stop = func() { cancel(); <-done }
	for end := time.Now().Add(patience); store.Set().Generation == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			stop()
			return nil, nil, errors.New("the device has no keys")
		}
	}
	return a, stop, nil
}
