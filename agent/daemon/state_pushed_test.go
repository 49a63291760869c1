package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
)

// An inventory that is pushed again as flash has it is held all the same: whatever happens to flash, it is in force.
func TestPushedInventoryIsHeld(t *testing.T) {
	const document = `{"resources": []}`
	dir := t.TempDir()
	before := newPersisted(dir, &Device{}, zap.NewNop())
	before.load()
	before.keepInventory([]byte(document))

	p := newPersisted(dir, &Device{}, zap.NewNop())
	p.load()
	if table, got := p.recallInventory(); table == nil || string(got) != document {
		t.Fatalf("after the restart it is %q", got)
	}
	files, err := filepath.Glob(filepath.Join(dir, inventoryFile+"*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("got the files %q, %v; want the pushed inventory's", files, err)
	}
	for _, file := range files {
		if err := os.WriteFile(file, []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.keepInventory([]byte(document))
	if table, got := p.recallInventory(); table == nil || string(got) != document {
		t.Errorf("once flash is damaged and it was pushed again it is %q", got)
	}
}
