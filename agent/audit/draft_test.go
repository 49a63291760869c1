package audit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nmosauthd/agent/wire"
	"nmosauthd/tinytest/spec"
)

// anyDecision is a decision of few different texts, so that the next one often has the same.
func anyDecision(r *rand.Rand) Decision {
	some := func(texts ...string) []byte {
		if text := texts[r.IntN(len(texts))]; text != "" {
			return []byte(text)
		}
		return nil
	}
	d := Decision{
		Time: r.Int64N(1 << 40), Clock: Clock(r.IntN(3)), UID: r.Int64N(3) - 1, GID: r.Uint32N(2), PID: r.Int32N(2),
		Question: wire.Verb(r.IntN(int(wire.Ping))), Reason: wire.Reason(1 + r.IntN(wire.Reasons-1)),
		Reads: r.IntN(2) == 0, Method: some("GET", "PUT"),
		Path: some("/a", "/ab", "/eyJhbGciOiJSUzUxMiJ9.eyJhIjoxfQ.c2ln", "/"+strings.Repeat("p", 2000), "/a"),
		Kind: some("", "", "", "meter", "b"), Name: some("", "", "in-1"), Access: some("", "read"),
		Resource: some("", "", "a"), Issuer: some("https://a", ""), Subject: some("s", "", "s"),
		Client: some("c", "", "c", "cs"), Claimed: some("", ""), JTI: some("1", "1", "2"),
		KeyID: some("k", "k", "k", strings.Repeat("k", 5000)), Cached: r.IntN(2) == 0,
		Digest: [16]byte{byte(r.IntN(2))},
	}
	switch r.IntN(8) {
	case 0:
		d.Answers = []wire.Answer{{Target: some("/x", "/y"), Allowed: r.IntN(2) == 0}, {Target: some("/z")}}
		d.Targets = 2
	case 1:
		d.Question = wire.Control
	}
	return d
}

// What a Draft makes of one decision after another, alike or not, is what is made of each alone.
func TestDraft(t *testing.T) {
	spec.Rules(t, "OPS-2")
	r := rand.New(rand.NewPCG(1, 2))
	reads, reasons := newRepeats(readPlaces, joinEvery), newRepeats(reasonPlaces, joinEvery)
	var w Draft
	var d Decision
	again := 0
	for n := range 200_000 {
		if r.IntN(3) > 0 { // of the next three often only something changes
			before := d
			d = anyDecision(r)
			if r.IntN(2) == 0 {
				before.Time, before.Reason, before.Question, before.UID = d.Time, d.Reason, d.Question, d.UID
				d = before
			}
		}
		var all [texts][]byte
		if d.texts(&all); w.kept && !d.lists() && w.same(&all) {
			again++
		}
		w.set(&d)
		want := new(Record)
		want.Set(0, &d)
		compare := func(what string, got, want *Record) {
			a, b := *got, *want
			text := bytes.Equal(a.text, b.text)
			if a.text, b.text = nil, nil; !text || !reflect.DeepEqual(a, b) {
				t.Fatalf("decision %d, %s: got %s\n%+v, want %s\n%+v", n, what, got.text, a, want.text, b)
			}
		}
		compare("its record", &w.record, want)
		for range r.IntN(3) {
			by, into := []Joined{ByPath, ByClient, ByReason}[r.IntN(3)], reads
			if by == ByReason {
				into = reasons
			}
			j, hash := w.join(by, into)
			alone := new(Record)
			alone.join(want, by)
			compare(fmt.Sprint("joined ", by), j, alone)
			if h := into.hash(alone, into.hashTexts(alone)); hash != h {
				t.Fatalf("decision %d, joined %d: got the hash %x, want %x", n, by, hash, h)
			}
		}
	}
	if again < 20_000 {
		t.Errorf("only %d decisions had the texts of the one before: the test says little", again)
	}
}

// A connection remembers where its last decision was counted. Whatever came to be counted there since, each decision
// counts for its own client, by its path as long as there are few, and Observe is shown each.
func TestDraftsPlace(t *testing.T) {
	spec.Rules(t, "OPS-2")
	synctest.Test(t, func(t *testing.T) {
		out := newTape()
		o, seen := budgeted(out)
		o.QueueBytes = 1 << 20 // all ask in the same moment
		l := New(o)
		const clients, rounds = 3 * readPlaces, 40
		drafts := make([]Draft, clients)
		want := map[string]uint64{}
		for n := range rounds {
			asking := clients
			if n%4 >= 2 { // the places of the others are given to new ones, or to those that come again
				asking = 8
			}
			for i := range asking {
				who := (i*7 + n/4*50) % clients
				r := readAt(fmt.Sprint("c", who), fmt.Sprint("/", who%5))
				r.Time = time.Now().UnixMicro()
				l.AppendBy(&drafts[who], &r)
				want[fmt.Sprint("c", who, " /", who%5)]++
			}
			time.Sleep(4 * time.Second)
		}
		closeLog(l)
		exact(t, l.Stats())
		counts, byPath := map[any]uint64{}, 0
		for _, m := range lines(t, out.String()) {
			count := uint64(1)
			if c, ok := m["count"].(float64); ok {
				count = uint64(c)
			}
			if counts[m["client"]] += count; m["joined"] == "path" {
				byPath++
			}
		}
		for who, n := range want {
			client, _, _ := strings.Cut(who, " ")
			if counts[client] != n || seen[who] != n {
				t.Errorf("%s: got %d decisions recorded and %d shown, want %d of each",
					client, counts[client], seen[who], n)
			}
		}
		if byPath == 0 {
			t.Error("got no record joined by path, want some")
		}
	})
}
