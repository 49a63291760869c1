//go:build unix

package models

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/hal"
)

// damages are what can happen to a file. inside says that it is still there to be opened.
var damages = []struct {
	name   string
	inside bool
	do     func(path string) error
}{
	{"missing", false, os.Remove},
	{"a FIFO", false, func(path string) error {
		return replace(path, func() error { return syscall.Mkfifo(path, 0o600) })
	}},
	{"a folder", false, func(path string) error {
		return replace(path, func() error { return os.Mkdir(path, 0o700) })
	}},
	{"a link to nothing", false, func(path string) error {
		return replace(path, func() error { return os.Symlink("nothing", path) })
	}},
	{"a link to itself", false, func(path string) error {
		return replace(path, func() error { return os.Symlink(filepath.Base(path), path) })
	}},
	{"a link to a device", false, func(path string) error {
		return replace(path, func() error { return os.Symlink("/dev/zero", path) })
	}},
	{"empty", true, func(path string) error { return os.Truncate(path, 0) }},
	{"too large", true, func(path string) error {
		return os.WriteFile(path,
			bytes.Repeat([]byte("A 1\t-\n"), maxTable), 0o600)
	}},
	{"sparse and huge", true, func(path string) error { return os.Truncate(path, 1<<40) }},
	{"junk", true, func(path string) error { return os.WriteFile(path, junk(4096), 0o600) }},
}

func replace(path string, by func() error) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return by()
}

// restore puts the file back as it was.
func restore(t *testing.T, path, from string) {
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.RemoveAll(path)
	}
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}

// junk is every byte again and again, in an order that no format has.
func junk(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i*181 + i/256*7)
	}
	return data
}

// Each file of each tree is damaged in every way: no model may hang or crash, what needs the file must name it, and all
// else must be as it was.
func TestDamagedTrees(t *testing.T) {
	for _, p := range ports {
		root := copyTree(t, p.tree)
		for _, file := range filesOf(t, p.tree) {
			path := filepath.Join(root, file)
			for _, d := range damages {
				t.Run(p.tree+"/"+file+" is "+d.name, func(t *testing.T) {
					defer restore(t, path, filepath.Join("testdata", p.tree, file))
					if err := d.do(path); err != nil {
						t.Skip(err) // a file system without FIFOs or sparse files
					}
					done := make(chan struct{})
					go func() {
						defer close(done)
						p.checkDamaged(t, root, path, file, d.inside, d.name == "junk")
					}()
					select {
					case <-done:
					case <-time.After(time.Minute):
						t.Fatal("it hangs")
					}
				})
			}
		}
	}
}

func (p port) checkDamaged(t *testing.T, root, path, file string, inside, junk bool) {
	if m, err := detect(all(), root); err != nil || m.Name != p.model.Name && m.Name != "generic" {
		t.Errorf("taken for %q, %v", m.Name, err)
	}
	id, err := p.model.Identify(root)
	if err != nil {
		if !strings.Contains(err.Error(), path) {
			t.Errorf("the identity's error does not name the file: %v", err)
		}
	} else {
		checkLesser(t, id, p.identity)
	}
	p.model.Places(root)
	if p.model.Inventory != nil {
		got, err := p.model.Inventory(root)
		want, wantErr := p.model.Inventory(filepath.Join("testdata", p.tree))
		if slices.Contains(p.inventoryNeeds, file) {
			mustName(t, "inventory", err, path)
			if got != nil {
				t.Errorf("with the error came %d resources", len(got))
			}
		} else if err != nil || wantErr != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("inventory: %v, %v", got, err)
		}
	}
	if p.model.Key != nil {
		key, err := p.model.Key(root)
		switch {
		case err == nil && junk && len(key) == hal.KeySize: // nothing tells junk from a key
		case slices.Contains(p.keyNeeds, file):
			mustName(t, "key", err, path)
		case err != nil:
			t.Errorf("key: %v", err)
		}
	}
	if p.model.Maker != nil {
		pair, err := p.model.Maker(root)
		switch {
		case slices.Contains(p.makerNeeds, file):
			if err == nil && len(pair.Certificate) == 0 {
				t.Error("a maker's certificate without one")
			}
			if err != nil {
				mustName(t, "maker", err, path)
			}
		case err != nil || pair.Leaf.Subject.SerialNumber != p.maker:
			t.Errorf("maker: %v", err)
		}
	}
	if p.model.Indicator != nil {
		i, err := p.model.Indicator(root)
		if slices.Contains(p.indicatorNeeds, file) && !inside {
			mustName(t, "indicator", err, path)
		} else if err != nil {
			t.Errorf("indicator: %v", err)
		} else {
			i.Show(hal.Serving)
			i.Close()
		}
	}
}

func mustName(t *testing.T, what string, err error, path string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), path) || !strings.HasPrefix(err.Error(), "hal: ") {
		t.Errorf("%s: %v; want an error that names %s", what, err, path)
	}
}

// checkLesser reports whether an identity says no more than that of the undamaged tree, but for a substitute of the
// serial number or the version, and nothing unfit to be shown.
func checkLesser(t *testing.T, id, whole hal.Identity) {
	t.Helper()
	for _, name := range id.Names {
		if !slices.Contains(whole.Names, name) {
			t.Errorf("a name out of nowhere: %q", name)
		}
	}
	for _, text := range []string{id.Maker, id.Product, id.Serial, id.Firmware} {
		if clean([]byte(text)) != text {
			t.Errorf("unfit to be shown: %q", text)
		}
	}
}

func filesOf(t *testing.T, tree string) (files []string) {
	root := os.DirFS(filepath.Join("testdata", tree))
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: got %d files, %v; want some", tree, len(files), err)
	}
	return files
}

// board returns an EEPROM with a good checksum.
func board(layout, inputs byte, serial string) string {
	data := append([]byte("EXSB"), layout, inputs)
	data = append(data, serial...)
	data = append(data, make([]byte, 10)...)[:16]
	return string(binary.BigEndian.AppendUint32(data, crc32.ChecksumIEEE(data)))
}

const someID = "2ed6657d-e927-568b-95e1-2665a8aea6a2"

// The mistakes that each format of its own can have.
func TestInventoryMistakes(t *testing.T) {
	for _, c := range []struct {
		tree, file, text string
		want             string // after the file's name
	}{
		{"sender", senderEEPROM, board(1, 8, "SB8-1")[:19], ": shorter than 20 bytes"},
		{"sender", senderEEPROM, strings.Repeat("\xff", 256), ": not programmed"},
		{"sender", senderEEPROM, board(1, 8, "SB8-1")[:19] + "\x00", ": the checksum is wrong"},
		{"sender", senderEEPROM, board(2, 8, "SB8-1"), ": its layout is not 1"},
		{"sender", senderEEPROM, board(1, 0, "SB8-1"), ": the microphone inputs are not 1 to 64"},
		{"sender", senderEEPROM, board(1, 65, "SB8-1"), ": the microphone inputs are not 1 to 64"},
		{"sender", senderEEPROM, board(1, 8, ""), ": no serial number"},
		{"sender", senderEEPROM, board(1, 8, "0000000000"), ": no serial number"},
		{"sender", senderEEPROM, board(1, 8, "SB8\x01\xff"), ": no serial number"},
		{"receiver", "proc/asound/cards",
			" 0 [Amp            ]: simple-card - Amp\n", ": no card AES67; is its driver loaded?"},
		{"receiver", "proc/asound/cards", "--- no soundcards ---\n", ": no card AES67"},
		{"receiver", "proc/asound/pcm", "01-02: Monitor :  : playback 1\n", ": the card AES67 captures nothing"},
		{"receiver", receiverIDs, "rx-1 " + someID + "\n", ": no id for rx-2, which is in /proc/asound/pcm once"},
		{"receiver", receiverIDs, "rx-1 " + someID + "\n\nrx-1 " + strings.Replace(someID, "2", "3", 1) + "\n",
			":3: the name is there twice"},
		{"receiver", receiverIDs, "rx-1 " + someID + "\nrx-2 " + someID + "\n", ":2: the id is there twice"},
		{"receiver", receiverIDs, "rx-1 " + strings.ToUpper(someID) + "\n", ":1: the id is not a UUID in lower case"},
		{"receiver", receiverIDs, "rx-1\n", ":1: not a name and an id"},
		{"meter", meterCommand, "quiet\n", ": no example.serial=; set it in the boot loader"},
		{"meter", meterCommand, "example.serial= quiet\n", ": no example.serial="},
		{"meter", meterCommand, "example.serial=none\n", ": no example.serial="},
		{"meter", meterProduct, "LM-9000\n", ": neither LM-2 nor LM-8"},
		{"console", consoleChannels, "# nothing\n\n", ": no channel"},
		{"console", consoleChannels, "1\tKick\t-\t-\n", ":1: not five columns"},
		{"console", consoleChannels, "# x\n0\tKick\t-\t-\t-\n", ":2: the channel is not a number from 1 to 1024"},
		{"console", consoleChannels, "1025\tKick\t-\t-\t-\n", ":1: the channel is not a number"},
		{"console", consoleChannels, "one\tKick\t-\t-\t-\n", ":1: the channel is not a number"},
		{"console", consoleChannels, "1\tKick\t-\t-\t-\n01\tSnare\t-\t-\t-\n", ":2: channel 1 is there twice"},
		{"console", consoleChannels, "1\tKick\t-\tyes\t-\n", ":1: the id of the receiver is not a UUID in lower case"},
		{"console", consoleChannels, "1\tKick\t" + someID + "\t-\t" + someID + "\n",
			":1: the id of the meter is there twice"},
	} {
		p := ports[slices.IndexFunc(ports, func(p port) bool { return p.tree == c.tree })]
		root := copyTree(t, p.tree)
		path := filepath.Join(root, c.file)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := p.model.Inventory(root)
		if all != nil || err == nil || !strings.HasPrefix(err.Error(), "hal: "+path+c.want) {
			t.Errorf("%s %q: %d resources, %v; want %s", c.file, c.text, len(all), err, c.want)
		}
	}
}

func TestStreamTwice(t *testing.T) {
	root := copyTree(t, "receiver")
	pcm := "01-00: Stream A :  : capture 1\n01-00: Stream A :  : capture 1\n"
	if err := os.WriteFile(filepath.Join(root, "proc/asound/pcm"), []byte(pcm), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := listReceiver(root); err == nil {
		t.Errorf("got %+v", all)
	}
}

// Opening an indicator that is not whole must not leave half of it open.
func TestIndicatorClosesWhatItOpened(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("open files are counted in /proc: ", err)
		}
		return len(entries)
	}
	root := copyTree(t, "meter")
	if err := os.Remove(filepath.Join(root, "sys/class/leds/status-red/brightness")); err != nil {
		t.Fatal(err)
	}
	before := open()
	for range 50 {
		if _, err := indicateMeter(root); err == nil {
			t.Fatal("it opened")
		}
	}
	if after := open(); after >= before+50 {
		t.Errorf("%d files were open before, %d after", before, after)
	}
}
