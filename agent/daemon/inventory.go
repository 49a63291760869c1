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
	"nmosauthd/agent/inventory"
	"nmosauthd/hal"
)

// How often the inventory's file is looked at: seldom, since each look wakes an idle device, and soon again where what was seen
// says little. A watch on the file would miss those that come by renaming a folder or a link.
const (
	lookEvery = 5 * time.Second
	lookAgain = time.Second
)

// Where an inventory is from.
const (
	fromFile   = "file"   // the one that [inventory] file names
	fromPush   = "pushed" // over the admin socket, now or before a restart
	fromDevice = "device" // the model of the device lists it
)

// inventories puts the device's inventory into force: that of the file which the configuration names; without such a file the one
// that was pushed last, until then that which the model of the device lists. One with a mistake is not put into force, nor does
// anything that goes away take an inventory out of force: what was known stays.
type inventories struct {
	agent  *agent.Agent
	again  chan struct{}                             // holds one: the configuration was read again
	list   func(root string) ([]hal.Resource, error) // of the device's model; nil: it has none
	memory *memory
	log    *zap.Logger

	mu    sync.Mutex // also held while a file is read or written
	file  string
	seen  os.FileInfo // file as it was when last read; nil: it was not there
	wrong error       // with what was read last
	doubt bool        // what was seen could not be used, and may still be being written
	young bool        // what was seen may since have been written over without showing it
	now   inForce
	shown atomic.Pointer[inForce] // now, for those who cannot wait for a disk that hangs; nil: none yet
}

// settled is the age from which on a file that is written again gets another time: the coarsest clock of a file system, that of FAT,
// counts two seconds.
const settled = 3 * time.Second

// inForce says which inventory is in force.
type inForce struct {
	Source    string // "": none
	Since     time.Time
	Resources int
	document  []byte
	Refused   error // why what was read last is not in force; nil: it is
}

func newInventories(a *agent.Agent, list func(string) ([]hal.Resource, error), m *memory, log *zap.Logger) *inventories {
	return &inventories{agent: a, again: make(chan struct{}, 1), list: list, memory: m, log: log}
}

// configure takes up the configuration at the start and again at each SIGHUP: whatever the inventory is from is read anew.
func (s *inventories) configure(file string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.show()
	s.file = file
	select {
	case s.again <- struct{}{}:
	default: // watch is about to look
	}
	if file != "" {
		s.read(false)
		return
	}
	s.wrong = nil
	if s.now.Source == fromPush {
		return
	}
	if table, document := s.memory.recallInventory(); table != nil {
		s.use(fromPush, table, document)
		return
	}
	table, document, err := s.listed()
	s.wrong = err
	switch {
	case err != nil:
		s.log.Warn("the device does not say what it has", zap.Error(err))
	case table != nil:
		s.use(fromDevice, table, document)
	}
	if s.now.Source == fromFile { // which the configuration does not name any more
		s.now = inForce{}
		s.agent.SetInventory(nil)
	}
}

// listed asks the model of the device; nil without an error where the model lists nothing.
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

// watch looks at the file now and then until ctx ends; while the configuration names none, it sleeps.
func (s *inventories) watch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.again:
		case <-timer.C:
		}
		if wait := s.look(); wait > 0 {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
	}
}

// look reads the file if it has changed, and returns how long to wait for the next look; 0: until the configuration names a file.
func (s *inventories) look() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.show()
	if s.file == "" {
		return 0
	}
	info, err := os.Stat(s.file)
	if err != nil {
		info = nil
	}
	changed := !sameFile(info, s.seen)
	if changed || s.doubt || s.young {
		s.read(changed)
	}
	if s.doubt || s.young {
		return lookAgain
	}
	return lookEvery
}

// sameFile tells whether nobody has written a file or put another in its place.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// read reads the file and puts it into force. A file that cannot be used is, where mayGrow, in doubt until it has been looked at
// once more: its writer may be in the middle of it. The caller holds mu.
func (s *inventories) read(mayGrow bool) {
	table, document, info, err := ReadInventory(s.file)
	s.seen, s.doubt = info, err != nil && mayGrow && !s.doubt
	s.young = err == nil && time.Since(info.ModTime()).Abs() < settled
	switch {
	case err == nil:
		s.wrong = nil
		s.use(fromFile, table, document)
	case !s.doubt:
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w; if its mode is not the reason, its folder is new since the start: start the daemon again", err)
		}
		s.wrong = err
		s.log.Error("inventory not read; what was in force stays", zap.Error(err), zap.String("in_force", s.now.Source))
	}
}

var errNoFile = errors.New("it is no regular file")

// ReadInventory reads a file. The error names it; info is nil where the file is not there.
func ReadInventory(file string) (table *inventory.Table, document []byte, info os.FileInfo, err error) {
	defer func() {
		if named := (*fs.PathError)(nil); err != nil && !errors.As(err, &named) {
			err = fmt.Errorf("%s: %w", file, err)
		}
	}()
	if info, err = os.Stat(file); err != nil {
		return nil, nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, info, errNoFile
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // should it have become a pipe by now
	if err != nil {
		return nil, nil, info, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil { // before it is read: what is written later shows by its time
		return nil, nil, nil, err
	}
	if !info.Mode().IsRegular() { // by now; to read it could take forever
		return nil, nil, info, errNoFile
	}
	if document, err = io.ReadAll(io.LimitReader(f, inventory.MaxDocument+1)); err == nil {
		table, err = inventory.Parse(document)
	}
	return table, document, info, err
}

// use puts an inventory into force. The caller holds mu.
func (s *inventories) use(source string, table *inventory.Table, document []byte) {
	if s.now.Source == source && bytes.Equal(s.now.document, document) {
		return
	}
	s.agent.SetInventory(table)
	s.now = inForce{Source: source, Since: time.Now(), Resources: table.Len(), document: document}
	s.log.Info("inventory in force", zap.String("source", source), zap.Int("resources", table.Len()))
}

// push puts an inventory from the admin socket into force and keeps it.
func (s *inventories) push(document []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != "" {
		return fmt.Errorf("it is read from %s, as [inventory] file of the configuration has it: %w", s.file, admin.ErrFixed)
	}
	table, err := inventory.Parse(document)
	if err != nil {
		return err
	}
	s.wrong = nil
	s.use(fromPush, table, document)
	s.show()
	s.memory.keepInventory(document)
	return nil
}

// show has status tell of what is in force. The caller holds mu.
func (s *inventories) show() {
	now := s.now
	now.Refused = s.wrong
	s.shown.Store(&now)
}

// document returns that in force; nil where there is none.
func (s *inventories) document() []byte { return s.status().document }

// status says which inventory is in force.
func (s *inventories) status() inForce {
	if shown := s.shown.Load(); shown != nil {
		return *shown
	}
	return inForce{}
}
