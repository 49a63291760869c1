package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent"
	"nmosauthd/agent/admin"
	"nmosauthd/agent/alarm"
	"nmosauthd/agent/inventory"
	"nmosauthd/hal"
)

// How often the inventory's file is checked: seldom, since each check wakes an idle device, but again soon if the last
// check was inconclusive. inotify on the file would miss one that is replaced by renaming a folder or a link.
const (
	lookEvery = 5 * time.Second
	lookAgain = time.Second
)

// The sources of an inventory.
const (
	fromFile   = "file"   // named by [inventory] file
	fromPush   = "pushed" // over the admin socket, now or before a restart
	fromDevice = "device" // listed by the device's model
)

// inventories applies the device's inventory: that of the configured file; without one, the one pushed last; until one
// was pushed, the one that the device's model lists. A faulty inventory is not applied, and an inventory stays in force
// when its source disappears.
type inventories struct {
	agent     *agent.Agent
	alarm     alarm.Alarm                               // rings when the configuration was read again
	list      func(root string) ([]hal.Resource, error) // of the device's model; nil if it has none
	persisted *persisted
	log       *zap.Logger

	mu             sync.Mutex // also held while a file is read or written
	file           string
	seen           os.FileInfo // file as it was when last read; nil if missing
	wrong          error       // the fault of what was read last
	retryOnce      bool        // seen is faulty, perhaps because it was only partly written
	mtimeTooRecent bool        // seen is so new that a later write may have left its time unchanged
	now            inForce
	shown          atomic.Pointer[inForce] // a copy of now, read without mu, which a hanging disk holds; nil at first
}

// settled is the age from which a further write must change a file's time: the coarsest file system, FAT, counts two
// seconds.
const settled = 3 * time.Second

// inForce describes the inventory in force.
type inForce struct {
	Source    string // "" if none
	Since     time.Time
	Resources int
	document  []byte
	Refused   error // why what was read last is not in force; nil if it is
}

func newInventories(
	a *agent.Agent, list func(string) ([]hal.Resource, error), p *persisted, log *zap.Logger,
) *inventories {
	return &inventories{agent: a, alarm: alarm.New(), list: list, persisted: p, log: log}
}

// configure applies the configuration at the start and at each SIGHUP, and reads the inventory's source again.
func (s *inventories) configure(file string) { s.change(func() { s.choose(file) }) }

// change makes a change and publishes what is in force then.
func (s *inventories) change(make func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	make()
	now := s.now
	now.Refused = s.wrong
	s.shown.Store(&now)
}

// choose is the part of configure under mu.
func (s *inventories) choose(file string) {
	s.file = file
	s.alarm.Ring()
	if file != "" {
		s.read(false)
		return
	}
	s.wrong = nil
	if s.now.Source == fromPush {
		return
	}
	if table, document := s.persisted.recallInventory(); table != nil {
		s.use(fromPush, table, document)
		return
	}
	table, document, err := s.listed()
	s.wrong = err
	warn(s.log, "the device model returned no inventory", err)
	if err == nil && table != nil {
		s.use(fromDevice, table, document)
	}
	if s.now.Source == fromFile { // no longer configured
		s.now = inForce{}
		s.agent.SetInventory(nil)
	}
}

// listed asks the device's model; all results are nil if it lists nothing.
func (s *inventories) listed() (*inventory.Table, []byte, error) {
	if s.list == nil {
		return nil, nil, nil
	}
	listed, err := s.list("/")
	if err != nil {
		return nil, nil, err
	}
	resources := make([]inventory.Resource, len(listed))
	for i, r := range listed {
		resources[i] = inventory.Resource(r)
	}
	document, err := inventory.Document(resources)
	if err != nil {
		return nil, nil, err
	}
	table, err := inventory.Parse(document)
	return table, document, err
}

// watch checks the file regularly until ctx ends; it sleeps while no file is configured.
func (s *inventories) watch(ctx context.Context) { s.alarm.Run(ctx, s.look) }

// look reads the file if it has changed, and returns how long to wait until the next check, 0 if no file is configured.
func (s *inventories) look() (wait time.Duration) {
	s.change(func() {
		if s.file == "" {
			return
		}
		info, err := os.Stat(s.file)
		if err != nil {
			info = nil
		}
		changed := !sameFile(info, s.seen)
		if changed || s.retryOnce || s.mtimeTooRecent {
			s.read(changed)
		}
		wait = lookEvery
		if s.retryOnce || s.mtimeTooRecent {
			wait = lookAgain
		}
	})
	return wait
}

// sameFile reports whether a file was neither written nor replaced between a and b.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// read reads the file and applies it. If maybePartial, a faulty file gets a second check before it is reported: its
// writer may not have finished. The caller holds mu.
func (s *inventories) read(maybePartial bool) {
	table, document, info, err := ReadInventory(s.file)
	s.seen, s.retryOnce = info, err != nil && maybePartial && !s.retryOnce
	s.mtimeTooRecent = err == nil && time.Since(info.ModTime()).Abs() < settled
	switch {
	case err == nil:
		s.wrong = nil
		s.use(fromFile, table, document)
	case !s.retryOnce:
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w (if its mode allows it, its folder is newer than the sandbox: restart the daemon)",
				err)
		}
		s.wrong = err
		s.log.Error("inventory not read; what was in force stays", fields(err, "in_force", s.now.Source)...)
	}
}

var errNoFile = errors.New("not a regular file")

// openRegular opens a file to read it. Another kind is refused: reading a pipe could block forever, and a device never
// end. info is of the file before it is read, so that a later write shows by its time; nil if it is missing.
func openRegular(path string) (f *os.File, info os.FileInfo, err error) {
	if info, err = os.Stat(path); err != nil {
		return nil, nil, &fs.PathError{Op: "open", Path: path, Err: errors.Unwrap(err)} // what was to be done
	}
	if info.Mode().IsRegular() {
		if f, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0); err != nil { // it may have become a pipe
			return nil, info, err
		}
		if info, err = f.Stat(); err == nil && info.Mode().IsRegular() {
			return f, info, nil
		}
		f.Close()
	}
	if err == nil {
		err = &fs.PathError{Op: "open", Path: path, Err: errNoFile}
	}
	return nil, info, err
}

// ReadInventory reads a file. The error names it; info is nil if the file is missing.
func ReadInventory(file string) (table *inventory.Table, document []byte, info os.FileInfo, err error) {
	defer func() {
		if named := (*fs.PathError)(nil); err != nil && !errors.As(err, &named) {
			err = fmt.Errorf("%s: %w", file, err)
		}
	}()
	f, info, err := openRegular(file)
	if err != nil {
		return nil, nil, info, err
	}
	defer f.Close()
	if document, err = io.ReadAll(io.LimitReader(f, inventory.MaxDocument+1)); err == nil {
		table, err = inventory.Parse(document)
	}
	return table, document, info, err
}

// use applies an inventory. The caller holds mu.
func (s *inventories) use(source string, table *inventory.Table, document []byte) {
	if s.now.Source == source && bytes.Equal(s.now.document, document) {
		return
	}
	s.agent.SetInventory(table)
	s.now = inForce{Source: source, Since: time.Now(), Resources: table.Len(), document: document}
	s.log.Info("inventory in force", zap.String("source", source), zap.Int("resources", table.Len()))
}

// push applies an inventory from the admin socket and keeps it.
func (s *inventories) push(document []byte) (err error) {
	s.change(func() {
		if s.file != "" {
			err = fmt.Errorf("[inventory] file is %s: %w", s.file, admin.ErrFixed)
			return
		}
		table, wrong := inventory.Parse(document)
		if wrong != nil {
			err = wrong
			return
		}
		s.wrong = nil
		s.use(fromPush, table, document)
	})
	if err == nil {
		s.persisted.keepInventory(document)
	}
	return err
}

// document returns the document in force, nil if none.
func (s *inventories) document() []byte { return s.status().document }

// status describes the inventory in force.
func (s *inventories) status() inForce {
	if shown := s.shown.Load(); shown != nil {
		return *shown
	}
	return inForce{}
}
