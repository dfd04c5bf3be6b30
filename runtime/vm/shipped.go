// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/jeos"
)

// The guests that mhmig builds itself. A param's value names a file of one: jeos:kernel,
// debian:disk.
const (
	ShippedJeOS   = "jeos"
	ShippedDebian = "debian"
)

// ShippedParams are the params whose values may name one of mhmig's own files.
var ShippedParams = []string{"kernel", "initrd", "image_name"}

// ShippedFile says whether a param's value names one of mhmig's own files, and returns
// the name of that file in [Placement.ShippedDir]: jeos-kernel for jeos:kernel.
func ShippedFile(value string) (file string, ok bool) {
	guest, name, _ := strings.Cut(value, ":")
	if guest != ShippedJeOS && guest != ShippedDebian || guest == value {
		return "", false
	}
	return guest + "-" + name, true
}

// ShippedGuest is the guest whose file a param's value names, "" if it is none of
// mhmig's own.
func ShippedGuest(value string) string {
	if _, ok := ShippedFile(value); !ok {
		return ""
	}
	guest, _, _ := strings.Cut(value, ":")
	return guest
}

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
	isJeOS := ShippedGuest(c.Kernel) == ShippedJeOS && ShippedGuest(c.Initrd) == ShippedJeOS
	return !isJeOS || c.MemoryBytes >= jeos.LeastMemoryMiB<<20
}
