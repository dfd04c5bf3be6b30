// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"path"
	"sync"

	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// madeFiles are the files that a move has made on the hosts, at most one at each end. Its
// methods may be called from any goroutine.
type madeFiles struct {
	mu   sync.Mutex // guards ends
	ends map[Role]*madeFile
}

// madeFile is a file on the host of an end.
type madeFile struct {
	machine Machine
	path    string
	done    func() error // completes its entry in the ledger
}

// inRunFolder is a file that is about to be made in the run's folder on a host, which is
// recorded, and removed with all that is in it.
func inRunFolder(h *testbed.Host, name string) *madeFile {
	return &madeFile{h, path.Join(h.RunDir(), name), func() error { return nil }}
}

// remove removes the file.
func (f *madeFile) remove(ctx context.Context) error {
	if err := f.machine.RemoveAll(ctx, f.path); err != nil {
		return err
	}
	return f.done()
}

// record records in the ledger a file that is about to be made at an end.
func (m *madeFiles) record(end Role, machine Machine, path string) (*madeFile, error) {
	done, err := machine.Record(ledger.File, path)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ends == nil {
		m.ends = map[Role]*madeFile{}
	}
	m.ends[end] = &madeFile{machine, path, done}
	return m.ends[end], nil
}

// at is the file of an end, nil if there is none.
func (m *madeFiles) at(end Role) *madeFile {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ends[end]
}

// remove removes the file of an end, if there is one.
func (m *madeFiles) remove(ctx context.Context, end Role) error {
	f := m.at(end)
	if f == nil {
		return nil
	}
	if err := f.remove(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ends, end)
	return nil
}
