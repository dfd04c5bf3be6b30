// SPDX-License-Identifier: Apache-2.0

// Package lab makes hosts on this machine, so that scenarios run where no real
// hosts are given. They are reached as real hosts are: by package host, over
// SSH, with a key and strict known_hosts.
//
//	l, err := lab.Start(ctx, lab.Options{Hosts: 2, Kind: lab.Embedded, Logger: log})
//	defer l.Close()
//	h, err := host.Dial(ctx, l.Hosts()[0], log)
//
// # Kinds
//
// An [Embedded] host is an SSH server inside this process, on a loopback
// address of its own (127.0.0.2, 127.0.0.3, …) and any free port. It needs no
// root and no packages. Its hosts share what this machine has: file system,
// user, network; but each has a home and a state folder of its own.
//
// A [Netns] host, for which one must be root, is a network namespace with a
// real OpenSSH server in it, with mount, UTS, IPC and PID namespaces of its own,
// and with its own /root, /run and /tmp. The hosts are joined by a bridge, so
// that the network between them can be cut, slowed and filtered.
//
// # What remains
//
// Each lab has a state file, lab.json, in its folder. What the lab makes is
// written there before it is made, and the process that owns the lab holds a
// lock on the file lab.lock beside it, which the kernel releases however the
// process ends. So the remains of a killed lab are found and removed:
// [Remove], [RemoveDead], and each new lab in the user's cache do so. All that
// runs on a lab's hosts carries the lab's name in its environment, MHMIG_LAB;
// by that it is found and killed when the lab ends, daemons included.
//
// A kept lab ([Up], [Down]) is owned by a process of its own in the
// background. A user has at most one.
//
// # Concurrency
//
// The methods of [Lab] and [State] may be called by any goroutine at any time.
// All that a lab started has ended when [Lab.Close] returns.
package lab
