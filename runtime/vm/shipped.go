// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/jeos"
)

var wantGuestMemory = fmt.Sprintf("at least %dM: the guest JeOS does not boot with less", jeos.LeastMemoryMiB)

// CheckGuestMemory returns an error if the guest of the VM called name is JeOS, and the
// VM has too little memory to boot it. It is pure. [ParseConfig] checks this too; this
// function is for the plan of a run.
func CheckGuestMemory(name string, p cartesian.Params) error {
	v := api.Read(p)
	c := Config{Kernel: v.Text("kernel"), Initrd: v.Text("initrd"), MemoryBytes: v.Size("mem")}
	if v.Err() != nil || c.holdsGuest() {
		return nil //nolint:nilerr // ParseConfig reports invalid values
	}
	v.Invalid("mem", wantGuestMemory)
	return named(name, v.Err())
}

// holdsGuest says whether the memory is enough for JeOS; it is true for other guests.
func (c *Config) holdsGuest() bool {
	isJeOS := strings.HasPrefix(c.Kernel, ShippedPrefix) && strings.HasPrefix(c.Initrd, ShippedPrefix)
	return !isJeOS || c.MemoryBytes >= jeos.LeastMemoryMiB<<20
}
