package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent/inventory"
	"nmosauthd/agent/keys"
	"nmosauthd/hal"
	"nmosauthd/platform"
)

// The files under state.dir.
const (
	keysFile      = "keys"      // keys.LastGood
	timeFile      = "time"      // RFC 3339, the last time that was known
	inventoryFile = "inventory" // the document that was pushed last
)

// timeEvery is how often the time is written at most: flash wears out.
const timeEvery = 24 * time.Hour

// memory is what outlives a restart (KEY-3). Where it cannot be written the daemon goes on without.
type memory struct {
	dir  platform.StateDir
	seal *hal.Sealer // nil: the files are as they are
	log  *zap.Logger

	mu      sync.Mutex            // also held while a file is written
	found   []string              // issuers that discovery has found
	set     *keys.Set             // the latest to keep; nil: none yet
	written []byte                // what keysFile holds, as far as known
	pushed  []byte                // the inventory to keep; nil: none yet
	kept    []byte                // what inventoryFile holds, as far as known
	failing map[string]error      // by file, why its last write failed; "": why any would. That was logged
	trouble atomic.Pointer[error] // one of these; nil: none. Not under mu, which a flash that hangs holds

	timeWritten time.Time // what timeFile holds; recallTime's, then keepTime's
}

// newMemory returns the memory in this folder. What a device has a key for is sealed with it.
func newMemory(dir string, d *thisDevice, log *zap.Logger) *memory {
	m := &memory{dir: platform.StateDir{Path: dir}, log: log}
	var err error
	if m.seal, err = d.sealer(); err != nil {
		// Unsealed files would be believed from then on, whoever wrote them.
		log.Warn("state is not kept across restarts", zap.Error(err))
		m.dir.Path = ""
		m.trouble.Store(&err)
	}
	return m
}

// load reads what was kept. What is damaged is set aside.
func (m *memory) load() keys.LastGood {
	if err := m.dir.Prepare(); err != nil {
		m.log.Warn("state is not kept across restarts", zap.Error(err))
		m.trouble.Store(&err)
		m.failing = map[string]error{"": err} // the writes that fail for the same reason say no more
	}
	var good keys.LastGood
	data := m.read(keysFile, keys.MaxLastGood, func(data []byte) (err error) {
		good, err = keys.DecodeLastGood(data)
		return err
	})
	m.written, m.found = data, good.Servers
	return good
}

// read reads one file and hands it to decode. It returns nil where there is none, or none that can be used.
func (m *memory) read(name string, limit int, decode func([]byte) error) []byte {
	if m.seal != nil {
		limit += hal.SealOverhead
	}
	data, err := m.dir.ReadFile(name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && m.seal != nil {
		data, err = m.seal.Open(name, data)
	}
	if err == nil {
		if err = decode(data); err == nil {
			return data
		}
	}
	aside, moveErr := m.dir.SetAside(name)
	m.log.Warn("a state file is not used", zap.String("file", name), zap.Error(err), zap.String("set_aside", aside), zap.NamedError("moving", moveErr))
	return nil
}

// keep writes what is held if it differs from what the file holds. Of two fetches that end together, the earlier set may come last.
func (m *memory) keep(set *keys.Set) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.set == nil || set.Generation > m.set.Generation {
		m.set = set
	}
	m.catchUp()
}

// write writes one file.
func (m *memory) write(name string, data []byte) (err error) {
	if m.seal != nil {
		if data, err = m.seal.Seal(name, data); err != nil {
			return err
		}
	}
	return m.dir.WriteFile(name, data)
}

// recallInventory returns the inventory that was pushed before the restart; nil where there is none.
func (m *memory) recallInventory() (*inventory.Table, []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pushed != nil { // since the start
		table, _ := inventory.Parse(m.pushed) // it was good when it came
		return table, m.pushed
	}
	var table *inventory.Table
	m.kept = m.read(inventoryFile, inventory.MaxDocument, func(data []byte) (err error) {
		table, err = inventory.Parse(data)
		return err
	})
	return table, m.kept
}

// keepInventory writes an inventory that was pushed.
func (m *memory) keepInventory(document []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pushed = document
	m.catchUp()
}

// catchUp writes what is to be kept if it differs from what the files hold. The caller holds mu.
func (m *memory) catchUp() {
	if m.pushed != nil && !bytes.Equal(m.pushed, m.kept) {
		err := m.write(inventoryFile, m.pushed)
		m.result(inventoryFile, err)
		if err == nil {
			m.kept = m.pushed
		}
	}
	if m.set == nil {
		return
	}
	data, err := m.set.LastGood(m.found).Encode()
	if err == nil && bytes.Equal(data, m.written) {
		return
	}
	if err == nil {
		err = m.write(keysFile, data)
	}
	m.result(keysFile, err)
	if err == nil {
		m.written = data
	}
}

// result logs a write that failed, once until all succeed. The caller holds mu.
func (m *memory) result(name string, err error) {
	if m.dir.Path == "" {
		return // nothing was written; why not, trouble says where that is not by the configuration
	}
	failed := len(m.failing) > 0
	delete(m.failing, "") // now that one was tried
	delete(m.failing, name)
	if err != nil {
		if m.failing == nil {
			m.failing = map[string]error{}
		}
		m.failing[name] = err
	}
	switch {
	case err != nil && !failed:
		m.log.Warn("state not written; it is tried again every hour", zap.String("file", name), zap.Error(err))
	case failed && len(m.failing) == 0:
		m.log.Info("state is written again", zap.String("file", name))
	}
	m.trouble.Store(nil)
	for _, why := range m.failing {
		m.trouble.Store(&why)
	}
}

// discovered takes up what discovery has found.
func (m *memory) discovered(found []string, set *keys.Set) {
	m.mu.Lock()
	m.found = found
	m.mu.Unlock()
	m.keep(set)
}

// recallTime tells the clock the last time that was known before the restart.
func (m *memory) recallTime(clock *platform.Clock) {
	m.read(timeFile, 64, func(data []byte) (err error) {
		m.timeWritten, err = time.Parse(time.RFC3339, string(bytes.TrimSpace(data)))
		return err
	})
	clock.Remember(m.timeWritten)
}

// keepTime writes what the clock knows, now and then, until ctx ends. Every hour it also tries again to write the keys where that
// failed: a disk was full, or mounted late.
func (m *memory) keepTime(ctx context.Context, clock *platform.Clock) {
	const often, hour = 10 * time.Minute, 6
	look := time.NewTicker(often)
	defer look.Stop()
	for n := 1; ; n++ {
		m.mu.Lock()
		// The time of the build is known without a file. What is known goes back only where a server has witnessed that what was
		// kept is wrong.
		known, again := clock.Known(), n%hour == 0 && m.failing[timeFile] != nil
		if again || known.Sub(m.timeWritten) >= timeEvery && known.After(platform.BuildTime()) || known.Before(m.timeWritten) {
			m.result(timeFile, m.write(timeFile, []byte(known.UTC().Format(time.RFC3339)+"\n")))
			m.timeWritten = known // also where it failed: a full disk is not tried every ten minutes
		}
		if n%hour == 0 {
			m.catchUp()
		}
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}
