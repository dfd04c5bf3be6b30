// SPDX-License-Identifier: Apache-2.0

// Package vm starts VMs: a variant's params, under virt-test's names, become a QEMU
// command line; an [Instance] is one such QEMU process on one host; its disks are on
// storage that the hosts share.
//
//	config, err := vm.ParseConfig("vm1", params) // parsed and checked
//	shape, err := cache.Agree(ctx, "vm1", configs) // what must be the same on all hosts
//	images, err := vm.PrepareImages(ctx, placement, config) // once, on the first host
//	src, err := vm.Start(ctx, placement, config, shape, vm.Launch{})
//	console, err := src.DialConsole(ctx) // before the guest's first output
//	err = src.Cont(ctx)
//	err = src.Destroy(ctx)
//
// Params given to this package are those of one VM on one host: narrowed by
// [cartesian.Params.Object] to the host and then to the VM. They are read once, by
// [ParseConfig], which narrows them further to images and NICs; each device is a type
// in its own file, see [Device].
//
// Everything created on a host is recorded in the [Ledger] before, and marked done when
// it is removed.
//
// # Concurrency
//
// All functions, and all methods of [Instance], may be called by any goroutine at
// the same time. Each that has a ctx blocks until it is done or ctx ends.
// Facts about QEMU binaries and accelerators are kept in a [Cache].
package vm
