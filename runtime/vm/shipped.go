// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/jeos"
)

var wantGuestMemory = fmt.Sprintf("%dM at least: JeOS, the guest that mhmig brings, does not start with less", jeos.LeastMemoryMiB)

// CheckGuestMemory says whether the VM called name has enough memory to start the
// guest that mhmig brings, if that is its guest. It is pure, as [ParseConfig],
// which finds this too among all that is wrong: it is for who plans.
func CheckGuestMemory(name string, p cartesian.Params) error {
	v := api.Read(p)
	c := Config{Kernel: v.Text("kernel"), Initrd: v.Text("initrd"), MemoryBytes: v.Size("mem")}
	if v.Err() != nil || c.holdsGuest() {
		return nil //nolint:nilerr // of values that make no sense, ParseConfig tells
	}
	v.Invalid("mem", wantGuestMemory)
	return named(name, v.Err())
}

// holdsGuest says whether the memory is enough for the guest that mhmig brings;
// of others it knows nothing.
func (c *Config) holdsGuest() bool {
	ours := strings.HasPrefix(c.Kernel, ShippedPrefix) && strings.HasPrefix(c.Initrd, ShippedPrefix)
	return !ours || c.MemoryBytes >= jeos.LeastMemoryMiB<<20
}
