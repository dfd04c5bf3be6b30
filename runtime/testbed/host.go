// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/vm"
)

// commandTimeout limits the short commands of a bed.
const commandTimeout = 30 * time.Second

// Host is a host of one variant.
type Host struct {
	Remote
	Params cartesian.Params // the variant's, narrowed to this host

	bed      *Bed
	label    string // host1, host2, …: its suffix in params
	runDir   string // the bed's folder on this host
	baseDir  string // images_base_dir: on storage that all hosts share
	imageDir string // the bed's folder there

	mu     sync.Mutex // guards what follows
	facts  map[string]any
	blocks []*Block
	number int

	marking  sync.Mutex // guards what follows; held while the ledger is written
	commands int        // the ledger entry of the scenario's commands; 0: none yet
}

// ownName is the unique name of the bed's folder and commands on this host: two hosts
// may be one machine.
func (h *Host) ownName() string { return h.bed.name + "-" + h.label }

// RunDir is the bed's folder on this host.
func (h *Host) RunDir() string { return h.runDir }

// NextNumber counts from 1, for unique names of files in RunDir.
func (h *Host) NextNumber() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.number++
	return h.number
}

// Facts are the facts about the machine: kernel, hostname, arch, os, user
// (strings), cpus (int), memory (int64, bytes).
func (h *Host) Facts() map[string]any {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.facts
}

func (h *Host) readFacts(ctx context.Context) error {
	f, err := h.bed.shared.hostFacts(ctx, h.Remote)
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

// MigrationAddress is the address of the host for migrations.
func (h *Host) MigrationAddress() string { return MigrationAddress(h.Remote, h.Params) }

// ListenAddress is the address on which QEMU listens for a migration on this host.
func (h *Host) ListenAddress() string { return ListenAddress(h.MigrationAddress()) }

// MigrationAddress is the address of a host for migrations: mig_address of its params, else
// the address that mhmig uses.
func MigrationAddress(h Remote, params cartesian.Params) string {
	return cmp.Or(api.Read(params).Word("mig_address"), h.Address())
}

// ListenAddress is the address on which QEMU listens on the host that others reach at an
// address: all addresses, but of a loopback address only that one, since a lab's hosts
// share the others.
func ListenAddress(migrationAddress string) string {
	address, err := netip.ParseAddr(migrationAddress)
	switch {
	case err == nil && address.IsLoopback():
		return address.String()
	case err == nil && address.Is6():
		return "::"
	default:
		return "0.0.0.0"
	}
}

// OneMachine says whether two hosts are one machine: they have the same boot ID, and the
// second host's folder exists on the first one too.
func (b *Bed) OneMachine(ctx context.Context, first, second *Host) (bool, error) {
	one, err := b.shared.hostFacts(ctx, first.Remote)
	if err != nil {
		return false, err
	}
	other, err := b.shared.hostFacts(ctx, second.Remote)
	if err != nil || one.BootID == "" || one.BootID != other.BootID {
		return false, err
	}
	var folders []string // the device and inode of the folder on each host
	for _, h := range []*Host{first, second} {
		script := "stat -c %d:%i " + shellescape.Quote(second.runDir) + " 2>/dev/null || echo none on " + shellescape.Quote(h.Name())
		out, err := h.Run(ctx, host.Command{Script: script, Timeout: commandTimeout})
		if err != nil {
			return false, err
		}
		folders = append(folders, string(out.Stdout))
	}
	return folders[0] == folders[1], nil
}

// vmConfig returns the config of a VM with these params on this host.
func (h *Host) vmConfig(name string, params cartesian.Params) (vm.HostConfig, error) {
	return h.changedConfig(name, params, changes{})
}

// changedConfig is vmConfig with the changes of the guest's devices since its start.
func (h *Host) changedConfig(name string, params cartesian.Params, c changes) (vm.HostConfig, error) {
	own := api.OnHost(params, h.label, name)
	maps.Copy(own, c.params)
	config, err := vm.ParseConfig(name, own)
	if wrong := api.CheckQEMU(params, h.label, name); err == nil && wrong != nil {
		err = fmt.Errorf("%s: %w", name, wrong)
	}
	switch {
	case err != nil && h != h.bed.hosts[0]: // errors that all hosts have are reported for the first
		return vm.HostConfig{}, fmt.Errorf("%s: %w", h.Name(), err)
	case err != nil:
		return vm.HostConfig{}, err
	}
	return vm.HostConfig{Host: h.Remote, Label: h.label, Params: params, Config: config.Without(c.unplugged)}, nil
}

// namesShipped says whether a param names one of mhmig's own files: kernel_vm1 =
// jeos:kernel.
func namesShipped(key, value string) bool {
	_, ours := vm.ShippedFile(value)
	return ours && slices.ContainsFunc(vm.ShippedParams, func(param string) bool {
		return key == param || strings.HasPrefix(key, param+"_")
	})
}

// ShippedFile returns the path, on the controller, of one of mhmig's files, by the value
// of a param, such as jeos:bzimage.
func (b *Bed) ShippedFile(value string) (string, error) {
	if b.shared.local == nil {
		return "", fmt.Errorf("%s: this run has none of mhmig's files", value)
	}
	return b.shared.local(value)
}

// ShippedDir is the folder of mhmig's files: jeos:kernel is the file jeos-kernel there.
func (h *Host) ShippedDir() string { return path.Join(h.baseDir, h.store().name) }

// store is where mhmig's files are: on the storage of the master, unless each host has its
// own.
func (h *Host) store() *store {
	if h.bed.localImages {
		return h.bed.shared.store(h.label)
	}
	return h.bed.store
}
