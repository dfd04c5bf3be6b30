// SPDX-License-Identifier: Apache-2.0

// Package guestd is mhmig's program inside the JeOS guest, the command guestd,
// under these names:
//
//	guestd       SSH server, kept running by busybox init
//	memwork      memory workload, see package workload
//	diskwork     disk workload
//	cpuwork      processor workload
//	cdrom        locks and moves the tray of a CD-ROM drive, see package cdrom
//	crashkernel  loads the kernel to boot after a panic, see package crashkernel
//	clockwork    says all the time that the guest runs, see package clockwork
//
// It is not meant to run anywhere else, as guestd serves a root shell to whoever knows a
// password that is in this source; with one exception: a host of a migration by fd: URIs
// runs it with migfd as its first argument, see package migfd.
package guestd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/mhmig/mhmig/runtime/jeos/cdrom"
	"github.com/mhmig/mhmig/runtime/jeos/clockwork"
	"github.com/mhmig/mhmig/runtime/jeos/crashkernel"
	"github.com/mhmig/mhmig/runtime/jeos/migfd"
	"github.com/mhmig/mhmig/runtime/jeos/workload"
)

// HostKeyFile holds the SSH server's ed25519 private key, as its 64 bytes.
const HostKeyFile = "/etc/guestd.key"

// Commands are the names besides guestd under which the program is called.
func Commands() []string {
	return append(workload.Commands(), cdrom.Name, clockwork.Name, crashkernel.Name)
}

// Main serves SSH, stamps the clock or carries out a command, whatever the process
// was started as, and returns the exit status.
func Main() int {
	name := filepath.Base(os.Args[0])
	switch {
	case len(os.Args) > 1 && os.Args[1] == migfd.Name:
		return migfd.Main(os.Args[2:], os.Stdout, os.Stderr)
	case name == clockwork.Name:
		return clockwork.Main(os.Stderr)
	case name == cdrom.Name:
		return cdrom.Main(os.Args[1:], os.Stdout, os.Stderr)
	case name == crashkernel.Name:
		return crashkernel.Main(os.Args[1:], os.Stdout, os.Stderr)
	case slices.Contains(workload.Commands(), name):
		return workload.Main(name, os.Args[1:], os.Stdout, os.Stderr)
	}
	err := serve()
	fmt.Fprintln(os.Stderr, "guestd:", err)
	return 1
}
