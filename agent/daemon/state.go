package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent"
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/keys"
	"nmosauthd/hal"
	"nmosauthd/platform"
)

// The files under state.dir.
const (
	keysFile      = "keys"      // keys.LastGood
	serversFile   = "servers"   // agent.FoundServer
	timeFile      = "time"      // RFC 3339, the last time that was known
	inventoryFile = "inventory" // the document that was pushed last
)

// fileLimits are the most bytes that the files hold, before they are sealed: what is written is never larger than what
// is read back (KEY-8).
var fileLimits = map[string]int{
	keysFile: keys.MaxLastGood, serversFile: agent.MaxFoundState, timeFile: 64, inventoryFile: inventory.MaxDocument,
}

const (
	// knownEvery is how often the last time that was known is written at most (OPS-1): flash wears out.
	knownEvery = time.Hour
	// timeEvery is how often, at most, keys that stayed the same are written again, for the time at which they were fetched.
	timeEvery = 24 * time.Hour
	// retryEvery is how often a write that failed is tried again: a disk was full, or mounted late.
	retryEvery = 2 * time.Minute
)

// memory is what outlives a restart (KEY-3). If it cannot be written the daemon goes on without.
type memory struct {
	dir  platform.StateDir
	seal *hal.Sealer // nil: the files are as they are
	log  *zap.Logger

	mu      sync.Mutex            // also held while a file is written
	found   []string              // issuers of the servers that discovery has found
	servers []byte                // these servers to keep; nil: none yet
	listed  []byte                // what serversFile holds, as far as known
	set     *keys.Set             // the latest to keep; nil: none yet
	saved   keys.LastGood         // what keysFile holds, as far as known
	stopped bool                  // nothing comes after this
	pushed  []byte                // the inventory to keep; nil: none yet
	kept    []byte                // what inventoryFile holds, as far as known
	failing map[string]error      // by file, why its last write failed; "": why any would. That was logged
	trouble atomic.Pointer[error] // one of these; nil: none. Not under mu, which a flash that hangs holds
	safe    atomic.Bool           // what is to be kept is on flash. Likewise

	timeWritten time.Time // what timeFile holds; recallTime's, then keepTime's
}

// newMemory returns the memory in this folder. What a device has a key for is sealed with it.
func newMemory(dir string, d *Device, log *zap.Logger) *memory {
	m := &memory{dir: platform.StateDir{Path: dir}, log: log}
	m.dir.Told = func(err error) {
		if errors.Is(err, platform.ErrTorn) {
			m.log.Info("the last write of a state file was cut short; the one before counts", zap.Error(err))
			return
		}
		m.log.Warn("a state file is not used; its other slot is", zap.Error(err))
	}
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
	m.read(keysFile, func(data []byte) (err error) {
		var left []error
		good, left, err = keys.DecodeLastGood(data)
		if len(left) > 0 {
			m.log.Warn("not all that was kept of keys is used", zap.Errors("left", left))
		}
		return err
	})
	m.saved, m.found = good, good.Servers
	m.safe.Store(len(good.Issuers) > 0)
	return good
}

// read reads one file and hands it to decode. It returns nil if there is none, or none that can be used.
func (m *memory) read(name string, decode func([]byte) error) []byte {
	limit := fileLimits[name]
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

// keep writes what is held if it differs from what the file holds. Of two fetches that end together, the earlier set
// may come last.
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
	if limit := fileLimits[name]; len(data) > limit {
		return fmt.Errorf("writing %s: %d bytes are more than the %d that are read back", name, len(data), limit)
	}
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
	m.kept = m.read(inventoryFile, func(data []byte) (err error) {
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

// loadServers reads which servers discovery had found; before is what a release that kept their issuers alone has kept.
func (m *memory) loadServers(before []string) (found []agent.FoundServer) {
	m.listed = m.read(serversFile, func(data []byte) (err error) {
		found, err = agent.DecodeFound(data)
		return err
	})
	if m.listed == nil {
		for _, issuer := range before {
			found = append(found, agent.FoundServer{URL: issuer, Issuer: issuer})
		}
	}
	return found
}

// keepServers writes which servers discovery has found, and the keys that are held with them.
func (m *memory) keepServers(found []agent.FoundServer, set *keys.Set) {
	data, err := agent.EncodeFound(found)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.set == nil || set.Generation > m.set.Generation {
		m.set = set
	}
	if err != nil {
		m.result(serversFile, err)
		return
	}
	m.servers, m.found = data, nil
	for _, f := range found {
		if f.Issuer != "" {
			m.found = append(m.found, f.Issuer)
		}
	}
	slices.Sort(m.found)
	m.catchUp()
}

// catchUp writes what is to be kept if it differs from what the files hold. The caller holds mu.
func (m *memory) catchUp() {
	if m.pushed != nil && !bytes.Equal(m.pushed, m.kept) {
		m.safe.Store(false)
		err := m.write(inventoryFile, m.pushed)
		m.result(inventoryFile, err)
		if err == nil {
			m.kept = m.pushed
		}
	}
	if m.servers != nil && !bytes.Equal(m.servers, m.listed) {
		m.safe.Store(false)
		err := m.write(serversFile, m.servers)
		m.result(serversFile, err)
		if err == nil {
			m.listed = m.servers
		}
	}
	if m.set != nil {
		m.catchUpKeys()
	}
	m.safe.Store(len(m.failing) == 0 && (m.set != nil || len(m.saved.Issuers) > 0))
}

// catchUpKeys is the part of catchUp that is about keys.
func (m *memory) catchUpKeys() {
	good, left := dated(m.set.LastGood(m.found)).Fit()
	var err error
	if same := good.Equal(m.saved); !same || m.outdated(good) {
		if !same {
			m.safe.Store(false)
		}
		var data []byte
		if data, err = good.Encode(); err == nil {
			err = m.write(keysFile, data)
		}
		if err == nil {
			m.saved = good
		}
	} else if m.failing[keysFile] == nil && len(left) == 0 {
		return
	}
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("no room in %s for the keys of %+.300q: they need more than others'", keysFile, left)
	}
	m.result(keysFile, err)
}

// dated returns g with the times at which keys were fetched by the clock as it shows now, without those that it cannot
// have shown.
func dated(g keys.LastGood) keys.LastGood {
	now := time.Now()
	for n := range g.Issuers {
		fetched := &g.Issuers[n].Fetched
		if fetched.IsZero() {
			continue
		}
		if *fetched = now.Add(fetched.Sub(now)).Round(0); fetched.Before(platform.BuildTime()) {
			*fetched = time.Time{}
		}
	}
	return g
}

// outdated reports whether keys were fetched so long after what keysFile says that it is worth a write.
func (m *memory) outdated(g keys.LastGood) bool {
	least := timeEvery
	if m.stopped {
		least = time.Second
	}
	return slices.ContainsFunc(g.Issuers, func(h keys.Held) bool {
		return !slices.ContainsFunc(m.saved.Issuers, func(s keys.Held) bool {
			return s.Name == h.Name && h.Fetched.Sub(s.Fetched) < least
		})
	})
}

// stop writes what an orderly end leaves time for. Nothing is kept after it.
func (m *memory) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
	m.catchUp()
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
		m.log.Warn("state not written; it is tried again every 2 minutes", zap.String("file", name), zap.Error(err))
	case failed && len(m.failing) == 0:
		m.log.Info("state is written again", zap.String("file", name))
	}
	m.trouble.Store(nil)
	for _, why := range m.failing {
		m.trouble.Store(&why)
	}
}

// timeKeeper is the platform.Clock, as far as it is kept.
type timeKeeper interface {
	Known() time.Time
	Remember(time.Time)
}

// recallTime tells the clock the last time that was known before the restart.
func (m *memory) recallTime(clock timeKeeper) {
	m.read(timeFile, func(data []byte) (err error) {
		m.timeWritten, err = time.Parse(time.RFC3339, string(bytes.TrimSpace(data)))
		return err
	})
	clock.Remember(m.timeWritten)
}

// keepTime writes what the clock knows, once an hour, until ctx ends. Meanwhile it tries again to write what could not
// be written.
func (m *memory) keepTime(ctx context.Context, clock timeKeeper) {
	look := time.NewTicker(retryEvery)
	defer look.Stop()
	last := time.Time{} // when it was last written, or tried
	for {
		known := clock.Known()
		m.mu.Lock()
		// The time of the build is known without a file. What is known goes back only if what was kept is wrong.
		news := known.Before(m.timeWritten) ||
			known.Sub(m.timeWritten) >= knownEvery && known.After(platform.BuildTime())
		if m.failing[timeFile] != nil || news && (last.IsZero() || time.Since(last) >= knownEvery) {
			last = time.Now()
			err := m.write(timeFile, []byte(known.UTC().Format(time.RFC3339)+"\n"))
			m.result(timeFile, err)
			m.timeWritten = known // also if it failed, which failing says
		}
		m.catchUp()
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}
