package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/agent/inventory"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/spec"
)

// lots is an inventory of n resources of every kind: such as NMOS has, of the maker's own paths, public ones, and
// objects of the device model.
func lots(n int) string {
	var b strings.Builder
	for i := range n {
		id := fmt.Sprintf("6f1e%04x-0000-4000-8000-%012d", i%65536, i)
		switch i % 6 {
		case 0:
			fmt.Fprintf(&b, `,{"kind": "sender", "name": "out %d", "id": %q}`, i, id)
		case 1:
			fmt.Fprintf(&b, `,{"kind": "receiver", "name": "in-%d", "id": %q}`, i, id)
		case 2:
			fmt.Fprintf(&b, `,{"kind": "meter", "name": %d, "id": %q}`, i, id)
		case 3:
			fmt.Fprintf(&b, `,{"kind": "gain", "name": "g=%d", "control": "root.block-%d.gain"}`, i, i)
		case 4:
			fmt.Fprintf(&b, `,{"kind": "lamp", "name": "l-%d", "read": "/lamps/%d", "write": "/faders/%d"}`, i, i, i)
		case 5:
			fmt.Fprintf(&b, `,{"kind": "door", "name": "d-%d", "write": "/faders/door-%d"}`, i, i)
		}
	}
	return `{"resources": [` + b.String()[1:] + `]}`
}

// listMay asks for all that a token permits, reply by reply, as "read-write kind name", and paths with the kind "path".
func (d *device) listMay(t testing.TB, tok string) (all []string, replies int) {
	t.Helper()
	s := d.NewSession()
	for after := ""; ; {
		packet := "may 1\nid=7\nauthorization=Bearer " + tok + "\n" + after
		reply := string(s.Packet(nil, []byte(packet), 32<<10))
		replies++
		if !strings.HasPrefix(reply, "allow 200\nid=7\nreason=ok\nclient-id=") || len(reply) > 32<<10 {
			t.Fatalf("got %d bytes: %.200s", len(reply), reply)
		}
		kind := ""
		after = ""
		for line := range strings.Lines(reply) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			switch name {
			case "kind":
				kind = value
			case "read", "write", "read-write":
				all = append(all, name+" "+kind+" "+value)
			case "path-read", "path-write", "path-read-write":
				all = append(all, name[len("path-"):]+" path "+value)
			case "more":
				after = "after=" + value + "\n"
			}
		}
		if after == "" {
			return all, replies
		}
	}
}

// tokensForMay are tokens that permit nothing, all, and parts of the device.
func tokensForMay() map[string]string {
	return map[string]string{
		"nothing": tokenOf(map[string]claim{"system": {nil, nil, ""}}, ""),
		"all": tokenOf(map[string]claim{"connection": {[]string{"*"}, []string{"*"}, ""}, "events": {[]string{"*"},
			nil, ""}, "control": {[]string{"*"}, []string{"*"}, ""}, "console": {[]string{"*"}, []string{"*"}, ""},
			"configuration": {[]string{"*"}, []string{"*"}, ""}, "node": {[]string{"*"}, []string{"*"}, ""}}, "query"),
		"parts": tokenOf(map[string]claim{"connection": {[]string{"single/senders/*"}, []string{"*0/staged"}, ""},
			"events":  {[]string{"sources/6f1e00*"}, nil, ""},
			"control": {[]string{"root.block-1*"}, []string{"root.block-*3.gain"}, ""},
			"console": {nil, []string{"*7"}, ""}}, ""),
	}
}

// What may lists is what decide and resource allow, asked one by one, about every resource and known path, over 10,000
// resources: nothing more, nothing less, in the inventory's order (ANS-8).
func TestMay(t *testing.T) {
	spec.Rules(t, "ANS-8")
	const n = 10_000
	paths := []string{
		"/x-nmos/node", "/x-nmos/connection", "/x-nmos/channelmapping", "/x-nmos/events", "/x-nmos/streamcompatibility",
		"/x-nmos/query", "/x-nmos/registration", "/x-nmos/system", "/x-nmos/ncp", "/x-nmos/ncp/v1.0",
		"/x-nmos/configuration", "/x-nmos/configuration/v1.0/rolePaths", "/lamps", "/faders", "/slot/2",
	}
	table, err := inventory.Parse([]byte(lots(n)))
	if err != nil {
		t.Fatal(err)
	}
	configure := func(c *config.Config) { vendorPaths(c); c.Paths.Control = []string{"/slot/2"} }
	d := newDevice(t, configure, mint.New(mint.Options{}).Key.JWK())
	d.SetInventory(table)
	sizes := map[string]int{}
	for name, tok := range tokensForMay() {
		authorization := "authorization=Bearer " + tok + "\n"
		s := d.NewSession()
		var buf []byte
		allowed := func(packet string) bool {
			buf = s.Packet(buf[:0], []byte(packet+authorization), 32<<10)
			return strings.HasPrefix(string(buf), "allow 200\n")
		}
		var want []string
		add := func(reads, writes bool, what string) {
			switch {
			case reads && writes:
				want = append(want, "read-write "+what)
			case reads:
				want = append(want, "read "+what)
			case writes:
				want = append(want, "write "+what)
			}
		}
		for _, path := range paths {
			add(allowed("decide 1\nmethod=GET\ntarget="+path+"\n"),
				allowed("decide 1\nmethod=PUT\ntarget="+path+"\n"), "path "+path)
		}
		for i := range n {
			kind, name, _, _ := table.At(i)
			ask := "resource 1\nkind=" + kind + "\nname=" + name + "\naccess="
			add(allowed(ask+"read\n"), allowed(ask+"write\n"), kind+" "+name)
		}
		got, replies := d.listMay(t, tok)
		if !slices.Equal(got, want) {
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Fatalf("%s, line %d: got %q, want %q", name, i, got[i], want[i])
				}
			}
			t.Errorf("%s: got %d lines, want %d", name, len(got), len(want))
		}
		if sizes[name] = len(got); replies < n/1024 {
			t.Errorf("%s: %d replies, want no more than 1024 resources looked at for each", name, replies)
		}
	}
	// A lamp may be read without a token, and so does whoever has one.
	if sizes["nothing"] < n/6 || sizes["parts"] <= sizes["nothing"] || sizes["all"] < n {
		t.Errorf("got %v, want few, some and all of %d", sizes, n)
	}
}

// It is about the token, whatever the mode and the stages; without a good one it says why, and no name (PATH-11,
// ANS-8).
func TestMayNeedsAGoodToken(t *testing.T) {
	spec.Rules(t, "PATH-11", "ANS-8")
	for _, mode := range []config.Mode{config.ModeEnforce, config.ModeObserve, config.ModeOff} {
		d := staged(t, mode, map[string]config.Stage{"connection": config.StageNone, "other": config.StageNone})
		for packet, want := range map[string]string{
			"may 1\n": "deny 401 no-token",
			"may 1\nauthorization=Bearer " + forged(tokenOf(nil, "")) +
				"\n": "deny 401 signature", "may 1\nauthorization=Bearer " + awaited() + "\n": "deny 503 keys-pending",
			"may 1\nauthorization=Bearer " + tokenOf(nil, "") + "\nafter=x\n": "error 400 packet-value", "may 1\n" +
				"authorization=Bearer " + tokenOf(nil, "") + "\nafter=1.-1\n": "error 400 packet-value",
			"may 1\nauthorization=Bearer " + tokenOf(nil, "") +
				"\nafter=1.4294967296\n": "error 400 packet-value", "may 1\nauthorization=Bearer " + tokenOf(nil, "") +
				"\nafter=99.5\n": "error 400 packet-value",
			"may 1\nauthorization=Bearer " + tokenOf(nil, "") + "\nafter=" + strings.Repeat("1", 65) +
				"\n": "error 400 packet-value", "may 1\nmethod=GET\n": "error 400 packet-name",
			"may 1\nauthorization=Bearer " + tokenOf(nil, "") + "\nafter=1.2147483647\n": "allow 200 ok",
		} {
			got := d.ask(t, packet)
			if got.first+" "+got.reason() != want {
				t.Errorf("%s, %q: got %v, want %s", mode, packet, got, want)
			}
			if strings.Contains(fmt.Sprint(got), "out-1") {
				t.Errorf("%s, %q: got %v, which names a resource", mode, packet, got)
			}
			if want == "error 400 packet-value" && got.lines["detail"] != "after" {
				t.Errorf("%s, %q: got %v, want detail=after", mode, packet, got)
			}
		}
	}
	// A list that was begun with another inventory does not go on with this one.
	d := staged(t, config.ModeEnforce, nil)
	d.setInventory(t, lots(5000))
	tok := tokensForMay()["all"]
	_, more, _ := strings.Cut(
		string(d.NewSession().Packet(nil, []byte("may 1\nauthorization=Bearer "+tok+"\n"), 32<<10)), "\nmore=")
	more, _, _ = strings.Cut(more, "\n")
	d.setInventory(t, lots(5000))
	if got := d.ask(t, "may 1\nauthorization=Bearer "+tok+"\nafter="+more+"\n"); more == "" ||
		got.reason() != "packet-value" {
		t.Errorf("after %q, with another inventory: got %v, want packet-value", more, got)
	}
}

// The paths that the configuration names are bounded as resources are: a reply holds 24 KiB of them and a line more,
// the next goes on with the rest, and each is listed once (ANS-8).
func TestMayWithManyLongPaths(t *testing.T) {
	spec.Rules(t, "ANS-8")
	var want []string
	d := newDevice(t, func(c *config.Config) {
		for i := range 100 {
			c.Paths.Public = append(c.Paths.Public, fmt.Sprintf("/%s/%d", strings.Repeat("a", 1000), i))
			want = append(want, "read path "+c.Paths.Public[i])
		}
	}, mint.New(mint.Options{}).Key.JWK())
	d.setInventory(t, deviceInventory)
	got, replies := d.listMay(t, tokensForMay()["nothing"])
	got = slices.DeleteFunc(got, func(s string) bool { return !strings.HasPrefix(s, "read path /aaa") })
	if !slices.Equal(got, want) || replies < 4 {
		t.Errorf("got %d paths in %d replies, want %d in 4 or more", len(got), replies, len(want))
	}
}

// A list is linear in what is looked at: the first reply and one of the last cost the same.
func BenchmarkMay(b *testing.B) {
	d := newDevice(b, vendorPaths, mint.New(mint.Options{}).Key.JWK())
	d.setInventory(b, lots(10_000))
	for name, tok := range tokensForMay() {
		b.Run(name, func(b *testing.B) {
			var resources int
			for b.Loop() {
				_, replies := d.listMay(b, tok)
				resources += 10_000
				_ = replies
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(resources), "ns/resource")
		})
	}
}
