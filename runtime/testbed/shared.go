// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Shared is the shared state of the beds of one run: mhmig's files, which are uploaded to
// shared storage once, and facts about the hosts.
type Shared struct {
	name   string
	hosts  []Remote // of the run
	ledger *owned
	local  func(value string) (path string, err error)
	vms    vm.Cache
	states *States // nil: none are kept

	mu      sync.Mutex // guards what follows
	stores  map[string]*store
	facts   map[Remote]host.Facts
	logged  map[string]bool // notices
	unsaved map[string]bool // host and key of guests whose state could not be saved
}

// store is a folder with mhmig's files on the storage of one master.
type store struct {
	name string // of the folder
	lock lock   // guards what follows; held while a file is uploaded

	host  Remote // nil: the folder is not created
	path  string
	entry int
	files map[string]bool
}

// NewShared returns the shared state of beds on the run's hosts. The names of its folders
// there begin with name, which must be unique. local returns the local path of one of
// mhmig's files, by the value of the param that names it, such as "jeos:kernel"; it may be
// nil if no param names one.
func NewShared(name string, hosts []Remote, record vm.Ledger, local func(value string) (path string, err error)) *Shared {
	return &Shared{
		name: name, hosts: hosts, ledger: newOwned(record), local: local,
		stores: map[string]*store{}, facts: map[Remote]host.Facts{}, logged: map[string]bool{}, unsaved: map[string]bool{},
	}
}

// Owns says whether a ledger entry is of the files that all beds share.
func (s *Shared) Owns(e ledger.Entry) bool { return s.ledger.owns(e) }

// Close removes the files from the hosts. All beds must be closed before.
func (s *Shared) Close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, st := range s.stores {
		if st.host == nil {
			continue
		}
		if err := st.host.RemoveAll(ctx, st.path); err != nil {
			errs = append(errs, fmt.Errorf("%s: remove %s: %w", st.host.Name(), st.path, err))
			continue
		}
		errs = append(errs, s.ledger.Done(st.entry))
		st.host = nil
	}
	return errors.Join(errs...)
}

// store returns the store of the beds whose master has this label.
func (s *Shared) store(label string) *store {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stores[label]
	if st == nil {
		st = &store{name: s.name + "-files-" + label, lock: newLock(), files: map[string]bool{}}
		s.stores[label] = st
	}
	return st
}

// upload makes sure that the file that a param's value names is in the store of a host.
func (s *Shared) upload(ctx context.Context, owner *Host, value string) error {
	st := owner.store()
	release, err := st.lock.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	name, _ := vm.ShippedFile(value)
	if st.files[name] {
		return nil
	}
	local, err := s.local(value)
	if err != nil {
		return err
	}
	if st.host == nil {
		st.path = path.Join(owner.baseDir, st.name)
		if st.entry, err = s.ledger.Record(ledger.Entry{Host: owner.Name(), Kind: ledger.Dir, Path: st.path}); err != nil {
			return err
		}
		st.host = owner.Remote
		if err := owner.MkdirAll(ctx, st.path, 0o755); err != nil {
			return fmt.Errorf("%s: make folder %s: %w", owner.Name(), st.path, err)
		}
	}
	if err := owner.Upload(ctx, local, path.Join(st.path, name)); err != nil {
		return fmt.Errorf("%s: upload %s: %w", owner.Name(), name, err)
	}
	st.files[name] = true
	return nil
}

// hostFacts returns the facts about a host. It reads them once.
func (s *Shared) hostFacts(ctx context.Context, h Remote) (host.Facts, error) {
	s.mu.Lock()
	facts, known := s.facts[h]
	s.mu.Unlock()
	if known {
		return facts, nil
	}
	facts, err := h.Facts(ctx)
	if err != nil {
		return host.Facts{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.facts[h] = facts
	return facts, nil
}

// saveFailed says whether saving the state of a guest has failed: on a machine that is
// too busy for it, each further try would cost another boot.
func (s *Shared) saveFailed(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unsaved[key]
}

func (s *Shared) noteSaveFailed(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsaved[key] = true
}

// firstNotice says whether no bed has logged this notice before.
func (s *Shared) firstNotice(notice string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	logged := s.logged[notice]
	s.logged[notice] = true
	return !logged
}
