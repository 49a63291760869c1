package agent_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"nmosauthd/agent"
	"nmosauthd/agent/audit"
	"nmosauthd/tinytest/mint"
)

// The rows of one run belong together: cold answers beside the RSA check that they cannot do without and go-jose's.
// Compare within a run, not between machines. "make bench" (tinytest/cmd/bench) has the sockets, and lets what it
// compares take turns.

func BenchmarkColdFloorRSA(b *testing.B) {
	tok := distinct(0)
	dot := strings.LastIndexByte(tok, '.')
	sig, err := base64.RawURLEncoding.DecodeString(tok[dot+1:])
	if err != nil {
		b.Fatal(err)
	}
	pub := &mint.New(mint.Options{}).Key.Private.PublicKey
	signed := []byte(tok[:dot])
	b.ReportAllocs()
	for b.Loop() {
		digest := sha512.Sum512(signed)
		if rsa.VerifyPKCS1v15(pub, crypto.SHA512, digest[:], sig) != nil {
			b.Fatal("not verified")
		}
	}
}

func BenchmarkColdGoJose(b *testing.B) {
	pub := &mint.New(mint.Options{}).Key.Private.PublicKey
	tok := distinct(0)
	b.ReportAllocs()
	for b.Loop() {
		jws, err := jose.ParseSignedCompact(tok, []jose.SignatureAlgorithm{jose.RS512})
		if err != nil {
			b.Fatal(err)
		}
		if _, err = jws.Verify(pub); err != nil {
			b.Fatal(err)
		}
	}
}

// benchmarkPackets answers packets within the process, in turn.
func benchmarkPackets(b *testing.B, want string, packets [][]byte) {
	d := newDevice(b, nil, mint.New(mint.Options{}).Key.JWK())
	d.setInventory(b, manySenders())
	s := d.NewSession()
	var reply []byte
	for n := range 2 * len(packets) {
		reply = s.Packet(reply[:0], packets[n%len(packets)], 32<<10)
	}
	if a := parseAnswer(b, reply); a.reason() != want {
		b.Fatalf("answered %v", a)
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		reply = s.Packet(reply[:0], packets[n%len(packets)], 32<<10)
		n++
	}
}

func questions(n int, tok func(int) string) [][]byte {
	packets := make([][]byte, n)
	for i := range packets {
		packets[i] = []byte(get(senders, tok(i)))
	}
	return packets
}

func BenchmarkColdAllow(b *testing.B) { benchmarkPackets(b, "ok", questions(cycle, distinct)) }
func BenchmarkWarmAllow(b *testing.B) { benchmarkPackets(b, "ok", questions(1, distinct)) }
func BenchmarkWarm32(b *testing.B)    { benchmarkPackets(b, "ok", questions(32, distinct)) }

// The same answer by the device's own name, out of as many resources as there can be.
func BenchmarkWarmResource(b *testing.B) {
	packet := "resource 1\nkind=sender\nname=out-16383\naccess=read\nauthorization=Bearer " + distinct(0) + "\n"
	benchmarkPackets(b, "ok", [][]byte{[]byte(packet)})
}

// A question about one command beside decide by the same kind of token, and about as many as fit beside the longest: at
// most 1.1 times and 30 times as much in instructions (TestCommandsCost).
func BenchmarkControlDecide(b *testing.B) {
	benchmarkPackets(b, "ok", [][]byte{[]byte(controlDecide())})
}
func BenchmarkControlOne(b *testing.B) {
	benchmarkPackets(b, "ok", [][]byte{[]byte(commands(1, 9, "all"))})
}
func BenchmarkControl250(b *testing.B) {
	benchmarkPackets(b, "ok", [][]byte{[]byte(commands(250, 9, "all"))})
}

// controlDecide is a question about one request by a token with ten specifiers, as commands has it, the last of which
// grants it.
func controlDecide() string {
	specifiers := make([]string, 10)
	for i := range specifiers {
		specifiers[i] = fmt.Sprintf("root.block-%d.*", i)
	}
	specifiers[9] = "single/receivers/*"
	tok := tokenOf(map[string]claim{"connection": {specifiers, specifiers[:9], ""}}, "")
	return get("/x-nmos/connection/v1.1/single/receivers/6f3a0000-0000-4000-8000-000000000001/active", tok)
}

func BenchmarkNoToken(b *testing.B) {
	benchmarkPackets(b, "no-token", [][]byte{[]byte("decide 1\nmethod=GET\ntarget=" + senders + "\n")})
}
func BenchmarkWarmForged(b *testing.B) {
	benchmarkPackets(b, "signature", questions(1, func(n int) string { return forged(distinct(n)) }))
}

// benchmarkRecorded answers one question as a caller's, whose decisions are recorded, with this many who watch them.
func benchmarkRecorded(b *testing.B, watchers int, rates audit.Rates) {
	d := newDevice(b, nil, mint.New(mint.Options{}).Key.JWK())
	log := audit.New(audit.Options{Sinks: []audit.Sink{audit.NewWriter(io.Discard)}, QueueBytes: 64 << 10,
		RingBytes: 64 << 10, Rates: rates})
	defer log.Close(b.Context())
	d.Audit(log)
	for range watchers {
		w := log.Watch(10, nil)
		defer w.Close()
		go func() {
			for ok := true; ok; {
				_, ok = w.Next(b.Context())
			}
		}()
	}
	s := d.NewSessionOf(agent.Peer{UID: 1000, PID: 1000})
	packet := []byte(get(senders, distinct(0)))
	var reply []byte
	b.ReportAllocs()
	for b.Loop() {
		reply = s.Packet(reply[:0], packet, 32<<10)
	}
	if a := parseAnswer(b, reply); a.reason() != "ok" {
		b.Fatalf("answered %v", a)
	}
}

// Each within the budget.
func BenchmarkWarmRecorded(b *testing.B) {
	benchmarkRecorded(b, 0, audit.Rates{Denials: 1e5, Allows: 1e9})
}

// Nearly all beyond it.
func BenchmarkWarmJoined(b *testing.B) { benchmarkRecorded(b, 0, audit.Rates{Denials: 2, Allows: 20}) }

func BenchmarkWarmWatched(b *testing.B) { benchmarkRecorded(b, 1, audit.Rates{}) }
