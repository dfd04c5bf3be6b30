// SPDX-License-Identifier: Apache-2.0

// Package guestd is mhmig's executable inside the JeOS guest, under these names:
//
//	guestd     SSH server, kept running by busybox init
//	memwork    memory workload, see package workload
//	diskwork   disk workload
//	clockwork  says all the time that the guest runs, see package clockwork
//
// It is not meant to run anywhere else: guestd serves a root shell to whoever
// knows a password that is in this source.
package guestd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/mhmig/mhmig/runtime/jeos/clockwork"
	"github.com/mhmig/mhmig/runtime/jeos/workload"
)

// HostKeyFile holds the SSH server's ed25519 private key, as its 64 bytes.
const HostKeyFile = "/etc/guestd.key"

const serverName = "guestd"

// Commands are the names besides guestd under which the executable is called.
func Commands() []string { return append(workload.Commands(), clockwork.Name) }

// IsGuest tells whether the process was started under a name of the guest's.
func IsGuest() bool {
	name := filepath.Base(os.Args[0])
	return name == serverName || slices.Contains(Commands(), name)
}

// Main serves SSH, stamps the clock or carries out a workload command, whatever the process was
// started as, and returns the exit status.
func Main() int {
	switch name := filepath.Base(os.Args[0]); name {
	case serverName:
	case clockwork.Name:
		return clockwork.Main(os.Stderr)
	default:
		return workload.Main(name, os.Args[1:], os.Stdout, os.Stderr)
	}
	err := serve()
	fmt.Fprintln(os.Stderr, "guestd:", err)
	return 1
}
