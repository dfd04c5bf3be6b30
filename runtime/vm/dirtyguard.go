// SPDX-License-Identifier: Apache-2.0

package vm

import "fmt"

const (
	// memoryGranuleKiB is the unit to which QEMU rounds -m up.
	memoryGranuleKiB = 8
	// bitmapWordKiB is the memory that one 64-bit word of QEMU's dirty bitmap covers.
	// RAM whose size is a multiple of it is synchronized on the fast path.
	bitmapWordKiB = 256
)

// fixedIn is the first QEMU whose fast path does not lose dirty pages.
var fixedIn = Version{Major: 9}

// guardMemory returns how much RAM a VM gets so that its migrations do not lose guest
// memory. QEMU before 9.0 under TCG loses pages that the guest writes during a
// migration, on the fast path of its dirty-bitmap synchronization, and reports
// "completed" all the same. It does not use that path for RAM whose size is no multiple
// of 256 KiB. Only QEMU's version tells whether it has the bug. What is left is a race that
// a loaded host may lose: a virtual CPU that is preempted between marking a page as dirty
// and writing to it.
//
// setting is the param tcg_dirty_guard: auto, on or off. notice is a message for the
// user, or "".
func guardMemory(accel string, oldest Version, wantedKiB int64, setting string) (memoryKiB int64, notice string) {
	memoryKiB = (wantedKiB + memoryGranuleKiB - 1) / memoryGranuleKiB * memoryGranuleKiB
	exposed := memoryKiB%bitmapWordKiB == 0
	faulty := accel == "tcg" && oldest.Less(fixedIn)
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
