// SPDX-License-Identifier: Apache-2.0

package vmstate

// Limits of what is read, far above what QEMU writes: a damaged or hostile file must
// not take all memory.
const (
	maxDescription = 64 << 20 // bytes of JSON; QEMU 7.2 has 100 KiB for a small guest
	maxDepth       = 64       // structs in each other
	maxName        = 255      // bytes, of a field or format: those of sections have a length of one byte
	maxSections    = 1 << 16
	maxBlocks      = 1 << 16 // of RAM
	maxValues      = 1 << 20 // of all devices
	maxSteps       = 1 << 22 // fields visited, also of no bytes
	maxKept        = 64 << 20
	maxBuffer      = 4 << 10 // bytes kept of one buffer
	maxElements    = 1 << 10 // elements kept of one array
)
