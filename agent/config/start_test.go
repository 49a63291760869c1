package config

import "testing"

// The device starts with this: what is looked up for each key costs a fault of a page here and there. Of a key there is
// what reflection makes of its field and its name, once for the defaults and once for the file.
func TestParseAllocates(t *testing.T) {
	file := []byte("mode = \"observe\"\n[device]\nnames = [\"node-1.example.com\"]\n")
	most := float64(4 * len(rows))
	got := testing.AllocsPerRun(20, func() {
		if _, err := Parse("x.toml", file); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%.0f allocations for %d keys", got, len(rows))
	if got > most {
		t.Errorf("got %.0f allocations for %d keys, want at most %.0f", got, len(rows), most)
	}
}
