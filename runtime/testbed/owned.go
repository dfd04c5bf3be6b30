// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"sync"

	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/vm"
)

// owned is the run's ledger, and which of its entries are the bed's: other beds
// write to it at the same time.
type owned struct {
	vm.Ledger

	mu  sync.Mutex // guards ids
	ids map[int]bool
}

// Record notes an entry of the bed.
func (o *owned) Record(e ledger.Entry) (int, error) {
	id, err := o.Ledger.Record(e)
	if err == nil {
		o.mu.Lock()
		o.ids[id] = true
		o.mu.Unlock()
	}
	return id, err
}

// Owns says whether an entry of the ledger is about something that this bed has
// made.
func (b *Bed) Owns(e ledger.Entry) bool {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	return b.ledger.ids[e.ID]
}
