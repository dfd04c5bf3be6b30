// SPDX-License-Identifier: Apache-2.0

package vm

import "fmt"

const (
	// memoryGranuleKiB is what QEMU rounds -m up to.
	memoryGranuleKiB = 8
	// bitmapWordKiB is the memory that one 64-bit word of QEMU's dirty bitmap
	// stands for. RAM that is a multiple of it is synchronized on the fast path.
	bitmapWordKiB = 256
)

// guardedSince is the first QEMU whose fast path does not lose dirty pages.
var guardedSince = Version{Major: 9}

// guardMemory decides how much RAM a VM gets so that its migrations keep all of
// the guest's memory. QEMU before 9.0 under TCG loses pages that the guest writes
// while a migration runs, on the fast path of its dirty-bitmap synchronization,
// and says "completed" all the same. RAM that is no multiple of 256 KiB keeps it
// off that path. Here QEMU's version is all there is to ask.
//
// setting is the param tcg_dirty_guard: auto, on or off. notice is for the user,
// empty when there is nothing to say.
func guardMemory(accel string, oldest Version, wantedKiB int64, setting string) (memoryKiB int64, notice string) {
	memoryKiB = (wantedKiB + memoryGranuleKiB - 1) / memoryGranuleKiB * memoryGranuleKiB
	exposed := memoryKiB%bitmapWordKiB == 0
	faulty := accel == "tcg" && oldest.Less(guardedSince)
	switch setting {
	case "auto", "on":
		if !exposed || setting == "auto" && !faulty {
			return memoryKiB, ""
		}
		why := "tcg_dirty_guard = on"
		if faulty {
			why = fmt.Sprintf("QEMU %s under TCG loses memory in a migration otherwise (tcg_dirty_guard)", oldest)
		}
		return memoryKiB - memoryGranuleKiB, fmt.Sprintf("memory is %d KiB instead of %d: %s",
			memoryKiB-memoryGranuleKiB, memoryKiB, why)
	default: // off
		if exposed && faulty {
			notice = fmt.Sprintf("tcg_dirty_guard = off: QEMU %s under TCG loses memory in a migration", oldest)
		}
		return memoryKiB, notice
	}
}
