package models

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"nmosauthd/hal"
)

// port says what a model finds in its tree, testdata/NAME; the inventory is in testdata/NAME.inventory.
type port struct {
	tree     string
	model    hal.Model
	identity hal.Identity
	places   hal.Places // below the root
	key      string     // hexadecimal
	shows    []string   // what was written to each file of an LED, from Starting to Stopping
	// Without these files there is no inventory, no key, no indicator.
	maker                                                string // serial number in the maker's certificate
	inventoryNeeds, keyNeeds, makerNeeds, indicatorNeeds []string
}

var ports = []port{
	{
		tree: "sender", model: exampleSender,
		identity: hal.Identity{Maker: "Example Audio", Product: "SB-8 Stage Box", Serial: "SB8-00042",
			Firmware: "1.4.2", Names: []string{"stage-left", "stage-left.studio.example.com", "stage-left.local"}},
		places:         hal.Places{Reads: []string{senderEEPROM, "etc/hostname", "etc/resolv.conf"}},
		shows:          []string{"status/brightness 0 0 255 0 0", "status/trigger timer heartbeat"},
		inventoryNeeds: []string{senderEEPROM},
		indicatorNeeds: []string{"sys/class/leds/status/brightness", "sys/class/leds/status/trigger"},
	},
	{
		tree: "receiver", model: exampleReceiver,
		identity: hal.Identity{Maker: "Example Audio", Product: "PL-12", Serial: "PL12-00317", Firmware: "5.0.4",
			Names: []string{"speaker-3", "speaker-3.studio.example.com", "speaker-3.local", "pl12-00317.local"}},
		places: hal.Places{State: "data/nmos-authd",
			Reads: []string{"etc/product.conf", "proc/asound", "data/nmos", "etc/hostname", "etc/resolv.conf"}},
		key:            "7e2149cc575776f989aaa765dd2f8fe4ae7f0d60cb319cb911feaad4da90c83c",
		inventoryNeeds: []string{"proc/asound/cards", "proc/asound/pcm", receiverIDs},
		keyNeeds:       []string{receiverOTP},
	},
	{
		tree: "meter", model: exampleMeter,
		identity: hal.Identity{Maker: "Example Audio", Product: "LM-2", Serial: "LM2-00731", Firmware: "24.10.2",
			Names: []string{"meter-1", "meter-1.local"}},
		places: hal.Places{Stateless: true,
			Reads: []string{meterProduct, meterCommand, "etc/hostname", "etc/resolv.conf"}},
		shows: []string{"status-green/brightness 0 0 255 0 0", "status-green/trigger timer",
			"status-red/brightness 0 0 0 255 0", "status-red/trigger"},
		inventoryNeeds: []string{meterProduct, meterCommand},
		indicatorNeeds: []string{"sys/class/leds/status-green/brightness", "sys/class/leds/status-green/trigger",
			"sys/class/leds/status-red/brightness", "sys/class/leds/status-red/trigger"},
	},
	{
		tree: "console", model: exampleConsole,
		identity: hal.Identity{Maker: "Example Audio", Product: "Console 96", Serial: "C96-00008", Firmware: "6.1.0",
			Names: []string{"foh", "foh.stage.example.com", "foh.example.com", "foh.local"}},
		places:         hal.Places{Reads: []string{"var/lib/console", "etc/hostname", "etc/resolv.conf"}},
		key:            "f51ba02f49a4fee718b4c7f541c38ba7d6ccde76834aeb6286b07462ab82c1f2",
		inventoryNeeds: []string{consoleChannels},
		keyNeeds:       []string{consoleKey},
		maker:          "C96-00008",
		makerNeeds:     []string{consoleMaker},
	},
	{
		tree: "generic", model: generic,
		identity: hal.Identity{Maker: "Example Boards", Product: "IPC 4", Serial: "02:00:5e:10:00:02", Firmware: "13",
			Names: []string{"rack-7", "rack-7.studio.example.com", "rack-7.local"}},
		places: hal.Places{Reads: []string{"etc/hostname", "etc/resolv.conf"}},
	},
}

// all is the table as a maker would have it who built every example.
func all() []hal.Model { return append(examples(), table...) }

// copyTree returns the root of a copy of testdata/NAME, which a test may damage.
func copyTree(t *testing.T, tree string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(filepath.Join("testdata", tree))); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestEveryModelHasATree(t *testing.T) {
	for _, m := range all() {
		if !slices.ContainsFunc(ports, func(p port) bool { return p.model.Name == m.Name }) {
			t.Errorf("%s is tested nowhere: add a tree and a row to ports", m.Name)
		}
		if m.Is == nil || m.Identify == nil {
			t.Errorf("%s: every model has Is and Identify", m.Name)
		}
	}
	if last := table[len(table)-1]; last.Name != "generic" {
		t.Errorf("%s is the last row, and generic is never asked", last.Name)
	}
}

func TestDetectTrees(t *testing.T) {
	for _, p := range ports {
		root := filepath.Join("testdata", p.tree)
		if m, err := detect(all(), root); err != nil || m.Name != p.model.Name {
			t.Errorf("%s was taken for %q, %v", p.tree, m.Name, err)
		}
		for _, m := range all() {
			if m.Name != "generic" && m.Is(root) != (m.Name == p.model.Name) {
				t.Errorf("%s says of the tree %s: %v", m.Name, p.tree, m.Is(root))
			}
		}
	}
}

func TestPorts(t *testing.T) {
	for _, p := range ports {
		t.Run(p.tree, func(t *testing.T) {
			root := copyTree(t, p.tree)
			if id, err := p.model.Identify(root); err != nil || !reflect.DeepEqual(id, p.identity) {
				t.Errorf("identity: got  %+v, %v\nwant %+v", id, err, p.identity)
			}
			p.checkInventory(t, root)
			want := p.places
			want.Reads = nil
			for _, name := range p.places.Reads {
				want.Reads = append(want.Reads, filepath.Join(root, name))
			}
			if want.State != "" {
				want.State = filepath.Join(root, want.State)
			}
			if got := p.model.Places(root); !reflect.DeepEqual(got, want) {
				t.Errorf("places: got  %+v\nwant %+v", got, want)
			}
			p.checkKey(t, root)
			p.checkMaker(t, root)
			p.checkIndicator(t, root)
		})
	}
}

// checkInventory compares the whole inventory with the listing.
func (p port) checkInventory(t *testing.T, root string) {
	t.Helper()
	if p.model.Inventory == nil {
		if len(p.inventoryNeeds) > 0 {
			t.Error("it has no inventory")
		}
		return
	}
	want, err := os.ReadFile(filepath.Join("testdata", p.tree+".inventory"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := p.model.Inventory(root)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	dash := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	for _, r := range all {
		fmt.Fprintln(&got, r.Kind, r.Name, dash(r.ID), dash(r.Read), dash(r.Write))
	}
	if got.String() != string(want) {
		t.Errorf("inventory: got\n%s\nwant\n%s", got.String(), want)
	}
}

func (p port) checkKey(t *testing.T, root string) {
	t.Helper()
	if p.model.Key == nil {
		if p.key != "" {
			t.Error("it has no key")
		}
		return
	}
	key, err := p.model.Key(root)
	if err != nil || hex.EncodeToString(key) != p.key {
		t.Errorf("key %x, %v", key, err)
	}
	if _, err := hal.NewSealer(key); err != nil {
		t.Errorf("nothing can be sealed with it: %v", err)
	}
}

func (p port) checkMaker(t *testing.T, root string) {
	t.Helper()
	if p.model.Maker == nil {
		return
	}
	if pair, err := p.model.Maker(root); err != nil || pair.Leaf.Subject.SerialNumber != p.maker ||
		pair.PrivateKey == nil {
		t.Errorf("the maker's certificate: %v", err)
	}
}

// checkIndicator looks at what is written in the course of a life, and after it.
func (p port) checkIndicator(t *testing.T, root string) {
	t.Helper()
	if p.model.Indicator == nil {
		if p.shows != nil {
			t.Error("it has no indicator")
		}
		return
	}
	i, err := p.model.Indicator(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []hal.State{hal.Starting, hal.Starting, hal.Serving, hal.Serving,
		hal.Degraded, hal.Stopping, hal.Stopping} {
		i.Show(s)
	}
	i.Show(-1) // no such state
	i.Show(hal.Stopping + 1)
	i.Close()
	i.Show(hal.Serving) // reaches nothing any more
	for _, shows := range p.shows {
		file, want, _ := strings.Cut(shows, " ")
		text, err := os.ReadFile(filepath.Join(root, "sys/class/leds", file))
		if got := strings.Join(strings.Fields(string(text)), " "); err != nil || got != want {
			t.Errorf("to %s was written %q, %v; want %q", file, got, err, want)
		}
	}
}

// A kernel without the trigger, or an LED that is gone, must not leave the light at Serving.
func TestLightStaysDark(t *testing.T) {
	root := copyTree(t, "sender")
	i, err := exampleSender.Indicator(root)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	i.Show(hal.Serving)
	i.(*lights).leds[0].trigger.Close() // writing to it fails from here
	i.Show(hal.Degraded)
	text, err := os.ReadFile(filepath.Join(root, "sys/class/leds/status/brightness"))
	if err != nil || string(text) != "0\n255\n0\n" {
		t.Errorf("got %q, error %v", text, err)
	}
}

// An id that is derived must be the same forever: it is what NMOS knows the sender by.
func TestUUID5(t *testing.T) {
	const dns = "6ba7b810-9dad-11d1-80b4-00c04fd430c8" // RFC 9562, appendix A.4
	if got := uuid5(dns, "www.example.com"); got != "2ed6657d-e927-568b-95e1-2665a8aea6a2" {
		t.Errorf("got %s, want that of RFC 9562", got)
	}
	if !isUUID(exampleSpace) {
		t.Errorf("got %s, want a UUID", exampleSpace)
	}
	for s, want := range map[string]bool{
		dns:                      true,
		"":                       false,
		strings.ToUpper(dns):     false,
		dns[:35]:                 false,
		dns + "0":                false,
		"{" + dns[1:35] + "}":    false,
		dns[:8] + "0" + dns[9:]:  false,
		dns[:9] + "-" + dns[10:]: false,
	} {
		if isUUID(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}
