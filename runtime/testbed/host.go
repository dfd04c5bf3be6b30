// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/vm"
)

// commandTimeout bounds the small commands that a bed itself needs.
const commandTimeout = 30 * time.Second

// Host is a host as one variant uses it.
type Host struct {
	*host.Host
	Params cartesian.Params // the variant's, narrowed to this host

	bed      *Bed
	label    string // host1, host2, …: how params name it
	runDir   string // the bed's own folder on this host
	baseDir  string // images_base_dir: on storage that all hosts share
	imageDir string // the bed's folder there

	mu     sync.Mutex // guards what follows
	facts  map[string]any
	blocks []*Block
	number int
}

// RunDir is the bed's own folder on this host.
func (h *Host) RunDir() string { return h.runDir }

// NextNumber counts from 1: for names of files in RunDir.
func (h *Host) NextNumber() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.number++
	return h.number
}

// Facts are what is known of the machine: kernel, hostname, arch, os, user
// (strings), cpus (int), memory (int64, bytes).
func (h *Host) Facts() map[string]any {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.facts
}

func (h *Host) learn(ctx context.Context) error {
	f, err := h.bed.shared.learn(ctx, h.Host)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.facts = map[string]any{
		"kernel": f.Kernel, "hostname": f.Hostname, "arch": f.Arch, "os": f.OS, "user": f.User,
		"cpus": f.CPUs, "memory": f.MemoryBytes,
	}
	return nil
}

// MigrationAddress is where the host's peers reach it for migrations: the
// param mig_address (with _hostN), else the address that mhmig itself uses.
func (h *Host) MigrationAddress() string {
	return h.Params.Get("mig_address", h.Address())
}

// ListenAddress is where QEMU listens for a migration on this host: all
// addresses, but for a loopback address only that one, since a lab's hosts
// share the others.
func (h *Host) ListenAddress() string {
	address, err := netip.ParseAddr(h.MigrationAddress())
	switch {
	case err == nil && address.IsLoopback():
		return address.String()
	case err == nil && address.Is6():
		return "::"
	default:
		return "0.0.0.0"
	}
}

// site is the host as one that a VM with these params may run on.
func (h *Host) site(name string, params cartesian.Params) (vm.Site, error) {
	config, err := vm.ParseConfig(name, params.Object(h.label).Object(name))
	switch {
	case err != nil && h != h.bed.hosts[0]: // what is wrong on all hosts is told of the first
		return vm.Site{}, fmt.Errorf("%s: %w", h.Name(), err)
	case err != nil:
		return vm.Site{}, err
	}
	return vm.Site{Host: h.Host, Label: h.label, Params: params, Config: config}, nil
}

// shippedName tells which of mhmig's own files a param names, if it does.
func shippedName(key, value string) (name string, ours bool) {
	base, _, _ := strings.Cut(key, "_")
	if base != "kernel" && base != "initrd" {
		return "", false
	}
	return strings.CutPrefix(value, vm.ShippedPrefix)
}

// ShippedDir is where mhmig's own files are put: jeos:kernel is the file kernel
// there.
func (h *Host) ShippedDir() string { return path.Join(h.baseDir, h.bed.store.name) }

// Process is a command of the scenario's that goes on by itself.
type Process struct {
	*host.Process
	command        string
	killed         atomic.Bool // by Kill
	stdout, stderr buffer
	reading        sync.WaitGroup
}

func (p *Process) String() string { return p.command }

// StartCommand starts a command. It ends at the latest with the connection to
// the host.
func (h *Host) StartCommand(ctx context.Context, c host.Command) (*Process, error) {
	started, err := h.Host.Start(context.WithoutCancel(ctx), c)
	if err != nil {
		return nil, err
	}
	p := &Process{Process: started, command: c.Script}
	p.reading.Go(func() { _, _ = io.Copy(&p.stdout, started.Stdout) })
	p.reading.Go(func() { _, _ = io.Copy(&p.stderr, started.Stderr) })
	return p, nil
}

// Wait waits for the command's end and returns what it wrote. An exit status
// that is not 0 is no error here, neither is an end by Kill.
func (p *Process) Wait(ctx context.Context) (host.Output, error) {
	out, err := p.Process.Wait(ctx)
	_, exited := errors.AsType[*host.ExitError](err)
	killed, byForce := errors.AsType[*host.KilledError](err)
	wanted := byForce && killed.KillErr == nil && p.killed.Load()
	if err != nil && !exited && !wanted {
		return out, err
	}
	p.reading.Wait()
	out.Stdout, out.Stderr = p.stdout.bytes(), p.stderr.bytes()
	return out, nil
}

// Kill ends the command and what it has started.
func (p *Process) Kill(ctx context.Context) error {
	p.killed.Store(true)
	err := p.Process.Kill(ctx)
	p.reading.Wait()
	return err
}

// buffer collects what several goroutines may look at.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf.Bytes())
}

// Block is a port whose packets a host drops.
type Block struct {
	host  *Host
	port  int
	table string
	entry int

	mu     sync.Mutex
	undone bool
}

func (k *Block) String() string { return fmt.Sprintf("port %d of %s blocked", k.port, k.host.Name()) }

// BlockPort drops all TCP packets to or from a port of the host, in a table of
// nftables of its own. It needs root on the host.
func (h *Host) BlockPort(ctx context.Context, port int) (*Block, error) {
	if port < 1 || port > 65535 {
		return nil, fmt.Errorf("block port %d: want a TCP port, 1 to 65535", port)
	}
	k := &Block{host: h, port: port, table: strings.ReplaceAll(fmt.Sprintf("%s_%d_%d", h.bed.name, port, h.NextNumber()), "-", "_")}
	var err error
	k.entry, err = h.bed.ledger.Record(ledger.Entry{Host: h.Name(), Kind: ledger.Firewall, Path: k.table})
	if err != nil {
		return nil, err
	}
	script := fmt.Sprintf(`nft -f - <<'END'
add table inet %[1]s
add chain inet %[1]s in { type filter hook input priority -10; }
add chain inet %[1]s out { type filter hook output priority -10; }
add rule inet %[1]s in tcp dport %[2]d drop
add rule inet %[1]s in tcp sport %[2]d drop
add rule inet %[1]s out tcp dport %[2]d drop
add rule inet %[1]s out tcp sport %[2]d drop
END`, k.table, port)
	if _, err := h.Run(ctx, host.Command{Script: script, Timeout: commandTimeout}); err != nil {
		return nil, errors.Join(fmt.Errorf("block port %d (needs root and nftables on the host): %w", port, err), h.bed.ledger.Done(k.entry))
	}
	h.mu.Lock()
	h.blocks = append(h.blocks, k)
	h.mu.Unlock()
	h.bed.log.Info("port blocked", "host", h.Name(), "port", port)
	return k, nil
}

// Undo lets the packets through again; again is fine.
func (k *Block) Undo(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.undone {
		return nil
	}
	if _, err := k.host.Run(ctx, host.Command{Args: []string{"nft", "delete", "table", "inet", k.table}, Timeout: commandTimeout}); err != nil {
		return fmt.Errorf("unblock port %d: %w", k.port, err)
	}
	k.undone = true
	k.host.bed.log.Info("port unblocked", "host", k.host.Name(), "port", k.port)
	return k.host.bed.ledger.Done(k.entry)
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
