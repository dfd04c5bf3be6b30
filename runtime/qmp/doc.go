// SPDX-License-Identifier: Apache-2.0

// Package qmp is a client of QEMU's monitor, the QEMU Machine Protocol, over any
// [net.Conn]: a unix socket, or one that is forwarded over SSH.
//
// A [Conn] sends commands, matches replies to them by id, and passes events to
// subscribers. It implements go-qemu's [gqmp.Monitor], so that
// qemu.NewDomain(conn, name) works with it. It exists because go-qemu's own
// SocketMonitor dials itself, overwrites replies when events follow them, fails on
// replies over 64 KiB and hangs when its events are not read.
//
//	mon, err := qmp.New(ctx, conn, qmp.Options{Name: "vm1@host1", Transcript: file})
//	events := mon.Subscribe("MIGRATION", "STOP")
//	defer events.Close()
//	err = mon.Execute(ctx, "migrate", map[string]any{"uri": "tcp:192.0.2.2:4444"}, nil)
//
// # Concurrency
//
// All methods of Conn and [Subscription] may be called by any goroutine at the
// same time. One goroutine owns the connection's read side and one its write
// side; neither ever waits for a subscriber or a caller. Every call ends within
// [Options.Timeout], whatever QEMU does, with an error that matches [ErrSilent]. A
// call whose context ends returns at once. Either leaves the connection usable:
// a late reply is discarded. When QEMU ends, all waiting calls return an error that
// matches [ErrGone].
package qmp
