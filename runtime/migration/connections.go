// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Connections are the connections of a move that its destination had, by the tables of
// its host's kernel.
type Connections struct {
	Most int  // the most that were seen at a time; 0: none were
	Sure bool // there were no more: they were counted repeatedly while memory was sent
}

// fewerThan says whether the move had fewer connections than n, for sure.
func (c Connections) fewerThan(n int) bool { return c.Sure && c.Most < n }

const (
	countTimeout  = 10 * time.Second
	countInterval = 100 * time.Millisecond // between looks at whether memory was sent after a count
	countsWanted  = 2                      // as the kernel may leave a line out of a table that changes while it is read
)

// connectionCount returns the shell command that prints the number of the destination's
// connections, in a state in which QEMU has made those of multifd or postcopy-preempt. It
// returns "" in other states, and for moves of one connection.
func (mv *move) connectionCount(state State, dst *testbed.Instance) string {
	o := mv.m.options
	if !o.multifd.on && !o.postcopy.preempt || state != qmp.MigrationActive && state != qmp.MigrationPostcopyActive {
		return ""
	}
	t, counts := mv.transport.(interface{ connectionCount(destination Peer) string })
	if !counts {
		return ""
	}
	return t.connectionCount(endpoint{dst})
}

// countConnections counts the connections of a move that is under way and has had a state,
// by a command of connectionCount, until it is sure of their number, or the context ends.
// At the end of a move the destination closes them while the source has no other state
// yet, so that a count is sure only if the source has sent memory after it. Some QEMUs make
// the connection of preempt only when they switch to post-copy. The number stays unknown
// where the host has no /proc/net.
func (mv *move) countConnections(ctx context.Context, src, dst *testbed.Instance, state State, command string) {
	for range countsWanted {
		out, err := dst.Host.Run(ctx, host.Command{Script: command, Timeout: countTimeout})
		n, invalid := strconv.Atoi(strings.TrimSpace(string(out.Stdout)))
		if err != nil || invalid != nil || n == 0 {
			src.Log().Info("the connections to the destination were not counted", "output", string(out.Stdout), "error", err)
			return
		}
		src.Log().Info("connections to the destination", "count", n)
		mv.m.mu.Lock()
		mv.connections.Most = max(mv.connections.Most, n)
		mv.m.mu.Unlock()
		if !mv.sendsMore(ctx, src) {
			return
		}
	}
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	mv.connections.Sure = mv.connections.Sure || mv.m.options.multifd.on || state == qmp.MigrationPostcopyActive
}

// sendsMore waits until the source has sent memory from now on. It returns false if the
// move ends before.
func (mv *move) sendsMore(ctx context.Context, src *testbed.Instance) bool {
	before := int64(-1)
	for {
		state, err := mv.sample(ctx, src.Monitor())
		if err != nil || state.Terminal() {
			return false
		}
		mv.m.mu.Lock()
		sent := (result.Sample{Query: mv.query}).Progress().Transferred
		mv.m.mu.Unlock()
		if before < 0 {
			before = sent
		}
		if sent > before {
			return true
		}
		select {
		case <-time.After(countInterval):
		case <-ctx.Done():
			return false
		}
	}
}
