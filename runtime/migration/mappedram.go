// SPDX-License-Identifier: Apache-2.0

package migration

import "context"

const mappedRAMCapability = "mapped-ram"

// mappedRAM is the feature of mig_mapped_ram: each page has its place in the guest's file,
// which is written again when the page is, so that the file does not grow with the passes.
type mappedRAM struct{ switched }

func newMappedRAM(o options, _ Traits) Feature {
	return mappedRAM{switched{mappedRAMCapability, o.mappedRAM}}
}

// SavedFile is the file that a source has written its guest to.
type SavedFile struct {
	Bytes  int64 // of the guest, without what is before it
	Mapped bool  // it says that it is one of mapped-ram
}

// mappedRAMRest is how much a file of mapped-ram may have beside the RAM: the state of the
// devices, the bitmaps, and up to 1 MiB before the pages of each piece of RAM.
const mappedRAMRest = 64 << 20

// Check checks that the file says that it is one of mapped-ram, and that it is not larger
// than one can be.
func (f mappedRAM) Check(_ context.Context, o *Outcome) error {
	if !f.on {
		return nil
	}
	total, _ := o.RAM("total")
	switch sent, _ := o.RAM("transferred"); {
	case !o.File.Mapped:
		return unused("mapped-ram was on, but the file that QEMU wrote does not say that it is one of mapped-ram")
	case o.File.Bytes > total+mappedRAMRest:
		return unused("mapped-ram was on, but QEMU wrote a file of %d bytes for %d of RAM", o.File.Bytes, total)
	default:
		o.Used(mappedRAMCapability, "a file of mapped-ram has %d bytes for %d of RAM, of which %d were written", o.File.Bytes, total, sent)
	}
	return nil
}
