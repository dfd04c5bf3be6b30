// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/qmp"
)

// AddKernelFault records a fault as from the guest's console.
func (i *Instance) AddKernelFault(t guest.KernelFault) { i.addKernelFault(t) }

// BootNewGuest records that a new guest boots.
func (i *Instance) BootNewGuest() { i.Host.bed.rebootKernelFaults(i.Name(), true) }

// Sessions is how many sessions are kept.
func (i *Instance) Sessions() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.sessions)
}

// NoLogin is the error of a failed login.
var NoLogin = ErrNoLogin

// Presence is the presence after events, from the presence there.
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
