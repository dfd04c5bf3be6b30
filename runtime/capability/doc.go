// SPDX-License-Identifier: Apache-2.0

// Package capability finds out what a QEMU accepts for a migration: it starts it
// without a guest, once as a source and once as a destination, sets each migration
// capability alone and each two of them together, and reads the migration parameters from
// QEMU's schema. Documentation and version do not say this: distributions backport
// features and leave others out, and some need the host's kernel.
//
//	m, err := capability.Probe(ctx, qemu.Program{Binary: "qemu-system-x86_64"})
//	for _, p := range m.Pairs {
//		fmt.Println(p.First, p.Second, p.Source, p.Destination)
//	}
//
// Probe may be called by several goroutines at once. It leaves nothing behind: no files,
// and no process, also if this one is killed.
package capability
