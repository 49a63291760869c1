package mint

import (
	"os"
	"path/filepath"
	"testing"
)

// A kept key is the same for every process that names the folder, and one that cannot be read is no reason for another.
func TestKeptKey(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("NMOS_MINT_KEYS", dir)
	a := keptKey("a/..", 2048)
	if again := keptKey("a/..", 2048); again == a || !again.Private.Equal(a.Private) || again.KID != "a/.." {
		t.Error("the second key is another")
	}
	if other := keptKey("b", 2048); other.Private.Equal(a.Private) {
		t.Error("two names, one key")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("the folder holds %v, %v; want 2 keys", files, err)
	}
	if err := os.WriteFile(files[0], []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[1], []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a damaged key was replaced")
		}
	}()
	keptKey("b", 2048)
}
