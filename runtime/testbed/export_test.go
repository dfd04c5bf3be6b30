// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/qmp"
)

// Hear takes trouble in as from the guest's console.
func (i *Instance) Hear(t guest.KernelFault) { i.noteKernelTrouble(t) }

// Forget lets another guest boot, whose console has shown nothing.
func (i *Instance) Forget() { i.Host.bed.bootTroubles(i.Name(), true) }

// NoLogin is the error of a guest that cannot be logged in to.
var NoLogin = errNoLogin

// Presence is where a guest is that was there, after events.
func Presence(there string, events []qmp.Event) string {
	p := here
	for p.String() != there {
		p++
	}
	for _, e := range events {
		p = p.after(e)
	}
	return p.String()
}
