// SPDX-License-Identifier: Apache-2.0

// Package lab makes hosts on this machine, so that scenarios run without real
// hosts. They are reached like real hosts: by package host, over SSH, with a key
// and strict known_hosts.
//
//	l, err := lab.Start(ctx, lab.Options{Hosts: 2, Kind: lab.Embedded, Logger: log})
//	defer l.Close()
//	h, err := host.Dial(ctx, l.Hosts()[0], log)
//
// # Kinds
//
// An [Embedded] host is an SSH server inside this process, on its own loopback
// address (127.0.0.2, 127.0.0.3, …) and any free port. It needs no root and no
// packages. Its hosts share this machine's file system, user and network; but each
// has its own home and state folder.
//
// A [Netns] host, which needs root, is a network namespace with a real OpenSSH
// server in it, with its own mount, UTS, IPC and PID namespaces, and its own
// /root, /run and /tmp. The hosts are joined by a bridge, so
// that the network between them can be cut, slowed and filtered.
//
// # Cleanup after a crash
//
// Each lab has a state file, lab.json, in its folder. Resources are recorded there
// before the lab makes them, and the process that owns the lab holds a lock on the
// file lab.lock next to it, which the kernel releases however the process ends. So
// the resources of a killed lab can be found and removed: [Remove], [RemoveDead],
// and each new lab in the user's cache do so. All processes on a lab's hosts have
// the lab's ID in their environment, MHMIG_LAB; so they are found and killed when
// the lab ends, daemons included.
//
// A kept lab ([Up], [Down]) is owned by a background process. A user has at most
// one.
//
// # Concurrency
//
// The methods of [Lab] and [State] may be called by any goroutine at any time.
// Everything that a lab started has ended when [Lab.Close] returns.
package lab
