// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// LongestBlock is how long a port can stay blocked without anybody's word.
const LongestBlock = time.Hour

// Block is a port whose packets a host drops.
type Block struct {
	host  *Host
	port  int
	limit time.Duration
	made  ledger.Entry // the table of nftables

	mu     sync.Mutex // guards what follows; held while the host is asked
	tried  bool       // to undo it: it may be gone although the answer was lost
	undone bool
}

func (k *Block) String() string { return fmt.Sprintf("port %d of %s blocked", k.port, k.host.Name()) }

// blockPort makes the table %[1]s that drops the packets of port %[2]d. Before, it
// starts what deletes the table after %[3]d seconds, whatever becomes of mhmig and
// the way to the host. A lab that dies does not take it along.
const blockPort = `
(unset MHMIG_LAB MHMIG_LAB_HOST
%[4]s=%[1]s/ setsid sh -c 'sleep "$1"; nft delete table inet "$2"' unblock %[3]d %[1]s </dev/null >/dev/null 2>&1 &)
nft -f - <<'END'
add table inet %[1]s
add chain inet %[1]s in { type filter hook input priority -10; }
add chain inet %[1]s out { type filter hook output priority -10; }
add rule inet %[1]s in tcp dport %[2]d drop
add rule inet %[1]s in tcp sport %[2]d drop
add rule inet %[1]s out tcp dport %[2]d drop
add rule inet %[1]s out tcp sport %[2]d drop
END`

// BlockPort drops all TCP packets to or from a port of the host, in a table of
// nftables of its own. It needs root on the host. After limit, of at most
// [LongestBlock], the host undoes it by itself. A port of the SSH connections to
// the run's hosts is refused: without them nothing could be undone.
func (h *Host) BlockPort(ctx context.Context, port int, limit time.Duration) (*Block, error) {
	switch {
	case port < 1 || port > 65535:
		return nil, fmt.Errorf("block port %d: want a TCP port, 1 to 65535", port)
	case limit <= 0 || limit > LongestBlock:
		return nil, fmt.Errorf("block port %d: got a timeout of %v, want more than 0 and at most %v", port, limit, LongestBlock)
	}
	if err := h.checkNoSSH(ctx, port); err != nil {
		return nil, err
	}
	table := strings.ReplaceAll(fmt.Sprintf("%s_%d_%d", h.bed.name, port, h.NextNumber()), "-", "_")
	k := &Block{host: h, port: port, limit: limit, made: ledger.Entry{Host: h.Name(), Kind: ledger.Firewall, Path: table}}
	var err error
	if k.made.ID, err = h.bed.ledger.Record(k.made); err != nil {
		return nil, err
	}
	seconds := int((limit + time.Second - 1) / time.Second)
	script := fmt.Sprintf(blockPort, table, port, seconds, ledger.FirewallVariable)
	if _, err := h.Run(ctx, host.Command{Script: script, Timeout: commandTimeout}); err != nil {
		// It may be there: the answer was lost, say. What cannot be undone now stays in the ledger.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
		defer cancel()
		_, undone := k.remove(undo)
		return nil, errors.Join(fmt.Errorf("block port %d (needs root and nftables on the host): %w", port, err), undone)
	}
	h.mu.Lock()
	h.blocks = append(h.blocks, k)
	h.mu.Unlock()
	h.bed.log.Info("port blocked", "host", h.Name(), "port", port)
	return k, nil
}

// checkNoSSH refuses the ports by which mhmig reaches the run's hosts, through
// jump hosts too: hosts may be one machine, or be each other's jump hosts. The
// host itself knows best which port of its own that is.
func (h *Host) checkNoSSH(ctx context.Context, port int) error {
	refused := func(name string) error {
		return fmt.Errorf("block port %d of %s: refused: mhmig reaches %s by it, and could not undo it", port, h.Name(), name)
	}
	for _, other := range h.bed.shared.hosts {
		if slices.Contains(sshPorts(other.Config()), port) {
			return refused(other.Name())
		}
	}
	out, err := h.Run(ctx, host.Command{Script: `echo "$SSH_CONNECTION"`, Timeout: commandTimeout})
	if err != nil {
		return fmt.Errorf("block port %d: %w", port, err)
	}
	// Client's address, client's port, server's address, server's port.
	if slices.Contains(strings.Fields(string(out.Stdout)), strconv.Itoa(port)) {
		return refused(h.Name())
	}
	return nil
}

// sshPorts are the ports of the SSH servers on the way to a host, its own included.
func sshPorts(c host.Config) []int {
	ports := []int{c.Port}
	if c.Port == 0 {
		ports[0] = defaultSSHPort
	}
	for _, jump := range c.ProxyJump {
		ports = append(ports, sshPorts(jump)...)
	}
	return ports
}

const defaultSSHPort = 22

// remove makes the host drop no packets any more, and says whether it did until
// now.
func (k *Block) remove(ctx context.Context) (was bool, err error) {
	script, err := k.made.UndoScript()
	if err != nil {
		return false, err
	}
	out, err := k.host.Run(ctx, host.Command{Script: script, Timeout: commandTimeout})
	if err != nil {
		return false, fmt.Errorf("unblock port %d: %w", k.port, err)
	}
	return strings.Contains(string(out.Stdout), k.made.Path), k.host.bed.ledger.Done(k.made.ID)
}

// Undo lets the packets through again; again is fine. That the host had done so by
// itself is an error: a scenario took the port for blocked.
func (k *Block) Undo(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.undone {
		return nil
	}
	again := k.tried
	k.tried = true
	was, err := k.remove(ctx)
	if err != nil {
		return err
	}
	k.undone = true
	if !was && !again {
		return fmt.Errorf("%s: port %d was no longer blocked: the host undoes a block by itself, this one after %v; give block_port a longer timeout", k.host.Name(), k.port, k.limit)
	}
	k.host.bed.log.Info("port unblocked", "host", k.host.Name(), "port", k.port)
	return nil
}

// Unblock undoes all blocks of the host.
func (h *Host) Unblock(ctx context.Context) error {
	h.mu.Lock()
	blocks := slices.Clone(h.blocks)
	h.mu.Unlock()
	var errs []error
	for _, k := range slices.Backward(blocks) {
		errs = append(errs, k.Undo(ctx))
	}
	return errors.Join(errs...)
}
