// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"sync"

	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/vm"
)

// owned is the run's ledger, with the IDs of the owner's entries: other beds write to
// the same ledger.
type owned struct {
	vm.Ledger

	mu  sync.Mutex // guards ids
	ids map[int]bool
}

func newOwned(l vm.Ledger) *owned { return &owned{Ledger: l, ids: map[int]bool{}} }

// Record records an entry of the owner.
func (o *owned) Record(e ledger.Entry) (int, error) {
	id, err := o.Ledger.Record(e)
	if err == nil {
		o.mu.Lock()
		o.ids[id] = true
		o.mu.Unlock()
	}
	return id, err
}

func (o *owned) owns(e ledger.Entry) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ids[e.ID]
}
