package platform

import (
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"nmosauthd/tinytest/spec"
)

// chronyd 4.3 gave this answer, synchronised to a server, at 2026-11-29 14:09:34.125007574 UTC.
const chronyAnswer = "" +
	"060200000021000500000000000000000b8733ed00000000000000007f0000017f000001000000000000000000000000" +
	"0001000000040000000000006b0c321e077376d6dd337cb7dd5ac2d9dcc2a07ef9483359f3113a59068ea8a1e0992d0de0a9795e0480575c"

// fakeChrony answers on an address of this machine as change makes the answer, given the question; nil: with silence.
func fakeChrony(t *testing.T, change func(question, answer []byte) []byte) (address string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		var question [1024]byte
		for {
			n, from, err := conn.ReadFrom(question[:])
			if err != nil {
				return
			}
			answer, _ := hex.DecodeString(chronyAnswer)
			copy(answer[16:20], question[8:12])
			if answer = change(question[:n], answer); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func TestChronyVouches(t *testing.T) {
	spec.Rules(t, "OPS-1")
	set := func(at int, bytes ...byte) func(_, answer []byte) []byte {
		return func(_, answer []byte) []byte {
			copy(answer[at:], bytes)
			return answer
		}
	}
	for _, c := range []struct {
		name      string
		change    func(question, answer []byte) []byte
		there, ok bool
		text      string
	}{
		{"synchronised", set(0), true, true, "chrony says so"},
		{"a leap second is coming", set(trackingLeap, 0, 1), true, true, "chrony says so"},
		{"not synchronised", set(trackingLeap, 0, 3), true, false, "not synchronised"},
		{"no reference", set(trackingRefID, 0, 0, 0, 0), true, false, "not synchronised"},
		{"its own clock alone", set(trackingRefID, 0x7f, 0x7f, 1, 1), true, false, "no source but this clock"},
		{"another version", set(0, 5), false, false, ""},
		{"a question", set(1, 1), false, false, ""},
		{"an answer to another command", set(4, 0, 34), false, false, ""},
		{"another format", set(6, 0, 6), false, false, ""},
		{"refused", set(8, 0, 2), false, false, ""},
		{"an answer to another question", func(_, a []byte) []byte { a[16] ^= 1; return a }, false, false, ""},
		{"cut off", func(_, a []byte) []byte { return a[:len(a)-1] }, false, false, ""},
		{"longer", func(_, a []byte) []byte { return append(a, 0) }, false, false, ""},
		{"empty", func(_, a []byte) []byte { return a[:0] }, false, false, ""},
		{"the question", func(q, _ []byte) []byte { return q }, false, false, ""},
		{"silence", func(_, _ []byte) []byte { return nil }, false, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, there := chronyVouches(fakeChrony(t, c.change))
			if there != c.there || v.ok != c.ok || !strings.Contains(v.text, c.text) {
				t.Errorf("got %+v, %v; want %q, %v, %v", v, there, c.text, c.ok, c.there)
			}
			if want := time.Date(2026, 11, 29, 14, 9, 34, 125007574, time.UTC); there && !v.at.Equal(want) {
				t.Errorf("got the time %v, want %v", v.at.UTC(), want)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if v, there := chronyVouches(conn.LocalAddr().String()); there {
			t.Errorf("got %+v, want nothing", v)
		}
	})
}
