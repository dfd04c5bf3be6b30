// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// LongestBlock is the maximum time after which the host unblocks a port by itself.
const LongestBlock = time.Hour

// BlockBy is what a host does with the packets of a blocked port.
type BlockBy string

// A firewall drops packets silently, and a peer waits; a host whose program has ended
// answers with a TCP reset, and a peer learns of it at once.
const (
	ByDrop   BlockBy = "drop"
	ByReject BlockBy = "reject"
)

// statements are nftables' statements. The resets that reject sends have the port too,
// and must not be rejected themselves.
var statements = map[BlockBy]string{
	ByDrop:   "drop",
	ByReject: "tcp flags & rst == 0 reject with tcp reset",
}

// Block is a port whose packets a host drops or rejects.
type Block struct {
	host  *Host
	port  int
	limit time.Duration
	entry ledger.Entry // its nftables table

	lock   lock // guards what follows; held while a command runs on the host
	tried  bool // to undo it: this may have succeeded although it returned an error
	undone bool
}

func (k *Block) String() string { return fmt.Sprintf("port %d of %s blocked", k.port, k.host.Name()) }

// blockPort creates the table %[1]s that applies %[5]s to the packets of port %[2]d. Before, it
// starts a process that deletes the table after %[3]d seconds, even if mhmig has ended
// or cannot reach the host. The process is not marked as one of a lab, so that it
// survives the lab.
const blockPort = `
(unset MHMIG_LAB MHMIG_LAB_HOST
%[4]s=%[1]s/ setsid sh -c 'sleep "$1"; nft delete table inet "$2"' unblock %[3]d %[1]s </dev/null >/dev/null 2>&1 &)
nft -f - <<'END'
add table inet %[1]s
add chain inet %[1]s in { type filter hook input priority -10; }
add chain inet %[1]s out { type filter hook output priority -10; }
add rule inet %[1]s in tcp dport %[2]d %[5]s
add rule inet %[1]s in tcp sport %[2]d %[5]s
add rule inet %[1]s out tcp dport %[2]d %[5]s
add rule inet %[1]s out tcp sport %[2]d %[5]s
END`

// BlockPort drops or rejects all TCP packets to or from a port of the host, with a separate
// nftables table. It needs root on the host. After limit, at most [LongestBlock], the
// host unblocks the port by itself. A port of the SSH connections to the run's hosts is
// refused: without them the block could not be undone.
func (h *Host) BlockPort(ctx context.Context, port int, by BlockBy, limit time.Duration) (*Block, error) {
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
	k := &Block{host: h, port: port, limit: limit, lock: newLock(), entry: ledger.Entry{Host: h.Name(), Kind: ledger.Firewall, Path: table}}
	var err error
	if k.entry.ID, err = h.bed.ledger.Record(k.entry); err != nil {
		return nil, err
	}
	seconds := int((limit + time.Second - 1) / time.Second)
	script := fmt.Sprintf(blockPort, table, port, seconds, ledger.FirewallVariable, statements[by])
	if _, err := h.Run(ctx, host.Command{Script: script, Timeout: commandTimeout}); err != nil {
		// The table may exist, if only the answer was lost. If it cannot be removed now, it
		// stays in the ledger.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
		defer cancel()
		_, undone := k.remove(undo)
		return nil, errors.Join(fmt.Errorf("block port %d (needs root and nftables on the host): %w", port, err), undone)
	}
	h.mu.Lock()
	h.blocks = append(h.blocks, k)
	h.mu.Unlock()
	h.bed.log.Info("port blocked", "host", h.Name(), "port", port, "by", string(by))
	return k, nil
}

// checkNoSSH refuses the ports of the SSH connections to the run's hosts, and to their
// jump hosts: several hosts may be one machine, or jump hosts of each other. The port
// of the connection to this host is read on the host.
func (h *Host) checkNoSSH(ctx context.Context, port int) error {
	refused := func(name string) error {
		return fmt.Errorf("block port %d of %s: refused: mhmig connects to %s through it, and could not unblock it", port, h.Name(), name)
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

// sshPorts are the ports of a host's SSH server and of its jump hosts.
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

// remove unblocks the port, and says whether it was still blocked.
func (k *Block) remove(ctx context.Context) (was bool, err error) {
	script, err := k.entry.UndoScript()
	if err != nil {
		return false, err
	}
	out, err := k.host.Run(ctx, host.Command{Script: script, Timeout: commandTimeout})
	if err != nil {
		return false, fmt.Errorf("unblock port %d: %w", k.port, err)
	}
	return strings.Contains(string(out.Stdout), k.entry.Path), k.host.bed.ledger.Done(k.entry.ID)
}

// Undo unblocks the port. It may be called more than once. It is an error if the host
// had unblocked the port by itself: the scenario relied on the block.
func (k *Block) Undo(ctx context.Context) error {
	release, err := k.lock.acquire(ctx)
	if err != nil {
		return fmt.Errorf("unblock port %d: %w", k.port, err)
	}
	defer release()
	if k.undone {
		return nil
	}
	retried := k.tried
	k.tried = true
	was, err := k.remove(ctx)
	if err != nil {
		return err
	}
	k.undone = true
	if !was && !retried {
		return fmt.Errorf("%s: port %d was no longer blocked: the host unblocked it after %v; give block_port a longer timeout", k.host.Name(), k.port, k.limit)
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
