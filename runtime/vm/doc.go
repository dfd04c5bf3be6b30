// SPDX-License-Identifier: Apache-2.0

// Package vm makes VMs from params: a variant's params, under virt-test's names,
// become a QEMU command line; an [Instance] is the life of one such QEMU process
// on one host; its disks lie on storage that the hosts share.
//
//	config, err := vm.ParseConfig("vm1", params) // what the VM is, checked
//	shape, err := cache.Agree(ctx, "vm1", configs) // what both sides must have alike
//	images, err := vm.PrepareImages(ctx, placement, config) // once, on the first host
//	src, err := vm.Start(ctx, placement, config, shape, vm.Launch{})
//	console, err := src.DialConsole(ctx) // before the guest's first word
//	err = src.Cont(ctx)
//	err = src.Destroy(ctx)
//
// Params given to this package are those of one VM on one host: narrowed by
// [cartesian.Params.Object] to the host and then to the VM. They are read once, by
// [ParseConfig], which narrows them to images and NICs by itself; a device is a
// type in a file of its own, see [Device].
//
// Whatever is made on a host is recorded in the [Ledger] before it is made and
// struck out when it is gone.
//
// # Concurrency
//
// All functions, and all methods of [Instance], may be called by any goroutine at
// the same time. Each that has a ctx blocks until it is done or ctx ends.
// What is learned about a QEMU binary or an accelerator is kept in a [Cache].
package vm
