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
	"nmosauthd/agent/certs"
	"nmosauthd/agent/inventory"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/oauth"
	"nmosauthd/hal"
	"nmosauthd/platform"
)

// The files under state.dir.
const (
	keysFile      = "keys"      // keys.LastGood
	serversFile   = "servers"   // agent.FoundServer
	timeFile      = "time"      // the last known time, RFC 3339
	inventoryFile = "inventory" // the document that was pushed last
	observeFile   = "observe"   // who has begun to observe, and until when
	clientFile    = "client"    // what oauth.Client keeps: registrations, secrets and private keys
	certsFile     = "certs"     // what certs.Client keeps: roots, certificates and private keys
)

// fileLimits bound the files in bytes, before sealing. They hold for writing as for reading, so that what is written
// can be read back (KEY-8).
var fileLimits = map[string]int{
	keysFile: keys.MaxLastGood, serversFile: agent.MaxFoundState, timeFile: 64, inventoryFile: inventory.MaxDocument,
	clientFile: oauth.MaxState, certsFile: certs.MaxState, observeFile: 1024,
}

const (
	// knownEvery is how often, at most, the last known time is written (OPS-1): flash wears out.
	knownEvery = time.Hour
	// timeEvery is how often, at most, unchanged keys are written again to update the time of their fetch.
	timeEvery = 24 * time.Hour
	// retryEvery is how often a failed write is retried: a disk may be full, or mounted late.
	retryEvery = 2 * time.Minute
)

// persisted is the state kept across restarts (KEY-3). If it cannot be written, the daemon goes on without it.
type persisted struct {
	dir  platform.StateDir
	seal *hal.Sealer // nil if the files are not sealed
	log  *zap.Logger

	mu      sync.Mutex            // also held while a file is written
	found   []string              // issuers of the servers that discovery has found
	set     *keys.Set             // the latest to be written; nil before the first
	saved   keys.LastGood         // the last known content of keysFile
	stopped bool                  // no later write follows
	servers stateFile             // found, encoded
	pushed  stateFile             // the inventory
	timer   stateFile             // what is observed
	own     stateFile             // what the OAuth client keeps
	certs   stateFile             // what certs.Client keeps
	failing map[string]error      // by file, why its last write failed; under "", why all would. Logged
	trouble atomic.Pointer[error] // one of failing, nil if none. Not under mu, which a hanging flash holds
	safe    atomic.Bool           // all is on flash. Not under mu either

	timeWritten time.Time // content of timeFile; used by recallTime, then keepTime
}

// newPersisted returns the state in a folder. The files are sealed if the device has a key.
func newPersisted(dir string, d *Device, log *zap.Logger) *persisted {
	p := &persisted{dir: platform.StateDir{Path: dir}, log: log}
	p.dir.Told = func(err error) {
		if errors.Is(err, platform.ErrTorn) {
			p.log.Info("the last write of a state file was cut short; the one before counts", fields(err)...)
			return
		}
		warn(p.log, "a state file is not used; its other slot is used", err)
	}
	var err error
	if p.seal, err = d.sealer(); err != nil {
		// Without the key, files that anybody wrote would be believed.
		warn(log, "state is not kept across restarts", err)
		p.dir.Path = ""
		p.trouble.Store(&err)
	}
	return p
}

// load reads the keys that were kept. A damaged file is set aside.
func (p *persisted) load() keys.LastGood {
	if err := p.dir.Prepare(); err != nil {
		warn(p.log, "state is not kept across restarts", err)
		p.trouble.Store(&err)
		p.failing = map[string]error{"": err} // so that failing writes are not logged again
	}
	var good keys.LastGood
	p.read(keysFile, func(data []byte) (err error) {
		var left []error
		good, left, err = keys.DecodeLastGood(data)
		if len(left) > 0 {
			p.log.Warn("some kept keys are not used", zap.Errors("left", left))
		}
		return err
	})
	p.saved, p.found = good, good.Servers
	p.safe.Store(len(good.Issuers) > 0)
	return good
}

// read reads one file and hands it to decode. It returns nil if the file is missing or unusable.
func (p *persisted) read(name string, decode func([]byte) error) []byte {
	data, err := p.readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		if err = decode(data); err == nil {
			return data
		}
	}
	aside, moveErr := p.dir.SetAside(name)
	warn(p.log, "a state file is not used", err, "file", name, "set_aside", aside, "moving", textOf(moveErr))
	return nil
}

// readFile returns one file's content, unsealed. The error wraps fs.ErrNotExist if there is none.
func (p *persisted) readFile(name string) ([]byte, error) {
	limit := fileLimits[name]
	if p.seal != nil {
		limit += hal.SealOverhead
	}
	data, err := p.dir.ReadFile(name, limit)
	if err == nil && p.seal != nil {
		data, err = p.seal.Open(name, data)
	}
	return data, err
}

// keep writes a key set if it differs from the file.
func (p *persisted) keep(set *keys.Set) { p.change(keysFile, func() { p.latest(set) }) }

// change makes a change and writes what differs then. It returns why the file, if it is to be written, is not.
func (p *persisted) change(file string, make func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	make()
	p.catchUp()
	return p.failing[file]
}

// latest takes a key set to be written: if two fetches end together, the earlier may come last. The caller holds mu.
func (p *persisted) latest(set *keys.Set) {
	if p.set == nil || set.Generation > p.set.Generation {
		p.set = set
	}
}

// write writes one file.
func (p *persisted) write(name string, data []byte) (err error) {
	if limit := fileLimits[name]; len(data) > limit {
		return fmt.Errorf("writing %s: %d bytes exceed the limit of %d", name, len(data), limit)
	}
	if p.seal != nil {
		if data, err = p.seal.Seal(name, data); err != nil {
			return err
		}
	}
	return p.dir.WriteFile(name, data)
}

// recallInventory returns the inventory that was pushed last, before or after the restart, nil if none.
func (p *persisted) recallInventory() (table *inventory.Table, document []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	parse := func(data []byte) (err error) {
		table, err = inventory.Parse(data)
		return err
	}
	if p.pushed.data != nil { // since the start
		parse(p.pushed.data) // push parsed it
		return table, p.pushed.data
	}
	p.pushed.data = p.recall(&p.pushed, inventoryFile, parse)
	return table, p.pushed.data
}

// keepInventory writes an inventory that was pushed.
func (p *persisted) keepInventory(document []byte) { p.keepFile(&p.pushed, inventoryFile, document) }

// loadObserve returns what keepObserve wrote, nil if it never did.
func (p *persisted) loadObserve() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.recall(&p.timer, observeFile, func([]byte) error { return nil })
}

// keepObserve writes what is observed. The error says why it is not on flash yet.
func (p *persisted) keepObserve(data []byte) error {
	err := p.keepFile(&p.timer, observeFile, data)
	if p.dir.Path == "" {
		return errNoState
	}
	return err
}

// loadServers reads the servers that discovery had found; before are the issuers that an older release kept in
// keysFile.
func (p *persisted) loadServers(before []string) (found []agent.FoundServer) {
	if p.recall(&p.servers, serversFile, func(data []byte) (err error) {
		found, err = agent.DecodeFound(data)
		return err
	}) == nil {
		for _, issuer := range before {
			found = append(found, agent.FoundServer{URL: issuer, Issuer: issuer})
		}
	}
	return found
}

// keepServers writes the servers that discovery has found, and the keys held.
func (p *persisted) keepServers(found []agent.FoundServer, set *keys.Set) {
	data, err := agent.EncodeFound(found)
	p.change(serversFile, func() {
		p.latest(set)
		if err != nil {
			p.result(serversFile, err)
			return
		}
		p.found = nil
		for i := range found {
			if issuer := found[i].Issuer; issuer != "" {
				p.found = append(p.found, issuer)
			}
		}
		slices.Sort(p.found)
		p.servers.set(data)
	})
}

// catchUp writes what differs from the files. The caller holds mu.
func (p *persisted) catchUp() {
	p.catchUpFile(&p.own, clientFile, true)
	p.catchUpFile(&p.certs, certsFile, true)
	p.catchUpFile(&p.timer, observeFile, true)
	p.catchUpFile(&p.pushed, inventoryFile, false)
	p.catchUpFile(&p.servers, serversFile, false)
	if p.set != nil {
		p.catchUpKeys()
	}
	p.safe.Store(len(p.failing) == 0 && (p.set != nil || len(p.saved.Issuers) > 0))
}

// catchUpKeys is the part of catchUp for the keys.
func (p *persisted) catchUpKeys() {
	good, left := dated(p.set.LastGood(p.found)).Fit()
	var err error
	if same := good.Equal(p.saved); !same || p.outdated(good) {
		if !same {
			p.safe.Store(false)
		}
		var data []byte
		if data, err = good.Encode(); err == nil {
			err = p.write(keysFile, data)
		}
		if err == nil {
			p.saved = good
		}
	} else if p.failing[keysFile] == nil && len(left) == 0 {
		return
	}
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("no room in %s for the keys of %+.300q, which are larger than the others'", keysFile, left)
	}
	p.result(keysFile, err)
}

// dated returns g with the times of fetches converted to the present wall clock, without those before the build.
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

// outdated reports whether keysFile's times of fetches are so old that they are worth a write.
func (p *persisted) outdated(g keys.LastGood) bool {
	least := timeEvery
	if p.stopped {
		least = time.Second
	}
	return slices.ContainsFunc(g.Issuers, func(h keys.Held) bool {
		return !slices.ContainsFunc(p.saved.Issuers, func(s keys.Held) bool {
			return s.Name == h.Name && h.Fetched.Sub(s.Fetched) < least
		})
	})
}

// stop writes everything a last time, at an orderly end.
func (p *persisted) stop() { p.change(keysFile, func() { p.stopped = true }) }

// result takes the outcome of a write, and logs the first failure until all writes succeed. The caller holds mu.
func (p *persisted) result(name string, err error) {
	if p.dir.Path == "" {
		return // nothing was written: by configuration, or for the reason in trouble
	}
	failed := len(p.failing) > 0
	delete(p.failing, "") // this write was tried
	delete(p.failing, name)
	if err != nil {
		if p.failing == nil {
			p.failing = map[string]error{}
		}
		p.failing[name] = err
	}
	switch {
	case err != nil && !failed:
		warn(p.log, "state not written; retrying every 2 minutes", err, "file", name)
	case failed && len(p.failing) == 0:
		p.log.Info("state is written again", fields(nil, "file", name)...)
	}
	p.trouble.Store(nil)
	for _, why := range p.failing {
		p.trouble.Store(&why)
	}
}

// timeKeeper is the part of platform.Clock that outlives a restart.
type timeKeeper interface {
	Known() time.Time
	Remember(time.Time)
}

// recallTime tells the clock the last time known before the restart.
func (p *persisted) recallTime(clock timeKeeper) {
	p.read(timeFile, func(data []byte) (err error) {
		p.timeWritten, err = time.Parse(time.RFC3339, string(bytes.TrimSpace(data)))
		return err
	})
	clock.Remember(p.timeWritten)
}

// keepTime writes the clock's known time once an hour until ctx ends, and retries failed writes.
func (p *persisted) keepTime(ctx context.Context, clock timeKeeper) {
	look := time.NewTicker(retryEvery)
	defer look.Stop()
	last := time.Time{} // when a write was last tried
	for {
		known := clock.Known()
		p.mu.Lock()
		// The time of the build is known without a file. The known time goes back only if the kept one was wrong.
		news := known.Before(p.timeWritten) ||
			known.Sub(p.timeWritten) >= knownEvery && known.After(platform.BuildTime())
		if p.failing[timeFile] != nil || news && (last.IsZero() || time.Since(last) >= knownEvery) {
			last = time.Now()
			err := p.write(timeFile, []byte(known.UTC().Format(time.RFC3339)+"\n"))
			p.result(timeFile, err)
			p.timeWritten = known // if it failed, failing has it retried
		}
		p.catchUp()
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}
