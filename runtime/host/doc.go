// SPDX-License-Identifier: Apache-2.0

// Package host reaches a machine by SSH: it runs commands there, copies files
// to and from it, and forwards unix sockets and TCP ports. Nothing has to be
// installed on the machine but sshd and a POSIX shell.
//
//	cfg, err := host.Resolve("host1.example.com", params, 1) // ~/.ssh/config and params
//	h, err := host.Dial(ctx, cfg, logger)
//	defer h.Close()
//	out, err := h.Run(ctx, host.Command{Args: []string{"uname", "-r"}, Timeout: 10 * time.Second})
//
// # Commands
//
// A [Command] is run by /bin/sh, whatever the user's login shell is, with
// LC_ALL=C and the system's sbin folders in PATH; what the login shell prints
// before (prompts, banners) is dropped. Each command is the leader of a process
// group of its own. When its timeout passes, its context ends, or the Host is
// closed, the whole group is killed: SIGTERM, two seconds of grace, SIGKILL. No
// command starts before mhmig knows its group, so none can be lost. Of a command
// with a [Command.Mark], descendants that left the group are killed too.
//
// [MaxOutput] limits what is read into memory of a command's output or of a file:
// a host that sends without end is an error.
//
// # Sessions and connections
//
// A server allows a limited number of sessions on one connection (OpenSSH's
// MaxSessions, 10 if not set). A running command is one session; file
// transfers share one; forwardings need none. When all sessions are taken, a
// Host opens further connections, up to ten; beyond that commands wait. One
// session of each connection is reserved for killing.
//
// # Lost connections
//
// When nothing at all arrives on a connection for [Config.KeepaliveCount] times
// [Config.KeepaliveInterval], though as many keepalive messages were sent, it is
// lost: calls that wait on it return a [*LostError]. Time in which this process
// was stopped does not count.
//
// # Concurrency
//
// All methods of [Host] and [Process] may be called by any goroutine at the
// same time, but a Process's Stdout and Stderr each by one at a time. All that
// a Host starts has ended when [Host.Close] returns, but for goroutines that
// wait in a Read of a caller's [Command.Stdin].
package host
