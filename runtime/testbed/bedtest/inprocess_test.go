// SPDX-License-Identifier: Apache-2.0

package bedtest_test

import (
	"sync"
	"testing"

	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Who connects to a guest at the moment at which its QEMU ends, as a login that is tried
// again and again does, gets a connection that ends, and from then on none.
func TestDialAtItsEnd(t *testing.T) {
	t.Parallel()
	bed := bedtest.NewScriptedBed(t, 1, nil)
	bed.QEMUs.Guest("vm1", &bedtest.Guest{})
	instance, _, err := bed.Ensure(t.Context(), "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	var dialing sync.WaitGroup
	dialing.Go(func() {
		for {
			conn, err := instance.DialShell(t.Context())
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	})
	if err := bed.Remove(t.Context(), instance); err != nil {
		t.Error(err)
	}
	dialing.Wait() // for ever, while the QEMU that has ended serves connections
}
