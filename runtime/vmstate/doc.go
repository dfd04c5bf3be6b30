// SPDX-License-Identifier: Apache-2.0

// Package vmstate reads the stream of a migration that was saved in a file, as by
// QMP's migrate with "exec:cat >FILE": the guest's RAM blocks, and the state of each
// device with its fields. At the end of a stream QEMU describes in JSON what it has
// sent; with that, the stream is decoded.
//
//	s, err := vmstate.Open(ctx, "vm1.state", 0)
//	for _, d := range s.Devices {
//		fmt.Println(d.Name, d.Instance, d.Version)
//	}
//	differences, err := vmstate.Compare(s, other)
//
// What qemu -dump-vmstate writes is read too: it describes what each kind of device
// of a QEMU would send.
//
// The words are QEMU's: a section is the state of one device, by its name and instance;
// a subsection is an optional part of it; the version of either is that of its format.
// All numbers in a stream are big-endian:
//
//	"QEVM", version 3 (32 bits)
//	0x07 configuration   machine type (32 bits length, text), subsections
//	0x01 start           id (32 bits), name (8 bits length, text), instance, version, payload
//	0x02 part            id, payload
//	0x03 end             id, payload
//	0x04 full            as start: all that is sent of a device at once
//	0x05 subsection      name, version, payload; inside the payload of a section
//	0x7e footer          id; after each section's payload
//	0x08 command         number, length (16 bits each), payload
//	0x00 end of file
//	0x06 description     length (32 bits), JSON
//
// A payload has no length: RAM is decoded by its own format, devices by the
// description.
//
// A file may be of anybody: reading one ends with an [*Error], which says where, and
// takes no more memory than the limits in limits.go allow, whatever it contains.
// Everything here may be called by several goroutines at once, for different values.
package vmstate
