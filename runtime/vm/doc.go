// SPDX-License-Identifier: Apache-2.0

// Package vm makes VMs from params: a variant's params, under virt-test's names,
// become a QEMU command line; an [Instance] is the life of one such QEMU process
// on one host; its disks lie on storage that the hosts share.
//
//	shape, err := vm.Agree(ctx, "vm1", sites)             // what both sides must have alike
//	images, err := vm.PrepareImages(ctx, place, "vm1", p) // once, on the first host
//	src, err := vm.Start(ctx, place, "vm1", p, shape, false)
//	console, err := src.DialConsole(ctx)                  // before the guest's first word
//	err = src.Cont(ctx)
//	err = src.Destroy(ctx)
//
// Params given to this package are those of one VM on one host: narrowed by
// [cartesian.Params.Object] to the host and then to the VM. Images and NICs are
// narrowed here.
//
// Whatever is made on a host is recorded in the [Ledger] before it is made and
// struck out when it is gone.
//
// # Concurrency
//
// All functions, and all methods of [Instance], may be called by any goroutine at
// the same time. Each that has a ctx blocks until it is done or ctx ends.
// What is learned about a QEMU binary or an accelerator is kept for the life of
// this process.
package vm
